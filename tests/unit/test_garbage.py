"""Garbage is collected rarely while daemons run, and as ever after."""

from __future__ import annotations

import gc

from orderctl.daemons.garbage import YOUNG_MAX, collecting_rarely


def test_what_was_is_again() -> None:
    """In tests and tools a process goes on after its daemons."""
    before = gc.get_threshold()
    with collecting_rarely():
        assert gc.get_threshold() == (YOUNG_MAX, *before[1:])
        assert gc.isenabled()
        assert gc.get_freeze_count() > 0
    assert (gc.get_threshold(), gc.get_freeze_count()) == (before, 0)


def test_cycles_are_still_collected() -> None:
    """After so many new objects, without anybody's asking."""
    with collecting_rarely():
        collected = gc.get_stats()[0]["collections"]
        kept = [[number] for number in range(2 * YOUNG_MAX)]
        assert gc.get_stats()[0]["collections"] > collected
        assert len(kept) == 2 * YOUNG_MAX
