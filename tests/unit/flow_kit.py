"""What the tests of the daemons of the flow need: the daemons, orders to put in, and tiers that can be away."""

from __future__ import annotations

from typing import Any

from msgspec import structs

from orderctl.clock import ManualClock
from orderctl.config import Config
from orderctl.daemons.archiver import ArchiverDaemon
from orderctl.daemons.base import Context, Daemon
from orderctl.daemons.cache_sync import CacheSyncDaemon
from orderctl.daemons.cdc import CdcDaemon
from orderctl.daemons.manifest import Manifest, select
from orderctl.errors import TierUnavailable
from orderctl.order import Change, Order, Status
from orderctl.stores.hot import Created
from orderctl.stores.log import CHANGES, LogStore
from orderctl.stores.tiers import Tiers
from tests.contract.hot_harness import drafts
from tests.services.tiers import Failing


def manifest(name: str) -> Manifest:
    (found,) = select([name])
    return found


def cdc(context: Context) -> CdcDaemon:
    return CdcDaemon(manifest("cdc"), context)


def cache_sync(context: Context) -> CacheSyncDaemon:
    return CacheSyncDaemon(manifest("cache-sync"), context)


def archiver(context: Context) -> ArchiverDaemon:
    return ArchiverDaemon(manifest("archiver"), context)


def configured(context: Context, **sections: Any) -> Context:
    """The context under another configuration."""
    return structs.replace(context, config=Config(**sections))


def with_failing(context: Context, *names: str) -> tuple[Context, dict[str, Failing]]:
    """The context with tiers that can be made to fail."""
    failing = {name: Failing(getattr(context.tiers, name)) for name in names}
    return structs.replace(context, tiers=structs.replace(context.tiers, **failing)), failing


def create(tiers: Tiers, number: int = 3) -> list[Order]:
    return [outcome.order for outcome in tiers.hot.create(drafts(number)) if isinstance(outcome, Created)]


def finish(tiers: Tiers, clock: ManualClock, number: int = 3) -> list[Order]:
    orders = create(tiers, number)
    tiers.hot.change([Change(order.order_id, Status.SUCCESS) for order in orders], now_us=clock.now_us())
    return orders


def published(tiers: Tiers) -> int:
    return sum(end for _, end in tiers.log.ends(CHANGES))


def gauge(context: Context, name: str, **labels: str) -> float:
    return context.metrics.registry.get_sample_value(f"orderctl_{name}", labels) or 0.0


def steps(daemon: Daemon, number: int) -> None:
    for _ in range(number):
        daemon.step()


class LogAway:
    """A log that can be away, and its members with it."""

    def __init__(self, store: LogStore) -> None:
        self._store = store
        self.error: TierUnavailable | None = None

    def __getattr__(self, name: str) -> Any:
        return self._guarded(getattr(self._store, name))

    def join(self, group: str, topics: list[str], *, instance: str | None = None) -> Any:
        member, away_log = self._guarded(self._store.join)(group, topics, instance=instance), self

        class Guarded:
            close = member.close

            def __getattr__(self, name: str) -> Any:
                return away_log._guarded(getattr(member, name))

        return Guarded()

    def _guarded(self, method: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            if self.error is not None:
                raise self.error
            return method(*args, **kwargs)

        return call


def without_log(context: Context) -> tuple[Context, LogAway]:
    """The context with a log that is away until it is told otherwise."""
    log = LogAway(context.tiers.log)
    log.error = TierUnavailable("kafka")
    tiers: Any = structs.replace(context.tiers, log=log)
    return structs.replace(context, tiers=tiers), log
