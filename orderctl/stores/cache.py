"""The cache (Redis Cluster): one entry an order, which may vanish at any moment."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Protocol

from msgspec import Struct

from orderctl.errors import TierError, TierUnavailable
from orderctl.stores.record import Entry, Record


class Tentative(Struct, frozen=True):
    """A record to be written while its transaction runs. `expires_at_us` is absolute, by the creator's clock.

    `token` is 16 random bytes, as every token is.
    """

    record: Record
    token: bytes
    expires_at_us: int


class Promotion(Struct, frozen=True):
    """The creator's word that what it wrote under `token` is committed. `ttl_ms` is the record's time to live."""

    order_id: str
    token: bytes
    ttl_ms: int


class Put(Struct, frozen=True, gc=False):
    """A committed version of an order for the cache. `ttl_ms` is for where it becomes or replaces a record."""

    record: Record
    ttl_ms: int


class Advance(Struct, frozen=True):
    """What brings one group from where the log was at `expected` to `reached`: `drops` are deleted, `puts` applied."""

    group: int
    puts: Sequence[Put]
    expected: int
    reached: int
    drops: Sequence[str] = ()


class Applied(StrEnum):
    """What *apply* did to one entry."""

    NOTHING = "nothing"
    """There was no entry. A change is no reason to cache an order that nobody asks for."""
    DELETED = "deleted"
    """The entry said `absent`, or its bytes meant nothing: to a reader of another format they might mean an old state."""
    FLOOR_RAISED = "floor_raised"
    """Somebody is loading: nothing older may be filled in any more, be it for this version or for a higher one before it."""
    REPLACED = "replaced"
    """The entry holds this version; it may have held the same bytes before."""
    KEPT_NEWER = "kept_newer"
    CONFLICT = "conflict"
    """The same version with other bytes: replaced, and a reason to worry."""


class Granted(Struct, frozen=True):
    """The caller is to load the order, and may fill it in by this token."""

    token: bytes


class Busy(Struct, frozen=True):
    """The order is being loaded, under a lease that was granted before."""


LookupOutcome = Entry | Granted | Busy


class Listed(Struct, frozen=True):
    """Some of the orders that have an entry; `cursor` is where to go on, None where that was the rest."""

    order_ids: list[str]
    cursor: str | None


class Fill(Struct, frozen=True):
    """What a lease's holder found: a record, or None where no database has the order."""

    order_id: str
    token: bytes
    record: Record | None
    ttl_ms: int


class NodesAway(TierUnavailable):
    """Some of the nodes that were asked did not answer; nothing is said of any other node.

    `outcomes` holds, in the order asked, each item's answer or the error of its node: with one node away, what the others have is
    answered all the same. For whoever does not look at them it is a call that failed. The store itself sees to it that
    a node that is away is not waited for by every call.
    """

    def __init__(self, outcomes: Sequence[Any]) -> None:
        errors = [outcome for outcome in outcomes if isinstance(outcome, TierError)]
        reasons = "; ".join(dict.fromkeys(error.message for error in errors))
        hint = next((error.hint for error in errors if error.hint), None)
        super().__init__("cache", f"{len(errors)} of {len(outcomes)} not answered: {reasons}", hint=hint)
        self.outcomes = tuple(outcomes)


TENTATIVE_TTL_MAX_MS = 10_000
"""A tentative that would live longer than this by the node's own clock is refused."""
LEASE_TTL_MS = 2_000
TIMER_LATE_MAX_MS = 10_000
ABSENT_TTL_MAX_MS = 2_000


