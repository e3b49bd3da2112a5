"""What every cache store refuses before it writes anything: arguments that no entry could hold."""

from __future__ import annotations

from collections.abc import Sequence

from orderctl.errors import TierRejected
from orderctl.ids import PARTITION_DIGITS, group_of
from orderctl.stores.cache import Advance, Fill, Tentative
from orderctl.stores.record import TOKEN_BYTES, is_token

_TIER = "cache"


def check_tentatives(tentatives: Sequence[Tentative]) -> None:
    """Refuse a creator without a token: what it wrote would be taken for a committed record.

    Raises:
        TierRejected: a token is not 16 bytes, or all zero.

    """
    _check_tokens([tentative.token for tentative in tentatives])


def check_lookup(order_ids: Sequence[str], tokens: Sequence[bytes]) -> None:
    """Refuse a look-up whose leases could not be told apart.

    Raises:
        ValueError: there is not one token for each order.
        TierRejected: a token is not 16 bytes, or all zero.

    """
    if len(order_ids) != len(tokens):
        raise ValueError(f"{len(order_ids)} orders to look up, and {len(tokens)} tokens")
    _check_tokens(tokens)


def check_fills(fills: Sequence[Fill]) -> None:
    """Refuse another order's record: nobody's answer may hold somebody else's order.

    Raises:
        TierRejected: a record's id is not the one that its fill names.

    """
    if any(fill.record is not None and fill.record.order_id != fill.order_id for fill in fills):
        raise TierRejected(_TIER, "a fill holds another order than the one that it names")


def check_groups(asked: Sequence[int], *, groups: int) -> None:
    """Refuse groups that a deployment of `groups` does not have.

    Raises:
        TierRejected: one is not in 0 … `groups` - 1.

    """
    for group in asked:
        if not 0 <= group < groups:
            raise TierRejected(_TIER, f"there is no group {group} in a deployment of {groups}")


def check_sync(advances: Sequence[Advance], *, groups: int) -> None:
    """Refuse another group's orders: the mark that goes with them is this group's. Nor is a group brought on twice at a time.

    Raises:
        TierRejected: there is no such group, it is there twice, or an order is not in it.

    """
    asked = [advance.group for advance in advances]
    check_groups(asked, groups=groups)
    if len(set(asked)) < len(asked):
        raise TierRejected(_TIER, "a group is to be brought on twice in one call")
    for advance in advances:
        # An order of each partition tells as much of the group as all of them.
        ids = [*(put.record.order_id for put in advance.puts), *advance.drops]
        for order_id in {order_id[PARTITION_DIGITS]: order_id for order_id in ids}.values():
            if group_of(order_id, groups) != advance.group:
                raise TierRejected(_TIER, f"order {order_id} is not in group {advance.group}")


def _check_tokens(tokens: Sequence[bytes]) -> None:
    if not all(map(is_token, tokens)):
        raise TierRejected(_TIER, f"a token has {TOKEN_BYTES} bytes, which are not all zero")
