"""The cache on a Redis Cluster: one script call for each group, on the group's own node.

Scripts are `lua/*.lua`, one for each method that reads before it writes; they need Redis 7.0 or later. Entries expire, marks do
not, so `maxmemory-policy` is to be `volatile-lfu` or `volatile-lru`.

When a node is out of memory and can evict nothing, hits go on being hits, and what is wrong is still replaced or deleted; a new
entry that finds no room counts as one that was evicted at once (`tentative`, `promote` and `fill` say False, and a lease is
granted that nobody will find again). So nothing is refused for want of room, and nobody goes to a database for what is there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from orderctl.clock import Clock
from orderctl.errors import TierError, TierRejected
from orderctl.ids import group_of, is_canonical
from orderctl.stores.cache import (
    ABSENT_TTL_MAX_MS,
    LEASE_TTL_MS,
    TENTATIVE_TTL_MAX_MS,
    Advance,
    Applied,
    Busy,
    Fill,
    Granted,
    Listed,
    LookupOutcome,
    NodesAway,
    Promotion,
    Put,
    Tentative,
)
from orderctl.stores.cache_checks import check_fills, check_groups, check_lookup, check_sync, check_tentatives
from orderctl.stores.record import NO_TIMER, Entry, Kind, decode, encode_marker, encode_record
from orderctl.stores.redis_calls import Call, Caller
from orderctl.stores.redis_map import GroupMap
from orderctl.stores.redis_nodes import Access, parse_addresses
from orderctl.stores.redis_scripts import Script, script
from orderctl.stores.redis_words import Spelt, Word, spell_put

APPLIED: Final = (
    Applied.NOTHING,
    Applied.DELETED,
    Applied.FLOOR_RAISED,
    Applied.REPLACED,
    Applied.KEPT_NEWER,
    Applied.CONFLICT,
)
"""What the numbers mean that `lua/apply_one.lua` returns."""
CALL_KEYS_MAX: Final = 1_000
"""A node does nothing else while it runs a script: a longer batch of a group is sent as several calls."""
RESET_COUNT: Final = 500
"""So many of a slot's keys a step of `reset_group` looks at, at first."""

_GRANTED, _BUSY = 1, 0

T = TypeVar("T")


def open_redis_cache(nodes: Sequence[str], *, groups: int, access: Access, clock: Clock) -> RedisCacheStore:
    """The cache on the cluster that `nodes` (`host:port`, some of its members) belong to. Nothing is asked of it yet.

    Raises:
        ConfigError: there is no node, or one is not `host:port`.

    """
    seeds = parse_addresses(nodes)
    return RedisCacheStore(Caller(GroupMap(seeds, groups=groups, access=access, clock=clock), clock), groups=groups)


def entry_key(order_id: str, groups: int) -> str:
    """Where the order's entry is."""
    return f"{_entries(group_of(order_id, groups))}{order_id}"


def timer_key(order_id: str, groups: int) -> str:
    """Where the order's timer is, by the rule of `lua/timer.lua`."""
    return f"t{entry_key(order_id, groups)[1:]}"


def group_keys(group: int) -> tuple[str, str]:
    """What the names of the group's timers begin with, and those of the lists of them."""
    return f"t:{{{group}}}:", f"d:{{{group}}}:"


def mark_key(group: int) -> str:
    """Where the group's mark is."""
    return f"m:{{{group}}}"


