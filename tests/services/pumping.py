"""What the tests of the pump need: a feed that is read in small pages, a log, and eyes on every call to either."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec

from orderctl import event
from orderctl.clock import ManualClock
from orderctl.event import ChangeEvent
from orderctl.ids import group_of
from orderctl.order import Change, Order, Status
from orderctl.services.pump import Checkpoint, Pump, last_checkpoint
from orderctl.stores.feed import ChangeFeed, FeedItem, FeedReader, RowChange
from orderctl.stores.hot import Created, Removal
from orderctl.stores.log import CHANGES, CHECKPOINTS, Message, Outgoing, Place, topics
from orderctl.stores.sqlite.embedded import EmbeddedHot, open_embedded_hot
from orderctl.stores.sqlite.log import SqliteLogStore, open_embedded_log
from tests.contract.hot_harness import GROUPS, drafts
from tests.services.moving import Watched

SHARD = "embedded"
CHECKPOINT_PLACE = Place(CHECKPOINTS, 0)
STEPS_MAX = 500


class Pages:
    """A feed of which a reader gets few items at a time, so that pages end inside transactions."""

    def __init__(self, feed: ChangeFeed, size: int, moment: Callable[[str], None]) -> None:
        self._feed = feed
        self._size = size
        self._moment = moment

    def __getattr__(self, name: str) -> Any:
        return getattr(Watched(self._feed, self._moment), name)

    def open(self, position: str | None) -> Any:
        self._moment("before open")
        return _SmallReader(self._feed.open(position), self._size, self._moment)


class _SmallReader:
    def __init__(self, reader: FeedReader, size: int, moment: Callable[[str], None]) -> None:
        self._reader = reader
        self._size = size
        self._moment = moment
        # Not watched: it is what the tests do with the reader of a pump that died.
        self.close = reader.close

    def read(self, limit: int, wait_s: float) -> list[FeedItem]:
        self._moment("before read")
        items = self._reader.read(min(limit, self._size), wait_s)
        self._moment("after read")
        return items


class PumpStage:
    """One hot store, its feed, and a log, in memory. `actions` are what happens at moments by their number."""

    def __init__(self, hot: EmbeddedHot, log: SqliteLogStore, clock: ManualClock) -> None:
        self.hot = hot.store
        self.feed = hot.open_feed(shard=SHARD, clock=clock)
        self.log = log
        self.clock = clock
        self.moments: list[str] = []
        self.actions: dict[int, Callable[[], None]] = {}
        self.expected: list[ChangeEvent] = []
        self.boundaries: set[str] = set()
        self._note_behind: str | None = None

    def live(self, orders: int = 5) -> list[Order]:
        """Orders that are made, change, end and leave, in transactions of several rows."""
        made = [outcome.order for outcome in self.hot.create(drafts(orders)) if isinstance(outcome, Created)]
        for status in (Status.PROCESSING, Status.SUCCESS):
            self.hot.change([Change(order.order_id, status) for order in made], now_us=self.clock.now_us())
        self.hot.remove([Removal(order.order_id, 3) for order in made[::2]], now_us=self.clock.now_us())
        self.note()
        return made

    def note(self) -> None:
        """Remember what has been committed since the last time: it is what the log must come to hold."""
        reader = self.feed.open(self._note_behind)
        while items := reader.read(10_000, 0):
            for item in items:
                if isinstance(item, RowChange):
                    self.expected.append(item.event)
                else:
                    self.boundaries.add(item.position)
                    self._note_behind = item.position
        reader.close()

    def pump(self, *, log: Any = None, size: int = 4) -> Pump:
        """A pump; a new one stands for another process."""
        feed: Any = Pages(self.feed, size, self._moment)
        return Pump(feed, log or Watched(self.log, self._moment), partition=0, groups=GROUPS, clock=self.clock)

    def published(self) -> list[Message]:
        """What is in `orders.changes`, partition by partition."""
        return [message for number in range(GROUPS) for message in self.log.read(Place(CHANGES, number), 0, 1 << 30)]

    def kept_changes(self) -> int:
        """How many changes the feed holds."""
        reader = self.feed.open(None)
        items = reader.read(1 << 20, 0)
        reader.close()
        return sum(isinstance(item, RowChange) for item in items)

    def checkpoint(self) -> Checkpoint | None:
        return last_checkpoint(self.log, CHECKPOINT_PLACE)

    def check_up_to(self, position: int) -> None:
        """See that every change up to a position is in the log, in its partition, each order's in their order."""
        seen: dict[str, list[str]] = {}
        for message in self.published():
            change = event.decode(message.value)
            assert message.place == Place(CHANGES, group_of(change.order.order_id, GROUPS))
            positions = seen.setdefault(change.order.order_id, [])
            if change.source.position not in positions:
                positions.append(change.source.position)
        wanted: dict[str, list[str]] = {}
        for change in self.expected:
            if int(change.source.position) <= position:
                wanted.setdefault(change.order.order_id, []).append(change.source.position)
        for order_id, positions in wanted.items():
            assert seen.get(order_id, [])[: len(positions)] == positions

    def check_all(self) -> None:
        """See that every change is in the log, and that the checkpoint is behind the last one."""
        self.check_up_to(len(self.expected))
        checkpoint = self.checkpoint()
        assert checkpoint is not None
        assert checkpoint.position == self.expected[-1].source.position

    def close(self) -> None:
        """Let go of the feed."""
        self.feed.close()

    def _moment(self, name: str) -> None:
        self.moments.append(name)
        action = self.actions.pop(len(self.moments) - 1, None)
        if action is not None:
            action()


class ChecksCheckpoints:
    """A log that lets no checkpoint pass unless all before it is acknowledged, and it is a transaction's end."""

    def __init__(self, stage: PumpStage) -> None:
        self._stage = stage
        self.checkpoints = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stage.log, name)

    def publish(self, messages: Sequence[Outgoing]) -> None:
        if messages[0].place == CHECKPOINT_PLACE:
            (message,) = messages
            position = msgspec.json.decode(message.value, type=Checkpoint).position
            assert position in self._stage.boundaries
            self._stage.check_up_to(int(position))
            self.checkpoints += 1
        self._stage.log.publish(messages)


@contextmanager
def open_pump_stage() -> Iterator[PumpStage]:
    """A stage whose stores are closed in the end; the pumps are to be closed by the tests."""
    clock = ManualClock()
    hot = open_embedded_hot(None, groups=GROUPS, clock=clock)
    log = open_embedded_log(None, clock=clock)
    log.ensure_topics(topics(groups=GROUPS, shards=1))
    stage = PumpStage(hot, log, clock)
    try:
        yield stage
    finally:
        stage.close()
        log.close()
        hot.close()
