"""The protocol, by exhaustion: every interleaving of the real services' calls of their stores, and what each protection is for.

Every scenario is gone through whole: no stale entry is left, no order that exists is "not found", no reader goes backwards. And
with one protection taken out at a time the same search finds what goes wrong.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec import structs

from tests.simulation.protections import Protections
from tests.simulation.scenarios import SCENARIOS
from tests.simulation.world import World

STATES_MAX = 60_000

FOUND_BY = {
    "unique_token": "a lease lapses",
    "floor": "a change meets a reader, and the entry is evicted",
    "locking_load": "a change meets a reader, and the entry is evicted",
    "at_least": "wrong bytes are mended",
    "kept_expiry": "a creation's tentative comes late, and an old event again",
    "answered_before_commit": "a creation's tentative comes late, and an old event again",
    "mark": "Redis goes back in time",
    "second_look": "an old order moves to the archive",
}
"""Each protection, and a scenario that goes wrong without it."""


@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.timeout(300)
def test_nothing_goes_wrong_in_any_order(name: str, record_property: Callable[[str, object], None]) -> None:
    """Every distinct state is reached, and each is as it must be."""
    world = World()
    report = SCENARIOS[name].search(world, states_max=STATES_MAX)
    world.close()
    for figure in ("states", "transitions", "ends"):
        record_property(figure, getattr(report, figure))
    assert report.finding is None, "\n".join([report.finding or "", *report.trail])
    assert report.ends >= 1


@pytest.mark.parametrize("protection", FOUND_BY)
def test_without_a_protection_something_goes_wrong(protection: str) -> None:
    """So the search can find it, and the protection is needed."""
    world = World(structs.replace(Protections(), **{protection: False}))
    report = SCENARIOS[FOUND_BY[protection]].search(world, states_max=STATES_MAX)
    world.close()
    assert report.finding is not None


def test_each_protection_is_taken_out() -> None:
    """None is believed in."""
    assert set(FOUND_BY) == set(structs.asdict(Protections()))
