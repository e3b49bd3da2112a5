"""What an order's traces in the tiers mean, put side by side: pure, from what was seen to one sentence.

A tier that is missing something is no difference where another may well not have told it yet: the cache forgets, the log lags and
is purged. A difference is what can only be put right, not waited for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum

from msgspec import Struct

from orderctl.clock import US_PER_S
from orderctl.errors import TierError
from orderctl.order import Order, Status
from orderctl.services.last_event import LastEvent, NoEvent
from orderctl.stores.record import Entry, Kind, record_of


class Finding(Enum):
    """What it comes to."""

    CONSISTENT = "consistent"
    DIFFERENT = "different"
    NOWHERE = "nowhere"
    UNKNOWN = "unknown"
    """A tier failed, so nobody can say."""


class Cached(Struct, frozen=True):
    """What the cache has of an order: its entry, for how long that is there still, and in how long its timer goes off.

    Each is None where there is none; `ttl_ms` also where the entry went while it was looked at.
    """

    entry: Entry | None
    ttl_ms: int | None
    timer_ttl_ms: int | None


class Look(Struct, frozen=True):
    """One order in every tier, as each was asked at about the same time. None: the tier does not have it."""

    cache: Cached | TierError
    hot: Order | TierError | None
    archive: Order | TierError | None
    log: LastEvent | NoEvent | TierError


class Judgement(Struct, frozen=True):
    """What a look comes to, and why, in one sentence."""

    finding: Finding
    verdict: str


class Seen(Struct, frozen=True):
    """A look in which both databases answered. `cached` has an order, `in_log` is an event; None where there is no such thing."""

    hot: Order | None
    archive: Order | None
    cached: Entry | None
    in_log: Order | None

    @property
    def source(self) -> Order | None:
        """The database's copy that counts: the hot store's as long as it has one."""
        return self.hot or self.archive

    @property
    def source_name(self) -> str:
        """Where that copy is."""
        return "hot" if self.hot is not None else "archive"


def judge(look: Look, *, now_us: int, archiver_needs_s: float) -> Judgement:
    """What `look` means at `now_us`, where an order may be in both databases for `archiver_needs_s` after it became final."""
    failed = {name: tier for name in look.__struct_fields__ if isinstance(tier := getattr(look, name), TierError)}
    seen = _seen(look)
    differences = list(_differences(seen, now_us, archiver_needs_s)) if seen is not None else []
    differences += _unreadable(look)
    if failed:
        return Judgement(Finding.UNKNOWN, _sentence(_not_known(failed), *differences))
    assert seen is not None
    if differences:
        return Judgement(Finding.DIFFERENT, _sentence(*differences))
    remarks = [
        *_of_the_move(seen, now_us, archiver_needs_s),
        *_of_the_cache(look),
        *_of_the_timer(look, seen, now_us),
        *_of_the_log(look, seen),
    ]
    if seen.source is not None:
        return Judgement(Finding.CONSISTENT, _sentence(_agreement(seen, seen.source), *remarks))
    if seen.cached is not None:
        only = "only the cache has the order: its creation is under way or has failed"
        return Judgement(Finding.CONSISTENT, _sentence(only, *remarks))
    return Judgement(Finding.NOWHERE, _sentence("no tier has the order", *remarks))


def _seen(look: Look) -> Seen | None:
    if isinstance(look.hot, TierError) or isinstance(look.archive, TierError):
        return None
    entry = look.cache.entry if isinstance(look.cache, Cached) else None
    event = look.log.event if isinstance(look.log, LastEvent) else None
    cached = entry if entry is not None and entry.has_order else None
    return Seen(look.hot, look.archive, cached, event.order if event is not None else None)


def _differences(seen: Seen, now_us: int, archiver_needs_s: float) -> Iterator[str]:
    source = seen.source
    if source is None:
        yield from _lost(seen)
        return
    if seen.hot is not None and seen.archive is not None:
        yield from _between_databases(seen.hot, seen.archive, now_us, archiver_needs_s)
    if seen.cached is not None:
        yield from _in_cache(seen.cached, source, seen.source_name)
    if seen.in_log is not None and seen.in_log.version > source.version:
        yield f"the log knows {_state(seen.in_log)}, and {seen.source_name} only {_state(source)}: a change was lost there"


def _unreadable(look: Look) -> list[str]:
    """An entry that is none to readers; one that went, or came, between two looks at it is not there when they look again."""
    if isinstance(look.cache, Cached) and look.cache.entry is None and look.cache.ttl_ms is not None:
        return ["the cache's bytes mean nothing: readers load the order as if there were none"]
    return []


def _lost(seen: Seen) -> Iterator[str]:
    """A tentative entry is no trace: what it says may never have been committed."""
    record = seen.cached if seen.cached is not None and seen.cached.kind is Kind.RECORD else None
    traces = {"cache": record, "log": seen.in_log}
    known = [f"the {name} knows {_state(trace)}" for name, trace in traces.items() if trace is not None]
    if known:
        yield f"the order is lost: {' and '.join(known)}, and no database holds it"


def _between_databases(hot: Order, archive: Order, now_us: int, archiver_needs_s: float) -> Iterator[str]:
    if not hot.status.is_final:
        yield f"the archive holds {_state(archive)}, and in hot the order is still open, at {_state(hot)}"
    elif hot.status is not archive.status:
        yield f"hot and archive hold different final states: {_state(hot)} and {_state(archive)}"
    elif hot != archive:
        yield f"hot and archive hold different copies: {_state(hot)} and {_state(archive)}"
    elif (age_s := _age_s(hot, now_us)) > archiver_needs_s:
        yield (
            f"hot and archive both hold {_state(hot)}, {age_s:.1f} s after the order became final:"
            f" the archiver needs no more than {archiver_needs_s:g} s"
        )


def _in_cache(cached: Entry, source: Order, source_name: str) -> Iterator[str]:
    record = record_of(source)
    if cached.version > source.version:
        yield f"the cache is newer than its source: it holds {_state(cached)}, and {source_name} {_state(source)}"
    elif cached.version < source.version:
        yield f"the cache is behind its source: it holds {_state(cached)}, and {source_name} {_state(source)}"
    elif (cached.status, cached.merchant, cached.body) != (record.status, record.merchant, record.body):
        yield f"the cache and {source_name} hold version {source.version} with different contents"


def _agreement(seen: Seen, source: Order) -> str:
    holders = {"hot": seen.hot, "archive": seen.archive, "cache": seen.cached, "log": seen.in_log}
    names = [name for name, held in holders.items() if held is not None and held.version == source.version]
    if len(names) == 1:
        return f"{names[0]} alone holds {_state(source)}"
    return f"{', '.join(names[:-1])} and {names[-1]} agree on {_state(source)}"


def _of_the_move(seen: Seen, now_us: int, archiver_needs_s: float) -> Iterator[str]:
    if seen.hot is None or not seen.hot.status.is_final:
        return
    age_s = _age_s(seen.hot, now_us)
    if seen.archive is not None:
        yield f"it became final {age_s:.1f} s ago and is on the move to the archive"
    elif age_s > archiver_needs_s:
        yield f"it became final {age_s:.1f} s ago and is not archived yet: the archiver is behind"


def _of_the_cache(look: Look) -> Iterator[str]:
    if not isinstance(look.cache, Cached) or look.cache.entry is None:
        return
    left = "" if look.cache.ttl_ms is None else f" ({look.cache.ttl_ms / 1000:.1f} s left)"
    match look.cache.entry.kind:
        case Kind.TENTATIVE:
            yield f"the cache's entry is tentative{left}"
        case Kind.LEASE:
            yield f"the cache holds a lease{left}: somebody is loading the order"
        case Kind.ABSENT:
            yield f"the cache holds `absent`{left}: no database had the order a moment ago"
        case Kind.RECORD:
            pass


def _of_the_timer(look: Look, seen: Seen, now_us: int) -> Iterator[str]:
    is_waiting = seen.hot is not None and not seen.hot.status.is_final and seen.hot.deadline_at > now_us
    if is_waiting and isinstance(look.cache, Cached) and look.cache.timer_ttl_ms is None:
        yield "the cache has no timer for its deadline: at that time the sweep finds it"


def _of_the_log(look: Look, seen: Seen) -> Iterator[str]:
    match look.log:
        case NoEvent(searched=searched, is_bounded=True):
            yield f"the search of the log ended at its bound, {searched} messages back"
        case NoEvent(may_be_purged=True):
            yield "the log has nothing of it, and no longer holds all that was published since its creation"
        case NoEvent() if seen.source is not None:
            yield "the log has nothing of it yet: cdc is behind"
        case LastEvent(event=None, offset=offset):
            yield f"the log's last message of it, at offset {offset}, is no change event"
        case LastEvent() if (
            seen.in_log is not None and seen.source is not None and seen.in_log.version < seen.source.version
        ):
            yield f"the log is behind: it has {_state(seen.in_log)}"
        case _:
            pass


def _not_known(failed: Mapping[str, TierError]) -> str:
    errors = "; ".join(str(error) for error in failed.values())
    return f"not all is known, since {' and '.join(failed)} failed ({errors})"


def _state(held: Order | Entry) -> str:
    status: Status | None = held.status
    return f"version {held.version} ({status})"


def _age_s(order: Order, now_us: int) -> float:
    return max(0, now_us - order.updated_at) / US_PER_S


def _sentence(*clauses: str) -> str:
    text = "; ".join(clauses)
    return f"{text[0].upper()}{text[1:]}."
