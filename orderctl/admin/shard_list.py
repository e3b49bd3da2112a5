"""`shard list`: each shard's epoch, and which server answers for it."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from msgspec import Struct

from orderctl.errors import TierError
from orderctl.stores.registry import Deployment
from orderctl.stores.shards import HotShard


class ShardState(StrEnum):
    """What is to be done about a shard."""

    CURRENT = "current"
    """Nothing: its epoch was raised on the server that answers."""
    NOT_PROMOTED = "not_promoted"
    """Its epoch was raised on another server: no version is given until it is promoted."""
    PROMOTING = "promoting"
    """Its epoch was raised, and orders of older ones are still to be settled."""
    AWAY = "away"
    """It does not answer."""


class ShardView(Struct, frozen=True):
    """A shard at a glance. `groups` is FIRST-LAST; a server is its identity, None where there is none, as in a file."""

    name: str
    groups: str
    state: ShardState
    epoch: int | None = None
    server: str | None = None
    epoch_server: str | None = None
    open_orders: int | None = None
    error: str | None = None


def shard_list(shards: Sequence[HotShard]) -> list[ShardView]:
    """Every shard, in the configuration's order. One that does not answer hides no other."""
    return [_view(shard) for shard in shards]


def state_of(deployment: Deployment) -> ShardState:
    """What is to be done about a shard that answers with this."""
    if not deployment.is_promoted:
        return ShardState.NOT_PROMOTED
    return ShardState.CURRENT if deployment.epoch_settled == deployment.epoch else ShardState.PROMOTING


def range_text(groups: range) -> str:
    """Groups as the configuration writes them."""
    return f"{groups.start}-{groups.stop - 1}"


def _view(shard: HotShard) -> ShardView:
    groups = range_text(shard.groups)
    try:
        deployment, open_orders = shard.registry.deployment(), shard.hot.count_open()
    except TierError as error:
        return ShardView(shard.name, groups, ShardState.AWAY, error=str(error))
    return ShardView(
        shard.name,
        groups,
        state_of(deployment),
        epoch=deployment.epoch,
        server=deployment.server,
        epoch_server=deployment.epoch_server,
        open_orders=open_orders,
    )
