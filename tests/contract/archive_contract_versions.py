"""What versions promise: the largest one of an order wins, whatever comes last and however often."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from orderctl.order import Status
from orderctl.stores.archive import ArchiveStore
from tests.contract.archive_harness import a_final, at_version, ref_of

histories = st.lists(st.lists(st.integers(1, 6), max_size=4), min_size=1, max_size=5)
"""Batches of versions of one order, as several archivers may write them."""

SHARED = [HealthCheck.function_scoped_fixture, HealthCheck.differing_executors]
"""Every backend runs the test on a store that lives for all its examples; each example has an order of its own."""


class VersionContract:
    """One order in several versions."""

    def test_a_newer_version_replaces(self, store: ArchiveStore) -> None:
        """All of it: what was set and is not any more is not left over."""
        old = a_final(version=3, status=Status.FAILED, status_reason="why", metadata='{"a":"b"}')
        new = structs.replace(old, version=4, status=Status.SUCCESS, status_reason=None, metadata="{}")
        store.write([old])
        store.write([new])
        assert store.load([old.order_id]) == [new]
        assert store.resolve([ref_of(old)]) == [old.order_id]

    def test_an_older_version_does_not_replace(self, store: ArchiveStore) -> None:
        """Also where it comes with a later time: times are not compared."""
        new = at_version(a_final(), 5)
        old = structs.replace(at_version(new, 4), updated_at=new.updated_at + 1_000_000)
        store.write([new])
        store.write([old])
        assert store.load([new.order_id]) == [new]

    def test_versions_of_another_epoch_are_larger(self, store: ArchiveStore) -> None:
        """A version is compared as the number that it is, up to the last bit."""
        order = a_final()
        versions = [at_version(order, version) for version in ((1 << 32) - 1, 1 << 32, (1 << 32) + 1)]
        store.write([versions[2], versions[0], versions[1]])
        assert store.load([order.order_id]) == [versions[2]]

    def test_a_batch_may_hold_several_versions(self, store: ArchiveStore) -> None:
        """In any order, of several orders at once."""
        one, two = a_final(), a_final()
        store.write([at_version(one, 2), at_version(two, 3), at_version(one, 7), at_version(two, 1)])
        assert store.load([one.order_id, two.order_id]) == [at_version(one, 7), at_version(two, 3)]

    @given(histories)
    @settings(deadline=None, max_examples=60, suppress_health_check=SHARED)
    def test_any_sequence_of_writes_ends_at_the_largest(self, store: ArchiveStore, history: list[list[int]]) -> None:
        """After each batch the order is at the largest version written so far, with that version's words."""
        order = a_final()
        largest = 0
        for versions in history:
            store.write([at_version(order, version) for version in versions])
            largest = max([largest, *versions])
            assert store.load([order.order_id]) == [at_version(order, largest) if largest else None]
            assert store.resolve([ref_of(order)]) == [order.order_id if largest else None]
