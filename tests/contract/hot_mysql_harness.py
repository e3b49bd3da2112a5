"""`HotHarness` over a real MySQL or MariaDB: a database of its own on the server of the stack, dropped in the end."""

from __future__ import annotations

import threading
from uuid import uuid4

import msgspec

from orderctl.clock import SystemClock
from orderctl.contracts import Query
from orderctl.stores.mysql_database import MysqlDatabase
from orderctl.stores.mysql_driver import MysqlServer, connect, drop, send
from orderctl.stores.mysql_hot import migrate_shard, open_mysql_hot
from tests.contract.hot_harness import GROUPS, Opened

SET_EPOCH = Query("UPDATE deployment SET epoch = %(epoch)s", "Raise the epoch.")
NOW = Query("SELECT CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS SIGNED)", "The server's clock.")


class TemporaryDatabase:
    """A database under a random name, empty, on a server whose `orderctl` user may make one."""

    def __init__(self, server: MysqlServer) -> None:
        self.server = msgspec.structs.replace(server, database=f"orderctl_test_{uuid4().hex[:12]}")
        self._any = msgspec.structs.replace(server, database="information_schema")
        self._run(f"CREATE DATABASE {self.server.database} CHARACTER SET utf8mb4")

    def drop(self) -> None:
        """Let it go, with all that is in it."""
        self._run(f"DROP DATABASE {self.server.database}")

    def _run(self, statement: str) -> None:
        connection = connect(self._any)
        try:
            send(connection, statement)
        finally:
            drop(connection)


class MysqlHarness:
    """Every store has a pool of its own, as another process has. The database's clock is the server's."""

    def __init__(self, server: MysqlServer) -> None:
        self._temporary = TemporaryDatabase(server)
        # Nobody is to be turned away since somebody who holds a row, or the server, was kept from running.
        self.server = msgspec.structs.replace(self._temporary.server, answer_s=30.0, lock_wait_s=10)
        self._clock = SystemClock()
        self._opened: list[Opened] = []
        self._own = MysqlDatabase(self.server)
        migrate_shard(self.server, groups=GROUPS)

    def open(self, *, groups: int = GROUPS) -> Opened:
        hot = open_mysql_hot(self.server, groups=groups)
        self._opened.append(Opened(hot.store, hot.registry))
        return self._opened[-1]

    def restart(self) -> None:
        for opened in self._opened:
            opened.store.close()
            opened.registry.close()
        self._opened.clear()

    def now_us(self) -> int:
        row = self._own.read(lambda session: session.row(NOW))
        assert row is not None
        return int(row[0])

    def pass_time(self, seconds: float) -> None:
        self._clock.wait(threading.Event(), seconds)

    def set_epoch(self, epoch: int) -> None:
        self._own.write(lambda session: session.changed(SET_EPOCH, {"epoch": epoch}))

    def close(self) -> None:
        """Drop the database."""
        self.restart()
        self._own.close()
        self._temporary.drop()
