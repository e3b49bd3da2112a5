"""The store Protocols: what each tier promises, whoever keeps it. Every method takes and returns a batch, in the same order.

An implementation raises `TierUnavailable` where nothing was written, `OutcomeUnknown` where nobody can know, and `TierRejected`
where it was given something it cannot hold. It repeats a call by itself only while that is known to be harmless.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Protocol

from msgspec import Struct

from orderctl.order import Change, Order, Refused, Role, Unchanged
from orderctl.stores.record import Entry, Record


def do_nothing() -> None:
    """The hook that is called where nobody has anything to do."""


# --- hot: MySQL ------------------------------------------------------------------------------------------------------


class Draft(Struct, frozen=True):
    """An order to be created. Its version is the store's to give; `digest` is `body_digest` of what was asked for."""

    order: Order
    digest: bytes


class Created(Struct, frozen=True):
    """The order was written, as this."""

    order: Order


class Replayed(Struct, frozen=True):
    """The merchant's reference already stands for this order, and the same was asked for."""

    order: Order


class ReferenceReused(Struct, frozen=True):
    """The merchant's reference already stands for another order: nothing was written."""

    order_id: str


class Changed(Struct, frozen=True):
    """The order moved on, to this."""

    order: Order


class Moved(Struct, frozen=True):
    """The merchant's reference already stands for this order, and the same was asked for; the archive has it, not this store."""

    order_id: str


CreateOutcome = Created | Replayed | ReferenceReused | Moved
ChangeOutcome = Changed | Unchanged | Refused


class Ref(Struct, frozen=True):
    """A merchant's own name for an order: the idempotency key."""

    merchant_id: str
    merchant_ref: str


class Cursor(Struct, frozen=True, order=True):
    """A place in the final rows, by time and then by id. Times are Unix microseconds."""

    updated_at: int
    order_id: str

    @staticmethod
    def behind(order: Order) -> Cursor:
        """The place right behind `order`."""
        return Cursor(order.updated_at, order.order_id)


class Removal(Struct, frozen=True):
    """A final order, at this version, is in the archive: its row may go."""

    order_id: str
    version: int


class HotStore(Protocol):
    """Open orders: the truth. Each call that writes is one transaction, durable when it returns.

    `OutcomeUnknown` is for a transaction whose COMMIT was sent and not answered; it is never repeated. Before that the store
    may roll back and repeat (a deadlock, a busy database); `before_commit` then runs again.
    """

    @property
    def transactions(self) -> int:
        """How many writing transactions were committed through this object."""
        ...

    def create(self, drafts: Sequence[Draft], *, before_commit: Callable[[], None] = do_nothing) -> list[CreateOutcome]:
        """Claim each draft's reference and insert its order, or say what the reference already stands for.

        Items act one after another: of two drafts with one reference the first is created and the second meets it.
        `before_commit` runs right before COMMIT is sent; what it raises rolls back.
        """
        ...

    def change(self, changes: Sequence[Change], *, now_us: int) -> list[ChangeOutcome]:
        """Lock each order's row, `decide`, and write. Items act one after another, each raising the version.

        The epoch is read by the statement that raises the version.
        """
        ...

    def load(self, order_ids: Sequence[str]) -> list[Order | None]:
        """The orders as committed, None where there is no row.

        A locking read: the binlog shows an event before its row is visible to a plain one, and a reader that fills the cache
        from a plain read could put an order's past over its present.
        """
        ...

    def resolve(self, refs: Sequence[Ref]) -> list[str | None]:
        """The order id that each reference stands for, None where it stands for none. The row may have moved to the archive."""
        ...

    def finals(self, groups: frozenset[int] | None, *, after: Cursor | None, limit: int) -> list[Order]:
        """At most `limit` final orders of these groups (None: of all), oldest first by `updated_at` and then by id.

        Only those behind `after`, so that a caller can page past rows that it has in hand. Those times are of many clocks, and
        a transaction may commit late: rows turn up behind the cursor too, so begin again from None now and then.
        """
        ...

    def remove(self, removals: Sequence[Removal], *, now_us: int) -> list[bool]:
        """Remove each row that is final and at this very version, and note in its reference that it has moved, at `now_us`.

        Returns whether each was removed. The reference goes on standing for the order.
        """
        ...

    def purge_references(self, *, moved_before_us: int, limit: int) -> int:
        """Forget at most `limit` references whose orders moved before a time, the earliest first; returns how many.

        They may be used for other orders then.
        """
        ...

    def close(self) -> None:
        """Let go of connections. Calls that are under way end first or fail."""
        ...


