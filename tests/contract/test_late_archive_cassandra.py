"""The late archive's contract, kept by Cassandra."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.archive_cassandra_harness import TemporaryKeyspace
from tests.contract.late_archive_contract import LateArchiveContract
from tests.contract.late_harnesses import CassandraLateArchiveHarness
from tests.stack import RunningStack, needs

pytestmark = needs("cassandra")


@pytest.fixture(scope="module")
def keyspace(stack: RunningStack) -> Iterator[TemporaryKeyspace]:
    keyspace = TemporaryKeyspace(stack.config.cassandra)
    keyspace.migrate()
    yield keyspace
    keyspace.drop()


class TestLateArchiveCassandra(LateArchiveContract):
    """One node, written and read by quorum."""

    @pytest.fixture
    def harness(self, keyspace: TemporaryKeyspace) -> Iterator[CassandraLateArchiveHarness]:
        """Stores on the module's keyspace."""
        harness = CassandraLateArchiveHarness(keyspace.access)
        yield harness
        harness.close()