class RedisCacheStore:
    """`CacheStore` on a Redis Cluster. For several threads.

    A call whose connection breaks is made again, once, since none does harm when it is done twice, whether or not its first
    answer got lost: apply, sync, invalidate, marks and reset_group end where they would have ended; a promotion or a fill that
    meets its own work finds no token and says False, which keeps nobody from anything; so does a tentative, which then expires;
    a look-up finds its own lease and says Busy, for as long as that lives. That is why nothing here is ever `OutcomeUnknown`.
    """

    def __init__(self, caller: Caller, *, groups: int) -> None:
        self._caller = caller
        self._groups = groups
        self._tentative = script("tentative")
        self._promote = script("promote")
        self._apply = script("apply")
        self._lookup = script("lookup")
        self._fill = script("fill")
        self._sync = script("sync")
        self._reset = script("reset")
        self._scan = script("scan")

    def get(self, order_ids: Sequence[str]) -> list[Entry | None]:
        return _told(self._each("MGET", order_ids), _decode_or_none)

    def ttl_ms(self, order_ids: Sequence[str]) -> list[int | None]:
        return self._left_ms(order_ids, entry_key)

    def timer_ttl_ms(self, order_ids: Sequence[str]) -> list[int | None]:
        return self._left_ms(order_ids, timer_key)

    def tentative(self, tentatives: Sequence[Tentative]) -> list[bool]:
        check_tentatives(tentatives)

        def arguments(at: int) -> tuple[Word, ...]:
            tentative = tentatives[at]
            record = tentative.record
            return encode_record(record, token=tentative.token), tentative.expires_at_us // 1000, record.timer_at_ms

        ids = [tentative.record.order_id for tentative in tentatives]
        return _told(self._each(self._tentative, ids, arguments, head=(TENTATIVE_TTL_MAX_MS,)), bool)

    def promote(self, promotions: Sequence[Promotion]) -> list[bool]:
        def arguments(at: int) -> tuple[Word, ...]:
            return promotions[at].token, max(1, promotions[at].ttl_ms)

        ids = [promotion.order_id for promotion in promotions]
        return _told(self._each(self._promote, ids, arguments), bool)

    def apply(self, puts: Sequence[Put]) -> list[Applied]:
        ids = [put.record.order_id for put in puts]
        return _told(self._each(self._apply, ids, lambda at: (_spelt_put(puts[at]),)), APPLIED.__getitem__)

    def lookup(self, order_ids: Sequence[str], *, tokens: Sequence[bytes]) -> list[LookupOutcome]:
        check_lookup(order_ids, tokens)

        def arguments(at: int) -> tuple[Word, ...]:
            return (encode_marker(Kind.LEASE, token=tokens[at]),)

        found = self._each(self._lookup, order_ids, arguments, head=(LEASE_TTL_MS,))
        return _all_answers([_outcome(reply, token) for reply, token in zip(found, tokens, strict=True)])

    def fill(self, fills: Sequence[Fill]) -> list[bool]:
        check_fills(fills)
        ids = [fill.order_id for fill in fills]
        return _told(self._each(self._fill, ids, lambda at: _fill_arguments(fills[at])), bool)

    def invalidate(self, order_ids: Sequence[str]) -> int:
        # UNLINK alone is atomic, and a node that is out of memory takes it.
        calls, _ = self._calls("UNLINK", order_ids)
        return sum(map(_total, self._caller.run(calls)))

    def sync(self, advances: Sequence[Advance]) -> list[list[Applied] | None]:
        check_sync(advances, groups=self._groups)
        replies = self._caller.run_each([self._sync_call(advance) for advance in advances])
        return _told(replies, lambda done: None if done is None else [APPLIED[one] for one in done])

    def marks(self, groups: Sequence[int]) -> list[int | None]:
        check_groups(groups, groups=self._groups)
        replies = self._caller.run_each([Call(group, "MGET", [mark_key(group)]) for group in groups])
        return _told(replies, lambda reply: _mark_in(reply[0]))

    def reset_group(self, group: int, *, mark: int) -> int:
        check_groups([group], groups=self._groups)
        keys = [mark_key(group), f"{mark_key(group)}:never"]
        total, is_over, count = 0, False, RESET_COUNT
        while not is_over:
            call = Call(group, self._reset, keys, (mark, _entries(group), count), is_whole=True)
            [(dropped, is_over, count)] = self._caller.run([call])
            total += dropped
        return total

    def scan_group(self, group: int, *, cursor: str | None = None, limit: int = 1_000) -> Listed:
        check_groups([group], groups=self._groups)
        keys, prefix = [mark_key(group), f"{mark_key(group)}:never"], _entries(group)
        call = Call(group, self._scan, keys, (prefix, cursor or "", max(limit, 1)), is_whole=True)
        [(following, *found)] = self._caller.run([call])
        ids = [key[len(prefix) :].decode("ascii", "replace") for key in found]
        return Listed([one for one in ids if is_canonical(one)], following.decode() or None)

    def ping(self) -> None:
        # By a key of its own: a node that is alive and cut off from the others answers a PING, but not this.
        self.marks(self._caller.one_of_each_node())

    def close(self) -> None:
        self._caller.close()

    def _sync_call(self, advance: Advance) -> Call:
        group, puts, drops = advance.group, advance.puts, advance.drops
        prefix = _entries(group)
        return Call(
            group,
            self._sync,
            [
                mark_key(group),
                *(prefix + order_id for order_id in drops),
                *(prefix + put.record.order_id for put in puts),
            ],
            (advance.expected, advance.reached, len(drops)),
            list(map(_spelt_put, puts)),
            is_whole=True,
        )

    def _left_ms(self, order_ids: Sequence[str], key: Callable[[str, int], str]) -> list[int | None]:
        groups = self._groups
        calls = [Call(group_of(order_id, groups), "PTTL", [key(order_id, groups)]) for order_id in order_ids]
        return [left_ms if left_ms >= 0 else None for left_ms in self._caller.run(calls)]

    def _each(
        self,
        what: Script | str,
        order_ids: Sequence[str],
        arguments: Callable[[int], Sequence[Word]] = lambda _: (),
        *,
        head: Sequence[Word] = (),
    ) -> list[Any]:
        """What is returned for each order, or why nothing is; `arguments` gives those of the order at a place."""
        calls, places = self._calls(what, order_ids, arguments, head=head)
        found: list[Any] = [None] * len(order_ids)
        for at, reply in zip(places, self._caller.run_each(calls), strict=True):
            for place, one in zip(at, [reply] * len(at) if isinstance(reply, TierError) else reply, strict=True):
                found[place] = one
        return found

    def _calls(
        self,
        what: Script | str,
        order_ids: Sequence[str],
        arguments: Callable[[int], Sequence[Word]] = lambda _: (),
        *,
        head: Sequence[Word] = (),
    ) -> tuple[list[Call], list[list[int]]]:
        """The calls that it takes, and the places of the orders that each is for, in the order asked."""
        by_group: dict[int, list[int]] = {}
        for place, order_id in enumerate(order_ids):
            by_group.setdefault(group_of(order_id, self._groups), []).append(place)
        calls: list[Call] = []
        places: list[list[int]] = []
        for group, of_group in by_group.items():
            prefix = _entries(group)
            for start in range(0, len(of_group), CALL_KEYS_MAX):
                at = of_group[start : start + CALL_KEYS_MAX]
                keys = [prefix + order_ids[place] for place in at]
                calls.append(Call(group, what, keys, head, [one for place in at for one in arguments(place)]))
                places.append(at)
        return calls, places


