"""`replay`: a range of the log once more through a daemon's own code, after a dry run of the same code says what would change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from msgspec import Struct, structs
from prometheus_client import CollectorRegistry

from orderctl.admin.audit import AuditLog, plan_digest
from orderctl.admin.places import parse_place
from orderctl.body import rfc3339
from orderctl.clock import US_PER_S, Clock
from orderctl.config import Config
from orderctl.duration import Duration
from orderctl.errors import UsageRefused
from orderctl.metrics import Metrics
from orderctl.services.passages import REPLAYABLE, Replayable, Setting
from orderctl.services.recording import Effect
from orderctl.services.replaying import AtOffset, AtTime, Point, Replay, Span, spans
from orderctl.stores.log import GroupActive
from orderctl.stores.tiers import Tiers

Progress = Callable[[int], None]
_HOW: Final = "a time such as 2026-11-22T18:30:00Z, how long ago, such as 15m, or PARTITION:OFFSET"


class ReplayView(Struct, frozen=True, rename={"from_": "from"}):
    """What a replay would change, and once it was executed what it did.

    `events` were read, of so many `orders`; `would_change` and `applied` count orders. `left` events of the range the daemon's
    group has not read yet: they are left to it. `sought` says that the group's offsets were moved instead.
    """

    daemon: str
    from_: str
    to: str
    events: int
    orders: int
    would_change: int
    applied: int
    left: int
    examples: list[Effect]
    sought: bool = False


class Replayer:
    """Replays one daemon's log between two points; None as the end is what is there now."""

    def __init__(
        self, tiers: Tiers, config: Config, clock: Clock, *, daemon: str, begin: Point, end: Point | None
    ) -> None:
        if daemon not in REPLAYABLE:
            raise UsageRefused(f"{daemon!r} cannot be replayed", hint=f"these can: {', '.join(REPLAYABLE)}")
        self._tiers = tiers
        self._config = config
        self._clock = clock
        self._daemon = daemon
        self._begin = begin
        self._kind: Replayable = REPLAYABLE[daemon]
        self._spans: Sequence[Span] = spans(tiers.log, self._kind.topic, self._kind.group, begin, end)
        self._left = self._count_left(end)
        self._to = self._text_of_end(end)
        self.stopped_at: str | None = None
        """Where a replay of the rest begins, if one was stopped."""

    @property
    def events(self) -> int:
        """About how many events there are in the range."""
        return sum(span.events for span in self._spans)

    def plan(self, *, progress: Progress) -> ReplayView:
        """Say what would change, and change nothing.

        Raises:
            UsageRefused: it cannot be said; see the message.
            TierError: a tier failed.

        """
        return self._run(live=False, progress=progress)

    def execute(self, plan: ReplayView, audit: AuditLog, *, reason: str | None, progress: Progress) -> ReplayView:
        """Do it. Stopped by whatever it is, `stopped_at` says where to go on.

        Raises:
            GroupActive: the daemon runs, and its code must not run twice at once.
            UsageRefused: it cannot go on; see the message.
            TierError: a tier failed.

        """
        if self._kind.is_alone and self._tiers.log.is_active(self._kind.group):
            raise GroupActive(self._kind.group)
        about = self._note_begin("replay", plan, audit, reason)
        try:
            done = self._run(live=True, progress=progress)
        except BaseException:
            audit.append("replay", reason=reason, done=False, stopped_at=self.stopped_at, **about)
            raise
        audit.append("replay", reason=reason, done=True, applied=done.would_change, **about)
        return structs.replace(plan, events=done.events, orders=done.orders, applied=done.would_change)

    def seek(self, plan: ReplayView, audit: AuditLog, *, reason: str | None) -> ReplayView:
        """Let the daemon's group go on from the beginning of the range; never forwards, which would pass by what nobody applied.

        Raises:
            GroupActive: the daemon runs.
            UsageRefused: there is nothing before where the group is.
            TierError: the log failed; it may have been done.

        """
        offsets = {span.place: span.begin for span in self._spans if span.begin < span.group_at}
        if not offsets:
            raise UsageRefused(f"{self._daemon} has read nothing from {plan.from_} on: it would go forwards")
        if self._tiers.log.is_active(self._kind.group):
            raise GroupActive(self._kind.group)
        about = self._note_begin("replay --seek", plan, audit, reason)
        self._tiers.log.seek(self._kind.group, offsets)
        moved = {str(place.partition): offset for place, offset in offsets.items()}
        audit.append("replay --seek", reason=reason, done=True, offsets=moved, **about)
        return structs.replace(plan, sought=True)

    def _note_begin(self, action: str, plan: ReplayView, audit: AuditLog, reason: str | None) -> dict[str, Any]:
        about = {"daemon": self._daemon, "plan": plan_digest(plan)}
        range_ = {"from": plan.from_, "to": plan.to, "events": plan.events, "would_change": plan.would_change}
        audit.append(action, reason=reason, done=False, **about, **range_)
        return about

    def _run(self, *, live: bool, progress: Progress) -> ReplayView:
        passage = self._kind.passage(self._setting(live=live))
        replay = Replay(self._tiers.log, passage, self._spans, self._begin)
        try:
            replay.run(progress)
        finally:
            self.stopped_at = None if replay.stopped_at is None else text_of(replay.stopped_at)
        return ReplayView(
            self._daemon,
            text_of(self._begin),
            self._to,
            replay.events,
            replay.orders,
            would_change=len(passage.effects),
            applied=0,
            left=self._left,
            examples=passage.effects.examples,
        )

    def _setting(self, *, live: bool) -> Setting:
        config = self._config
        return Setting(
            tiers=self._tiers,
            groups=config.deployment.groups,
            clock=self._clock,
            metrics=Metrics(CollectorRegistry()),
            record_ttl_ms=config.cache.record_ttl.ms,
            settle_s=config.archiver.settle_s,
            live=live,
        )

    def _count_left(self, end: Point | None) -> int:
        """Events of the range that the group has not read."""
        if end is not None:
            return 0
        ends = self._tiers.log.ends(self._kind.topic)
        return sum(max(0, ends[span.place.partition][1] - max(span.begin, span.end)) for span in self._spans)

    def _text_of_end(self, end: Point | None) -> str:
        if end is not None:
            return text_of(end)
        if isinstance(self._begin, AtOffset):
            return text_of(AtOffset(self._begin.partition, self._spans[0].end))
        return text_of(AtTime(self._clock.now_us() // 1000))


def parse_point(text: str, *, now_us: int) -> Point:
    """Where in the log an operator means.

    Raises:
        UsageRefused: that cannot be told.

    """
    if (place := parse_place(text)) is not None:
        return AtOffset(*place)
    try:
        return AtTime((now_us - int(Duration.parse(text) * US_PER_S)) // 1000)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return AtTime(max(0, int(moment.timestamp() * 1000)))
    except (ValueError, OverflowError) as error:
        raise UsageRefused(f"{text!r} is no place in the log", hint=f"write {_HOW}") from error


def text_of(point: Point) -> str:
    """The same as it is written."""
    return f"{point.partition}:{point.offset}" if isinstance(point, AtOffset) else rfc3339(point.ts_ms * 1000)
