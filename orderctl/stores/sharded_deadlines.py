"""Timing orders out on several shards, none of which keeps the others back: each has a thread, and is waited for only so long."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, closing
from itertools import count
from typing import Any, Final, TypeVar

from msgspec import Struct

from orderctl.errors import OutcomeUnknown, TierError, TierUnavailable
from orderctl.ids import group_of
from orderctl.stores.deadlines import DeadlineStore, TimedOut, TimeOutOutcome
from orderctl.stores.hot import OldEpoch
from orderctl.stores.sharded import PartlyRead, PartlyWritten

PATIENCE_S: Final = 2.0
"""How long a call waits for a shard: a server that hangs answers nobody for longer than orders may be overdue."""

T = TypeVar("T")
_Ask = Callable[[DeadlineStore], T]


class DeadlineShard(Struct, frozen=True):
    """One store, and the groups whose orders it has."""

    name: str
    groups: range
    store: DeadlineStore


class ShardedDeadlineStore:
    """`DeadlineStore` over those of `shards`, which together have each of the deployment's `groups` once, and which it closes.

    Where shards fare differently it raises `PartlyWritten` or `PartlyRead`. Its `outcomes` are, for `time_out`, in the order
    asked; otherwise what the shards that answered have to say, and the errors of the others. A shard that was not waited for
    may time orders out all the same, and is left alone until it has answered; nobody hears what it says then.

    `limit` is shared out among the shards.
    """

    def __init__(self, shards: Sequence[DeadlineShard], *, groups: int, patience_s: float = PATIENCE_S) -> None:
        """Takes over the shards' stores."""
        self._lanes = [_Lane(shard) for shard in shards]
        self._groups = groups
        self._patience_s = patience_s
        self._turns = count()
        self._lane_of = {group: number for number, shard in enumerate(shards) for group in shard.groups}

    def time_out(self, order_ids: Sequence[str]) -> list[TimeOutOutcome]:
        places: dict[int, list[int]] = defaultdict(list)
        for place, order_id in enumerate(order_ids):
            places[self._lane_of[group_of(order_id, self._groups)]].append(place)
        found = self._ask({lane: _time_out([order_ids[place] for place in own]) for lane, own in places.items()})
        outcomes: dict[int, TimeOutOutcome | TierError] = {}
        for lane, own in places.items():
            answer = found[lane]
            each = [answer] * len(own) if isinstance(answer, TierError) else answer
            outcomes.update(zip(own, each, strict=True))
        return _merged(_each([outcomes[place] for place in range(len(order_ids))]), PartlyWritten)

    def time_out_overdue(
        self, groups: frozenset[int] | None, *, limit: int, late_by_us: int = 0
    ) -> list[TimedOut | OldEpoch]:
        own: dict[int, set[int]] = defaultdict(set)
        for group in range(self._groups) if groups is None else groups:
            own[self._lane_of[group]].add(group)
        asked = {
            lane: _sweep(None if groups is None else frozenset(own[lane]), limit=share, late_by_us=late_by_us)
            for lane, share in self._shares(sorted(own), limit).items()
        }
        return _merged(self._ask(asked).values(), PartlyWritten)

    def oldest_overdue_us(self) -> int:
        asked = dict.fromkeys(range(len(self._lanes)), _oldest)
        return max(_merged(self._ask(asked).values(), PartlyRead), default=0)

    def close(self) -> None:
        with ExitStack() as stack:
            for lane in self._lanes:
                stack.enter_context(closing(lane))

    def _shares(self, lanes: Sequence[int], limit: int) -> dict[int, int]:
        """`limit`, shared out evenly; another shard is the first each time, so that a small limit comes to all of them."""
        first = next(self._turns) % max(1, len(lanes))
        even, more = divmod(max(limit, 0), max(1, len(lanes)))
        shares = {lane: even + (place < more) for place, lane in enumerate((*lanes[first:], *lanes[:first]))}
        return {lane: share for lane, share in shares.items() if share}

    def _ask(self, asked: Mapping[int, _Ask[list[T]]]) -> dict[int, list[T] | TierError]:
        """Each shard's answer, or why there is none."""
        futures = {lane: self._lanes[lane].submit(ask) for lane, ask in asked.items()}
        wait([future for future in futures.values() if isinstance(future, Future)], self._patience_s)
        return {
            lane: future if isinstance(future, TierError) else self._lanes[lane].answer_of(future)
            for lane, future in futures.items()
        }


class _Lane:
    """One shard's thread. Its calls take turns; behind one that hangs nobody queues."""

    def __init__(self, shard: DeadlineShard) -> None:
        self._shard = shard
        self._executor = ThreadPoolExecutor(1, f"deadlines-{shard.name}")
        self._straggler: Future[Any] | None = None

    def submit(self, ask: _Ask[list[T]]) -> Future[list[T]] | TierError:
        straggler = self._straggler
        if straggler is not None and not straggler.done():
            return TierUnavailable("hot", f"shard {self._shard.name} has not answered an earlier call yet")
        try:
            return self._executor.submit(ask, self._shard.store)
        except RuntimeError:
            return TierUnavailable("hot", "the store is closed")

    def answer_of(self, future: Future[list[T]]) -> list[T] | TierError:
        if not future.done():
            if future.cancel():
                return TierUnavailable("hot", f"shard {self._shard.name} was busy with other calls")
            self._straggler = future
            return OutcomeUnknown("hot", f"shard {self._shard.name} has not answered yet")
        error = future.exception()
        if error is None:
            return future.result()
        if isinstance(error, TierError):
            return error
        raise error

    def close(self) -> None:
        self._executor.shutdown(cancel_futures=True)
        self._shard.store.close()


def _time_out(order_ids: Sequence[str]) -> _Ask[list[TimeOutOutcome]]:
    return lambda store: store.time_out(order_ids)


def _sweep(groups: frozenset[int] | None, *, limit: int, late_by_us: int) -> _Ask[list[TimedOut | OldEpoch]]:
    return lambda store: store.time_out_overdue(groups, limit=limit, late_by_us=late_by_us)


def _oldest(store: DeadlineStore) -> list[int]:
    return [store.oldest_overdue_us()]


def _each(outcomes: Iterable[T | TierError]) -> list[list[T] | TierError]:
    return [outcome if isinstance(outcome, TierError) else [outcome] for outcome in outcomes]


def _merged(answers: Iterable[list[T] | TierError], partly: type[PartlyWritten | PartlyRead]) -> list[T]:
    """All that was answered, if nobody failed; otherwise raises what is true of the whole.

    A shard that has nothing to say has answered, too: what failed is not all of them.
    """
    answers = list(answers)
    errors = [answer for answer in answers if isinstance(answer, TierError)]
    if errors and len(errors) == len(answers) and len(set(map(type, errors))) == 1:
        raise errors[0]
    outcomes = [one for answer in answers for one in ([answer] if isinstance(answer, TierError) else answer)]
    if errors:
        raise partly(outcomes)
    return [outcome for outcome in outcomes if not isinstance(outcome, TierError)]
