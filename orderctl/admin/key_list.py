"""`key list`: every API key by its id, revoked ones too."""

from __future__ import annotations

from msgspec import Struct

from orderctl.body import rfc3339
from orderctl.order import Role
from orderctl.stores.registry import ApiKey, Registry


class ListedKey(Struct, frozen=True):
    """A key as operators see it: times are RFC 3339, `revoked_at` None while it is good."""

    key_id: str
    merchant_id: str | None
    role: Role
    created_at: str
    revoked_at: str | None


def key_list(registry: Registry) -> list[ListedKey]:
    """All keys, oldest first."""
    return [listed(key) for key in registry.api_keys()]


def listed(key: ApiKey) -> ListedKey:
    """`key` without its digest."""
    revoked_at = None if key.revoked_at is None else rfc3339(key.revoked_at)
    return ListedKey(key.key_id, key.merchant_id, key.role, rfc3339(key.created_at), revoked_at)