class CacheStore(Protocol):
    """One entry an order, in memory, and any of them may vanish at any moment.

    Each method is atomic for an order and for nothing more, but `sync` for its whole group; of a batch's items for one order
    the second meets what the first has done. On Redis it is one script call for each group, on the group's own node; so a call
    may have happened for some groups and not for others when it raises: `NodesAway` where some nodes did not answer, from
    `get`, `tentative`, `promote`, `apply`, `lookup`, `fill`, `sync` and `marks`. What cannot be held (`TierRejected`), or is of
    a group that the deployment does not have, is refused before anything is written.

    An expired entry is none, and so is one whose bytes mean nothing. A `ttl_ms` below 1 counts as 1.

    Beside an open order's entry stands its *timer*, which goes off at the deadline (see `expirations`). Whoever writes a record,
    or would if there were an entry, sets it, and takes it away where the order is final, unless what is there is newer. It is a
    hint: it may outlive what it is for, or be missing. A deadline that passed less than `TIMER_LATE_MAX_MS` ago has one that goes
    off at once, so that the order is timed out promptly; one that passed before has none, or a log that is read again would pour
    out an event for every order that was ever open.

    Beside a group's entries stands its *mark*, an offset: each entry that is there reflects all that the log says before it.
    A node that goes back in time goes back with its marks. Only `sync` and `reset_group` write one; it does not expire and is
    not evicted.
    """

    def get(self, order_ids: Sequence[str]) -> list[Entry | None]:
        """The entries as they are, leases too. An entry whose bytes mean nothing is None, and stays."""
        ...

    def ttl_ms(self, order_ids: Sequence[str]) -> list[int | None]:
        """For how many milliseconds each entry is there still, whatever its bytes mean; None where there is none."""
        ...

    def timer_ttl_ms(self, order_ids: Sequence[str]) -> list[int | None]:
        """In how many milliseconds each order's timer goes off; None where there is none."""
        ...

    def tentative(self, tentatives: Sequence[Tentative]) -> list[bool]:
        """Write each where there is nothing or `absent`; returns whether it stands.

        Refused are an expiry in the past and one further ahead than `TENTATIVE_TTL_MAX_MS` by the node's clock. A token that is
        not 16 bytes, or all zero, is `TierRejected`: what is written under it would be taken for a committed record.
        """
        ...

    def promote(self, promotions: Sequence[Promotion]) -> list[bool]:
        """Make each tentative a record, of the bytes that are there by now, if its token still is; returns whether it was."""
        ...

    def apply(self, puts: Sequence[Put]) -> list[Applied]:
        """Bring each entry to a committed version, unless it is newer.

        A tentative takes the bytes and keeps its token and its expiry: had it landed late, after events of versions newer than
        this one, it would be stale, and must not be given a record's life. A record lives for `ttl_ms` from now.
        """
        ...

    def lookup(self, order_ids: Sequence[str], *, tokens: Sequence[bytes]) -> list[LookupOutcome]:
        """Each order's entry, or where there is none a lease of `LEASE_TTL_MS` under the token given for it.

        A lease is granted once: who asks again under the same token, not having heard the answer, is told `Busy`. A token that
        is not 16 bytes, or all zero, is `TierRejected`.
        """
        ...

    def fill(self, fills: Sequence[Fill]) -> list[bool]:
        """Put in what was loaded, if the lease is still there under the token and its floor is not higher.

        A lease whose floor is higher is freed. None becomes `absent` for at most `ABSENT_TTL_MAX_MS`; its version is 0.
        Another order's record is `TierRejected`. Returns whether each went in.
        """
        ...

    def invalidate(self, order_ids: Sequence[str]) -> int:
        """Delete; a fill in flight finds its token gone. Returns how many entries there were. Timers stay."""
        ...

    def sync(self, advances: Sequence[Advance]) -> list[list[Applied] | None]:
        """Bring groups on, each in one atomic step, and at most once in a call; returns what was done to each group's `puts`.

        None, and nothing done, where a mark is missing or lower than `expected`: the node went back in time. Otherwise `drops`
        are deleted as by *invalidate* (which leaves no trace in the mark: were it undone, nobody would notice), `puts` go in
        as by *apply*, and the mark becomes `reached`, unless it is higher. Another group's order is `TierRejected`.
        """
        ...

    def marks(self, groups: Sequence[int]) -> list[int | None]:
        """Each group's mark, None where there is none."""
        ...

    def reset_group(self, group: int, *, mark: int) -> int:
        """Delete every entry of the group, leases too, and then set its mark; returns how many entries there were. Timers stay.

        In steps, of which the last, atomic, deletes what is left and sets the mark: until then the mark is what it was,
        and what a node that goes back in between brings with it is deleted, too.
        """
        ...

    def scan_group(self, group: int, *, cursor: str | None = None, limit: int = 1_000) -> Listed:
        """List the orders of a group that have an entry, whatever it is, about `limit` at a time, from the beginning or a cursor.

        An order whose entry is there from the first call to the last is listed, perhaps twice; what comes or goes meanwhile may
        be listed or not. There may be more than `limit`, fewer, or none, before the end; no order stands in the way of others.
        """
        ...

    def ping(self) -> None:
        """Ask every node for a sign of life."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...
