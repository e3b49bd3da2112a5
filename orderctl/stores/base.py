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


CreateOutcome = Created | Replayed | ReferenceReused
ChangeOutcome = Changed | Unchanged | Refused


class Ref(Struct, frozen=True):
    """A merchant's own name for an order: the idempotency key."""

    merchant_id: str
    merchant_ref: str


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
        """The order id that each reference stands for, None where it stands for none."""
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
        """Say that these daemons are alive, by the database's clock; `beat_at` is ignored."""
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

    Each method is atomic for an order and for nothing more; of a batch's items for one order the second meets what the first
    has done. On Redis it is one script call for each group, on the group's own node; so a call may have happened for some
    groups and not for others when it raises. What cannot be held (`TierRejected`) is refused before anything is written.

    An expired entry is none, and so is one whose bytes mean nothing. A `ttl_ms` below 1 counts as 1.
    """

    def get(self, order_ids: Sequence[str]) -> list[Entry | None]:
        """The entries as they are, leases too. An entry whose bytes mean nothing is None, and stays."""
        ...

    def tentative(self, tentatives: Sequence[Tentative]) -> list[bool]:
        """Write each where there is nothing or `absent`; returns whether it stands.

        Refused are an expiry in the past and one further ahead than `TENTATIVE_TTL_MAX_MS` by the node's clock. A token that is
        not 16 bytes, or all zero, is `TierRejected`: what is written under it would be taken for a committed record.
        """
        ...

    def promote(self, promotions: Sequence[Promotion]) -> list[bool]:
        """Make each tentative a record, if it is there under its token; returns whether it was.

        What becomes the record is what is there by now: *apply* may have brought newer bytes under the same token.
        """
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

    def ping(self) -> None:
        """Ask every node for a sign of life."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...
