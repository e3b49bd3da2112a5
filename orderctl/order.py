"""An order and its state machine, pure: what an order is, what may become of it, and what two requests have in common.

pending ──> processing ──┐
   └────────────────────┴──> success | failed | cancelled | timeout      final is final
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from hashlib import sha256
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from orderctl.currency import Currency

AMOUNT_MAX = 10**15
METADATA_BYTES_MAX = 1024
REASON_CHARS_MAX = 256
TIMEOUT_DEFAULT_S = 900
TIMEOUT_MAX_S = 86_400

# The lookahead keeps out a trailing newline, which `$` alone lets through in Python.
VISIBLE_ASCII_64: Final = r"^[!-~]{1,64}$(?!\n)"


class Status(StrEnum):
    """Where an order is in its life."""

    PENDING = "pending"
    PROCESSING = "processing"
    SUCCESS = "success"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMEOUT = "timeout"

    @property
    def is_final(self) -> bool:
        """Whether the order stays as it is for ever."""
        return self in FINAL


OPEN: Final = frozenset({Status.PENDING, Status.PROCESSING})
FINAL: Final = frozenset(Status) - OPEN
TRANSITIONS: Final[dict[Status, frozenset[Status]]] = {
    Status.PENDING: frozenset({Status.PROCESSING}) | FINAL,
    Status.PROCESSING: FINAL,
    **{status: frozenset[Status]() for status in FINAL},
}


class Role(StrEnum):
    """Who asks."""

    MERCHANT = "merchant"
    GATEWAY = "gateway"
    SERVICE = "service"
    """orderctl itself, which alone times orders out; no key has this role."""


class Caller(Struct, frozen=True):
    """Somebody whose key was found good. `merchant_id` is set for merchants only."""

    role: Role
    merchant_id: str | None = None


def may_set(role: Role, status: Status) -> bool:
    """Whether `role` may ask for `status` at all, whatever the order."""
    match role:
        case Role.MERCHANT:
            return status is Status.CANCELLED
        case Role.GATEWAY:
            return status is not Status.TIMEOUT
        case Role.SERVICE:
            return True


class NewOrder(Struct, frozen=True, forbid_unknown_fields=True):
    """What a merchant asks for. The constraints here are the ones that the OpenAPI document states."""

    merchant_ref: Annotated[
        str, Meta(pattern=VISIBLE_ASCII_64, description="the merchant's own reference, 1-64 visible ASCII characters")
    ]
    amount: Annotated[int, Meta(ge=1, le=AMOUNT_MAX, description="in the currency's minor units")]
    currency: Currency
    payment_method: Annotated[str, Meta(min_length=1, max_length=32)]
    metadata: dict[str, str] = {}
    timeout_s: Annotated[int, Meta(ge=1, le=TIMEOUT_MAX_S, description="seconds until the order times out")] = (
        TIMEOUT_DEFAULT_S
    )


class FieldError(Struct, frozen=True):
    """One thing wrong with a body: where (a JSON pointer, RFC 6901) and what."""

    pointer: str
    detail: str


def field_errors(new: NewOrder) -> Iterator[FieldError]:
    """What the types of `NewOrder` cannot say."""
    size = len(canonical_metadata(new.metadata).encode())
    if size > METADATA_BYTES_MAX:
        yield FieldError("/metadata", f"{size} bytes as JSON; at most {METADATA_BYTES_MAX}")


def canonical_metadata(metadata: dict[str, str]) -> str:
    """`metadata` as JSON text with sorted members and no white space: equal values, equal text."""
    return msgspec.json.encode(metadata, order="sorted").decode() if metadata else "{}"


def body_digest(new: NewOrder) -> bytes:
    """32 bytes that two creations have in common exactly if they ask for the same order.

    SHA-256 over the values, so that white space, member order and a default spelt out do not matter. The reference is left
    out: it is the key under which the digest is kept.
    """
    values = (new.amount, new.currency, new.payment_method, sorted(new.metadata.items()), new.timeout_s)
    return sha256(msgspec.json.encode(values)).digest()


class Order(Struct, frozen=True, gc=False):
    """An order as every database holds it. Times are Unix microseconds; `metadata` is canonical JSON text."""

    order_id: str
    merchant_id: str
    merchant_ref: str
    amount: int
    currency: str
    payment_method: str
    metadata: str
    status: Status
    status_reason: str | None
    version: int
    created_at: int
    updated_at: int
    deadline_at: int


class Change(Struct, frozen=True):
    """A wish to move one order on.

    `merchant_id` limits it to that merchant's orders; None is the gateway or the service, whom every order answers.
    `if_versions` holds the versions that the order may have now (If-Match); None is any.
    """

    order_id: str
    status: Status
    status_reason: str | None = None
    merchant_id: str | None = None
    if_versions: tuple[int, ...] | None = None


class Refusal(StrEnum):
    """Why a change was not made."""

    NOT_FOUND = "not_found"
    VERSION_MISMATCH = "version_mismatch"
    ILLEGAL_TRANSITION = "illegal_transition"


class Unchanged(Struct, frozen=True):
    """The order already is as asked, by the same words: nothing to write."""

    order: Order


class Transition(Struct, frozen=True):
    """The order moves on: what to write. Its version is raised by the statement that writes it, see `version`."""

    status: Status
    status_reason: str | None
    updated_at: int

    def of(self, order: Order, version: int) -> Order:
        """`order` after this transition, at `version`."""
        return msgspec.structs.replace(
            order, status=self.status, status_reason=self.status_reason, updated_at=self.updated_at, version=version
        )


class Refused(Struct, frozen=True):
    """The change may not be made; `order` is how it stands, None where the caller may not know."""

    why: Refusal
    order: Order | None = None


Decision = Transition | Unchanged | Refused


def decide(order: Order | None, change: Change, *, now_us: int) -> Decision:
    """What `change` does to `order` as it stands, under a lock that keeps it so until the decision is written.

    The owner is looked at before anything else, so that somebody else's order cannot be told from none. The same words
    again are no change, whatever version they name: the answer to the first asking may have been lost.
    """
    if order is None or change.merchant_id not in (None, order.merchant_id):
        return Refused(Refusal.NOT_FOUND)
    if (order.status, order.status_reason) == (change.status, change.status_reason):
        return Unchanged(order)
    if change.if_versions is not None and order.version not in change.if_versions:
        return Refused(Refusal.VERSION_MISMATCH, order)
    merchant_is_late = change.merchant_id is not None and order.status is not Status.PENDING
    if change.status not in TRANSITIONS[order.status] or merchant_is_late:
        return Refused(Refusal.ILLEGAL_TRANSITION, order)
    return Transition(change.status, change.status_reason, max(now_us, order.updated_at))
