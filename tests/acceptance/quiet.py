"""When things are quiet: every tier of a data directory held against every other, and against what was acknowledged."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from orderctl import event
from orderctl.clock import SystemClock
from orderctl.config import Config
from orderctl.event import Op
from orderctl.order import Order
from orderctl.services.consumer import lag_events
from orderctl.services.parking import waiting
from orderctl.services.pump import last_checkpoint
from orderctl.stores.binlog import BinlogFeed, BinlogReader
from orderctl.stores.feed import ChangeFeed, FeedReader
from orderctl.stores.log import CHANGES, CHECKPOINTS, Message, Place
from orderctl.stores.record import Kind, record_of
from orderctl.stores.tiers import Tiers, open_tiers
from tests.acceptance.ledger import Api, Ledger, Line
from tests.acceptance.server import until
from tests.contract.feed_mysql_harness import CaughtUpReader

BATCH = 500
CONVERGE_S = 60.0
ENOUGH = 20
"""Orders that went all the way, at the least: else nothing was tested."""

Record = Callable[[str, object], None]


@contextmanager
def opened(data_dir: Path, config: Config | None = None) -> Iterator[Tiers]:
    """The tiers of a data directory, or those that `config` names, beside whoever else has them open."""
    tiers = open_tiers(config or Config(), data_dir, SystemClock())
    try:
        yield tiers
    finally:
        tiers.close()


@dataclass
class History:
    """What the log holds of each order: the versions in the order of their first occurrence, and how many came again."""

    firsts: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    events: int = 0
    duplicates: int = 0
    removed: set[str] = field(default_factory=set)
    cached: int = 0
    """Records that the cache still had, each equal to its source."""

    def add(self, message: Message) -> None:
        """One event more."""
        change = event.decode(message.value)
        order = change.order
        self.events += 1
        if change.op is Op.DELETE:
            self.duplicates += order.order_id in self.removed
            self.removed.add(order.order_id)
        elif order.version in self.firsts[order.order_id]:
            self.duplicates += 1
        else:
            self.firsts[order.order_id].append(order.version)


def messages_of(tiers: Tiers, topic: str) -> Iterator[Message]:
    """Everything in a topic, a partition after another."""
    for partition, (first, end) in enumerate(tiers.log.ends(topic)):
        offset = first
        while offset < end:
            batch = tiers.log.read(Place(topic, partition), offset, BATCH)
            yield from batch
            offset = batch[-1].offset + 1


def wait_until_quiet(tiers: Tiers, *, seconds: float) -> None:
    """Nothing final is left in the hot store, and nothing unread in the log."""

    def is_quiet() -> bool:
        return not tiers.hot.finals(None, after=None, limit=1) and all(
            lag_events(tiers.log, group, CHANGES) == 0 for group in ("cache-sync", "archiver")
        )

    until(is_quiet, seconds=seconds, what="quiet")
    # What was removed last is still on its way through the log.
    until(lambda: all(_is_published(tiers)), seconds=seconds, what="the feed is published")
    until(is_quiet, seconds=seconds, what="quiet again")


def _is_published(tiers: Tiers) -> Iterator[bool]:
    """Of each shard: whether nothing is behind its checkpoint."""
    for partition, feed in enumerate(tiers.feeds):
        checkpoint = last_checkpoint(tiers.log, Place(CHECKPOINTS, partition))
        reader = feed.open(checkpoint.position if checkpoint else None)
        try:
            yield not _caught_up(feed, reader).read(1, 0.0)
        finally:
            reader.close()


def _caught_up(feed: ChangeFeed, reader: FeedReader) -> FeedReader:
    """A server shows what was committed in its own time, so such a reader first comes to where the server says its end is."""
    if not isinstance(feed, BinlogFeed):
        return reader
    assert isinstance(reader, BinlogReader)
    return CaughtUpReader(reader, feed._server)


def check_tiers(tiers: Tiers, lines: list[Line]) -> History:
    """Every tier against every other, for the orders that their clients know; returns what the log holds."""
    known = {line.order_id: line for line in lines if line.order_id is not None}
    history = History()
    for message in messages_of(tiers, CHANGES):
        history.add(message)
    assert not list(waiting(tiers.log))
    assert known.keys() <= history.firsts.keys(), "a created order never reached the log"
    order_ids = list(history.firsts)
    for start in range(0, len(order_ids), BATCH):
        batch = order_ids[start : start + BATCH]
        columns = (tiers.hot.load(batch), tiers.archive.load(batch), tiers.cache.get(batch))
        for order_id, hot, archived, entry in zip(batch, *columns, strict=True):
            source = _source(order_id, hot, archived)
            if line := known.get(order_id):
                newest = max(line.acknowledged)
                assert source.version >= newest, f"{line.ref}: {source.version} is older than what was acknowledged"
            assert history.firsts[order_id] == list(range(1, source.version + 1)), order_id
            assert (order_id in history.removed) is (archived is not None)
            if entry is not None and entry.kind is Kind.RECORD:
                history.cached += 1
                assert (entry.version, entry.body) == (source.version, record_of(source).body), order_id
    return history


def _source(order_id: str, hot: Order | None, archived: Order | None) -> Order:
    """The order from the one database that is to have it."""
    assert (hot is None) is not (archived is None), f"{order_id}: in hot {hot}, in the archive {archived}"
    source = hot or archived
    assert source is not None
    assert source.status.is_final is (archived is not None)
    return source


def hold_to_account(
    data_dir: Path, ledger: Ledger, api: Api, record_property: Record, config: Config | None = None
) -> None:
    """Wait until it is quiet, then hold every tier against every other and against the ledger, and write the counts down."""
    began_s = time.monotonic()
    with opened(data_dir, config) as tiers:
        wait_until_quiet(tiers, seconds=CONVERGE_S)
        converged_s = time.monotonic() - began_s
        orders = ledger.check(api)
        history = check_tiers(tiers, ledger.lines)
    record_property("operations", ledger.operations)
    record_property("unknown outcomes", ledger.unknown)
    record_property("refused", ledger.refused)
    record_property("orders", orders)
    record_property("events", history.events)
    record_property("duplicate events", history.duplicates)
    record_property("cached records", history.cached)
    record_property("seconds to converge", round(converged_s, 2))
    assert min(len(history.removed), history.cached) > ENOUGH
