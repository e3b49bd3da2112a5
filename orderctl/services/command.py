"""Creating and changing orders: the database decides, and the cache hears of it at the same time."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor, Future
from concurrent.futures import TimeoutError as NotYet
from typing import Any

from msgspec import Struct
from prometheus_client import Counter

from orderctl.clock import US_PER_S, Clock
from orderctl.errors import OutcomeUnknown, TierError
from orderctl.ids import PARTITIONS, RandomBytes, group_of, new_order_id, partition_of
from orderctl.metrics import Metrics
from orderctl.order import Change, NewOrder, Order, Refused, Status, Unchanged, body_digest, canonical_metadata
from orderctl.services.answers import ChangeAnswer, CreateAnswer, Failed, Stored
from orderctl.services.archived import Archived
from orderctl.services.caching import BestEffort, record_ttl_ms
from orderctl.services.epochs import OlderEpochs
from orderctl.services.late import LateKeeper
from orderctl.stores.archive import ArchiveStore
from orderctl.stores.cache import Applied, CacheStore, Promotion, Put, Tentative
from orderctl.stores.hot import (
    ChangeOutcome,
    Created,
    CreateOutcome,
    Draft,
    HotStore,
    OldEpoch,
    ReferenceReused,
    Replayed,
)
from orderctl.stores.late import LateStore
from orderctl.stores.record import TOKEN_BYTES, Record, record_of
from orderctl.stores.sharded import PartlyWritten
from orderctl.version import NEVER, epoch_of, next_version


class CommandSettings(Struct, frozen=True):
    """What the operator may tune. `tentative_wait_s` is how long COMMIT may wait for the cache's answer."""

    tentative_ttl_ms: int = 5_000
    tentative_wait_s: float = 0.01
    record_ttl_ms: int = 3_600_000


class CreateRequest(Struct, frozen=True):
    """A valid creation by a merchant."""

    merchant_id: str
    new: NewOrder


