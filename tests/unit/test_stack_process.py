"""Processes of the stack: who is who, and that ended means ended."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orderctl.stack.process import Process, describe, listener, running, start, stop
from tests.acceptance.server import PATIENCE_S, until

Starter = Callable[[str], Process]
SLEEP = "import signal; signal.pause()"
STUBBORN = "import signal; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"


@pytest.fixture
def pid_file(tmp_path: Path) -> Path:
    """Where the process notes itself down."""
    return tmp_path / "pid"


@pytest.fixture
def started(pid_file: Path) -> Iterator[Starter]:
    """Starts Python with a text as its program; whatever is left is killed in the end."""
    processes: list[Process] = []

    def begin(program: str) -> Process:
        process = start([sys.executable, "-c", program], pid_file=pid_file, log=pid_file.with_name("log"))
        processes.append(process)
        return process

    yield begin
    for process in processes:
        stop(process, grace_s=0)


def noted(pid_file: Path) -> bool:
    """Whether the process has noted itself."""
    return running(pid_file) is not None


def test_a_process_notes_itself(started: Starter, pid_file: Path) -> None:
    """What it wrote is who it is, and it runs where its file lies."""
    process = started(SLEEP)
    until(lambda: noted(pid_file), seconds=PATIENCE_S, what="noted")
    assert running(pid_file) == process
    assert process.is_running()
    assert Path(f"/proc/{process.pid}/cwd").readlink() == pid_file.parent
    assert os.getsid(process.pid) == process.pid


def test_sigterm_is_enough_for_most(started: Starter, pid_file: Path) -> None:
    """It ends at once, is not left as a zombie, and stopping it again is harmless."""
    process = started(SLEEP)
    until(lambda: noted(pid_file), seconds=PATIENCE_S, what="noted")
    assert stop(process, grace_s=10)
    assert not Path(f"/proc/{process.pid}").exists()
    assert running(pid_file) is None
    assert stop(process, grace_s=0)


def test_sigkill_is_for_the_rest(started: Starter, pid_file: Path) -> None:
    """One that does not listen ends all the same, and that is told."""
    process = started(STUBBORN)
    log = pid_file.with_name("log")
    until(lambda: log.exists() and log.read_text() == "deaf\n", seconds=PATIENCE_S, what="deaf")
    assert not stop(process, grace_s=0.05)
    assert not process.is_running()


def test_a_number_that_was_given_again_is_not_ours(pid_file: Path) -> None:
    """Another process with the same number is neither seen as ours nor signalled."""
    with subprocess.Popen([sys.executable, "-c", SLEEP]) as other:
        try:
            pid_file.write_text(f"{other.pid} 1\n")
            assert running(pid_file) is None
            assert stop(Process(other.pid, 1), grace_s=0)
            assert other.poll() is None
        finally:
            other.kill()


def test_one_that_was_killed_and_not_waited_for_has_ended(started: Starter, pid_file: Path) -> None:
    """A zombie holds its number, and nothing else."""
    process = started(SLEEP)
    until(lambda: noted(pid_file), seconds=PATIENCE_S, what="noted")
    os.kill(process.pid, signal.SIGKILL)
    until(lambda: not process.is_running(), seconds=PATIENCE_S, what="ended")
    assert running(pid_file) is None


@pytest.mark.parametrize("content", [None, "", "12", "a b", "1 2 3"])
def test_a_file_that_says_nothing(pid_file: Path, content: str | None) -> None:
    """None, an empty one or a damaged one names no process."""
    if content is not None:
        pid_file.write_text(content)
    assert running(pid_file) is None


def test_a_program_that_is_not_there(started: Starter, pid_file: Path) -> None:
    """It ends, and its log says why."""
    process = start(["/no/such/program"], pid_file=pid_file, log=pid_file.with_name("log"))
    until(lambda: not process.is_running(), seconds=PATIENCE_S, what="ended")
    assert "/no/such/program" in pid_file.with_name("log").read_text()
    stop(process, grace_s=0)


def test_who_listens() -> None:
    """The process behind a port is found, and named; a free port has none."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert listener(port) == os.getpid()
    assert listener(port) is None
    assert describe(os.getpid()).startswith(f"process {os.getpid()} (")
    assert describe(2**22 + 1) == f"process {2**22 + 1}"
