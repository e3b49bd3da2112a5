"""A hot store over several: each shard has a range of the groups, and an order's id says which.

A transaction is one shard's. A batch of requests that have nothing to do with each other becomes a transaction on each shard that
it touches, side by side, and one shard's failure is not the others': an all-or-nothing over shards would take the whole
deployment down with any of them. What a caller is told then is `PartlyWritten`, with each item's own outcome.
"""

from __future__ import annotations

import heapq
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, closing
from itertools import islice
from typing import Any, Final, TypeVar

from msgspec import Struct

from orderctl.errors import ConfigError, OutcomeUnknown, TierError, TierUnavailable
from orderctl.ids import group_of, partition_of
from orderctl.order import Change, Order
from orderctl.stores.hot import (
    Changed,
    ChangeOutcome,
    Created,
    CreateOutcome,
    Cursor,
    Draft,
    HotStore,
    Ref,
    Removal,
    do_nothing,
)

CALLS_MAX: Final = 8
"""So many batches at once are each at work on all shards; further ones wait for their turn."""

T = TypeVar("T")


class Shard(Struct, frozen=True):
    """One store, and the groups whose orders it has."""

    name: str
    groups: range
    store: HotStore


class PartlyWritten(OutcomeUnknown):
    """Some shards did what they were asked and others did not.

    `outcomes` holds, in the order asked, each item's outcome or the error of its shard, by which that item is to be answered. For
    whoever does not look at them it is what it says of the batch: nobody can call it written or not written.
    """

    def __init__(self, outcomes: Sequence[Any]) -> None:
        super().__init__("hot", _summary(outcomes))
        self.outcomes = tuple(outcomes)


class PartlyRead(TierUnavailable):
    """Some shards answered and others did not; `outcomes` holds, in the order asked, each item's answer or its shard's error."""

    def __init__(self, outcomes: Sequence[Any]) -> None:
        super().__init__("hot", _summary(outcomes))
        self.outcomes = tuple(outcomes)