class CommandService:
    """Batches in, batches out, one transaction each on every shard that they touch.

    Raises, for the whole batch, what the hot store raises: `TierUnavailable` where nothing was written, `OutcomeUnknown`
    where nobody knows, `TierRejected` where an item of it cannot be stored. Where shards fared differently it raises nothing:
    the items of those that failed are `Failed`. The cache's failures are counted, never raised.
    """

    def __init__(
        self,
        hot: HotStore,
        cache: CacheStore,
        archive: ArchiveStore,
        late: LateStore,
        *,
        clock: Clock,
        random: RandomBytes,
        executor: Executor,
        metrics: Metrics,
        settings: CommandSettings,
    ) -> None:
        self._hot = hot
        self._cache = cache
        self._clock = clock
        self._random = random
        self._executor = executor
        self._metrics = metrics
        self._settings = settings
        self._best_effort = BestEffort(clock, metrics)
        self._archived = Archived(archive, metrics)
        self._older_epochs = OlderEpochs(hot, archive, metrics, tell=self._tell)
        self._late = LateKeeper(late, metrics)
        self.epoch = 0
        """The first shard's epoch as last heard: only a guess, by which the tentative record names its version before the
        database has given it. A wrong guess costs one *apply*."""
        self._epochs: dict[int, int] = {}
        """Better guesses, by partition, where it was wrong: shards are promoted one by one."""

    def create(self, requests: Sequence[CreateRequest]) -> list[CreateAnswer]:
        """Store each order, or find the one that its reference already stands for.

        The tentative records are written while the transaction runs. One is promoted only if the cache answered before
        COMMIT was sent: a write that is answered later may also land later, behind newer ones.
        """
        drafts = [self._draft(request) for request in requests]
        guesses = [record_of(draft.order) for draft in drafts]
        tokens = [self._random(TOKEN_BYTES) for _ in drafts]
        # From here on, not from when a thread is free: a write that comes late is to find itself expired.
        expires_at_us = self._clock.now_us() + self._settings.tentative_ttl_ms * 1000
        tentatives = [Tentative(guess, token, expires_at_us) for guess, token in zip(guesses, tokens, strict=True)]
        writing = self._executor.submit(self._best_effort.each, lambda: self._cache.tentative(tentatives), tentatives)
        stands: list[bool | TierError] = []

        def before_commit() -> None:
            stands[:] = _result_within(writing, self._settings.tentative_wait_s)

        try:
            outcomes: Sequence[CreateOutcome | Failed] = self._hot.create(drafts, before_commit=before_commit)
        except PartlyWritten as partly:
            outcomes = self._each_by_itself(partly)
        except TierError as error:
            self._count_failure(self._metrics.creates, len(drafts), error)
            raise
        self._settle_tentatives(outcomes, guesses, tokens, stands or [None] * len(drafts))
        settled = self._archived.settle_creates(outcomes)
        return [self._create_answer(outcome, guess) for outcome, guess in zip(settled, guesses, strict=True)]

    def change(self, changes: Sequence[Change]) -> list[ChangeAnswer]:
        """Move each order on, and apply how it stands now to the cache, so that readers need not wait for the log.

        That goes for an order that did not move as well: the process that moved it may have died before it told the cache.
        An outcome that came too late is kept before it is refused, see `late.is_late`.
        """
        now_us = self._clock.now_us()
        try:
            outcomes: Sequence[ChangeOutcome | Failed] = self._hot.change(changes, now_us=now_us)
        except PartlyWritten as partly:
            outcomes = self._each_by_itself(partly)
            self._forget_unknown(changes, partly.outcomes)
        except TierError as error:
            self._count_failure(self._metrics.changes, len(changes), error)
            self._forget_unknown(changes, [error] * len(changes))
            raise
        outcomes = self._of_this_epoch(changes, outcomes, now_us)
        settled = self._archived.settle_changes(changes, outcomes)
        orders = {
            index: o.order for index, o in enumerate(settled) if not isinstance(o, Failed) and o.order is not None
        }
        records = {index: record_of(order) for index, order in orders.items()}
        self._apply([(order, records[index]) for index, order in orders.items()], now_us)
        kept = self._late.settle(changes, settled, now_us=now_us)
        return [self._change_answer(outcome, records.get(index)) for index, outcome in enumerate(kept)]

    def _of_this_epoch(
        self, changes: Sequence[Change], outcomes: Sequence[ChangeOutcome | Failed], now_us: int
    ) -> Sequence[ChangeOutcome | Failed]:
        """Each `OldEpoch` settled and decided, see `OlderEpochs`."""
        if not any(isinstance(outcome, OldEpoch) for outcome in outcomes):
            return outcomes
        settled = self._older_epochs.settle_changes(changes, outcomes, now_us=now_us)
        self._forget_unknown(changes, [o.error if isinstance(o, Failed) else o for o in settled])
        return settled

    def _tell(self, orders: Sequence[Order]) -> None:
        """Let the cache have orders as the archive has them."""
        self._apply([(order, record_of(order)) for order in orders], self._clock.now_us())

    def _apply(self, orders: Sequence[tuple[Order, Record]], now_us: int) -> None:
        ttl_ms = self._settings.record_ttl_ms
        puts = [Put(record, record_ttl_ms(order, now_us, ttl_ms)) for order, record in orders]
        if puts:
            applied = self._best_effort.each(lambda: self._cache.apply(puts), puts)
            self._metrics.equal_version_conflicts.inc(applied.count(Applied.CONFLICT))

    def _draft(self, request: CreateRequest) -> Draft:
        new, now_us = request.new, self._clock.now_us()
        partition = partition_of(request.merchant_id, new.merchant_ref)
        order = Order(
            order_id=new_order_id(now_us // 1000, partition, self._random),
            merchant_id=request.merchant_id,
            merchant_ref=new.merchant_ref,
            amount=new.amount,
            currency=new.currency,
            payment_method=new.payment_method,
            metadata=canonical_metadata(new.metadata),
            status=Status.PENDING,
            status_reason=None,
            version=next_version(NEVER, self._epochs.get(partition, self.epoch)),
            created_at=now_us,
            updated_at=now_us,
            deadline_at=now_us + new.timeout_s * US_PER_S,
        )
        return Draft(order, body_digest(new))

    def _settle_tentatives(
        self,
        outcomes: Sequence[CreateOutcome | Failed],
        guesses: Sequence[Record],
        tokens: Sequence[bytes],
        stands: Sequence[bool | TierError | None],
    ) -> None:
        """Promote the tentatives that say what was committed; take away those that say something else.

        One that was refused met a reader's lease: to apply the order raises its floor, so that the reader, who saw no row yet,
        cannot say that there is none. Where the cache has not answered, nobody waits for it.
        """
        now_us = self._clock.now_us()
        promotions: list[Promotion] = []
        wrong: list[str] = []
        unseen: list[tuple[Order, Record]] = []
        for outcome, guess, token, stood in zip(outcomes, guesses, tokens, stands, strict=True):
            if not isinstance(outcome, Created) or outcome.order.version != guess.version:
                wrong.append(guess.order_id)
                if isinstance(outcome, Created):
                    self._epochs[group_of(guess.order_id, PARTITIONS)] = epoch_of(outcome.order.version)
            elif stood is True:
                ttl_ms = record_ttl_ms(outcome.order, now_us, self._settings.record_ttl_ms)
                promotions.append(Promotion(guess.order_id, token, ttl_ms))
            elif stood is False:
                unseen.append((outcome.order, guess))
        self._apply(unseen, now_us)
        if promotions:
            self._best_effort.run(lambda: self._cache.promote(promotions))
        if wrong:
            self._best_effort.run(lambda: self._cache.invalidate(wrong))

    def _create_answer(self, outcome: Created | Replayed | ReferenceReused | Failed, guess: Record) -> CreateAnswer:
        if isinstance(outcome, ReferenceReused | Failed):
            kind = "reference_reused" if isinstance(outcome, ReferenceReused) else _kind_of(outcome.error)
            self._metrics.creates.labels(kind).inc()
            return outcome
        self._metrics.creates.labels("replayed" if isinstance(outcome, Replayed) else "created").inc()
        is_as_guessed = isinstance(outcome, Created) and outcome.order.version == guess.version
        return Stored(guess if is_as_guessed else record_of(outcome.order), isinstance(outcome, Replayed))

    def _change_answer(self, outcome: ChangeOutcome | Failed, record: Record | None) -> ChangeAnswer:
        if isinstance(outcome, Refused | Failed):
            kind = outcome.why.value if isinstance(outcome, Refused) else _kind_of(outcome.error)
            self._metrics.changes.labels(kind).inc()
            return outcome
        assert record is not None
        self._metrics.changes.labels("unchanged" if isinstance(outcome, Unchanged) else "changed").inc()
        return record

    def _each_by_itself(self, partly: PartlyWritten) -> list[Any]:
        """Each item's outcome; those of the shards that failed are `Failed`."""
        for error in {id(outcome): outcome for outcome in partly.outcomes if isinstance(outcome, TierError)}.values():
            self._metrics.tier_errors.labels(error.tier, type(error).__name__).inc()
        return [Failed(outcome) if isinstance(outcome, TierError) else outcome for outcome in partly.outcomes]

    def _forget_unknown(self, changes: Sequence[Change], outcomes: Sequence[object]) -> None:
        """Take out of the cache what may have changed."""
        pairs = zip(changes, outcomes, strict=True)
        unknown = [change.order_id for change, outcome in pairs if isinstance(outcome, OutcomeUnknown)]
        if unknown:
            self._best_effort.run(lambda: self._cache.invalidate(unknown))

    def _count_failure(self, counter: Counter, orders: int, error: TierError) -> None:
        counter.labels(_kind_of(error)).inc(orders)
        self._metrics.tier_errors.labels(error.tier, type(error).__name__).inc()


def _kind_of(error: TierError) -> str:
    return "unknown" if isinstance(error, OutcomeUnknown) else "failed"


def _result_within(future: Future[list[bool | TierError]], seconds: float) -> list[bool | TierError]:
    """Whether each stands, as far as the cache has said by now."""
    try:
        return future.result(seconds)
    except NotYet:
        return []
