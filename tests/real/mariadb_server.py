"""A MariaDB of the tests' own, to be killed and started again: on its own port, with a certificate, gone with the test run."""

from __future__ import annotations

import getpass
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from orderctl.clock import SystemClock
from orderctl.errors import TierUnavailable
from orderctl.secret import Secret
from orderctl.stores.mysql_driver import MysqlServer, connect, drop, send
from tests.real.ports import claim

PORTS = range(23311, 23391)
"""Below those that outgoing connections take."""
DEADLINE_S = 90.0
PAUSE_S = 0.12
"""InnoDB shows its transactions as they were up to a tenth of a second ago, and to whoever asks more often never anew."""
PASSWORD = "for-tests"

_CONFIGURATION = """\
[mariadbd]
port = {port}
bind_address = 127.0.0.1
socket = {folder}/mariadb.sock
datadir = {folder}/data
pid_file = {folder}/mariadb.pid
character_set_server = utf8mb4
default_time_zone = +00:00
skip_name_resolve = ON
innodb_buffer_pool_size = 64M
innodb_log_file_size = 16M
innodb_flush_log_at_trx_commit = 1
sync_binlog = 1
server_id = 1
log_bin = binlog
binlog_format = ROW
ssl_cert = {folder}/server.pem
ssl_key = {folder}/server.key
init_file = {folder}/users.sql
"""
_USERS = """\
SET sql_log_bin = 0;
CREATE USER IF NOT EXISTS 'orderctl'@'127.0.0.1' IDENTIFIED BY '{password}';
GRANT ALL ON *.* TO 'orderctl'@'127.0.0.1' WITH GRANT OPTION;
"""


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    """What `condition` says when it is true at last; a failed test if it never is."""
    clock, pause = SystemClock(), threading.Event()
    deadline_s = clock.monotonic_s() + DEADLINE_S
    while not (value := condition()):
        assert clock.monotonic_s() < deadline_s, f"waited {DEADLINE_S} s in vain until {what}"
        clock.wait(pause, PAUSE_S)
    return value


class MariadbServer:
    """One server; its data outlives its processes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.ca = folder / "ca.pem"
        self.server = MysqlServer(
            port=claim([port] for port in PORTS),
            user="orderctl",
            password=Secret(PASSWORD),
            database="information_schema",
            answer_s=60.0,
        )

    def make(self) -> None:
        """Give it its first data and a certificate."""
        make_certificate(self._folder, host="127.0.0.1")
        configuration = _CONFIGURATION.format(port=self.server.port, folder=self._folder)
        (self._folder / "my.cnf").write_text(configuration, encoding="utf-8")
        (self._folder / "users.sql").write_text(_USERS.format(password=PASSWORD), encoding="utf-8")
        _run(
            *(
                _binary("mariadb-install-db"),
                f"--defaults-file={self._folder / 'my.cnf'}",
                f"--user={getpass.getuser()}",
            ),
            *("--auth-root-authentication-method=normal", "--skip-test-db"),
        )

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = [_binary("mariadbd"), f"--defaults-file={self._folder / 'my.cnf'}", f"--user={getpass.getuser()}"]
        with (self._folder / "mariadb.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_for(self._answers, f"the server on port {self.server.port} answers")

    def kill(self) -> None:
        """End it at once; what it acknowledged is on the disk."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(DEADLINE_S)
            self._process = None

    @contextmanager
    def session(self, **changes: Any) -> Iterator[Callable[[str], Any]]:
        """A connection past the stores; what it gives runs a statement and returns its rows."""
        connection = connect(msgspec.structs.replace(self.server, **changes))
        try:
            yield lambda statement: send(connection, statement)[1]
        finally:
            drop(connection)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "mariadb.log").read_text(errors="replace")[-2000:]
        with suppress(TierUnavailable), self.session() as run:
            return bool(run("SELECT 1"))
        return False


def make_certificate(folder: Path, *, host: str) -> None:
    """An authority of its own, in `ca.pem`, and a server's certificate and key that it signed."""
    openssl = _binary("openssl")
    subject = ("-subj", "/CN=orderctl test authority")
    new = (openssl, "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    _run(*new, "-x509", *subject, "-keyout", str(folder / "ca.key"), "-out", str(folder / "ca.pem"))
    signer = ("-CA", str(folder / "ca.pem"), "-CAkey", str(folder / "ca.key"))
    names = ("-subj", "/CN=server", "-addext", f"subjectAltName=IP:{host}", "-addext", "basicConstraints=CA:FALSE")
    _run(*new, "-x509", *signer, *names, "-keyout", str(folder / "server.key"), "-out", str(folder / "server.pem"))


@contextmanager
def mariadb_server(folder: Path) -> Iterator[MariadbServer]:
    """A server that runs meanwhile."""
    server = MariadbServer(folder)
    server.make()
    try:
        server.start()
        yield server
    finally:
        server.kill()


@pytest.fixture(scope="module")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariadbServer]:
    """A server for the tests of a module, which leave it running."""
    with mariadb_server(tmp_path_factory.mktemp("mariadb")) as server:
        yield server


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _binary(name: str) -> str:
    binary = shutil.which(name)
    assert binary, f"there is no {name}; `apt-get install mariadb-server openssl` installs it"
    return binary
