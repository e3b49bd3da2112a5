"""A worker as its supervisor sees it, with children that do one thing each; and what the two say to each other."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from orderctl.clock import SystemClock
from orderctl.config import Config
from orderctl.daemons.assignment import Assignment
from orderctl.daemons.backoff import Backoff
from orderctl.daemons.worker_link import (
    Orders,
    Outbox,
    Report,
    decode_orders,
    decode_report,
    encode_orders,
    encode_report,
)
from orderctl.daemons.worker_process import Launch, WorkerProcess
from orderctl.errors import UsageRefused
from tests.unit.daemon_kit import half

READ_ORDERS = "import sys, threading; sys.stdin.readline(); "
SAY = "print({!r}, flush=True); "
WAIT_FOR_THE_LAST_WORD = "print('word: ' + sys.stdin.readline(), file=sys.stderr)"
HANG = "threading.Event().wait(60)"
PATIENCE_S = 60.0


class Child:
    """A worker whose program is a line of Python."""

    def __init__(self, code: str, *, silence_s_max: float = PATIENCE_S) -> None:
        self.ended: list[int] = []
        self.changed = asyncio.Event()
        self.worker = WorkerProcess(
            7,
            Launch((sys.executable, "-c", READ_ORDERS + code), b"orders\n", (), dict(os.environ)),
            backoff=Backoff(half, first_s=0.01),
            clock=SystemClock(),
            on_change=self.changed.set,
            on_end=self.ended.append,
            silence_s_max=silence_s_max,
        )

    async def keep_until_ends(self, times: int) -> None:
        """Keep it until that many processes have ended."""
        async with asyncio.timeout(PATIENCE_S):
            keeping = asyncio.create_task(self.worker.keep())
            while len(self.ended) < times and not keeping.done():
                self.changed.clear()
                waiting = asyncio.create_task(self.changed.wait())
                await asyncio.wait({keeping, waiting}, return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
            self.worker.leave(hurry=True)
            self.worker.kill()
            await keeping


def said(report: Report) -> str:
    """Code that makes a report."""
    return SAY.format(encode_report(report).decode().strip())


def test_a_worker_that_ends_is_started_again() -> None:
    """Each time as a new process, whatever it ended with."""

    async def scene() -> None:
        child = Child("sys.exit(3)")
        await child.keep_until_ends(3)
        assert len(set(child.ended)) >= 3
        assert child.worker.status()["restarts"] >= 2
        assert child.worker.not_ready() == ["worker 7: not started yet"]

    asyncio.run(scene())


def test_a_silent_worker_is_killed() -> None:
    """It hangs in a way that it cannot tell."""

    async def scene() -> None:
        child = Child(HANG, silence_s_max=0.2)
        await child.keep_until_ends(1)
        assert child.ended

    asyncio.run(scene())


def test_a_worker_that_is_not_alive_by_its_own_word_is_killed() -> None:
    """A step of it hangs; the others need no restart."""

    async def scene() -> None:
        child = Child(said(Report(not_alive=["query: a step has been running for 61 s"])) + HANG)
        await child.keep_until_ends(1)
        assert child.ended

    asyncio.run(scene())


def test_a_refusal_is_final() -> None:
    """It is raised with its hint, and nothing is started again."""

    async def scene() -> None:
        child = Child(said(Report(refusal="other groups", hint="set them")))
        with pytest.raises(UsageRefused, match="other groups") as caught:
            await child.keep_until_ends(2)
        assert caught.value.hint == "set them"
        assert len(child.ended) == 1

    asyncio.run(scene())


def test_reports_are_kept_and_rubbish_is_not() -> None:
    """The last report that could be read stands."""

    async def scene() -> None:
        child = Child(SAY.format("rubbish") + said(Report(not_ready=["starting"], status={"pid": 1})) + HANG)
        keeping = asyncio.create_task(child.worker.keep())
        async with asyncio.timeout(PATIENCE_S):
            while child.worker.not_ready() != ["worker 7: starting"]:
                child.changed.clear()
                await child.changed.wait()
        assert child.worker.status() == {"worker": 7, "restarts": 0, "pid": 1}
        child.worker.leave(hurry=False)
        child.worker.kill()
        await keeping

    asyncio.run(scene())


@pytest.mark.parametrize(("hurry", "word"), [(False, "drain"), (True, "hurry")])
def test_leaving_is_said_even_to_a_worker_that_is_just_starting(
    hurry: bool, word: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """The orders and the last word may come in one go; then it is started no more."""

    async def scene() -> None:
        child = Child(WAIT_FOR_THE_LAST_WORD)
        keeping = asyncio.create_task(child.worker.keep())
        await asyncio.sleep(0)
        child.worker.leave(hurry=hurry)
        async with asyncio.timeout(PATIENCE_S):
            await keeping
        assert len(child.ended) == 1

    asyncio.run(scene())
    assert f"word: {word}" in capfd.readouterr().err


def test_orders_and_reports_round_trip() -> None:
    """The configuration comes back with its types."""
    assignment = Assignment(names=("query",), config=Config(), data_dir=Path("/d"), instance="here#1")
    orders = Orders(assignment=assignment, descriptors={"query": 5}, metrics_dir=Path("/m"))
    line = encode_orders(orders)
    assert line.count(b"\n") == 1
    assert decode_orders(line) == orders
    report = Report(not_ready=["x"], status={"pid": 1})
    assert decode_report(encode_report(report)) == report


def test_the_outbox_never_waits_and_never_tears_a_line() -> None:
    """With nobody reading, reports are left out; whoever reads at last finds whole lines."""
    reader, writer = os.pipe()
    try:
        outbox = Outbox(writer)
        for number in range(2000):
            outbox.send(f"{number:05} {'x' * 100}\n".encode())
        os.set_blocking(reader, False)
        received = b""
        with suppress(BlockingIOError):
            while True:
                received += os.read(reader, 1 << 16)
                outbox.send(b"last\n")
                if received.endswith(b"last\n"):
                    break
        lines = received.decode().splitlines()
        assert lines[-1] == "last"
        assert {len(line) for line in lines[:-1]} <= {106, 4}
        assert len(lines) < 2000
    finally:
        os.close(reader)
        os.close(writer)
