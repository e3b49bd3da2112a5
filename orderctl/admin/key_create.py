"""`key create`: a new API key, shown once."""

from __future__ import annotations

import re

from msgspec import Struct

from orderctl.admin.audit import AuditLog
from orderctl.clock import Clock
from orderctl.errors import UsageRefused
from orderctl.order import VISIBLE_ASCII_64, Role
from orderctl.services.keys import mint
from orderctl.stores.registry import Registry


class CreatedKey(Struct, frozen=True):
    """A key just made; `key` is the key itself, which is kept nowhere."""

    key_id: str
    merchant_id: str | None
    role: Role
    key: str


def key_create(
    registry: Registry, audit: AuditLog, clock: Clock, *, role: Role, merchant_id: str | None, reason: str | None
) -> CreatedKey:
    """Make a key and keep its digest. A merchant's key names its merchant, a gateway's none.

    Raises:
        UsageRefused: `merchant_id` is missing, or is no merchant's id.

    """
    if role is Role.MERCHANT and merchant_id is None:
        raise UsageRefused("a merchant's key names its merchant", hint="add --merchant ID")
    if merchant_id is not None and re.match(VISIBLE_ASCII_64, merchant_id) is None:
        raise UsageRefused(f"{merchant_id!r} is no merchant's id: it has 1 to 64 visible ASCII characters")
    new = mint(role, merchant_id if role is Role.MERCHANT else None, now_us=clock.now_us())
    if not registry.add_key(new.key):
        raise UsageRefused("the new key's id is taken already", hint="try again")
    audit.append("key create", reason=reason, key_id=new.key.key_id, role=role, merchant_id=new.key.merchant_id)
    return CreatedKey(new.key.key_id, new.key.merchant_id, role, new.secret)
