"""`reconcile`: the cache against the databases, both ways; with `archive`, the hot store against the archive too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from msgspec import UNSET, Struct, UnsetType

from orderctl.admin.audit import AuditLog
from orderctl.clock import Clock
from orderctl.errors import TierError
from orderctl.services.reconciling import Difference, Reconciler, ReconcileSettings, Tally
from orderctl.services.reconciling_archive import ArchiveReconciler, ArchiveTally
from orderctl.services.reconciling_scope import Phase, Place, Scope
from orderctl.stores.tiers import Tiers


class Reconciliation(Struct, frozen=True, kw_only=True):
    """What was compared, and found. `archive` is there where it was asked for."""

    compared: int
    equal: int
    diverged: int
    absent: int
    unknown: int
    repaired: int
    seconds: float
    differences: list[Difference]
    archive: ArchiveTally | UnsetType = UNSET


class Reconcile:
    """One run of the verb. Done again, or twice at a time, it does no harm."""

    def __init__(
        self,
        tiers: Tiers,
        clock: Clock,
        settings: ReconcileSettings,
        *,
        settle_s: float,
        progress: Callable[[int, int], None] = lambda _done, _of: None,
    ) -> None:
        """`settle_s` is the archiver's; `progress` is told how many orders were looked at, and of how many."""
        self._tiers = tiers
        self._clock = clock
        self._settings = settings
        self._reconciler = Reconciler(tiers, clock, settings, progress=progress)
        self._archive = ArchiveReconciler(
            tiers,
            clock,
            self._reconciler.reader,
            self._reconciler.pace,
            lag_s=settings.lag_s,
            settle_s=settle_s,
        )

    @property
    def place(self) -> Place:
        """Where to go on from, should this end now."""
        return self._reconciler.place

    @property
    def errors(self) -> list[TierError]:
        """What tiers failed with, each once: not all is known."""
        return list(self._reconciler.reader.errors.values())

    @property
    def untold(self) -> list[str]:
        """Orders that were repaired in the cache, and of which the query processes could not be told."""
        return self._reconciler.mender.untold

    def run(self, scope: Scope, start: Place, *, archive: bool, audit: Audit | None) -> Reconciliation:
        """Compare what is in `scope`, from `start` on. What is repaired goes into `audit`, before and after."""
        began_s = self._clock.monotonic_s()
        with audit.around(self) if audit is not None else nullcontext():
            self._look_at_tiers()
            self._reconciler.run(scope, start)
            if archive or start.phase is Phase.ARCHIVE:
                self._archive.run(scope)
        tally = self._reconciler.tally
        return Reconciliation(
            compared=tally.compared,
            equal=tally.equal,
            diverged=tally.diverged,
            absent=tally.absent,
            unknown=tally.unknown,
            repaired=tally.repaired,
            seconds=round(self._clock.monotonic_s() - began_s, 3),
            differences=tally.differences,
            archive=self._archive.tally if archive or start.phase is Phase.ARCHIVE else UNSET,
        )

    @property
    def found(self) -> Tally:
        """What was found so far."""
        return self._reconciler.tally

    def counts(self) -> dict[str, int]:
        """How far it has come."""
        tally = self.found
        return {"compared": tally.compared, "diverged": tally.diverged, "repaired": tally.repaired}

    def _look_at_tiers(self) -> None:
        """One that is away is known from the beginning, also if nothing that is compared happens to need it."""
        reader, tiers = self._reconciler.reader, self._tiers
        counted = reader.hot.whole(tiers.hot.count_open)
        self._reconciler.open_orders = counted if isinstance(counted, int) else 0
        reader.archive.whole(tiers.archive.ping)
        # By itself: one node that is away is no reason to leave the others alone.
        try:
            tiers.cache.ping()
        except TierError as error:
            reader.errors.setdefault(str(error), error)


class Audit:
    """What a run that repairs leaves in the audit log: that it began, and what it came to, however it ended."""

    def __init__(self, log: AuditLog, *, reason: str | None, **about: Any) -> None:
        self._log = log
        self._reason = reason
        self._about = about

    @contextmanager
    def around(self, run: Reconcile) -> Iterator[None]:
        """The lines before and after `run`."""
        self._append(done=False)
        is_done = False
        try:
            yield
            is_done = True
        finally:
            self._append(done=is_done, place=str(run.place), **run.counts())

    def _append(self, *, done: bool, **facts: Any) -> None:
        self._log.append("reconcile", reason=self._reason, done=done, **self._about, **facts)


def exit_code(found: Reconciliation, *, failed: bool) -> int:
    """0 where nothing is left, 1 where something is, 4 where a tier failed and nobody can say."""
    archive = found.archive
    if failed or found.unknown or (isinstance(archive, ArchiveTally) and archive.unknown):
        return 4
    left = found.diverged - found.repaired
    return 1 if left or (isinstance(archive, ArchiveTally) and archive.diverged) else 0
