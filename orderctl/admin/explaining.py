"""`inspect --explain`: an order's time line over the tiers, with the lag of each hop, and which rule decided what."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import Struct

from orderctl.admin.explanation import Explanation, Step
from orderctl.admin.inspection import InspectSettings, look
from orderctl.admin.verdict import Cached, Look
from orderctl.body import rfc3339
from orderctl.clock import Clock
from orderctl.errors import TierError
from orderctl.event import ChangeEvent, Op
from orderctl.ids import created_ms, group_of
from orderctl.order import Order, Status
from orderctl.services.order_events import Heard, History, order_events
from orderctl.services.side_by_side import Question
from orderctl.stores.late import LateResult
from orderctl.stores.late_rows import earliest
from orderctl.stores.log import CHANGES, EXPIRED, INVALIDATED
from orderctl.stores.record import Kind
from orderctl.stores.tiers import Tiers
from orderctl.version import epoch_of

US_PER_MS = 1000


class Known(Struct, frozen=True):
    """All that the time line is made from. What a tier did not tell is its error."""

    order_id: str
    seen: Look
    history: History | TierError
    late: list[LateResult] | TierError
    mark: int | TierError | None


def explain(tiers: Tiers, clock: Clock, order_id: str, settings: InspectSettings) -> Explanation:
    """Look at the order (by its canonical id) and its past, and tell what led to what. A tier that fails is said."""
    group, limit_s = group_of(order_id, settings.groups), settings.tier_limit_s
    history = Question(
        "log",
        lambda: order_events(tiers.log, order_id, groups=settings.groups, search_max=settings.search_max),
        within_s=limit_s,
    )
    late = Question("late results", lambda: _late(tiers, order_id), within_s=limit_s)
    mark = Question("cache", lambda: tiers.cache.marks([group])[0], within_s=limit_s)
    seen = look(tiers, order_id, settings)
    known = Known(order_id, seen, history.answer(), late.answer(), mark.answer())
    return explanation_of(known, now_us=clock.now_us())


def explanation_of(known: Known, *, now_us: int) -> Explanation:
    """What is known, told in the order of time. Pure."""
    timed = [(created_ms(known.order_id) * US_PER_MS, _made(known.order_id))]
    if isinstance(known.history, History):
        timed += _heard(known.history.heard)
    if not isinstance(known.late, TierError):
        timed += [(one.received_at, _late_step(one)) for one in known.late]
    order = _order(known)
    if order is not None:
        timed.append((order.deadline_at, _deadline(order, now_us)))
    steps = [step for _, step in sorted(timed, key=lambda one: one[0])]
    return Explanation(steps, list(_decisions(known)))


def _made(order_id: str) -> Step:
    rule = "its first bits are the command server's time, and its group is in them, the same in every tier"
    return Step(rfc3339(created_ms(order_id) * US_PER_MS), "command", "the order's id was made", rule=rule)


def _heard(heard: Sequence[Heard]) -> Iterator[tuple[int, Step]]:
    """A step for each commit, and one for each message."""
    highest = 0
    committed_us: int | None = None
    for message in heard:
        published_us = message.ts_ms * US_PER_MS
        change = message.event
        if change is None:
            yield published_us, _told(message)
            continue
        lag_ms = (published_us - change.source.ts_us) / US_PER_MS if change.source.ts_us else None
        if change.op is not Op.DELETE and change.order.version <= highest:
            yield published_us, _repeated(message, change, lag_ms)
            continue
        if change.source.ts_us:
            since_ms = (change.source.ts_us - committed_us) / US_PER_MS if committed_us is not None else None
            yield change.source.ts_us, _committed(change, highest, since_ms)
            committed_us = change.source.ts_us
        told = "that the row left" if change.op is Op.DELETE else f"version {change.order.version}"
        yield published_us, Step(rfc3339(published_us), "log", f"cdc published {told}, {_at(message)}", lag_ms)
        highest = max(highest, change.order.version)


def _committed(change: ChangeEvent, before: int, since_ms: float | None) -> Step:
    order = change.order
    what, rule = f"version {order.version} ({order.status}) was committed", _rule_of(change)
    if change.op is Op.DELETE:
        what = f"the row left, at version {order.version}"
    elif before and epoch_of(order.version) > epoch_of(before):
        rule = f"the shard was promoted: epoch {epoch_of(order.version)} gives versions above all of the older ones"
    return Step(rfc3339(change.source.ts_us), "hot", what, since_ms, rule)


def _rule_of(change: ChangeEvent) -> str:
    order = change.order
    if change.op is Op.DELETE:
        return "the archiver removes a row at its very version, once its copy has settled and was read back"
    if change.op is Op.CREATE:
        return (
            "whoever claims merchant and reference first creates; the same reference stands for this order from then on"
        )
    if order.status is Status.TIMEOUT:
        return "the deadline had passed by the database's clock, and the order was still open"
    if order.status.is_final:
        return "compare-and-set on an open order; from now on it is final, and final is final"
    if change.before is not None and change.before.status is order.status:
        return "the row was touched, so that everybody hears of its version"
    return "compare-and-set on an open order, which raises its version"


def _repeated(message: Heard, change: ChangeEvent, lag_ms: float | None) -> Step:
    what = f"version {change.order.version} came again, {_at(message)}"
    rule = "at least once: whoever has this version or a higher one is not changed by it"
    return Step(rfc3339(message.ts_ms * US_PER_MS), "log", what, lag_ms, rule)


def _told(message: Heard) -> Step:
    at = rfc3339(message.ts_ms * US_PER_MS)
    match message.place.topic:
        case t if t == EXPIRED:
            rule = "a hint: the time-out is decided in hot, by its clock"
            return Step(at, "log", f"its timer in the cache went off, {_at(message)}", rule=rule)
        case t if t == INVALIDATED:
            rule = "somebody repaired or invalidated it: every process forgets its copy"
            return Step(at, "log", f"processes were told to forget it, {_at(message)}", rule=rule)
        case t if t == CHANGES:
            return Step(at, "log", f"a message that is no change event, {_at(message)}")
        case _:
            rule = "a message about it could not be processed; its record was dropped, so readers ask the databases"
            return Step(at, "log", f"a message was parked, {_at(message)}", rule=rule)


def _late_step(late: LateResult) -> Step:
    what = f"{late.status} came too late" + (f": {late.status_reason}" if late.status_reason else "")
    rule = "final is final: it was answered 409 and kept, since a refund may have to follow"
    return Step(rfc3339(late.received_at), "hot", what, rule=rule)


def _deadline(order: Order, now_us: int) -> Step:
    if order.status is Status.TIMEOUT:
        what = "its deadline came while it was open"
    elif order.status.is_final:
        what = "its deadline, which does not matter since it is final"
    else:
        what = "its deadline has passed, and it is open" if order.deadline_at <= now_us else "its deadline is to come"
    return Step(rfc3339(order.deadline_at), "hot", what)


def _decisions(known: Known) -> Iterator[str]:
    """What decides how the order stands, and what is not known."""
    seen = known.seen
    if isinstance(seen.hot, Order):
        yield "hot has a row, so that is the order, whatever the archive has"
    elif isinstance(seen.archive, Order) and seen.hot is None:
        yield "hot has no row, so the archive's copy is the order; it is final"
    yield from _of_the_cache(seen, _order(known))
    yield from _of_the_history(known)
    for name in seen.__struct_fields__:
        if isinstance(error := getattr(seen, name), TierError):
            yield f"what {name} would say is not known: {error}"
    for part in (known.history, known.late, known.mark):
        if isinstance(part, TierError):
            yield f"not all is shown: {part}"


def _of_the_cache(seen: Look, order: Order | None) -> Iterator[str]:
    if not isinstance(seen.cache, Cached):
        return
    entry = seen.cache.entry
    if entry is None:
        yield "the cache has no entry: whoever asks first gets the lease and loads the order"
    elif entry.kind is Kind.LEASE:
        yield f"a reader holds the lease: what it loads goes in if it is version {entry.version} or higher"
    elif entry.kind is Kind.ABSENT:
        yield "the cache says `absent`, which any version of the order deletes"
    elif entry.kind is Kind.TENTATIVE:
        yield "the cache's entry is its creator's word, until the commit makes it a record or it expires"
    elif order is not None:
        told = "this version or a higher one replaces it" if entry.version <= order.version else "nothing lower does"
        yield f"readers are answered with the cache's version {entry.version}; {told}"


def _of_the_history(known: Known) -> Iterator[str]:
    if not isinstance(known.history, History):
        return
    offsets = [one.offset for one in known.history.heard if one.place.topic == CHANGES]
    if isinstance(known.mark, int) and offsets:
        behind = sum(offset >= known.mark for offset in offsets)
        state = f"{behind} of its events are still to be applied" if behind else "all of its events are applied"
        yield f"cache-sync has brought the cache to offset {known.mark} of the order's partition: {state}"
    if known.history.is_bounded:
        yield "not all that was published since its creation was searched: there may be events that are not shown"
    if known.history.may_be_purged:
        yield "the log no longer keeps all that was published since its creation"


def _order(known: Known) -> Order | None:
    return next((one for one in (known.seen.hot, known.seen.archive) if isinstance(one, Order)), None)


def _at(message: Heard) -> str:
    return f"{message.place.topic} {message.place.partition}:{message.offset}"


def _late(tiers: Tiers, order_id: str) -> list[LateResult]:
    (kept,), (archived,) = tiers.late.load([order_id]), tiers.late_archive.load([order_id])
    return earliest([*kept, *archived])