class ShardedHotStore:
    """`HotStore` over the stores of `shards`, which together have each of the deployment's `groups` once, and which it closes.

    `create`, `change` and `remove` raise `PartlyWritten`, and `load` and `resolve` `PartlyRead`, where shards fared differently;
    where all failed alike, they raise what the shards raised. `transactions` counts a call that wrote as one, as a caller does.
    """

    def __init__(self, shards: Sequence[Shard], *, groups: int) -> None:
        """Takes over the shards' stores.

        Raises:
            ConfigError: a group belongs to no shard, or to two.

        """
        self._shards = tuple(shards)
        self._groups = groups
        self._shard_of = _routes(shards, groups)
        self._executor = ThreadPoolExecutor(max(1, (len(shards) - 1) * CALLS_MAX), "shard")
        self._guard = threading.Lock()
        self._transactions = 0
        self._purges = 0
        self._open = True

    @property
    def transactions(self) -> int:
        return self._transactions

    def create(self, drafts: Sequence[Draft], *, before_commit: Callable[[], None] = do_nothing) -> list[CreateOutcome]:
        hook = _OnceBeforeAll(before_commit)

        def ask(store: HotStore, places: Sequence[int]) -> list[CreateOutcome]:
            return store.create([drafts[place] for place in places], before_commit=hook)

        outcomes = self._ask([draft.order.order_id for draft in drafts], ask)
        if hook.error is not None:
            raise hook.error
        return self._written(outcomes, lambda outcome: isinstance(outcome, Created))

    def change(self, changes: Sequence[Change], *, now_us: int) -> list[ChangeOutcome]:
        def ask(store: HotStore, places: Sequence[int]) -> list[ChangeOutcome]:
            return store.change([changes[place] for place in places], now_us=now_us)

        outcomes = self._ask([change.order_id for change in changes], ask)
        return self._written(outcomes, lambda outcome: isinstance(outcome, Changed))

    def touch(self, removals: Sequence[Removal], *, now_us: int) -> list[bool]:
        return self._each_of(removals, lambda store, own: store.touch(own, now_us=now_us))

    def discard(self, removals: Sequence[Removal], *, now_us: int) -> list[bool]:
        return self._each_of(removals, lambda store, own: store.discard(own, now_us=now_us))

    def of_older_epochs(self, groups: frozenset[int] | None, *, after: str | None, limit: int) -> list[Order]:
        """As the Protocol says; where a shard does not answer, the whole page is not to be had."""
        pages = self._pages(groups, lambda store, own: store.of_older_epochs(own, after=after, limit=limit))
        return list(islice(heapq.merge(*pages, key=lambda order: order.order_id), max(limit, 0)))

    def open_orders(self, groups: frozenset[int] | None, *, after: str | None, limit: int) -> list[Order]:
        """As the Protocol says; where a shard does not answer, the whole page is not to be had."""
        pages = self._pages(groups, lambda store, own: store.open_orders(own, after=after, limit=limit))
        return list(islice(heapq.merge(*pages, key=lambda order: order.order_id), max(limit, 0)))

    def references(self, groups: frozenset[int] | None, *, after: Ref | None, limit: int) -> list[tuple[Ref, str]]:
        """As the Protocol says; where a shard does not answer, the whole page is not to be had."""
        pages = self._pages(groups, lambda store, own: store.references(own, after=after, limit=limit))
        return list(islice(heapq.merge(*pages), max(limit, 0)))

    def count_open(self) -> int:
        """As the Protocol says; where a shard does not answer, the number is not to be had."""
        return sum(sum(counts) for counts in self._pages(None, lambda store, _: [store.count_open()]))

    def load(self, order_ids: Sequence[str]) -> list[Order | None]:
        return _read(self._ask(order_ids, lambda store, places: store.load([order_ids[place] for place in places])))

    def resolve(self, refs: Sequence[Ref]) -> list[str | None]:
        groups = [partition_of(ref.merchant_id, ref.merchant_ref) & (self._groups - 1) for ref in refs]
        return _read(self._ask_groups(groups, lambda store, places: store.resolve([refs[place] for place in places])))

    def finals(self, groups: frozenset[int] | None, *, after: Cursor | None, limit: int) -> list[Order]:
        """As the Protocol says; where a shard does not answer, the whole page is not to be had."""
        pages = self._pages(groups, lambda store, own: store.finals(own, after=after, limit=limit))
        return list(islice(heapq.merge(*pages, key=Cursor.behind), max(limit, 0)))

    def remove(self, removals: Sequence[Removal], *, now_us: int) -> list[bool]:
        return self._each_of(removals, lambda store, own: store.remove(own, now_us=now_us))

    def purge_references(self, *, moved_before_us: int, limit: int) -> int:
        """As the Protocol says, the earliest first on each shard; another shard begins each time, so that none is left behind."""
        with self._guard:
            self._purges += 1
            first = self._purges % len(self._shards)
        purged = 0
        for shard in (*self._shards[first:], *self._shards[:first]):
            if purged < limit:
                purged += shard.store.purge_references(moved_before_us=moved_before_us, limit=limit - purged)
        self._count(wrote=purged > 0)
        return purged

    def close(self) -> None:
        self._open = False
        self._executor.shutdown()
        with ExitStack() as stack:
            for shard in self._shards:
                stack.enter_context(closing(shard.store))

    def _each_of(self, removals: Sequence[Removal], ask: Callable[[HotStore, list[Removal]], list[bool]]) -> list[bool]:
        """One outcome for each of `removals`, from its shard."""
        outcomes = self._ask(
            [removal.order_id for removal in removals],
            lambda store, places: ask(store, [removals[place] for place in places]),
        )
        return self._written(outcomes, bool)

    def _pages(
        self, groups: frozenset[int] | None, ask: Callable[[HotStore, frozenset[int] | None], list[T]]
    ) -> list[list[T]]:
        """What each shard that has any of `groups` (None: all) says of its own; where one fails, nothing is to be had."""
        by_shard: dict[int, list[int]] = defaultdict(list)
        for group in range(self._groups) if groups is None else sorted(groups):
            by_shard[self._shard_of[group]].append(group)
        found = self._scatter(by_shard, lambda store, own: ask(store, None if groups is None else frozenset(own)))
        for page in found.values():
            if isinstance(page, TierError):
                raise page
        return [page for page in found.values() if not isinstance(page, TierError)]

    def _ask(self, order_ids: Sequence[str], ask: _Ask[T]) -> list[T | TierError]:
        return self._ask_groups([group_of(order_id, self._groups) for order_id in order_ids], ask)

    def _ask_groups(self, groups: Sequence[int], ask: _Ask[T]) -> list[T | TierError]:
        """One outcome for each of `groups`, in their order: what its shard says, or the error of its shard."""
        by_shard: dict[int, list[int]] = defaultdict(list)
        for place, group in enumerate(groups):
            by_shard[self._shard_of[group]].append(place)
        outcomes: dict[int, T | TierError] = {}
        for shard, found in self._scatter(by_shard, ask).items():
            places = by_shard[shard]
            each = [found] * len(places) if isinstance(found, TierError) else found
            outcomes.update(zip(places, each, strict=True))
        return [outcomes[place] for place in range(len(groups))]

    def _scatter(self, by_shard: Mapping[int, list[int]], ask: _Ask[T]) -> dict[int, list[T] | TierError]:
        """Ask the shards side by side, one of them in this thread, until all are done. What is no tier's error goes on up."""

        def attempt(shard: int) -> list[T] | TierError:
            try:
                return ask(self._shards[shard].store, by_shard[shard])
            except TierError as error:
                return error

        if not self._open:
            raise TierUnavailable("hot", "the store is closed")
        others = list(by_shard)[1:]
        futures = {shard: self._executor.submit(attempt, shard) for shard in others}
        try:
            found = {shard: attempt(shard) for shard in list(by_shard)[:1]}
        finally:
            wait(futures.values())
        return found | {shard: future.result() for shard, future in futures.items()}

    def _written(self, outcomes: list[T | TierError], has_written: Callable[[T], bool]) -> list[T]:
        done = [outcome for outcome in outcomes if not isinstance(outcome, TierError)]
        self._count(wrote=any(map(has_written, done)))
        return _all_of(outcomes, done, PartlyWritten)

    def _count(self, *, wrote: bool) -> None:
        if wrote:
            with self._guard:
                self._transactions += 1


