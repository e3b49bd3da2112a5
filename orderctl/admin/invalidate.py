"""`invalidate`: the cache forgets orders, and so does every process's memory; who asks next reads the databases.

An entry goes first, a lease too, so that a load that is under way is not filled in; then the processes are told, and whatever
they load from then on is what the databases say. Nothing is lost by it, and doing it again is harmless.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from msgspec import Struct, structs

from orderctl.admin.audit import AuditLog, plan_digest
from orderctl.ids import group_of
from orderctl.services.invalidation import publish_groups, publish_orders
from orderctl.stores.cache import CacheStore
from orderctl.stores.log import LogStore
from orderctl.stores.record import merchant_digest

BATCH: Final = 500
SCAN: Final = 1_000
AUDITED_MAX: Final = 500
"""So many orders are named in the audit log; of more it has the number, and the plan's digest."""

Progress = Callable[[int], None]


class Invalidation(Struct, frozen=True):
    """What is to be forgotten, and once it is `executed` what was: so many orders, and how many of each group."""

    orders: int
    by_group: dict[int, int]
    executed: bool = False


class Invalidator:
    """Carries invalidations out. `progress` is told how many orders were seen to so far."""

    def __init__(self, cache: CacheStore, log: LogStore, audit: AuditLog, *, groups: int) -> None:
        self._cache = cache
        self._log = log
        self._audit = audit
        self._groups = groups

    def orders(self, order_ids: Sequence[str], *, reason: str | None, progress: Progress) -> Invalidation:
        """Forget these orders, whose ids are canonical, whether the cache has them or not.

        Raises:
            TierError: a tier failed; doing it again goes on.

        """
        plan = plan_orders(order_ids, self._groups)
        named = list(dict.fromkeys(order_ids))
        about = {"order_ids": named} if len(named) <= AUDITED_MAX else {"orders": plan.orders}
        self._note(plan, reason, done=False, **about)
        for at in range(0, len(named), BATCH):
            batch = named[at : at + BATCH]
            self._cache.invalidate(batch)
            publish_orders(self._log, batch, self._groups)
            progress(at + len(batch))
        self._note(plan, reason, done=True, orders=plan.orders)
        return structs.replace(plan, executed=True)

    def groups(
        self, plan: Invalidation, chosen: Iterable[int], *, reason: str | None, progress: Progress
    ) -> Invalidation:
        """Forget all orders of these groups, also those that only processes' memories have; returns what the cache had.

        Entries are deleted as they are found, and the groups' marks stay: what comes meanwhile was read from the databases
        after this began.

        Raises:
            TierError: a tier failed; doing it again goes on.

        """
        groups = sorted(chosen)
        self._note(plan, reason, done=False, groups=groups)
        by_group: dict[int, int] = {}
        for group in groups:
            gone = sum(self._cache.invalidate(page) for page in scan(self._cache, group))
            publish_groups(self._log, [group])
            if gone:
                by_group[group] = gone
            progress(sum(by_group.values()))
        self._note(plan, reason, done=True, groups=groups, orders=sum(by_group.values()))
        return Invalidation(sum(by_group.values()), by_group, executed=True)

    def _note(self, plan: Invalidation, reason: str | None, *, done: bool, **about: object) -> None:
        self._audit.append("invalidate", reason=reason, done=done, plan=plan_digest(plan), **about)


def plan_orders(order_ids: Iterable[str], groups: int) -> Invalidation:
    """What forgetting these orders comes to."""
    by_group = Counter(group_of(order_id, groups) for order_id in dict.fromkeys(order_ids))
    return Invalidation(by_group.total(), dict(sorted(by_group.items())))


def plan_groups(cache: CacheStore, chosen: Iterable[int], *, progress: Progress) -> Invalidation:
    """What forgetting all orders of these groups comes to: how many of each the cache has.

    Raises:
        TierError: the cache failed.

    """
    by_group: dict[int, int] = {}
    for group in sorted(chosen):
        if orders := {order_id for page in scan(cache, group) for order_id in page}:
            by_group[group] = len(orders)
        progress(sum(by_group.values()))
    return Invalidation(sum(by_group.values()), by_group)


def orders_of_merchant(cache: CacheStore, merchant_id: str, *, groups: int, progress: Progress) -> list[str]:
    """The merchant's orders that the cache has. It knows nothing of those that it has not.

    Raises:
        TierError: the cache failed.

    """
    digest = merchant_digest(merchant_id)
    found: dict[str, None] = {}
    seen = 0
    for group in range(groups):
        for page in scan(cache, group):
            entries = zip(page, cache.get(page), strict=True)
            found |= dict.fromkeys(order_id for order_id, entry in entries if entry and entry.merchant == digest)
            progress(seen := seen + len(page))
    return list(found)


def scan(cache: CacheStore, group: int) -> Iterator[list[str]]:
    """The orders of a group that the cache has an entry of, a page at a time; one may come twice.

    Raises:
        TierError: the cache failed.

    """
    cursor: str | None = None
    while True:
        listed = cache.scan_group(group, cursor=cursor, limit=SCAN)
        if listed.order_ids:
            yield listed.order_ids
        if (cursor := listed.cursor) is None:
            return
