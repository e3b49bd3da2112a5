"""The pump: a shard's change feed goes to the log, and the checkpoint follows what the log acknowledged.

A checkpoint is only ever a transaction's end, and only one up to which everything was acknowledged: whoever goes on from it sends
some events again and leaves none out. Two pumps at once are harmless: each sends the feed's order, so an order's versions
appear for the first time in their order.

But one that was held up, and lost its shard meanwhile, may put an older checkpoint behind a newer one. So a pump looks which one
stands before it writes one after a pause, and before the feed is purged, which is done only behind checkpoints that are `KEEP_S`
old: it holds what comes after whichever of them stands last.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from orderctl import event
from orderctl.clock import US_PER_S, Clock
from orderctl.errors import TierRejected, UsageRefused
from orderctl.event import ChangeEvent
from orderctl.ids import group_of
from orderctl.stores.feed import Boundary, ChangeFeed, FeedReader, RowChange
from orderctl.stores.log import CHANGES, CHECKPOINTS, LogStore, Outgoing, Place

BATCH_ITEMS: Final = 4_000
"""Rows and boundaries that are in memory at a time, at some 2 KiB each. They are not fewer because the log is waited for twice
each time, and a broker's work is by the request, of which each partition needs one."""
KEEP_S: Final = 60.0
"""How long the feed is kept behind a checkpoint: ten times as long as it takes to lose a shard."""
PURGE_S: Final = 1.0
"""A purge is a transaction that writers wait for, so it is not made after every checkpoint."""
PAUSE_S: Final = 3.0
"""Half of the time in which a silent leader loses its shard. After such a pause it looks whether somebody else leads."""


class Checkpoint(Struct, frozen=True):
    """Where the next pump goes on. Its value in `orders.cdc-checkpoints`, keyed by the shard's name.

    The position None, which a promotion writes, is the oldest change that the feed has: it is another one than before.
    """

    shard: str
    position: str | None
    ts_us: int


class Pump:
    """One shard's pump. `step` may be repeated and killed anywhere."""

    def __init__(self, feed: ChangeFeed, log: LogStore, *, partition: int, groups: int, clock: Clock) -> None:
        self._feed = feed
        self._log = log
        self._place = Place(CHECKPOINTS, partition)
        self._places = [Place(CHANGES, group) for group in range(groups)]
        self._clock = clock
        self._reader: FeedReader | None = None
        self._last: Checkpoint | None = None
        self._known_at_s = 0.0
        self._purgeable: deque[tuple[float, str]] = deque()
        self.lag_us = 0
        """How old the newest published change was when it was published; 0 once there is nothing to do."""

    @property
    def position(self) -> str | None:
        """The last checkpoint's, None where there is none."""
        return self._last.position if self._last else None

    def step(self, wait_s: float) -> int:
        """Publish what comes next in the feed, and checkpoint behind the last transaction that is whole.

        Returns how many changes were published; waits up to `wait_s` for the first.

        Raises:
            FeedPurged: the feed no longer holds what comes after the checkpoint.
            TierError: the database or the log failed; the next step goes on from the checkpoint.
            UsageRefused: the checkpoint is another shard's.

        """
        try:
            reader = self._reader = self._reader or self._resume()
            items = reader.read(BATCH_ITEMS, wait_s)
            changes = [item.event for item in items if isinstance(item, RowChange)]
            if changes:
                self._log.publish(self._messages(changes))
                self.lag_us = max(0, self._clock.now_us() - changes[-1].source.ts_us)
            elif not items:
                self.lag_us = 0
            self._checkpoint([item.position for item in items if isinstance(item, Boundary)])
            self._purge()
        except BaseException:
            self.close()
            raise
        return len(changes)

    def close(self) -> None:
        """Let go of the feed. The next step goes on from the last checkpoint."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()

    def _resume(self) -> FeedReader:
        known, self._last = self._last, last_checkpoint(self._log, self._place)
        self._known_at_s = self._clock.monotonic_s()
        if self._last and self._last.shard != self._feed.shard:
            raise UsageRefused(
                f"{self._place.topic}, partition {self._place.partition}, is the shard {self._last.shard}'s,"
                f" and {self._feed.shard} is configured in its place",
                hint="shards keep their places in the configuration; new ones come behind them",
            )
        if self._last != known:
            self._purgeable.clear()
        if self._last and self._last.position is not None and not self._purgeable:
            age_s = min(max(0.0, (self._clock.now_us() - self._last.ts_us) / US_PER_S), KEEP_S)
            self._purgeable.append((self._known_at_s - age_s, self._last.position))
        return self._feed.open(self.position)

    def _checkpoint(self, boundaries: Sequence[str]) -> None:
        if not boundaries:
            return
        is_recent = self._clock.monotonic_s() - self._known_at_s < PAUSE_S
        if not is_recent and self._is_overtaken():
            self.close()
            return
        checkpoint = Checkpoint(self._feed.shard, boundaries[-1], self._clock.now_us())
        self._log.publish([Outgoing(self._place, self._feed.shard.encode(), msgspec.json.encode(checkpoint))])
        self._last, self._known_at_s = checkpoint, self._clock.monotonic_s()
        if not self._purgeable or self._known_at_s - self._purgeable[-1][0] >= PURGE_S:
            self._purgeable.append((self._known_at_s, boundaries[-1]))

    def _is_overtaken(self) -> bool:
        """Whether somebody else wrote a checkpoint since: then this pump is to go on from there."""
        return last_checkpoint(self._log, self._place) != self._last

    def _purge(self) -> None:
        old_s = self._clock.monotonic_s() - KEEP_S
        old: str | None = None
        while self._purgeable and self._purgeable[0][0] <= old_s:
            _, old = self._purgeable.popleft()
        if old is None:
            return
        if self._is_overtaken():
            # By an older one, perhaps, that needs what would be purged.
            self.close()
        else:
            self._feed.purge(old)

    def _messages(self, changes: Sequence[ChangeEvent]) -> list[Outgoing]:
        places, ts_ms = self._places, self._clock.now_us() // 1000
        messages: list[Outgoing] = []
        for change in changes:
            order = change.order
            value = event.encode(replace(change, ts_ms=ts_ms))
            headers = (("version", b"%d" % order.version), ("ts_us", b"%d" % change.source.ts_us))
            place = places[group_of(order.order_id, len(places))]
            messages.append(Outgoing(place, order.order_id.encode(), value, headers))
        return messages


def last_checkpoint(log: LogStore, place: Place) -> Checkpoint | None:
    """The newest checkpoint of a shard, None where there is none yet.

    Raises:
        ValueError: the log holds something else there.
        TierRejected: the topic has fewer partitions than the configuration has shards.

    """
    ends = log.ends(place.topic)
    if place.partition >= len(ends):
        raise TierRejected("log", f"{place.topic} has {len(ends)} partitions, which is fewer than there are shards")
    first, end = ends[place.partition]
    messages = log.read(place, end - 1, 1) if end > first else []
    return msgspec.json.decode(messages[-1].value, type=Checkpoint) if messages else None
