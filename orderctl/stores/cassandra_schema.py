"""What the archive's keyspace is made of: numbered migrations, applied forward only, each once, and its partitions' layout."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from hashlib import sha256
from string import Template
from typing import Final
from uuid import uuid4

from msgspec import Struct, structs

from orderctl.clock import Clock
from orderctl.contracts import contract_names, contract_text, named_queries
from orderctl.errors import ConfigError, TierUnavailable
from orderctl.ids import is_valid_group_count
from orderctl.stores.cassandra_driver import (
    SCHEMA_ANSWER_S,
    TIER,
    CassandraAccess,
    CassandraConnection,
    connect,
)
from orderctl.stores.cassandra_flight import Row

QUERIES: Final = "schema_queries.cql"
SLOT_DEFAULT_S: Final = 3600
AGREEMENT_S: Final = 30.0
LOCK_S: Final = 60
"""How long the lock of a migration that was killed keeps others out; longer than a statement may take."""
PATIENCE_S: Final = 30.0
"""How long to wait for another process that is migrating."""

SLOT_MAX_S: Final = 366 * 86_400
RETENTION_MAX_S: Final = 20 * 365 * 86_400
"""Cassandra's own limit."""
COPIES_MAX: Final = 15

assert LOCK_S > SCHEMA_ANSWER_S

_FILE: Final = re.compile(r"(\d{4})_(\w+)\.cql")
_COMMENT: Final = re.compile(r"--.*$", re.MULTILINE)
_KEYSPACE: Final = re.compile(r"[a-z][a-z0-9_]{0,47}").fullmatch
_DATACENTER: Final = re.compile(r"[\w.-]{1,64}").fullmatch
_RETRY_S: Final = 0.5


class Migration(Struct, frozen=True):
    """One step of the schema: its file's number, name and text."""

    number: int
    name: str
    text: str

    @property
    def checksum(self) -> bytes:
        """SHA-256 of the text, before anything is filled in: a migration that was applied is never edited."""
        return sha256(self.text.encode()).digest()

    def statements(self, values: Mapping[str, object]) -> list[str]:
        """What to run, one by one, with `values` filled in."""
        bare = Template(_COMMENT.sub("", self.text)).substitute(values)
        return list(filter(None, map(str.strip, bare.split(";"))))


class Layout(Struct, frozen=True):
    """What says in which partition an order is: constants of a deployment. `slot_s` is the length of a time slot."""

    groups: int
    slot_s: int = SLOT_DEFAULT_S

    def partition(self, group: int, created_ms: int) -> tuple[int, int]:
        """The partition key of an order: its group, and when the time slot of its creation began (Unix seconds)."""
        created_s = created_ms // 1000
        return group, created_s - created_s % self.slot_s


class Keyspace(Struct, frozen=True, kw_only=True):
    """How a keyspace is made. What is made already is left as it is, except that `layout` must be the one it was made with.

    `replication` is the number of copies in each data centre, by name. Rows vanish `retention_s` after they were written; 0
    keeps them for ever.
    """

    layout: Layout
    replication: dict[str, int]
    retention_s: int = 0


def known_migrations() -> tuple[Migration, ...]:
    """Every migration that this program knows, in the order in which they are applied."""
    found = [(_FILE.fullmatch(name), name) for name in contract_names("cql", "[0-9]*.cql")]
    known = tuple(Migration(int(match[1]), match[2], contract_text("cql", name)) for match, name in found if match)
    assert [migration.number for migration in known] == list(range(1, len(found) + 1)), "numbered without gaps"
    return known


def require_schema(connection: CassandraConnection, layout: Layout) -> None:
    """What a store asks for: neither a migration less than this program knows, nor one more, and partitions where it looks.

    Raises:
        ConfigError: the schema is older or newer, or was made for another layout.
        TierUnavailable: the archive cannot be reached.

    """
    missing = _missing(connection, known_migrations())
    founded = [] if missing else connection.ask("layout")
    if not founded:
        what = f"migration {missing[0].number:04}_{missing[0].name}" if missing else "its layout"
        raise ConfigError(f"{connection.access.address} lacks {what}", hint="run orderctl migrate")
    _require_layout(connection.access, founded, layout)


def migrate_archive(
    access: CassandraAccess,
    keyspace: Keyspace,
    *,
    clock: Clock,
    dry_run: bool = False,
    known: tuple[Migration, ...] | None = None,
) -> tuple[Migration, ...]:
    """Make the keyspace and bring it to the newest schema; returns the migrations that were missing. `known` is for tests.

    Several may do so at once: each migration is applied by one of them. With `dry_run` nothing is written. In a cluster of
    several nodes the very first one should be alone: nothing in Cassandra keeps two nodes from making one table twice.

    Raises:
        ConfigError: the keyspace's name or the layout cannot be, the keyspace was made with another layout, its schema is newer
            than this program's, or a migration was edited.
        TierUnavailable: the archive cannot be reached, or another process is migrating it and does not come to an end. What was
            applied is noted; the rest can be done again.

    """
    _require_sense(access, keyspace)
    known = known_migrations() if known is None else known
    with closing(connect(access, named_queries("cql", QUERIES), agreement_s=AGREEMENT_S)) as connection:
        missing = _missing(connection, known)
        if dry_run:
            return missing
        if missing:
            missing = _apply(connection, known, _values(connection, keyspace), clock)
        if not _is_applied(connection.ask("found_layout", structs.asdict(keyspace.layout))):
            _require_layout(access, connection.ask("layout"), keyspace.layout)
        return missing


