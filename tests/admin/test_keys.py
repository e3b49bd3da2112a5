"""API keys by the operators' verbs, and the audit lines that they leave."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orderctl.admin.audit import audit_log
from orderctl.admin.key_create import CreatedKey, key_create
from orderctl.admin.key_list import key_list
from orderctl.admin.key_revoke import key_revoke
from orderctl.clock import ManualClock
from orderctl.errors import NotFound, UsageRefused
from orderctl.order import Caller, Role
from orderctl.services.keys import KeyRing
from orderctl.stores.tiers import Tiers


class Office:
    """An operator with an audit log."""

    def __init__(self, path: Path, tiers: Tiers, clock: ManualClock) -> None:
        self.path, self.tiers, self.clock = path, tiers, clock

    def create(self, role: Role, merchant_id: str | None, reason: str | None = None) -> CreatedKey:
        with audit_log(self.path, self.clock) as audit:
            return key_create(self.tiers.registry, audit, self.clock, role=role, merchant_id=merchant_id, reason=reason)

    def revoke(self, key_id: str) -> str | None:
        with audit_log(self.path, self.clock) as audit:
            return key_revoke(self.tiers.registry, audit, self.clock, key_id=key_id, reason="lost").revoked_at

    def caller(self, key: str) -> Caller | None:
        ring = KeyRing(self.tiers.registry)
        ring.reload()
        return ring.authenticate(key)

    def audited(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.path.read_text().splitlines()] if self.path.exists() else []


@pytest.fixture
def office(tmp_path: Path, tiers: Tiers, clock: ManualClock) -> Office:
    """An operator with an audit log."""
    return Office(tmp_path / "audit.jsonl", tiers, clock)


def test_a_merchants_key_opens_for_that_merchant(office: Office) -> None:
    """What is shown once is the key of the merchant that it was made for."""
    assert office.caller(office.create(Role.MERCHANT, "acme").key) == Caller(Role.MERCHANT, "acme")


def test_a_gateways_key_names_no_merchant(office: Office) -> None:
    """A merchant that is given for it is left out."""
    made = office.create(Role.GATEWAY, "acme")
    assert made.merchant_id is None
    assert office.caller(made.key) == Caller(Role.GATEWAY)


@pytest.mark.parametrize("merchant_id", [None, "", " ", "a b", "é", "x" * 65, "a\n"])
def test_no_key_for_what_is_no_merchant(office: Office, merchant_id: str | None) -> None:
    """A merchant's id has 1 to 64 visible ASCII characters; else nothing is made and nothing audited."""
    with pytest.raises(UsageRefused, match="merchant"):
        office.create(Role.MERCHANT, merchant_id)
    assert key_list(office.tiers.registry) == []
    assert office.audited() == []


def test_a_revoked_key_opens_nothing_and_is_listed_still(office: Office) -> None:
    """Revoking is for ever, and a second time changes nothing."""
    made = office.create(Role.MERCHANT, "acme")
    office.clock.advance(60)
    revoked_at = office.revoke(made.key_id)
    assert office.caller(made.key) is None
    office.clock.advance(60)
    assert office.revoke(made.key_id) == revoked_at == "2023-11-14T22:14:20.000000Z"
    assert [(key.key_id, key.revoked_at) for key in key_list(office.tiers.registry)] == [(made.key_id, revoked_at)]


def test_a_key_that_is_not_there(office: Office) -> None:
    """Revoking an unknown key is not found, and not audited."""
    with pytest.raises(NotFound, match="there is no key key_x"):
        office.revoke("key_x")
    assert office.audited() == []


def test_every_change_leaves_a_line_without_the_key(office: Office) -> None:
    """When, what, who, why and which key; never the key itself."""
    made = office.create(Role.MERCHANT, "acme", "new shop")
    office.revoke(made.key_id)
    created, revoked = office.audited()
    assert (created["action"], created["reason"], created["merchant_id"]) == ("key create", "new shop", "acme")
    assert (revoked["action"], revoked["reason"], revoked["key_id"]) == ("key revoke", "lost", made.key_id)
    assert created["at"] == "2023-11-14T22:13:20.000000Z"
    assert created["by"]
    assert made.key not in office.path.read_text()


def test_the_audit_log_is_the_owners(office: Office) -> None:
    """Nobody else may read it."""
    office.create(Role.GATEWAY, None)
    assert office.path.stat().st_mode & 0o777 == 0o600


def test_a_line_that_was_cut_short_spoils_no_other(office: Office) -> None:
    """After a crash in the middle of a line the next one stands alone."""
    office.path.write_text('{"at": "20')
    office.create(Role.GATEWAY, None)
    assert [line.startswith('{"at":') for line in office.path.read_text().splitlines()] == [True, True]


def test_without_an_audit_log_nothing_is_changed(office: Office) -> None:
    """The log is opened before anything happens that it is to tell of."""
    office.path = office.path / "not" / "there"
    with pytest.raises(UsageRefused, match="the audit log cannot be opened: No such file or directory"):
        office.create(Role.GATEWAY, None)
    assert key_list(office.tiers.registry) == []
