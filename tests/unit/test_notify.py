"""sd_notify: what is sent, where, and that nobody is hurt where systemd does not listen."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from orderctl.clock import ManualClock
from orderctl.daemons.announcer import Announcer
from orderctl.daemons.notify import Notifier, without_systemd
from orderctl.daemons.ready import Ready, ReadyFile
from orderctl.errors import UsageRefused


@contextmanager
def listening(address: str) -> Iterator[socket.socket]:
    """A socket like systemd's."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(address)
        sock.settimeout(0)
        yield sock


def received(sock: socket.socket) -> list[str]:
    """All that has come so far."""
    messages: list[str] = []
    while True:
        try:
            messages.append(sock.recv(4096).decode())
        except BlockingIOError:
            return messages


class Health:
    """A probe that says what a test wants."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.reasons: list[str] = []

    def not_alive(self) -> list[str]:
        return self.faults

    def not_ready(self) -> list[str]:
        return self.reasons

    def degraded(self) -> list[str]:
        return []

    def status(self) -> dict[str, Any]:
        return {}


def test_messages_to_a_socket_in_the_file_system(tmp_path: Path) -> None:
    """One datagram each, in systemd's words; a status is one line whatever is in it."""
    with listening(str(tmp_path / "notify")) as sock:
        notifier = Notifier(str(tmp_path / "notify"))
        notifier.ready("ready")
        notifier.status("two\nlines")
        notifier.watchdog()
        notifier.stopping("draining")
        assert received(sock) == [
            "READY=1\nSTATUS=ready",
            "STATUS=two lines",
            "WATCHDOG=1",
            "STOPPING=1\nSTATUS=draining",
        ]


def test_messages_to_an_abstract_socket() -> None:
    """The address begins with @ where the socket's name begins with NUL."""
    name = f"orderctl-test-{os.getpid()}"
    with listening(f"\0{name}") as sock:
        Notifier(f"@{name}").watchdog()
        assert received(sock) == ["WATCHDOG=1"]


@pytest.mark.parametrize("address", [None, "/nowhere/notify", "@nobody-listens-here"])
def test_nobody_need_listen(address: str | None) -> None:
    """A service that is not heard works all the same."""
    Notifier(address).ready("ready")


@pytest.mark.parametrize(
    ("environ", "watchdog_s"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "3000000"}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
    ],
)
def test_the_watchdog_as_the_environment_says(environ: dict[str, str], watchdog_s: float | None) -> None:
    """It may be meant for another process."""
    assert Notifier.from_environ(environ).watchdog_s == watchdog_s


def test_children_do_not_speak_to_systemd() -> None:
    """Its variables are taken out of their environment."""
    assert without_systemd({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "1", "HOME": "/"}) == {"HOME": "/"}


def test_ready_once_and_the_watchdog_only_while_alive(tmp_path: Path) -> None:
    """People and the file hear of it once; systemd's watchdog is fed by nothing but a live process."""
    told: list[Ready] = []
    ready, file, health = Ready(pid=1, admin="http://127.0.0.1:1"), ReadyFile(tmp_path / "ready.json"), Health()
    file.reserve()
    with listening(str(tmp_path / "notify")) as sock:
        notifier = Notifier(str(tmp_path / "notify"), watchdog_s=1.0)
        clock = ManualClock()
        announcer = Announcer(ready, tell=told.append, ready_file=file, notifier=notifier, clock=clock)
        assert announcer.interval_s == 0.5
        health.reasons = ["starting"]
        announcer.report(health)
        assert received(sock) == ["STATUS=not ready: starting", "WATCHDOG=1"]
        assert not (tmp_path / "ready.json").exists()
        health.reasons = []
        announcer.report(health)
        assert received(sock) == ["READY=1\nSTATUS=ready"]
        clock.advance(0.5)
        announcer.report(health)
        announcer.report(health)
        assert received(sock) == ["WATCHDOG=1"]
        assert (tmp_path / "ready.json").read_bytes().startswith(b'{"pid":1,"command":null')
        health.faults = ["a step hangs"]
        clock.advance(0.5)
        announcer.report(health)
        assert received(sock) == []
        announcer.stopping()
        health.reasons = ["draining"]
        announcer.report(health)
        assert received(sock) == ["STOPPING=1\nSTATUS=draining"]
    assert told == [ready]
    file.remove()
    assert list(tmp_path.iterdir()) == [tmp_path / "notify"]


def test_a_ready_file_of_an_earlier_run_is_taken_away_at_once(tmp_path: Path) -> None:
    """Nobody shall take it for ours."""
    (tmp_path / "ready.json").write_text("{}")
    ReadyFile(tmp_path / "ready.json").reserve()
    assert not (tmp_path / "ready.json").exists()


def test_a_ready_file_that_cannot_be_written_is_refused_at_the_start(tmp_path: Path) -> None:
    """Rather than after the servers are up."""
    with pytest.raises(UsageRefused, match="ready file"):
        ReadyFile(tmp_path / "none" / "ready.json").reserve()
