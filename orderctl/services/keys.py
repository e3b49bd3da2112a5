"""API keys: kept as digests, held whole in memory, reloaded by a daemon's step and kept while the database is away."""

from __future__ import annotations

import secrets
from hashlib import sha256

from msgspec import Struct

from orderctl.ids import RandomBytes
from orderctl.order import Caller, Role
from orderctl.stores.registry import ApiKey, Registry

KEY_PREFIX = "ok_"
KEY_BYTES = 32


class NewKey(Struct, frozen=True):
    """A key just made. `secret` is shown once and kept nowhere."""

    key: ApiKey
    secret: str


def mint(role: Role, merchant_id: str | None, *, now_us: int, random: RandomBytes = secrets.token_bytes) -> NewKey:
    """A fresh key of 256 random bits. A merchant's key names its merchant, a gateway's none."""
    if (role is Role.MERCHANT) != (merchant_id is not None):
        raise ValueError("a merchant's key names a merchant, and no other does")
    secret = KEY_PREFIX + random(KEY_BYTES).hex()
    return NewKey(ApiKey("key_" + random(6).hex(), digest_of(secret), role, merchant_id, now_us), secret)


def digest_of(secret: str) -> bytes:
    """The digest that is kept. A plain hash is enough: 256 random bits cannot be guessed one by one."""
    return sha256(secret.encode("utf-8", "surrogateescape")).digest()


class KeyRing:
    """The keys as they were when last read. Looking one up asks no tier."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._callers: dict[bytes, Caller] = {}

    def reload(self) -> None:
        """Read all keys again. Where the registry fails the last set stays, and the error is the caller's to report."""
        self._callers = {
            key.digest: Caller(key.role, key.merchant_id) for key in self._registry.api_keys() if key.revoked_at is None
        }

    def authenticate(self, secret: str) -> Caller | None:
        """Whose key this is, None where it is nobody's. Digests are compared, so timing tells nothing of a key."""
        return self._callers.get(digest_of(secret))
