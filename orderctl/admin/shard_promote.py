"""`shard promote`: a shard goes on by another server, or from a backup, without a version or a final state coming twice.

    epoch + 1, with the server's identity ──> the change feed is followed from its oldest change, if it is another one
        ──> every open row of an older epoch: final in the archive? discarded : touched ──> the cache, then every
            process's memory ──> the promotion is over

From the first step on versions are given again: whoever changes a row that was not settled yet settles it first. Killed
anywhere, the same verb goes on: what is left to do is in the database, not here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from typing import Final

import msgspec
from msgspec import Struct, structs

from orderctl.admin.audit import AuditLog
from orderctl.admin.shard_list import range_text
from orderctl.clock import Clock
from orderctl.errors import NotFound, TierError, UsageRefused
from orderctl.metrics import Metrics
from orderctl.order import Order
from orderctl.services.answers import Failed
from orderctl.services.caching import puts_of
from orderctl.services.epochs import OlderEpochs
from orderctl.services.invalidation import publish_groups
from orderctl.services.pump import Checkpoint, last_checkpoint
from orderctl.stores.feed import ChangeFeed, FeedPurged
from orderctl.stores.log import CHECKPOINTS, LogStore, Outgoing, Place
from orderctl.stores.registry import Deployment
from orderctl.stores.shards import HotShard
from orderctl.stores.tiers import Tiers
from orderctl.version import EPOCH_MAX

PAGE: Final = 500
"""So many orders are settled in one transaction."""
PASSES_MAX: Final = 3
"""A second pass finds what was written by the old epoch's statement while the first one ran; there is no third such row."""


class FeedState(StrEnum):
    """Whether cdc can go on behind its checkpoint."""

    SAME = "same"
    """It can: by GTID a replica has the same history."""
    ANOTHER = "another"
    """The checkpoint is not in it, as after a restore: it is to be followed from its oldest change on."""
    UNKNOWN = "unknown"
    """It cannot be looked at from here. Should cdc say that its checkpoint is not there, promote once more, as its user."""


class Promotion(Struct, frozen=True):
    """What a promotion is to do, and once it is `executed` what it did.

    `epoch_from` and `epoch_to` are equal where the epoch was raised before, and only the rest is left to do.
    """

    shard: str
    groups: str
    epoch_from: int
    epoch_to: int
    server: str | None
    epoch_server: str | None
    open_orders: int
    feed: FeedState
    executed: bool = False
    touched: int = 0
    discarded: int = 0

    @property
    def goes_on(self) -> bool:
        """Whether it is an earlier one that did not come to its end."""
        return self.epoch_from == self.epoch_to


def plan_promotion(tiers: Tiers, name: str) -> Promotion:
    """What promoting the shard of that name would do, as it is now.

    Raises:
        NotFound: there is none of that name.
        UsageRefused: there are no more epochs.
        TierError: the shard, or the log, cannot be asked.

    """
    partition, shard = _find(tiers.shards, name)
    deployment = shard.registry.deployment()
    target = deployment.epoch if _is_under_way(deployment) else deployment.epoch + 1
    if target > EPOCH_MAX:
        raise UsageRefused(f"{name} is in epoch {EPOCH_MAX}, and versions have no room for another")
    return Promotion(
        name,
        range_text(shard.groups),
        deployment.epoch,
        target,
        deployment.server,
        deployment.epoch_server,
        shard.hot.count_open(),
        _feed_state(tiers.feeds[partition], tiers.log, Place(CHECKPOINTS, partition)),
    )


