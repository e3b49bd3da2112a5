"""From a merchant's own reference to the order: the hot store, then the archive. What was found is remembered for a moment."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

from orderctl.clock import Clock
from orderctl.errors import TierError
from orderctl.metrics import Metrics
from orderctl.services.answers import Failed
from orderctl.services.loading import ask_each
from orderctl.stores.archive import ArchiveStore
from orderctl.stores.hot import HotStore, Ref

REMEMBERED_S: Final = 60.0
"""A reference is used again only long after its order has moved, so that what it stands for is safe to know for so long."""
REMEMBERED_MAX: Final = 100_000


class References:
    """Resolves references in batches, for several threads. That there is no order is never remembered.

    The two databases are two calls, so that whoever asks can keep the archive's slowness to those who need the archive.
    """

    def __init__(
        self,
        hot: HotStore,
        archive: ArchiveStore,
        *,
        clock: Clock,
        metrics: Metrics,
        remembered_max: int = REMEMBERED_MAX,
    ) -> None:
        self._hot = hot
        self._archive = archive
        self._clock = clock
        self._metrics = metrics
        self._remembered_max = remembered_max
        self._guard = threading.Lock()
        self._known: OrderedDict[Ref, tuple[float, str]] = OrderedDict()

    def resolve(self, refs: Sequence[Ref]) -> list[str | Failed | None]:
        """The open or last moved order that each reference stands for; None where the archive is to be asked."""
        known = self._remembered(refs)
        return self._ask(self._hot.resolve, refs, known)

    def resolve_archived(self, refs: Sequence[Ref]) -> list[str | Failed | None]:
        """The newest archived order of each reference that the hot store does not know; None where there is none."""
        return self._ask(self._archive.resolve, refs, {})

    def _ask(
        self, ask: Callable[[Sequence[Ref]], list[str | None]], refs: Sequence[Ref], known: dict[Ref, str]
    ) -> list[str | Failed | None]:
        unknown = [ref for ref in dict.fromkeys(refs) if ref not in known]
        told: dict[Ref, str | TierError | None] = dict(zip(unknown, ask_each(ask, unknown, self._metrics), strict=True))
        self._remember({ref: answer for ref, answer in told.items() if isinstance(answer, str)})
        answers = [known.get(ref) or told.get(ref) for ref in refs]
        return [Failed(answer) if isinstance(answer, TierError) else answer for answer in answers]

    def _remembered(self, refs: Sequence[Ref]) -> dict[Ref, str]:
        now_s = self._clock.monotonic_s()
        with self._guard:
            # All stay equally long, so that the first to be known is the first to go.
            while self._known and next(iter(self._known.values()))[0] <= now_s:
                self._known.popitem(last=False)
            return {ref: self._known[ref][1] for ref in refs if ref in self._known}

    def _remember(self, found: dict[Ref, str]) -> None:
        until_s = self._clock.monotonic_s() + REMEMBERED_S
        with self._guard:
            for ref, order_id in found.items():
                self._known.pop(ref, None)
                self._known[ref] = (until_s, order_id)
            while len(self._known) > self._remembered_max:
                self._known.popitem(last=False)
