"""`inspect`: one order in every tier, side by side, and what that means."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from msgspec import UNSET, Struct, UnsetType

from orderctl.admin.explanation import Explanation
from orderctl.admin.tier_views import InTiers, Unreachable, in_tiers
from orderctl.admin.verdict import Cached, Finding, Judgement, Look, judge
from orderctl.body import rfc3339
from orderctl.clock import Clock
from orderctl.errors import TierError
from orderctl.ids import created_ms, group_of
from orderctl.order import Order
from orderctl.services.last_event import SEARCH_MAX, LastEvent, last_event
from orderctl.services.late import LateShown, shown
from orderctl.services.side_by_side import Question
from orderctl.stores.cache import CacheStore
from orderctl.stores.late import LateResult
from orderctl.stores.late_rows import earliest
from orderctl.stores.tiers import Tiers

T = TypeVar("T")

TIER_LIMIT_S = 5.0
"""How long a tier may take to answer; they are asked at once."""
ARCHIVER_ALLOWANCE_S = 5.0
"""How long, on top of the settling, the archiver may take from an order's final change to the removal of its row."""
LOOKS = 3
PAUSE_S = 0.5


class InspectSettings(Struct, frozen=True):
    """What the deployment's configuration says, and the bounds of a look."""

    groups: int
    settle_s: float = 0.0
    tier_limit_s: float = TIER_LIMIT_S
    search_max: int = SEARCH_MAX


class Inspection(Struct, frozen=True):
    """What is shown. `created_at` is the order's own, or, of one that only its id is known of, the id's.

    `late_results` are the outcomes that came after the order was final, the earliest first. `explanation` is there where it was
    asked for.
    """

    order_id: str
    group: int
    created_at: str
    tiers: InTiers
    late_results: list[LateShown] | Unreachable
    consistent: bool
    verdict: str
    explanation: Explanation | UnsetType = UNSET


def inspect(tiers: Tiers, clock: Clock, order_id: str, settings: InspectSettings) -> tuple[Inspection, Finding]:
    """Look at an order (by its canonical id) in every tier, and judge. A tier that fails is part of what is found.

    The tiers tell of slightly different moments, so an order that moves may be seen in neither place or at two versions. That
    they differ, or that none has it, therefore counts only if it is still so when it is looked at again, over a second.
    """
    asked_late = Question("late results", lambda: _late(tiers, order_id), within_s=settings.tier_limit_s)
    never = threading.Event()
    for attempt in range(LOOKS):
        if attempt:
            clock.wait(never, PAUSE_S)
        seen = look(tiers, order_id, settings)
        needs_s = settings.settle_s + ARCHIVER_ALLOWANCE_S
        judgement = judge(seen, now_us=clock.now_us(), archiver_needs_s=needs_s)
        if judgement.finding in {Finding.CONSISTENT, Finding.UNKNOWN}:
            break
    late = asked_late.answer()
    if isinstance(late, TierError) and judgement.finding is Finding.CONSISTENT:
        said = judgement.verdict.removesuffix(".")
        judgement = Judgement(Finding.UNKNOWN, f"{said}; whether an outcome came too late could not be seen.")
    inspection = Inspection(
        order_id=order_id,
        group=group_of(order_id, settings.groups),
        created_at=rfc3339(_created_us(order_id, seen)),
        tiers=in_tiers(seen),
        late_results=Unreachable(str(late)) if isinstance(late, TierError) else shown(late),
        consistent=judgement.finding in {Finding.CONSISTENT, Finding.NOWHERE},
        verdict=judgement.verdict,
    )
    return inspection, judgement.finding


def look(tiers: Tiers, order_id: str, settings: InspectSettings) -> Look:
    """Ask every tier at once. It takes as long as the slowest, and `tier_limit_s` at most."""

    def ask(tier: str, call: Callable[[], T]) -> Question[T]:
        return Question(tier, call, within_s=settings.tier_limit_s)

    cache = ask("cache", lambda: _cached(tiers.cache, order_id))
    hot = ask("hot", lambda: tiers.hot.load([order_id])[0])
    archive = ask("archive", lambda: tiers.archive.load([order_id])[0])
    log = ask("log", lambda: last_event(tiers.log, order_id, groups=settings.groups, search_max=settings.search_max))
    return Look(cache.answer(), hot.answer(), archive.answer(), log.answer())


def _late(tiers: Tiers, order_id: str) -> list[LateResult]:
    """From both databases, the hot one first: they are copied before they are removed."""
    (kept,), (archived,) = tiers.late.load([order_id]), tiers.late_archive.load([order_id])
    return earliest([*kept, *archived])


def _cached(cache: CacheStore, order_id: str) -> Cached:
    ids = [order_id]
    return Cached(cache.get(ids)[0], cache.ttl_ms(ids)[0], cache.timer_ttl_ms(ids)[0])


def _created_us(order_id: str, seen: Look) -> int:
    event = seen.log.event if isinstance(seen.log, LastEvent) else None
    for order in (seen.hot, seen.archive, event.order if event is not None else None):
        if isinstance(order, Order):
            return order.created_at
    return created_ms(order_id) * 1000
