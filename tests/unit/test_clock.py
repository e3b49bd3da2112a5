"""The clocks: the system's agrees with itself, the manual one moves only when told."""

import threading
import time

from orderctl.clock import ManualClock, SystemClock


def test_the_system_clock_counts_microseconds() -> None:
    """Unix microseconds, and seconds that never go back."""
    clock = SystemClock()
    before = time.time_ns() // 1000
    assert before <= clock.now_us() <= time.time_ns() // 1000
    assert clock.monotonic_s() <= clock.monotonic_s()


def test_a_wait_ends_with_its_event() -> None:
    """Whether it was set or the time ran out is told."""
    clock, event = SystemClock(), threading.Event()
    assert not clock.wait(event, 0.001)
    event.set()
    assert clock.wait(event, 60)


def test_the_manual_clock_moves_when_told() -> None:
    """Waiting moves it, an administrator moves only the wall clock."""
    clock, event = ManualClock(1_000_000), threading.Event()
    clock.advance(1.5)
    assert (clock.now_us(), clock.monotonic_s()) == (2_500_000, 1.5)
    assert not clock.wait(event, 0.5)
    clock.set_wall(0)
    assert (clock.now_us(), clock.monotonic_s()) == (0, 2.0)
