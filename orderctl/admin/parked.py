"""`parked list|show|retry|drop`: what daemons put aside because they could not process it, and what becomes of it."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from orderctl.admin.audit import AuditLog, plan_digest
from orderctl.admin.places import parse_place
from orderctl.body import rfc3339
from orderctl.clock import Clock
from orderctl.errors import NotFound, UsageRefused
from orderctl.services.parking import How, Waiting, waiting, waiting_at
from orderctl.stores.log import PARKED, LogStore, Place

VALUE_SHOWN_MAX: Final = 4_096
"""Characters of a message's value that are shown; it may have a MiB."""
MARKERS_MAX: Final = 1_000


class ParkedView(Struct, frozen=True):
    """A parked message.

    `id` is its copy's place in `orders.parked`; `topic`, `partition` and `offset` are where it was itself.
    """

    id: str
    order_id: str
    topic: str
    partition: int
    offset: int
    daemon: str
    reason: str
    parked_at: str


class ParkedDetail(ParkedView, frozen=True):
    """The same with what the message said, as text, `bytes` of it in all."""

    headers: dict[str, str]
    value: str
    bytes: int


class Drop(Struct, frozen=True):
    """What dropping is to do, and once it is `executed` what it did: so many messages, of so many orders."""

    messages: int
    orders: int
    by_daemon: dict[str, int]
    parked: list[ParkedView]
    executed: bool = False


def parked_list(log: LogStore) -> list[ParkedView]:
    """All that nobody has seen to yet, by partition, the earliest first.

    Raises:
        TierError: the log failed.

    """
    return [_view(each) for each in waiting(log)]


def parked_show(log: LogStore, parked_id: str) -> ParkedDetail:
    """One, and what it said.

    Raises:
        UsageRefused: `parked_id` is not written as one.
        NotFound: nothing waits there.
        TierError: the log failed.

    """
    found = _find(log, parked_id)
    view = _view(found)
    said = found.value if found.parked is None else base64.b64decode(found.parked.value)
    return ParkedDetail(
        **{name: getattr(view, name) for name in ParkedView.__struct_fields__},
        headers={} if found.parked is None else found.parked.headers,
        value=said[:VALUE_SHOWN_MAX].decode(errors="replace"),
        bytes=len(said),
    )


def parked_retry(
    log: LogStore, audit: AuditLog, clock: Clock, parked_ids: Sequence[str], *, reason: str | None
) -> list[ParkedView]:
    """Publish these once more to where they were, for their daemons to try again; returns what was published.

    Killed in between it may be published without being noted as seen to: then it can be retried again, which is harmless.

    Raises:
        UsageRefused: an id is not written as one, or a message cannot be made again. Nothing was published.
        NotFound: nothing waits at one of them. Nothing was published.
        TierError: the log failed.

    """
    found = [_find(log, parked_id) for parked_id in dict.fromkeys(parked_ids)]
    again = [each.original() for each in found]
    audit.append("parked retry", reason=reason, done=False, parked=[each.id for each in found])
    log.publish(again)
    _mark(log, found, How.RETRIED, now_us=clock.now_us())
    audit.append("parked retry", reason=reason, done=True, parked=[each.id for each in found])
    return [_view(each) for each in found]


def plan_drop(log: LogStore, parked_ids: Sequence[str] | None) -> tuple[Drop, list[Waiting]]:
    """What dropping these, or all (None), would do, and whom it is about.

    Raises:
        UsageRefused: an id is not written as one.
        NotFound: nothing waits at one of them.
        TierError: the log failed.

    """
    found = list(waiting(log)) if parked_ids is None else [_find(log, each) for each in dict.fromkeys(parked_ids)]
    views = [_view(each) for each in found]
    by_daemon = Counter(view.daemon for view in views)
    orders = len({view.order_id for view in views})
    return Drop(len(views), orders, dict(sorted(by_daemon.items())), views), found


def parked_drop(
    log: LogStore, audit: AuditLog, clock: Clock, plan: Drop, found: Sequence[Waiting], *, reason: str | None
) -> Drop:
    """Let nobody be reminded of these any more; the copies stay in the log as long as it keeps anything.

    Raises:
        TierError: the log failed; doing it again goes on.

    """
    about = {"plan": plan_digest(plan), "messages": plan.messages}
    audit.append("parked drop", reason=reason, done=False, parked=[each.id for each in found], **about)
    for at in range(0, len(found), MARKERS_MAX):
        _mark(log, found[at : at + MARKERS_MAX], How.DROPPED, now_us=clock.now_us())
    audit.append("parked drop", reason=reason, done=True, **about)
    return Drop(plan.messages, plan.orders, plan.by_daemon, plan.parked, executed=True)


def _mark(log: LogStore, found: Sequence[Waiting], how: How, *, now_us: int) -> None:
    log.publish([each.marker(how, now_us=now_us) for each in found])


def _find(log: LogStore, parked_id: str) -> Waiting:
    named = parse_place(parked_id)
    if named is None:
        raise UsageRefused(f"{parked_id!r} is not PARTITION:OFFSET", hint="`orderctl parked list` shows the ids")
    partition, offset = named
    found = waiting_at(log, Place(PARKED, partition), offset)
    if found is None:
        raise NotFound(f"nothing is parked at {parked_id}", hint="`orderctl parked list` shows what is")
    return found


def _view(one: Waiting) -> ParkedView:
    parked = one.parked
    if parked is None:
        key = one.key.decode(errors="replace")
        reason = "this is no copy of a message: somebody else published it here"
        return ParkedView(one.id, key, PARKED, one.place.partition, one.offset, "", reason, "")
    return ParkedView(
        one.id,
        parked.order_id,
        parked.topic,
        parked.partition,
        parked.offset,
        parked.daemon,
        parked.reason,
        rfc3339(parked.parked_at),
    )
