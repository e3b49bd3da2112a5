"""How far the daemons that follow something are behind it, told from what they leave in the tiers: it needs none of them.

cdc          the change feed behind the checkpoint
a follower   a topic behind its group's offsets
archiver     the final rows that are still in the hot store
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from orderctl.clock import US_PER_S, Clock
from orderctl.services.consumer import lag_events
from orderctl.services.pump import last_checkpoint
from orderctl.stores.feed import ChangeFeed, FeedPurged, RowChange
from orderctl.stores.hot import Cursor, HotStore
from orderctl.stores.log import CHECKPOINTS, LogStore, Place

COUNT_MAX = 10_000
"""Where each has to be read to be counted, counting ends here: it is a look, and not to be a load."""
PAGE = 1_000

_US_PER_MS = 1_000
_ATTEMPTS = 3


class Lag(Struct, frozen=True):
    """What is still to be done, and the age in seconds of the oldest of it, 0 where there is nothing."""

    events: int
    age_s: float


def cdc_lag(feeds: Sequence[ChangeFeed], log: LogStore, clock: Clock, *, wait_s: float = 0.0) -> Lag | None:
    """The committed changes that are not in the log, at most `COUNT_MAX` of each shard; None where nobody can know.

    The age is that of the first change behind a checkpoint, of whichever shard it is the oldest. A feed that comes over a
    connection has nothing to show at once: it is waited for up to `wait_s`, a page at a time.

    Raises:
        TierError: a shard or the log failed.

    """
    lags = [_shard_lag(feed, log, Place(CHECKPOINTS, partition), clock, wait_s) for partition, feed in enumerate(feeds)]
    known = [lag for lag in lags if lag is not None]
    if len(known) < len(lags):
        return None
    return Lag(sum(lag.events for lag in known), max((lag.age_s for lag in known), default=0.0))


def follower_lag(log: LogStore, group: str, topic: str, clock: Clock) -> Lag:
    """The messages of `topic` that `group` has not committed, and the age of the first of them.

    Raises:
        TierError: the log failed.

    """
    events = lag_events(log, group, topic)
    if not events:
        return Lag(0, 0.0)
    oldest_ms = [
        message.ts_ms
        for partition, ((first, end), at) in enumerate(zip(log.ends(topic), log.committed(group, topic), strict=True))
        if (begin := max(first, at or 0)) < end
        for message in log.read(Place(topic, partition), begin, 1)
    ]
    return Lag(events, _age_s(min(oldest_ms) * _US_PER_MS, clock) if oldest_ms else 0.0)


def archiver_lag(hot: HotStore, clock: Clock) -> Lag:
    """The final orders that are still in the hot store, at most `COUNT_MAX`, and since when the oldest of them is final.

    Raises:
        TierError: the hot store failed.

    """
    page = hot.finals(None, after=None, limit=PAGE)
    if not page:
        return Lag(0, 0.0)
    age_s, count = _age_s(page[0].updated_at, clock), len(page)
    while len(page) == PAGE and count < COUNT_MAX:
        page = hot.finals(None, after=Cursor.behind(page[-1]), limit=PAGE)
        count += len(page)
    return Lag(count, age_s)


def _shard_lag(feed: ChangeFeed, log: LogStore, place: Place, clock: Clock, wait_s: float) -> Lag | None:
    for _ in range(_ATTEMPTS):
        try:
            checkpoint = last_checkpoint(log, place)
            return _behind(feed, checkpoint.position if checkpoint else None, clock, wait_s)
        except FeedPurged:
            # The pump purges what it has published, so it may just have gone past the checkpoint that was read.
            continue
        except ValueError:
            break
    return None


def _behind(feed: ChangeFeed, position: str | None, clock: Clock, wait_s: float) -> Lag:
    reader = feed.open(position)
    try:
        count, oldest_us = 0, None
        while count < COUNT_MAX and (items := reader.read(PAGE, wait_s)):
            for item in items:
                if isinstance(item, RowChange):
                    count += 1
                    oldest_us = item.event.source.ts_us if oldest_us is None else oldest_us
    finally:
        reader.close()
    return Lag(min(count, COUNT_MAX), 0.0 if oldest_us is None else _age_s(oldest_us, clock))


def _age_s(ts_us: int, clock: Clock) -> float:
    """How long ago that was; not less than nothing, where another machine's clock is ahead."""
    return round(max(0, clock.now_us() - ts_us) / US_PER_S, 3)
