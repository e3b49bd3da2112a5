"""`key revoke`: a key that opens nothing any more, for ever."""

from __future__ import annotations

from orderctl.admin.audit import AuditLog
from orderctl.admin.key_list import ListedKey, listed
from orderctl.clock import Clock
from orderctl.errors import NotFound
from orderctl.stores.registry import Registry


def key_revoke(registry: Registry, audit: AuditLog, clock: Clock, *, key_id: str, reason: str | None) -> ListedKey:
    """Revoke a key; a second time changes nothing. Servers know within 2 s.

    Raises:
        NotFound: there is no such key.

    """
    key = registry.revoke_key(key_id, now_us=clock.now_us())
    if key is None:
        raise NotFound(f"there is no key {key_id}", hint="`orderctl key list` shows them")
    audit.append("key revoke", reason=reason, key_id=key.key_id, role=key.role, merchant_id=key.merchant_id)
    return listed(key)
