"""The daemons whose log can be replayed: each one's own code over stores that note what it changes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, cast

from msgspec import Struct

from orderctl.clock import Clock
from orderctl.ids import is_canonical
from orderctl.metrics import Metrics
from orderctl.services.archiving import ArchiverSettings, Mover
from orderctl.services.cache_sync import CacheSync
from orderctl.services.epochs import OlderEpochs
from orderctl.services.recording import Effects, RecordingCache, RecordingLog
from orderctl.services.recording_hot import NamedFinals, RecordingDeadlines, UnwrittenArchive
from orderctl.services.replaying import Passage
from orderctl.services.timeouts import Hints, TimeOuts
from orderctl.stores.archive import ArchiveStore
from orderctl.stores.cache import CacheStore
from orderctl.stores.deadlines import DeadlineStore
from orderctl.stores.hot import HotStore
from orderctl.stores.log import CHANGES, EXPIRED, LogStore, Message
from orderctl.stores.tiers import Tiers

SETTLING_MAX: Final = 20_000
"""Orders that are written to the archive before those that were are waited for."""
LOOK_S: Final = 0.2


class Setting(Struct, frozen=True, kw_only=True):
    """What a passage works on. One that is not `live` writes nothing anywhere."""

    tiers: Tiers
    groups: int
    clock: Clock
    metrics: Metrics
    record_ttl_ms: int
    settle_s: float
    live: bool


class Replayable(Struct, frozen=True):
    """A daemon whose log can be replayed. `is_alone`: its code must not run beside that of the daemon itself."""

    group: str
    topic: str
    passage: Callable[[Setting], Passage]
    is_alone: bool = False


class CacheSyncPassage:
    """Applies the changes to the cache."""

    is_settled = True

    def __init__(self, setting: Setting) -> None:
        self.effects = Effects()
        cache = RecordingCache(setting.tiers.cache, self.effects, live=setting.live)
        # Applying a batch asks nothing else of the two stores; a partition is never taken over.
        self._sync = CacheSync(
            cast("CacheStore", cache),
            cast("LogStore", RecordingLog(setting.tiers.log, live=setting.live)),
            groups=setting.groups,
            clock=setting.clock,
            metrics=setting.metrics,
            record_ttl_ms=setting.record_ttl_ms,
        )

    def take(self, messages: Sequence[Message]) -> None:
        self._sync.apply(messages)

    def finish(self) -> None:
        return


class TimeoutsPassage:
    """Times out the orders that the hints name, if they are open and due."""

    is_settled = True

    def __init__(self, setting: Setting) -> None:
        tiers, live = setting.tiers, setting.live
        self.effects = Effects()
        self._live = live
        self._deadlines = RecordingDeadlines(tiers.deadlines, tiers.hot, self.effects, clock=setting.clock, live=live)
        self._time_outs = TimeOuts(
            cast("DeadlineStore", self._deadlines),  # hints ask for nothing but `time_out`
            OlderEpochs(tiers.hot, tiers.archive, setting.metrics),
            tiers.cache,
            clock=setting.clock,
            metrics=setting.metrics,
            record_ttl_ms=setting.record_ttl_ms,
        )
        log = cast("LogStore", RecordingLog(tiers.log, live=live))  # and of the log nothing but `publish`
        self._hints = Hints(self._time_outs, log, clock=setting.clock, metrics=setting.metrics)

    def take(self, messages: Sequence[Message]) -> None:
        self._hints.handle(messages)
        self._deadlines.settle()
        # Best effort, as by the daemon; what does not get there the log brings.
        while self._live and self._time_outs.tell_cache():
            pass

    def finish(self) -> None:
        return


class ArchiverPassage:
    """Moves those orders to the archive that the changes name and that are final. Events only wake the daemon itself."""

    def __init__(self, setting: Setting) -> None:
        tiers, live = setting.tiers, setting.live
        self.effects = Effects()
        self._clock = setting.clock
        self._unwritten = None if live else UnwrittenArchive(tiers.archive)
        self._finals = NamedFinals(tiers.hot, self.effects, live=live)
        # The mover asks nothing else of the two stores.
        self._mover = Mover(
            cast("HotStore", self._finals),
            tiers.archive if self._unwritten is None else cast("ArchiveStore", self._unwritten),
            clock=setting.clock,
            metrics=setting.metrics,
            settings=ArchiverSettings(settle_s=setting.settle_s if live else 0.0),
        )

    @property
    def is_settled(self) -> bool:
        return not self._mover.settling

    def take(self, messages: Sequence[Message]) -> None:
        keys = {message.key.decode(errors="replace") for message in messages}
        self._finals.name(sorted(filter(is_canonical, keys)))
        while self._mover.step(None):
            pass
        if self._mover.settling > SETTLING_MAX:
            self.finish()
        if self._unwritten is not None:
            self._unwritten.forget()

    def finish(self) -> None:
        while self._mover.step(None) or self._mover.settling:
            if self._mover.settling:
                self._clock.wait(threading.Event(), LOOK_S)


REPLAYABLE: Final[Mapping[str, Replayable]] = MappingProxyType(
    {
        "cache-sync": Replayable("cache-sync", CHANGES, CacheSyncPassage),
        "archiver": Replayable("archiver", CHANGES, ArchiverPassage, is_alone=True),
        "timeouts": Replayable("timeouts", EXPIRED, TimeoutsPassage),
    }
)
