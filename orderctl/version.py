"""The version rule: one integer tells an order's exact place in its own history, the same in every tier.

A timestamp cannot: binlog timestamps have a resolution of one second and may run backwards in commit order. The version is
raised in the very statement that changes the row. Its upper bits are the shard's *epoch*, raised when a replica is promoted or
a backup restored, so that a number which the lost primary may have given out is never given to another state.
"""

from __future__ import annotations

EPOCH_SHIFT = 32
VERSION_MAX = 2**53 - 1
"""Lua's and JSON's numbers are doubles: integers above this are not exact there."""
EPOCH_MAX = VERSION_MAX >> EPOCH_SHIFT
NEVER = 0
"""The version of an order that does not exist; every real version is larger."""


def next_version(version: int, epoch: int) -> int:
    """The version after `version` in `epoch`: `GREATEST(version + 1, epoch << 32)`, as the stores' statements say it.

    Raises:
        OverflowError: the result would not be exact in a double, or `epoch` is negative.

    """
    if not 0 <= epoch <= EPOCH_MAX:
        raise OverflowError(f"epoch {epoch} is outside 0 … {EPOCH_MAX}")
    following = max(version + 1, epoch << EPOCH_SHIFT)
    if not NEVER < following <= VERSION_MAX:
        raise OverflowError(f"version {following} is outside 1 … {VERSION_MAX}")
    return following


def epoch_of(version: int) -> int:
    """The epoch in which `version` was given out."""
    return version >> EPOCH_SHIFT