def _entries(group: int) -> str:
    """What the names of the group's entries begin with, and no other group's."""
    return f"o:{{{group}}}:"


def _decode_or_none(value: bytes | None) -> Entry | None:
    try:
        return None if value is None else decode(value)
    except ValueError:
        return None


def _spelt_put(put: Put) -> Spelt:
    return spell_put(encode_record(put.record), max(1, put.ttl_ms), put.record.timer_at_ms)


def _fill_arguments(fill: Fill) -> tuple[Word, ...]:
    if fill.record is None:
        return fill.token, encode_marker(Kind.ABSENT), max(1, min(fill.ttl_ms, ABSENT_TTL_MAX_MS)), NO_TIMER
    return fill.token, encode_record(fill.record), max(1, fill.ttl_ms), fill.record.timer_at_ms


def _told(replies: Sequence[Any], tell: Callable[[Any], T]) -> list[T]:
    """What each reply says, as `_all_answers`."""
    return _all_answers([reply if isinstance(reply, TierError) else tell(reply) for reply in replies])


def _all_answers(outcomes: list[T | TierError]) -> list[T]:
    """The outcomes, if none is an error.

    Raises:
        TierRejected: all that there is are refusals, which are no node's doing.
        NodesAway: otherwise.

    """
    answers = [outcome for outcome in outcomes if not isinstance(outcome, TierError)]
    if len(answers) == len(outcomes):
        return answers
    refusals = [outcome for outcome in outcomes if isinstance(outcome, TierRejected)]
    raise refusals[0] if len(refusals) == len(outcomes) else NodesAway(outcomes)


def _outcome(reply: Any, token: bytes) -> LookupOutcome | TierError:
    if isinstance(reply, TierError):
        return reply
    if reply == _GRANTED:
        return Granted(token)
    return Busy() if reply == _BUSY else decode(reply)


def _mark_in(value: bytes | None) -> int | None:
    return int(value) if value is not None and value.isdigit() else None


def _total(reply: Any) -> int:
    """How many keys a call deleted; one that was split has a number for each."""
    return sum(reply) if isinstance(reply, list) else reply
