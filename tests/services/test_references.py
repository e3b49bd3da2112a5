"""From a merchant's reference to the order: the hot store first, the archive for what it does not know, and a short memory."""

from __future__ import annotations

from orderctl.order import Change, Status
from orderctl.services.answers import Failed, Stored
from orderctl.services.references import REMEMBERED_S, References
from orderctl.stores.hot import Ref, Removal
from tests.services.tiers import Bench, asking, away

MINE = Ref("m", "r")


def an_order(bench: Bench, ref: str = "r") -> str:
    (answer,) = bench.command().create([asking(ref)])
    assert isinstance(answer, Stored)
    return answer.record.order_id


def archive(bench: Bench, order_id: str) -> None:
    """End the order, move it, and let its reference be purged."""
    bench.tiers.hot.change([Change(order_id, Status.SUCCESS)], now_us=bench.clock.now_us())
    (order,) = bench.tiers.hot.load([order_id])
    assert order is not None
    bench.tiers.archive.write([order])
    bench.tiers.hot.remove([Removal(order_id, order.version)], now_us=1)
    bench.tiers.hot.purge_references(moved_before_us=2, limit=9)


def test_a_reference_leads_to_its_order(bench: Bench) -> None:
    """The merchant's own only; a database that is away is an error, not a no."""
    order_id = an_order(bench)
    assert bench.references().resolve([MINE, Ref("n", "r"), Ref("m", "x"), MINE]) == [order_id, None, None, order_id]
    bench.hot.error = gone = away("mysql")
    assert bench.references().resolve([MINE]) == [Failed(gone)]


def test_a_reference_that_was_purged_leads_to_the_archived_order(bench: Bench) -> None:
    """By the second call, which the first one's `None` asks for; if the archive is away that is an error."""
    order_id = an_order(bench)
    archive(bench, order_id)
    assert bench.references().resolve([MINE]) == [None]
    assert bench.references().resolve_archived([MINE, Ref("n", "r")]) == [order_id, None]
    bench.archive.error = gone = away("cassandra")
    assert bench.references().resolve_archived([MINE]) == [Failed(gone)]


def test_what_was_found_is_remembered_for_a_minute(bench: Bench) -> None:
    """From either database; then it is asked again."""
    open_, archived = an_order(bench, "1"), an_order(bench, "2")
    archive(bench, archived)
    references = bench.references()
    assert references.resolve([Ref("m", "1"), Ref("m", "2")]) == [open_, None]
    assert references.resolve_archived([Ref("m", "2")]) == [archived]
    bench.hot.error = bench.archive.error = gone = away("mysql")
    bench.clock.advance(REMEMBERED_S - 1)
    assert references.resolve([Ref("m", "1"), Ref("m", "2")]) == [open_, archived]
    bench.clock.advance(1)
    assert references.resolve([Ref("m", "1"), Ref("m", "2")]) == [Failed(gone), Failed(gone)]


def test_that_there_is_none_is_not_remembered(bench: Bench) -> None:
    """A create may come at any moment, and its merchant looks for it at once."""
    references = bench.references()
    assert references.resolve([MINE]) == [None]
    assert references.resolve_archived([MINE]) == [None]
    order_id = an_order(bench)
    assert references.resolve([MINE]) == [order_id]


def test_a_batch_asks_for_each_unknown_reference_once(bench: Bench) -> None:
    """Twice the same in a batch is one question, and what is remembered is none."""
    references = bench.references()
    references.resolve([MINE])
    bench.hot.calls.clear()
    an_order(bench)
    references.resolve([MINE, MINE])
    references.resolve([MINE])
    assert bench.hot.calls.count("resolve") == 1


def test_the_memory_is_bounded(bench: Bench) -> None:
    """The first to be known is the first to be forgotten."""
    references = References(bench.hot, bench.archive, clock=bench.clock, metrics=bench.metrics, remembered_max=2)
    orders = [an_order(bench, ref) for ref in "123"]
    refs = [Ref("m", ref) for ref in "123"]
    assert references.resolve(refs) == orders
    bench.hot.error = gone = away("mysql")
    assert references.resolve(refs) == [Failed(gone), *orders[1:]]
