"""`--timeout`: a command ends in time wherever it is, and nothing of the alarm is left behind."""

from __future__ import annotations

import signal
import threading

import pytest

from orderctl.cli.deadline import TimedOut, bounded, stopped_after
from orderctl.duration import Duration

LONG_S = 20


def test_what_waits_is_ended() -> None:
    """The alarm comes through a wait, and says what the bound was."""
    with (
        pytest.raises(TimedOut, match="no end within 50ms: nobody knows"),
        bounded(Duration(0.05), message="nobody knows"),
    ):
        threading.Event().wait(LONG_S)


def test_a_driver_cannot_mistake_it_for_an_error_of_its_own() -> None:
    """It passes `except Exception`."""

    def driver() -> None:
        try:
            threading.Event().wait(LONG_S)
        except Exception as error:
            raise AssertionError("caught") from error

    with pytest.raises(TimedOut), bounded(Duration(0.05)):
        driver()


def test_an_alarm_that_is_swallowed_comes_again() -> None:
    """One that falls into a place where exceptions are dropped is not the last."""
    swallowed = threading.Event()

    def deaf() -> None:
        try:
            threading.Event().wait(LONG_S)
        except TimedOut:
            swallowed.set()
        threading.Event().wait(LONG_S)

    with pytest.raises(TimedOut), bounded(Duration(1)):
        deaf()
    assert swallowed.is_set()


def test_in_time_nothing_is_left_behind() -> None:
    """A command that ends in time leaves the alarm and the handler that were there before."""
    handler, (seconds, _) = signal.getsignal(signal.SIGALRM), signal.getitimer(signal.ITIMER_REAL)
    with bounded(Duration(LONG_S)):
        assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= LONG_S
    assert signal.getsignal(signal.SIGALRM) == handler
    assert signal.getitimer(signal.ITIMER_REAL)[0] == pytest.approx(seconds, abs=1)


def test_no_bound_sets_no_alarm() -> None:
    """None is no bound."""
    handler = signal.getsignal(signal.SIGALRM)
    with bounded(None), stopped_after(None):
        assert signal.getsignal(signal.SIGALRM) == handler


def test_a_server_is_asked_to_drain() -> None:
    """A long-running command is not cut off: it gets the signal that it drains by, and ends as timed out."""
    drained = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda *_: drained.set())
    try:
        with pytest.raises(TimedOut, match="stopped after 50ms"), stopped_after(Duration(0.05)):
            assert drained.wait(LONG_S)
    finally:
        signal.signal(signal.SIGTERM, before)