# --- registry: what daemons must agree on, kept beside the orders ------------------------------------------------------


class Deployment(Struct, frozen=True):
    """The constants of a deployment, and the database's own time (Unix microseconds) when they were read."""

    groups: int
    schema_version: int
    epoch: int
    now_us: int


class ApiKey(Struct, frozen=True):
    """A key by its digest (SHA-256 of the whole key; the key itself is kept nowhere). Times are Unix microseconds."""

    key_id: str
    digest: bytes
    role: Role
    merchant_id: str | None
    created_at: int
    revoked_at: int | None = None


class Heartbeat(Struct, frozen=True):
    """What a daemon says of itself every few seconds. `instance` tells two of a kind apart; `address` is its API's URL."""

    instance: str
    daemon: str
    state: str
    address: str | None
    last_error: str | None
    beat_at: int = 0


SILENCE_MAX_S = 3600


class Registry(Protocol):
    """Keys, the deployment's constants, and who is there. Small, read whole, written seldom."""

    def deployment(self) -> Deployment:
        """The deployment's constants, and the database's clock."""
        ...

    def api_keys(self) -> list[ApiKey]:
        """Every key, revoked ones too, oldest first."""
        ...

    def add_key(self, key: ApiKey) -> bool:
        """Keep a key. Returns False, and changes nothing, where its digest or its id is known already, revoked or not."""
        ...

    def revoke_key(self, key_id: str, *, now_us: int) -> ApiKey | None:
        """Revoke a key for ever; returns it as it now is (a second time: as it was), None where there is none."""
        ...

    def beat(self, heartbeats: Sequence[Heartbeat]) -> None:
        """Say that these daemons are alive, by the database's clock; `beat_at` is ignored.

        Whoever has been silent for `SILENCE_MAX_S` is forgotten: it ended without a word, and may never have had a name.
        """
        ...

    def retire(self, instances: Sequence[str]) -> None:
        """Forget these instances: they ended in good order."""
        ...

    def heartbeats(self) -> list[Heartbeat]:
        """The last heartbeat of every instance that was not retired, by daemon and instance."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


# --- cache: Redis Cluster ----------------------------------------------------------------------------------------------


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


class Put(Struct, frozen=True):
    """A committed version of an order for the cache. `ttl_ms` is for where it becomes or replaces a record."""

    record: Record
    ttl_ms: int


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


class Fill(Struct, frozen=True):
    """What a lease's holder found: a record, or None where no database has the order."""

    order_id: str
    token: bytes
    record: Record | None
    ttl_ms: int


TENTATIVE_TTL_MAX_MS = 10_000
"""A tentative that would live longer than this by the node's own clock is refused."""
LEASE_TTL_MS = 2_000
ABSENT_TTL_MAX_MS = 2_000


class CacheStore(Protocol):
    """One entry an order, in memory, and any of them may vanish at any moment.

    Each method is atomic for an order and for nothing more, but `sync` for its whole group; of a batch's items for one order
    the second meets what the first has done. On Redis it is one script call for each group, on the group's own node; so a call
    may have happened for some groups and not for others when it raises. What cannot be held (`TierRejected`), or is of a group
    that the deployment does not have, is refused before anything is written.

    An expired entry is none, and so is one whose bytes mean nothing. A `ttl_ms` below 1 counts as 1.

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
        """Delete; a fill in flight finds its token gone. Returns how many entries there were."""
        ...

    def sync(
        self, group: int, puts: Sequence[Put], *, expected: int, reached: int, drops: Sequence[str] = ()
    ) -> list[Applied] | None:
        """Bring one group from where the log was at `expected` to `reached`, in one atomic step.

        None, and nothing done, where the mark is missing or lower than `expected`: the node went back in time. Otherwise `drops`
        are deleted as by *invalidate* (which leaves no trace in the mark: were it undone, nobody would notice), `puts` go in
        as by *apply*, and the mark becomes `reached`, unless it is higher. Another group's order is `TierRejected`.
        """
        ...

    def marks(self, groups: Sequence[int]) -> list[int | None]:
        """Each group's mark, None where there is none."""
        ...

    def reset_group(self, group: int, *, mark: int) -> int:
        """Delete every entry of the group, leases too, and then set its mark; returns how many entries there were.

        In bounded steps, of which the last, atomic, deletes what is left and sets the mark: until then the mark is what it was,
        and what a node that goes back in between brings with it is deleted, too.
        """
        ...

    def ping(self) -> None:
        """Ask every node for a sign of life."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...
