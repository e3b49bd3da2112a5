"""What a MySQL shard is made of: numbered migrations, applied forward only, each once, by one process at a time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import Final

from msgspec import Struct

from orderctl.contracts import contract_names, contract_text, named_queries
from orderctl.errors import ConfigError, TierUnavailable
from orderctl.stores.mysql_database import MysqlDatabase, Session

QUERIES: Final = "mysql/schema_queries.sql"
FOLDER: Final = "mysql/hot"
PATIENCE_S: Final = 30
"""How long to wait for another process that is migrating the same database."""

_FILE: Final = re.compile(r"(\d{4})_(\w+)\.sql")
_COMMENT: Final = re.compile(r"--.*$", re.MULTILINE)


class Migration(Struct, frozen=True):
    """One step of the schema: its file's number, name and text."""

    number: int
    name: str
    text: str

    @property
    def checksum(self) -> bytes:
        """SHA-256 of the text: a migration that was applied is never edited."""
        return sha256(self.text.encode()).digest()

    @property
    def statements(self) -> tuple[str, ...]:
        """What to run, one by one. Comments and strings hold no semicolon, as the file says."""
        return tuple(filter(None, map(str.strip, _COMMENT.sub("", self.text).split(";"))))


def known_migrations(folder: str = FOLDER) -> tuple[Migration, ...]:
    """Every migration that this program knows, in the order in which they are applied."""
    found = [(_FILE.fullmatch(name.rpartition("/")[2]), name) for name in contract_names("sql", f"{folder}/[0-9]*.sql")]
    known = tuple(Migration(int(match[1]), match[2], contract_text("sql", name)) for match, name in found if match)
    assert [migration.number for migration in known] == list(range(1, len(found) + 1)), "numbered without gaps"
    return known


def missing_migrations(database: MysqlDatabase, known: tuple[Migration, ...] | None = None) -> tuple[Migration, ...]:
    """Those that are still to be applied, all of them to an empty database. Nothing is written.

    Raises:
        ConfigError: the database has a migration that this program does not know, or one that was edited since.

    """
    return database.read(lambda session: _missing(session, known_migrations() if known is None else known))


def require_schema(database: MysqlDatabase) -> None:
    """What a daemon asks for when it starts: neither a step less than this program knows, nor one more.

    Raises:
        ConfigError: the schema is older or newer.

    """
    missing = missing_migrations(database)
    if missing:
        raise ConfigError(
            f"{database.server.address} lacks migration {missing[0].number:04}_{missing[0].name}",
            hint="run orderctl migrate",
        )


def migrate(database: MysqlDatabase, known: tuple[Migration, ...] | None = None) -> tuple[Migration, ...]:
    """Apply what is missing, under a lock; returns what was applied. `known` is for tests.

    MySQL commits each statement by itself, so whoever is killed here leaves a migration half applied and not noted. It is then
    applied again from its beginning: its statements are written so that this is harmless.

    Raises:
        ConfigError: see `missing_migrations`.
        TierUnavailable: another process is migrating and does not come to an end.

    """
    sql = named_queries("sql", QUERIES)
    known = known_migrations() if known is None else known

    def work(session: Session) -> tuple[Migration, ...]:
        with _locked(session, database.server.address):
            session.rows(sql["make_migrations_table"])
            missing = _missing(session, known)
            for migration in missing:
                for statement in migration.statements:
                    session.execute(statement)
                noted = {"number": migration.number, "name": migration.name, "checksum": migration.checksum}
                session.changed(sql["note_migration"], noted)
            return missing

    return database.read(work)


@contextmanager
def _locked(session: Session, address: str) -> Iterator[None]:
    sql = named_queries("sql", QUERIES)
    if session.row(sql["lock_migrations"], {"patience_s": PATIENCE_S}) != (1,):
        raise TierUnavailable("hot", f"another process has been migrating {address} for {PATIENCE_S} s")
    try:
        yield
    finally:
        session.rows(sql["unlock_migrations"])


def _missing(session: Session, known: tuple[Migration, ...]) -> tuple[Migration, ...]:
    sql = named_queries("sql", QUERIES)
    if session.row(sql["has_migrations_table"]) == (0,):
        return known
    applied = session.rows(sql["applied_migrations"])
    if len(applied) > len(known):
        raise ConfigError(
            f"the hot database has schema {len(applied)}; this orderctl knows up to {len(known)}",
            hint="use the orderctl that wrote it, or a later one",
        )
    for migration, (number, name, checksum) in zip(known, applied, strict=False):
        if (migration.number, migration.name, migration.checksum) != (number, name, checksum):
            raise ConfigError(
                f"the hot database was brought to schema {number} by another {number:04}_{name}.sql than this one",
                hint="a migration that was applied must not be edited: use the orderctl that applied it, and add the next number",
            )
    return known[len(applied) :]
