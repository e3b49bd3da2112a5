"""The contract of expirations, kept by the embedded cache in a file and in memory; and what is its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from orderctl.stores.expirations import Expirations, Gone
from orderctl.stores.sqlite.cache import TIMER_KEPT_US, WAITING_MAX
from orderctl.stores.sqlite.expirations import TAKE_MAX
from tests.contract.cache_harness import CacheSuite, an_order, put
from tests.contract.cache_sqlite_harness import SqliteCacheHarness
from tests.contract.expirations_contract import ExpirationsContract, due_in


class Harness(SqliteCacheHarness):
    """An `ExpirationsHarness`."""

    def __init__(self, path: Path | None) -> None:
        super().__init__(path)
        self._listeners: list[Expirations] = []

    def listen(self) -> Expirations:
        self._listeners.append(listener := self.open().expirations())
        return listener

    def run_out_of_memory(self) -> None:
        full = self.open(used_bytes_max=0)
        for _ in range(3):
            full.invalidate([an_order().order_id])

    def close(self) -> None:
        for listener in self._listeners:
            listener.close()
        super().close()


@pytest.fixture(params=["file", "memory"])
def harness(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Harness]:
    with closing(Harness(tmp_path / "cache.db" if request.param == "file" else None)) as harness:
        yield harness


class TestEmbedded(ExpirationsContract):
    """The whole suite."""


class TestBounds(CacheSuite):
    """Nobody may ever listen."""

    def test_what_nobody_hears_is_forgotten(self, harness: Harness) -> None:
        """Of entries a few are kept, of timers those of the last minute."""
        cache = harness.open()
        for _ in range(2 * WAITING_MAX // 300):
            self.make_record(cache, *(due_in(harness, 1_000) for _ in range(300)), ttl_ms=1_000)
            harness.pass_time(1)
        harness.pass_time(TIMER_KEPT_US / 1_000_000)
        for _ in range(40):
            cache.invalidate([an_order().order_id])
        listener, heard = harness.listen(), []
        while found := listener.poll(0):
            heard += found
        assert {each.what for each in heard} == {Gone.RECORD_EXPIRED}
        assert WAITING_MAX <= len(heard) <= WAITING_MAX + 1_000

    def test_a_flood_is_taken_in_bounded_steps(self, harness: Harness) -> None:
        """So that a writer never waits for long; nothing is told twice."""
        cache, listener = harness.open(), harness.listen()
        orders = [due_in(harness, 1_000) for _ in range(TAKE_MAX + 500)]
        cache.apply([put(order) for order in orders])
        harness.pass_time(1)
        first, second = listener.poll(0), listener.poll(0)
        assert (len(first), len(second)) == (TAKE_MAX, 500)
        assert {each.order_id for each in first + second} == {order.order_id for order in orders}
        assert listener.poll(0) == []
