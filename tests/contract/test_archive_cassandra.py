"""The archive's contract, kept by Cassandra."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from msgspec import structs

from tests.contract.archive_cassandra_harness import CassandraArchiveHarness, TemporaryKeyspace
from tests.contract.archive_contract import ArchiveContract
from tests.contract.archive_harness import a_final
from tests.stack import RunningStack, needs

pytestmark = needs("cassandra")


@pytest.fixture(scope="module")
def keyspace(stack: RunningStack) -> Iterator[TemporaryKeyspace]:
    keyspace = TemporaryKeyspace(stack.config.cassandra)
    keyspace.migrate()
    yield keyspace
    keyspace.drop()


class TestArchiveCassandra(ArchiveContract):
    """One node, written and read by quorum."""

    @pytest.fixture
    def harness(self, keyspace: TemporaryKeyspace) -> Iterator[CassandraArchiveHarness]:
        """Stores on the module's keyspace."""
        harness = CassandraArchiveHarness(keyspace.access)
        yield harness
        harness.restart()

    @pytest.mark.parametrize(
        ("one", "other", "stays"),
        [("aaa", "zzz", "zzz"), ("zzz", "aaa", "zzz"), (None, "zzz", None), ("zzz", None, None)],
    )
    def test_of_two_contents_under_one_version_each_column_keeps_the_larger(
        self, harness: CassandraArchiveHarness, one: str | None, other: str | None, stays: str | None
    ) -> None:
        """Or none, where one of them was none. It never happens: one version has one content. SQLite would keep the first."""
        store, order = harness.open(), a_final()
        for reason in (one, other):
            store.write([structs.replace(order, status_reason=reason)])
        assert store.load([order.order_id]) == [structs.replace(order, status_reason=stays)]
