"""`orderctl top` and `status --watch`, on a terminal and off it, while daemons serve."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.server import Server
from tests.cli.terminal import PROGRAM, Terminal, environment

FRAME_S = 30.0
ENTER, LEAVE, SHOW_CURSOR = b"\x1b[?1049h", b"\x1b[?1049l", b"\x1b[?25h"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """All daemons in one process, on ports that only their heartbeats tell of."""
    with Server(tmp_path_factory.mktemp("top") / "data") as started:
        yield started
        assert started.stop() == 0


class Screen:
    """A command on a terminal of 80 columns, until Ctrl-C."""

    def __init__(self, folder: Path, *arguments: str, **environ: str) -> None:
        self._ours, theirs = pty.openpty()
        self._process = subprocess.Popen(
            [*PROGRAM, *arguments],
            cwd=folder,
            env=environment({"TERM": "xterm-256color", "LINES": "40", **environ}),
            stdin=theirs,
            stdout=theirs,
            stderr=subprocess.PIPE,
        )
        os.close(theirs)
        self.written = b""

    def read_until(self, wanted: bytes) -> None:
        """Wait until this was written."""
        while wanted not in self.written:
            assert select.select([self._ours], [], [], FRAME_S)[0], self.written[-500:]
            if not self._read():
                raise AssertionError(self.written[-500:])

    def interrupt(self) -> tuple[int, bytes]:
        """Ctrl-C; returns the exit code and what was said to stderr."""
        self._process.send_signal(signal.SIGINT)
        while self._read():
            pass
        _, said = self._process.communicate(timeout=FRAME_S)
        os.close(self._ours)
        return self._process.returncode, said

    def _read(self) -> bool:
        try:
            more = os.read(self._ours, 65_536)
        except OSError:  # Linux's way to say that nobody is at the other end
            return False
        self.written += more
        return bool(more)


def test_one_picture_without_a_terminal(server: Server, tmp_path: Path) -> None:
    """And it ends; every line fits."""
    done = Terminal(tmp_path).run("top", "--data-dir", str(server.data_dir), "--interval", "100ms")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("1 process, over ")
    assert max(map(len, lines)) <= 80
    assert {line.split("  ")[0] for line in lines} >= {"look-ups", "creates", "time-outs", "cdc lag", "archive lag"}


def test_a_picture_as_json(server: Server, tmp_path: Path) -> None:
    """One document, with every number."""
    done = Terminal(tmp_path).run("top", "--data-dir", str(server.data_dir), "--interval", "100ms", "-o", "json")
    found = json.loads(done.stdout)
    assert found["processes"] == 1
    assert {"lookups", "leases", "timeouts", "cdc_lag_s", "cache_lag_s", "parked"} <= set(found)


@pytest.mark.parametrize(("arguments", "shown"), [(["top"], b"look-ups"), (["status", "--watch"], b"cache-sync")])
def test_it_is_drawn_until_ctrl_c(server: Server, tmp_path: Path, arguments: list[str], shown: bytes) -> None:
    """On the terminal's other screen, which is left as it was found; nothing is said, and no colour where none is wanted."""
    screen = Screen(tmp_path, *arguments, "--data-dir", str(server.data_dir), NO_COLOR="1")
    screen.read_until(shown)
    code, said = screen.interrupt()
    assert (code, said) == (130, b"")
    assert screen.written.index(ENTER) < screen.written.rindex(LEAVE)
    assert SHOW_CURSOR in screen.written[screen.written.rindex(ENTER) :]
    assert b"\x1b[3" not in screen.written.replace(b"\x1b[3J", b"")


def test_colours_can_be_read_on_dark_and_light(server: Server, tmp_path: Path) -> None:
    """Green and bold red are on both; yellow, white and grey are not."""
    screen = Screen(tmp_path, "status", "--watch", "--data-dir", str(server.data_dir))
    screen.read_until(b"\x1b[32mrunning")
    screen.interrupt()
    assert not {b"\x1b[33m", b"\x1b[37m", b"\x1b[90m", b"\x1b[2m"} & {
        part[: part.find(b"m") + 1] for part in screen.written.replace(b"\x1b", b"|\x1b").split(b"|")
    }


def test_where_no_daemon_runs_there_is_no_picture(terminal: Terminal) -> None:
    """Exit 4, and what tells more."""
    terminal.run("key", "create", "--merchant", "m", "--role", "merchant", ORDERCTL_DATA_DIR="data")
    said = terminal.refuses("top", code=4, ORDERCTL_DATA_DIR="data", ORDERCTL_ADMIN__BIND="127.0.0.1:1")
    assert said == "daemons: none answers /metrics"
