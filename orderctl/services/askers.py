"""Those who look an order up, what suits them as an answer, and the handing out of answers, at once or later."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Final

from msgspec import Struct

from orderctl.metrics import Metrics
from orderctl.services.answers import Answer, Failed, Found, Loading, Missing, Pending, Settled, Via
from orderctl.services.filling import Brought

FLIGHTS_MORE: Final = 2
"""So many more flights a look-up takes where the first one's answer is none for it."""


class Lookup(Struct, frozen=True):
    """One order that somebody wants. `merchant` is `merchant_digest` of who may see it; None sees all."""

    order_id: str
    merchant: bytes | None = None
    min_version: int = 0


class Asker:
    """One look-up on its way. `flights_left` counts down."""

    __slots__ = ("answer", "flights_left", "future", "is_late", "lookup")

    def __init__(self, lookup: Lookup) -> None:
        self.lookup = lookup
        self.is_late = False
        self.flights_left = FLIGHTS_MORE
        self.answer: Settled | None = None
        self.future: Future[Settled] | None = None

    @property
    def order_id(self) -> str:
        """The order."""
        return self.lookup.order_id

    def may_see(self, owner: bytes) -> bool:
        """Whether the order is this one's to see."""
        return self.lookup.merchant in (None, owner)


class Desk:
    """Gives answers to askers, and counts them. For several threads."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._guard = threading.Lock()

    def hand_out(self, askers: Sequence[Asker]) -> list[Answer]:
        """What each is told now: his answer, or that it comes."""
        with self._guard:
            for asker in askers:
                if asker.answer is None:
                    asker.future = Future()
                    asker.future.set_running_or_notify_cancel()  # whoever waits in vain cannot cancel it any more
        return [_what_is_known(asker) for asker in askers]

    def deliver(self, answered: Sequence[tuple[Asker, Settled]]) -> None:
        """Count the answers, and give each to whoever waits for it."""
        if not answered:
            return
        kinds = Counter(_kind_of(answer) for _, answer in answered)
        for (tier, outcome), count in kinds.items():
            self._metrics.lookups.labels(tier, outcome).inc(count)
        with self._guard:
            for asker, answer in answered:
                asker.answer = answer
        for asker, answer in answered:
            if asker.future is not None:
                asker.future.set_result(answer)


def _what_is_known(asker: Asker) -> Answer:
    if asker.answer is not None:
        return asker.answer
    assert asker.future is not None
    return Loading(asker.future)


def answer_of(asker: Asker, brought: Brought) -> Settled | None:
    """What the asker is told of what was loaded; None where that does not suit him, and another flight may."""
    loaded, record = brought.loaded, brought.record
    if loaded.was_turned_away:
        return Pending()
    if loaded.error is not None:
        return Failed(loaded.error)
    if record is not None and not asker.may_see(record.merchant):
        return Missing()
    suits = record is not None and record.version >= asker.lookup.min_version
    is_doubtful = brought.is_doubtful and asker.flights_left == FLIGHTS_MORE  # but once: a load takes its toll
    if brought.is_superseded or is_doubtful or (asker.is_late and not suits):
        return None
    if record is None:
        return Missing()
    found = Found(record.version, record.status, record.body, Via(loaded.source, loaded.load.why))
    return found if suits else Pending()


def _kind_of(answer: Settled) -> tuple[str, str]:
    match answer:
        case Found(via=via):
            return via.source.value, "found"
        case Missing():
            return "all", "not_found"
        case Pending():
            return "all", "pending"
        case Failed(error=error):
            return error.tier, "failed"