class Promoter:
    """Carries promotions out."""

    def __init__(self, tiers: Tiers, audit: AuditLog, clock: Clock, *, metrics: Metrics, record_ttl_ms: int) -> None:
        self._tiers = tiers
        self._audit = audit
        self._clock = clock
        self._metrics = metrics
        self._record_ttl_ms = record_ttl_ms

    def promote(self, plan: Promotion, *, reason: str | None, progress: Callable[[int], None]) -> Promotion:
        """Do what `plan` says; `progress` is told how many orders were settled so far.

        Raises:
            UsageRefused: the epoch is not the plan's any more.
            TierError: a tier failed; what is left to do is done when this is done again.

        """
        partition, shard = _find(self._tiers.shards, plan.shard)
        about = {"shard": plan.shard, "epoch": plan.epoch_to, "server": plan.server}
        self._audit.append("shard promote", reason=reason, done=False, open_orders=plan.open_orders, **about)
        if not plan.goes_on and not shard.registry.raise_epoch(above=plan.epoch_from):
            raise UsageRefused(
                f"the epoch of {plan.shard} is no longer {plan.epoch_from}: somebody else promotes it",
                hint="look again with orderctl shard list",
            )
        if plan.feed is FeedState.ANOTHER:
            self._begin_anew(self._tiers.feeds[partition].shard, Place(CHECKPOINTS, partition))
        touched = discarded = 0
        for final, current in self._settled(shard):
            touched, discarded = touched + len(current), discarded + len(final)
            progress(touched + discarded)
        publish_groups(self._tiers.log, shard.groups)
        shard.registry.note_settled(epoch=plan.epoch_to)
        counts = {"touched": touched, "discarded": discarded}
        self._audit.append("shard promote", reason=reason, done=True, **counts, **about)
        return structs.replace(plan, executed=True, **counts)

    def _begin_anew(self, shard: str, place: Place) -> None:
        """Let cdc follow the feed that is there now, from its oldest change: what comes again is harmless."""
        checkpoint = Checkpoint(shard, None, self._clock.now_us())
        self._tiers.log.publish([Outgoing(place, shard.encode(), msgspec.json.encode(checkpoint))])

    def _settled(self, shard: HotShard) -> Iterator[tuple[list[Order], list[Order]]]:
        """Settle every open row of an older epoch, a page at a time; yields those discarded and those touched."""
        older = OlderEpochs(shard.hot, self._tiers.archive, self._metrics, tell=self._tell)
        for _ in range(PASSES_MAX):
            after: str | None = None
            while page := shard.hot.of_older_epochs(None, after=after, limit=PAGE):
                yield self._settle(shard, older, page)
                after = page[-1].order_id
            if after is None:
                return
        raise UsageRefused(
            f"rows of older epochs come up again and again in {shard.name}",
            hint="is the old server fenced, and is this the owner of the database, who may delete rows?",
        )

    def _settle(self, shard: HotShard, older: OlderEpochs, page: Sequence[Order]) -> tuple[list[Order], list[Order]]:
        """Settle a page, and let the cache know: it may have heard more of the old server than the new one knows.

        Killed before the cache knows of touched rows, their events tell it.
        """
        self._tiers.cache.ping()  # Rather stop here than between the rows and the cache.
        settled = older.settle(page, now_us=self._clock.now_us())
        for outcome in settled:
            if isinstance(outcome, Failed):
                raise outcome.error
        final = [outcome for outcome in settled if isinstance(outcome, Order)]
        touched = [order.order_id for order, outcome in zip(page, settled, strict=True) if outcome is None]
        current = [order for order in shard.hot.load(touched) if order is not None]
        # Once more what was discarded: a reader may have loaded a row just before it went.
        self._tell([*final, *current])
        return final, current

    def _tell(self, orders: Sequence[Order]) -> None:
        self._tiers.cache.apply(puts_of(orders, now_us=self._clock.now_us(), ttl_ms=self._record_ttl_ms))


def _find(shards: Sequence[HotShard], name: str) -> tuple[int, HotShard]:
    for partition, shard in enumerate(shards):
        if shard.name == name:
            return partition, shard
    raise NotFound(f"there is no shard {name}", hint=f"there are: {', '.join(shard.name for shard in shards)}")


def _feed_state(feed: ChangeFeed, log: LogStore, place: Place) -> FeedState:
    checkpoint = last_checkpoint(log, place)
    try:
        feed.open(checkpoint.position if checkpoint else None).close()
    except FeedPurged:
        return FeedState.ANOTHER
    except TierError:  # An operator's user may lack the rights of a replica.
        return FeedState.UNKNOWN
    return FeedState.SAME


def _is_under_way(deployment: Deployment) -> bool:
    return deployment.is_promoted and deployment.epoch_settled < deployment.epoch
