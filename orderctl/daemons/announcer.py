"""Telling the world how the process is: people once it is ready, systemd all along, programs by the ready file."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from orderctl.clock import Clock
from orderctl.daemons.notify import Notifier
from orderctl.daemons.ready import Ready, ReadyFile
from orderctl.web.edge import Probe

_log = structlog.stdlib.get_logger(__name__)

REPORT_S = 1.0


class Announcer:
    """The `Reporter` of a process that somebody else started."""

    def __init__(
        self,
        ready: Ready,
        *,
        tell: Callable[[Ready], None],
        ready_file: ReadyFile | None,
        notifier: Notifier,
        clock: Clock,
    ) -> None:
        self._ready = ready
        self._tell = tell
        self._ready_file = ready_file
        self._notifier = notifier
        self._clock = clock
        self._feed_at_s = clock.monotonic_s()
        self._is_announced = False
        self._is_stopping = False
        self._said = ""

    @property
    def interval_s(self) -> float:
        """A second, or half of what systemd's watchdog allows if that is less."""
        return min(REPORT_S, (self._notifier.watchdog_s or 2 * REPORT_S) / 2)

    def report(self, probe: Probe) -> None:
        reasons = probe.not_ready()
        if not reasons and not self._is_announced:
            self._is_announced = True
            self._announce()
        if not self._is_stopping:
            self._say("; ".join(reasons))
        if faults := probe.not_alive():
            _log.error("not alive", reasons=faults)
        else:
            self._feed_watchdog()

    def stopping(self) -> None:
        self._is_stopping = True
        _log.info("stopping")
        self._notifier.stopping("draining")

    def _announce(self) -> None:
        self._tell(self._ready)
        self._notifier.ready("ready")
        self._said = ""
        _log.info("ready", command=self._ready.command, query=self._ready.query, admin=self._ready.admin)
        if self._ready_file is not None:
            self._ready_file.write(self._ready)  # last: whoever waits for it finds all the rest done

    def _feed_watchdog(self) -> None:
        """Not at every report: many may come at once, and systemd's queue is short."""
        now_s = self._clock.monotonic_s()
        if self._notifier.watchdog_s is not None and now_s >= self._feed_at_s:
            self._notifier.watchdog()
            self._feed_at_s = now_s + self._notifier.watchdog_s / 4

    def _say(self, reasons: str) -> None:
        """Log and tell systemd when the reasons for not being ready change."""
        if reasons == self._said:
            return
        self._said = reasons
        if reasons:
            _log.warning("not ready", reasons=reasons)
        else:
            _log.info("ready again")
        self._notifier.status(f"not ready: {reasons}" if reasons else "ready")
