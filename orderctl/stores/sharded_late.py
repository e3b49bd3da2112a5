"""Late results over several shards: each is beside its order, and one shard's failure is not the others'."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from orderctl.errors import TierError
from orderctl.ids import group_of
from orderctl.stores.late import LateResult, LateStore
from orderctl.stores.late_rows import place
from orderctl.stores.sharded import PartlyRead, PartlyWritten

T = TypeVar("T")

_Ask = Callable[[LateStore, Sequence[int]], Sequence[T]]


class ShardedLateStore:
    """`LateStore` over those of `shards`, each with the groups that it has; together they have each of `groups` once.

    `keep` and `remove` raise `PartlyWritten`, with None for what was done, and `load` raises `PartlyRead`, where shards fared
    differently; where all failed alike, they raise what the shards raised. Late results are rare, so threads are made when a
    call needs them.
    """

    def __init__(self, shards: Sequence[tuple[range, LateStore]], *, groups: int) -> None:
        self._stores = [store for _, store in shards]
        self._shard_of = {group: number for number, (own, _) in enumerate(shards) for group in own}
        self._groups = groups

    def keep(self, results: Sequence[LateResult]) -> None:
        self._write(results, lambda store, own: store.keep(own))

    def remove(self, results: Sequence[LateResult]) -> None:
        self._write(results, lambda store, own: store.remove(own))

    def load(self, order_ids: Sequence[str]) -> list[list[LateResult]]:
        outcomes = self._ask(order_ids, lambda store, places: store.load([order_ids[at] for at in places]))
        return _whole(outcomes, PartlyRead)

    def oldest(self, groups: frozenset[int] | None, *, after: LateResult | None, limit: int) -> list[LateResult]:
        """As the Protocol says; where a shard does not answer, the whole page is not to be had."""
        by_shard: defaultdict[int, list[int]] = defaultdict(list)
        for group in range(self._groups) if groups is None else sorted(groups):
            by_shard[self._shard_of[group]].append(group)

        def ask(store: LateStore, own: Sequence[int]) -> Sequence[LateResult]:
            return store.oldest(None if groups is None else frozenset(own), after=after, limit=limit)

        pages = self._scatter(by_shard, ask).values()
        for page in pages:
            if isinstance(page, TierError):
                raise page
        return list(islice(heapq.merge(*_whole(list(pages), PartlyRead), key=place), max(limit, 0)))

    def _write(self, results: Sequence[LateResult], write: Callable[[LateStore, list[LateResult]], None]) -> None:
        def ask(store: LateStore, places: Sequence[int]) -> Sequence[None]:
            write(store, [results[at] for at in places])
            return [None] * len(places)

        _whole(self._ask([result.order_id for result in results], ask), PartlyWritten)

    def _ask(self, order_ids: Sequence[str], ask: _Ask[T]) -> list[T | TierError]:
        """One outcome for each of `order_ids`, in their order: what its shard says, or the error of its shard."""
        by_shard: defaultdict[int, list[int]] = defaultdict(list)
        for at, order_id in enumerate(order_ids):
            by_shard[self._shard_of[group_of(order_id, self._groups)]].append(at)
        outcomes: dict[int, T | TierError] = {}
        for shard, found in self._scatter(by_shard, ask).items():
            places = by_shard[shard]
            outcomes.update(zip(places, [found] * len(places) if isinstance(found, TierError) else found, strict=True))
        return [outcomes[at] for at in range(len(order_ids))]

    def _scatter(self, by_shard: Mapping[int, Sequence[int]], ask: _Ask[T]) -> dict[int, Sequence[T] | TierError]:
        """Ask the shards side by side, until all are done. What is no tier's error goes on up."""

        def attempt(shard: int) -> Sequence[T] | TierError:
            try:
                return ask(self._stores[shard], by_shard[shard])
            except TierError as error:
                return error

        if len(by_shard) < 2:
            return {shard: attempt(shard) for shard in by_shard}
        with ThreadPoolExecutor(len(by_shard), "late") as threads:
            return dict(zip(by_shard, threads.map(attempt, by_shard), strict=True))


def _whole(outcomes: Sequence[T | TierError], partly: type[PartlyRead | PartlyWritten]) -> list[T]:
    """All outcomes, where none is an error; otherwise raises what is true of the whole."""
    errors = [outcome for outcome in outcomes if isinstance(outcome, TierError)]
    if not errors:
        return [outcome for outcome in outcomes if not isinstance(outcome, TierError)]
    if len(errors) == len(outcomes) and len(set(map(type, errors))) == 1:
        raise errors[0]
    raise partly(outcomes)