_Ask = Callable[[HotStore, Sequence[int]], list[T]]


class _OnceBeforeAll:
    """A hook that runs before the first COMMIT of several; the others wait for it, and none goes on if it raises."""

    def __init__(self, hook: Callable[[], None]) -> None:
        self._hook = hook
        self._lock = threading.Lock()
        self._has_run = False
        self.error: BaseException | None = None

    def __call__(self) -> None:
        with self._lock:
            if not self._has_run:
                self._has_run = True
                try:
                    self._hook()
                except BaseException as error:
                    self.error = error
                    raise
        if self.error is not None:
            raise TierUnavailable("hot", "the batch was given up before anything of it was committed")


def _routes(shards: Sequence[Shard], groups: int) -> list[int]:
    """The shard's place for each group."""
    owners: dict[int, list[int]] = {group: [] for group in range(groups)}
    for place, shard in enumerate(shards):
        for group in shard.groups:
            if group not in owners:
                raise ConfigError(f"shard {shard.name} has the group {group}, and there are {groups}")
            owners[group].append(place)
    for group, places in owners.items():
        if len(places) != 1:
            names = " and ".join(shards[place].name for place in places) or "no shard"
            raise ConfigError(f"the group {group} belongs to {names}; each must belong to one shard")
    return [place for [place] in owners.values()]


def _read(outcomes: list[T | TierError]) -> list[T]:
    return _all_of(outcomes, [outcome for outcome in outcomes if not isinstance(outcome, TierError)], PartlyRead)


def _all_of(outcomes: list[T | TierError], done: list[T], partly: type[PartlyWritten | PartlyRead]) -> list[T]:
    """`done`, if that is all of them; otherwise raises what is true of the whole."""
    if len(done) == len(outcomes):
        return done
    errors = [outcome for outcome in outcomes if isinstance(outcome, TierError)]
    if not done and len(set(map(type, errors))) == 1:
        raise errors[0]
    raise partly(outcomes)


def _summary(outcomes: Sequence[Any]) -> str:
    errors = {str(outcome): outcome for outcome in outcomes if isinstance(outcome, TierError)}
    failed = sum(isinstance(outcome, TierError) for outcome in outcomes)
    return f"{failed} of {len(outcomes)} failed, each by its own shard: {'; '.join(errors)}"
