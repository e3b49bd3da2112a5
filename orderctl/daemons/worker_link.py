"""What a supervisor and its workers say to each other: orders by the worker's stdin, reports by its stdout.

Stdin brings a line with the orders, then `drain` or `hurry`; its end means that the supervisor is gone. Stdout takes a report a
line, at every change and every second.
"""

from __future__ import annotations

import os
import pickle
from base64 import b64decode, b64encode
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from orderctl.daemons.assignment import Assignment

DRAIN = b"drain\n"
HURRY = b"hurry\n"


class Orders(Struct, frozen=True, kw_only=True):
    """What a worker is to do, with which inherited sockets (name to descriptor), and where its metrics go."""

    assignment: Assignment
    descriptors: dict[str, int]
    metrics_dir: Path


class Report(Struct, frozen=True, kw_only=True):
    """How a worker is, in its own words. `refusal` is why it gave up for good."""

    not_alive: list[str] = []
    not_ready: list[str] = []
    degraded: list[str] = []
    status: dict[str, Any] = {}
    refusal: str | None = None
    hint: str | None = None


def encode_orders(orders: Orders) -> bytes:
    """The orders as a line. Pickled: the configuration's types come back as they are, secrets included."""
    return b64encode(pickle.dumps(orders)) + b"\n"


def decode_orders(line: bytes) -> Orders:
    """The orders in a line that our supervisor wrote."""
    orders = pickle.loads(b64decode(line))  # noqa: S301  it comes from our own process, by our own pipe
    assert isinstance(orders, Orders)
    return orders


def encode_report(report: Report) -> bytes:
    """The report as a line."""
    return msgspec.json.encode(report) + b"\n"


def decode_report(line: bytes) -> Report:
    """The report in a line."""
    return msgspec.json.decode(line, type=Report)


class Outbox:
    """Writes lines into a pipe without ever waiting: whoever does not read misses what came in between."""

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._rest = b""

    def send(self, line: bytes) -> None:
        """Write `line`, or the rest of an earlier one that did not fit."""
        self._rest = self._rest or line
        with suppress(OSError):  # full, or nobody reads any more
            self._rest = self._rest[os.write(self._descriptor, self._rest) :]