def _apply(
    connection: CassandraConnection, known: tuple[Migration, ...], values: Mapping[str, object], clock: Clock
) -> tuple[Migration, ...]:
    # The first makes the table that holds the lock, so it cannot wait for it; under the lock it is repeated, and noted.
    for statement in known[0].statements(values):
        connection.change_schema(statement)
    with locked(connection, clock) as renew:
        # What the driver knows of tables may be older than what another process has made.
        missing = _behind(connection, known)
        for migration in missing:
            for statement in migration.statements(values):
                renew()
                connection.change_schema(statement)
            noted = {"number": migration.number, "name": migration.name, "checksum": migration.checksum}
            connection.ask("note_migration", noted)
    return missing


@contextmanager
def locked(connection: CassandraConnection, clock: Clock) -> Iterator[Callable[[], None]]:
    """Hold the lock on migrating; yields what renews it.

    A compare-and-set that was not answered may have been done: it is asked for again, and who holds the lock already is told so.

    Raises:
        TierUnavailable: another process does not come to an end, or the archive does not answer.

    """
    mine = {"holder": uuid4().hex, "lock_s": LOCK_S}
    deadline_s = clock.monotonic_s() + PATIENCE_S

    def settled(ask: Callable[[], list[Row]]) -> list[Row]:
        while True:
            try:
                return ask()
            except TierUnavailable:
                if clock.monotonic_s() >= deadline_s:
                    raise
            clock.wait(threading.Event(), _RETRY_S)

    def is_taken() -> bool:
        [(is_applied, *seen)] = settled(lambda: connection.ask("take_lock", mine))
        return is_applied or mine["holder"] in seen

    while not is_taken():
        if clock.monotonic_s() >= deadline_s:
            raise TierUnavailable(
                TIER,
                f"another process has been migrating {connection.access.address} for {PATIENCE_S:.0f} s",
                hint=f"if it was killed, its lock is gone {LOCK_S} s after",
            )
        clock.wait(threading.Event(), _RETRY_S)

    def renew() -> None:
        nonlocal deadline_s
        deadline_s = clock.monotonic_s() + PATIENCE_S
        if not _is_applied(settled(lambda: connection.ask("renew_lock", mine))):
            raise TierUnavailable(TIER, f"the lock on migrating {connection.access.address} was lost")

    try:
        yield renew
    finally:
        with suppress(TierUnavailable):  # it lapses by itself
            connection.ask("give_lock_back", mine)


def _is_applied(rows: list[Row]) -> bool:
    """What a compare-and-set answers."""
    return bool(rows[0][0])


def _missing(connection: CassandraConnection, known: tuple[Migration, ...]) -> tuple[Migration, ...]:
    return _behind(connection, known) if connection.has_table("schema_migrations") else known


def _behind(connection: CassandraConnection, known: tuple[Migration, ...]) -> tuple[Migration, ...]:
    applied = connection.ask("applied_migrations")
    if len(applied) > len(known):
        raise ConfigError(
            f"the archive has schema {len(applied)}; this orderctl knows up to {len(known)}",
            hint="use the orderctl that wrote it, or a later one",
        )
    for migration, (number, name, checksum) in zip(known, applied, strict=False):
        if (migration.number, migration.name, migration.checksum) != (number, name, checksum):
            raise ConfigError(
                f"the archive was brought to schema {number} by another {number:04}_{name}.cql than this one",
                hint="a migration that was applied must not be edited: use the orderctl that applied it, and add the next number",
            )
    return known[len(applied) :]


def _values(connection: CassandraConnection, keyspace: Keyspace) -> dict[str, object]:
    """What is filled in. Rows are written once: Cassandra 5 has a strategy made for that too, earlier ones do best by size."""
    copies = "".join(f", '{name}': {number}" for name, number in keyspace.replication.items())
    strategy = "UnifiedCompactionStrategy" if connection.release >= (5, 0) else "SizeTieredCompactionStrategy"
    return {
        "keyspace": connection.access.keyspace,
        "replication": f"{{'class': 'NetworkTopologyStrategy'{copies}}}",
        "compaction": f"{{'class': '{strategy}'}}",
        "retention_s": keyspace.retention_s,
    }


def _require_layout(access: CassandraAccess, founded: list[Row], layout: Layout) -> None:
    there = Layout(*founded[0])
    if there != layout:
        raise ConfigError(
            f"{access.address} was made for {there.groups} groups and time slots of {there.slot_s} s; "
            f"the configuration says {layout.groups} and {layout.slot_s}",
            hint="they say where each order is: use those that it was made with",
        )


def _require_sense(access: CassandraAccess, keyspace: Keyspace) -> None:
    layout = keyspace.layout
    if _KEYSPACE(access.keyspace) is None:
        raise ConfigError(f"{access.keyspace!r} is no keyspace: use a-z, 0-9 and _, at most 48")
    if not is_valid_group_count(layout.groups) or not 1 <= layout.slot_s <= SLOT_MAX_S:
        raise ConfigError(f"no archive has {layout.groups} groups and time slots of {layout.slot_s} s")
    if not 0 <= keyspace.retention_s <= RETENTION_MAX_S:
        raise ConfigError(f"rows cannot be kept for {keyspace.retention_s} s; at most {RETENTION_MAX_S}, or 0 for ever")
    copies = keyspace.replication
    if not copies or not all(_DATACENTER(name) and 1 <= number <= COPIES_MAX for name, number in copies.items()):
        raise ConfigError(f"{copies} does not say how many copies each data centre keeps")
