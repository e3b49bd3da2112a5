"""A deployment's shards one by one, for what concerns each by itself: a promotion, and which server answers."""

from __future__ import annotations

from msgspec import Struct

from orderctl.stores.hot import HotStore
from orderctl.stores.registry import Registry


class HotShard(Struct, frozen=True):
    """One shard by the name that the configuration gives it, the groups that it has, and what is kept there.

    Of the registry only the deployment's row is each shard's own: keys and heartbeats are the first shard's.
    """

    name: str
    groups: range
    hot: HotStore
    registry: Registry
