"""`ArchiveHarness` over a real Cassandra: a keyspace of its own in the stack's cluster, dropped in the end."""

from __future__ import annotations

from contextlib import closing
from uuid import uuid4

from msgspec import structs

from orderctl.clock import SystemClock
from orderctl.sections import CassandraSection
from orderctl.stores.cassandra import CassandraArchiveStore, open_cassandra_archive
from orderctl.stores.cassandra_driver import CassandraAccess, connect
from orderctl.stores.cassandra_schema import Keyspace, Layout, migrate_archive

LAYOUT = Layout(groups=64)
KEYSPACE = Keyspace(layout=LAYOUT, replication={"datacenter1": 1})


def access_to(section: CassandraSection) -> CassandraAccess:
    """The stack's cluster, patiently: others share the machine."""
    return CassandraAccess(hosts=section.hosts, port=section.port, connect_s=5.0, answer_s=20.0)


class TemporaryKeyspace:
    """A keyspace under a random name, which is not there until somebody migrates it."""

    def __init__(self, section: CassandraSection) -> None:
        self.access = structs.replace(access_to(section), keyspace=f"orderctl_test_{uuid4().hex[:12]}")

    def migrate(self) -> None:
        """Make it, with all its tables."""
        migrate_archive(self.access, KEYSPACE, clock=SystemClock())

    def drop(self) -> None:
        """Let it go, with all that is in it."""
        self.run(f"DROP KEYSPACE IF EXISTS {self.access.keyspace}")

    def run(self, *statements: str) -> None:
        """Do something to it that the store does not do."""
        with closing(connect(self.access, {}, agreement_s=30)) as connection:
            for statement in statements:
                connection.change_schema(statement)


class CassandraArchiveHarness:
    """Every store has connections of its own, as another process has. Tests share the keyspace: each has orders of its own."""

    def __init__(self, access: CassandraAccess) -> None:
        self.clock = SystemClock()
        self._access = access
        self._opened: list[CassandraArchiveStore] = []

    def open(self) -> CassandraArchiveStore:
        store = open_cassandra_archive(self._access, LAYOUT, clock=self.clock)
        self._opened.append(store)
        return store

    def restart(self) -> None:
        for store in self._opened:
            store.close()
        self._opened.clear()
