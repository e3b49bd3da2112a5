"""Telling systemd how the service is (sd_notify): a datagram of `NAME=value` lines to the socket it names."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

import structlog

from orderctl.clock import US_PER_S

_log = structlog.stdlib.get_logger(__name__)

PATIENCE_S = 2.0
"""How long to wait for room in systemd's queue with what is said only once. What is repeated never holds up the event loop."""


class Notifier:
    """Speaks to systemd where it listens; elsewhere every call does nothing. Never raises: being heard is no duty of ours."""

    def __init__(self, address: str | None, *, watchdog_s: float | None = None) -> None:
        """`watchdog_s` is after how much silence systemd ends us; None where it does not watch."""
        self._address = address
        self.watchdog_s = watchdog_s

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Notifier:
        """What `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID` say."""
        watched_pid, limit_us = environ.get("WATCHDOG_PID", ""), environ.get("WATCHDOG_USEC", "")
        is_watched = limit_us.isdigit() and int(limit_us) > 0 and watched_pid in {"", str(os.getpid())}
        return cls(environ.get("NOTIFY_SOCKET") or None, watchdog_s=int(limit_us) / US_PER_S if is_watched else None)

    def ready(self, status: str) -> None:
        """The service is up."""
        self._send("READY=1", f"STATUS={status}", patience_s=PATIENCE_S)

    def status(self, status: str) -> None:
        """One line for `systemctl status`."""
        self._send(f"STATUS={status}")

    def stopping(self, status: str) -> None:
        """The service is on its way down."""
        self._send("STOPPING=1", f"STATUS={status}", patience_s=PATIENCE_S)

    def watchdog(self) -> None:
        """The service is alive. To be called at least twice within `watchdog_s`."""
        self._send("WATCHDOG=1")

    def _send(self, *lines: str, patience_s: float = 0.0) -> None:
        if self._address is None:
            return
        # A leading @ stands for the NUL byte of Linux's abstract namespace.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        message = "\n".join(line.replace("\n", " ") for line in lines).encode()
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.settimeout(patience_s)
                sock.connect(address)
                sock.send(message)
        except OSError as error:
            _log.debug("systemd did not hear", error=str(error))


def without_systemd(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment for our own children, whose word systemd does not wait for."""
    private = {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"}
    return {name: value for name, value in environ.items() if name not in private}
