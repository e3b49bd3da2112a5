"""The real servers that tests share: those that the collected tests need, started once, gone when the run ends however it ends.

A test module says `pytestmark = needs("sql", "kafka")` and takes the fixture `stack`, whose `config` says where the servers
are. Its `sql` is MariaDB; MySQL 8 is `needs("mysql")` and the fixture `mysql_stack`. Each test makes a database, topics or a
keyspace of its own there. `needs()` alone marks tests that call by themselves what `make servers` installs.

    ORDERCTL_TEST_EMBEDDED_ONLY=1   leaves these tests out, and says so; otherwise a missing server is a failure, never a skip
    ORDERCTL_TEST_QUICK=1           leaves out those marked `minutes`, too
    ORDERCTL_TEST_STACK=DIR         uses the stack that runs in DIR, as `orderctl stack up --dir DIR` made it, and lets it run on;
                                    MySQL's is the one in DIR/mysql
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import pytest
from msgspec import structs

from orderctl.clock import SystemClock
from orderctl.config import Config, load
from orderctl.errors import OrderctlError
from orderctl.stack.configuration import FILE
from orderctl.stack.jars import cache_folder
from orderctl.stack.layout import PARTS, Wish
from orderctl.stack.requirements import PortTaken
from orderctl.stack.stack import Stack

EMBEDDED_ONLY: Final = "ORDERCTL_TEST_EMBEDDED_ONLY"
QUICK: Final = "ORDERCTL_TEST_QUICK"
RUNNING: Final = "ORDERCTL_TEST_STACK"
MYSQL: Final = "mysql"
PORT_OFFSETS: Final = (0, 1000, 2000, 3000)
MYSQL_PORT_OFFSETS: Final = (100, 1100, 2100, 2900)
"""Where to look for free ports."""
STOP_S: Final = 180.0
TOP: Final = Path(__file__).resolve().parent.parent


def needs(*parts: str) -> pytest.MarkDecorator:
    """Mark tests that need these servers: some of sql, redis, kafka, cassandra, and mysql."""
    assert set(parts) <= {*PARTS, MYSQL}, parts
    return pytest.mark.needs(*parts)


class RunningStack:
    """A stack whose servers are healthy."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def config(self) -> Config:
        """Where its servers are."""
        return load(self.folder / FILE, {})

    @property
    def stack(self) -> Stack:
        """For tests that start or look at servers; what they stop they start again."""
        return Stack(self.folder, cache=cache_folder(os.environ), clock=SystemClock())

    def pid(self, name: str) -> int:
        """The process of a server, for tests that hurt it."""
        (pid,) = [seen.pid for seen in self.stack.status() if seen.name == name]
        assert pid is not None, f"{name} does not run"
        return pid


class SharedStack:
    """A stack that is started for this run, or found running, or the reason why it is not there."""

    def __init__(self, running: Path | None, offsets: Sequence[int]) -> None:
        self._folder = running
        self._offsets = offsets
        self._guard: subprocess.Popen[bytes] | None = None
        self._stack: RunningStack | None = None
        self._why_not = "no collected test says by `needs(…)` that it needs them"

    def begin(self, wish: Wish) -> None:
        """Start what is wished for, or find it."""
        try:
            self._stack = self._started(wish) if self._folder is None else self._found(wish, self._folder)
        except OrderctlError as error:
            self._why_not = f"{error}; {error.hint}" if error.hint else str(error)

    def get(self) -> RunningStack:
        """The stack; without it the test that asks fails."""
        if self._stack is None:
            pytest.fail(f"the real servers are not there: {self._why_not}", pytrace=False)
        return self._stack

    def end(self) -> None:
        """Let the guard take it away, and wait for that."""
        if self._guard is not None:
            self._guard.communicate(timeout=STOP_S)

    def _started(self, wish: Wish) -> RunningStack:
        running = RunningStack(Path(tempfile.mkdtemp(prefix="orderctl-stack-")))
        self._guard = guard(running.folder)
        with _alone():
            running.stack.up(self._at_free_ports(running.stack, wish), lambda _server: None)
        return running

    def _at_free_ports(self, stack: Stack, wish: Wish) -> Wish:
        for offset in self._offsets:
            with suppress(PortTaken):
                stack.check(found := structs.replace(wish, port_offset=offset))
                return found
        return structs.replace(wish, port_offset=self._offsets[0])  # `up` says who has it

    def _found(self, wish: Wish, folder: Path) -> RunningStack:
        running = RunningStack(folder)
        up = {seen.name.partition("-")[0] for seen in running.stack.status() if seen.state == "up"}
        if missing := set(wish.parts or PARTS) - up:
            raise OrderctlError(f"{', '.join(sorted(missing))} not running in {folder}")
        return running


@contextmanager
def _alone() -> Iterator[None]:
    """No other run of the tests looks for ports meanwhile: what is free when one looks has to be free when its server starts."""
    with (Path(tempfile.gettempdir()) / "orderctl-tests.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class RealServers:
    """The plugin: knows what the collected tests need before the first of them runs."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        is_quick = environ.get(QUICK) == "1"
        is_embedded = is_quick or environ.get(EMBEDDED_ONLY) == "1"
        self._unwanted = {name for name, is_out in (("needs", is_embedded), ("minutes", is_quick)) if is_out}
        self._left_out: Counter[str] = Counter()
        folder = Path(environ[RUNNING]).absolute() if environ.get(RUNNING) else None
        self.stack = SharedStack(folder, PORT_OFFSETS)
        self.mysql = SharedStack(folder / MYSQL if folder else None, MYSQL_PORT_OFFSETS)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Leave out the tests on real servers, and those of minutes, where that was asked for."""
        out = [item for item in items if self._is_unwanted(item)]
        if not out:
            return
        items[:] = [item for item in items if not self._is_unwanted(item)]
        self._left_out.update("needs" if item.get_closest_marker("needs") else "minutes" for item in out)
        config.hook.pytest_deselected(items=out)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Start what is needed, side by side; here no test's time-out runs."""
        if session.config.option.collectonly:
            return
        wanted = {part for item in session.items for mark in item.iter_markers("needs") for part in mark.args}
        if parts := wanted - {MYSQL}:
            self.stack.begin(Wish(parts=tuple(parts)))
        if MYSQL in wanted:
            self.mysql.begin(Wish(parts=("sql",), sql="mysql"))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say what was left out."""
        if self._left_out:
            terminalreporter.write_line(
                f"LEFT OUT: {self._left_out['needs']} tests on real servers and {self._left_out['minutes']} "
                "that take a minute; `make test-all` runs them"
            )

    def _is_unwanted(self, item: pytest.Item) -> bool:
        return any(item.get_closest_marker(name) for name in self._unwanted)

    def pytest_unconfigure(self) -> None:
        """Take away what was started."""
        self.stack.end()
        self.mysql.end()


def guard(folder: Path) -> subprocess.Popen[bytes]:
    """A process that takes the stack away as soon as we end, be it by SIGKILL: it waits for its pipe to close."""
    down = [sys.executable, "-m", "orderctl", "stack", "down", "--purge", "--dir", str(folder)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ORDERCTL_")}
    return subprocess.Popen(
        ["/bin/sh", "-c", 'cat >/dev/null; exec "$@"', "guard", *down],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for the tests
        env={**environment, "PYTHONPATH": str(TOP)},
        cwd=TOP,
    )
