"""Cyclic garbage, in processes that make and drop a million objects a second, nearly none of them in cycles.

By default Python looks through the youngest objects whenever 700 more are alive than were: while a batch of some thousand
messages is in hand it does so a hundred times, and finds nothing. That was an eighth of cache-sync's processor time.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

YOUNG_MAX: Final = 50_000
"""So many objects more than at the last look make the next one due: some MiB, were all of them garbage."""


@contextmanager
def collecting_rarely() -> Iterator[None]:
    """Look for garbage after `YOUNG_MAX` new objects, and among those that are here already never."""
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(YOUNG_MAX, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
