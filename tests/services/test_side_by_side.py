"""Asking several tiers at once: each answer by itself, and none waited for beyond its time."""

from __future__ import annotations

import threading

import pytest

from orderctl.errors import TierRejected, TierUnavailable
from orderctl.services.side_by_side import Question

HELD_UP_S = 60


def test_an_answer() -> None:
    """As it was given, also a second time."""
    question = Question("hot", lambda: 7, within_s=HELD_UP_S)
    assert (question.answer(), question.answer()) == (7, 7)


def test_questions_are_asked_at_the_same_time() -> None:
    """Two that wait for each other both get their answer."""
    together = threading.Barrier(2, timeout=HELD_UP_S)
    first = Question("hot", together.wait, within_s=HELD_UP_S)
    second = Question("cache", together.wait, within_s=HELD_UP_S)
    assert {first.answer(), second.answer()} == {0, 1}


def test_a_tiers_error_is_an_answer() -> None:
    """It is given back, not raised."""
    error = TierRejected("log", "no such topic")

    def fail() -> int:
        raise error

    assert Question("log", fail, within_s=HELD_UP_S).answer() is error


def test_a_fault_of_ours_is_raised() -> None:
    """Nobody takes it for a tier that is away."""

    def fail() -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Question("log", fail, within_s=HELD_UP_S).answer()


def test_what_hangs_is_an_error_after_its_time() -> None:
    """It names the tier and the limit; what comes later is nobody's any more."""
    let_go, done = threading.Event(), threading.Event()

    def hang() -> None:
        assert let_go.wait(HELD_UP_S)
        done.set()

    found = Question("archive", hang, within_s=0.05).answer()
    let_go.set()
    assert done.wait(HELD_UP_S)
    assert isinstance(found, TierUnavailable)
    assert str(found) == "archive: no answer within 0.05 s"
