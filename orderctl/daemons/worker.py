"""One of several processes behind a port: `python -m orderctl.daemons.worker`, started by the supervisor and by nobody else."""

from __future__ import annotations

import os
import shutil
import socket
import threading
from io import FileIO

from orderctl import log
from orderctl.daemons.announcer import REPORT_S
from orderctl.daemons.assignment import carry_out
from orderctl.daemons.signals import Signals
from orderctl.daemons.stop import Stop
from orderctl.daemons.worker_link import HURRY, Orders, Outbox, Report, decode_orders, encode_report
from orderctl.errors import UsageRefused
from orderctl.web.edge import Probe

ORPHAN_MARGIN_S = 5.0


class ParentReporter:
    """The `Reporter` of a worker: tells the supervisor."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    @property
    def interval_s(self) -> float:
        return REPORT_S

    def report(self, probe: Probe) -> None:
        report = Report(
            not_alive=probe.not_alive(),
            not_ready=probe.not_ready(),
            degraded=probe.degraded(),
            status=probe.status(),
        )
        self._outbox.send(encode_report(report))

    def stopping(self) -> None:
        """The supervisor knows: it asked, or hears it by the next report."""


class ParentWatch:
    """Listens to the supervisor in a thread of its own, so that not even a stuck event loop outlives it."""

    def __init__(self, stdin: FileIO, orders: Orders) -> None:
        self._stdin = stdin
        self._orders = orders
        self.is_orphaned = False

    def start(self, stop: Stop) -> None:
        """From now on do to `stop` what the supervisor says."""
        threading.Thread(target=self._listen, args=[stop], name="parent", daemon=True).start()

    def _listen(self, stop: Stop) -> None:
        for line in iter(self._stdin.readline, b""):
            stop.ask(hurry=line == HURRY)
        self.is_orphaned = True
        stop.ask(hurry=True)
        # Whoever is left by then hangs. What it had acknowledged is durable.
        stop_timeout_s = self._orders.assignment.config.daemon.stop_timeout
        threading.Event().wait(2 * stop_timeout_s + ORPHAN_MARGIN_S)
        os._exit(1)


def main() -> None:
    """Do what the line on stdin says until told to stop."""
    outbox = Outbox(os.dup(1))
    os.dup2(2, 1)  # stdout is the supervisor's; whatever else prints there goes to stderr
    with FileIO(0, closefd=False) as stdin:  # unbuffered: what follows the first line is the watch's to read
        line = stdin.readline()
        if not line:
            return  # the supervisor is gone already
        orders = decode_orders(line)
        log.configure(orders.assignment.config.log)
        watch = ParentWatch(stdin, orders)
        with Signals() as signals:

            def offer_stop(stop: Stop) -> None:
                signals.on_drain(stop.ask)
                watch.start(stop)

            sockets = {name: socket.socket(fileno=number) for name, number in orders.descriptors.items()}
            try:
                carry_out(orders.assignment, sockets, ParentReporter(outbox), offer_stop=offer_stop)
            except UsageRefused as error:
                outbox.send(encode_report(Report(refusal=error.message, hint=error.hint)))
        if watch.is_orphaned:
            shutil.rmtree(orders.metrics_dir, ignore_errors=True)


if __name__ == "__main__":
    main()
