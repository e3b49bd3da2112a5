"""What the registry promises: the deployment's constants, keys, and who was there when."""

from __future__ import annotations

from functools import partial
from hashlib import sha256
from typing import Any

import pytest
from msgspec import structs

from orderctl.errors import ConfigError, TierRejected
from orderctl.order import Role
from orderctl.stores.registry import ApiKey, Heartbeat, Registry
from tests.contract.hot_harness import GROUPS, HotHarness, at_once, create

SLACK_US = 1_000_000
"""A real server's clock goes on between two looks at it."""


def a_key(key_id: str = "k1", *, secret: str | None = None, role: Role = Role.MERCHANT, created_at: int = 1) -> ApiKey:
    digest = sha256((secret or key_id).encode()).digest()
    return ApiKey(key_id, digest, role, "acme" if role is Role.MERCHANT else None, created_at)


def a_heartbeat(instance: str = "command-1", **fields: Any) -> Heartbeat:
    values: dict[str, Any] = {
        "daemon": "command",
        "state": "running",
        "address": "http://127.0.0.1:8701",
        "last_error": None,
    } | fields
    return Heartbeat(instance, **values)


class RegistryContract:
    """`Registry`."""

    def test_a_deployment_says_its_constants(self, registry: Registry, harness: HotHarness) -> None:
        """The number of groups that it was founded with, its schema and epoch, and the database's time."""
        before = harness.now_us()
        deployment = registry.deployment()
        assert (deployment.groups, deployment.epoch) == (GROUPS, 0)
        assert deployment.schema_version >= 1
        assert before - SLACK_US <= deployment.now_us <= harness.now_us() + SLACK_US
        harness.set_epoch(5)
        assert registry.deployment().epoch == 5

    def test_a_deployment_keeps_its_number_of_groups(self, harness: HotHarness) -> None:
        """Whoever comes with another is told both numbers, and nothing changes."""
        order = create(harness.open().store)
        with pytest.raises(ConfigError, match=rf"128.*{GROUPS}"):
            harness.open(groups=128)
        opened = harness.open()
        assert opened.registry.deployment().groups == GROUPS
        assert opened.store.load([order.order_id]) == [order]

    @pytest.mark.parametrize("groups", [0, -1, 3, 8192])
    def test_groups_are_a_power_of_two(self, harness: HotHarness, groups: int) -> None:
        """Anything else is refused before it is written."""
        with pytest.raises(ConfigError, match=str(groups)):
            harness.open(groups=groups)
        assert harness.open().registry.deployment().groups == GROUPS

    def test_keys_are_listed_oldest_first(self, registry: Registry) -> None:
        """Each as it was added, whatever its role."""
        keys = [a_key("b", created_at=3), a_key("c", role=Role.GATEWAY, created_at=1), a_key("a", created_at=2)]
        assert registry.api_keys() == []
        assert [registry.add_key(key) for key in keys] == [True, True, True]
        assert registry.api_keys() == [keys[1], keys[2], keys[0]]

    def test_a_known_key_is_not_added_again(self, registry: Registry) -> None:
        """Neither its id nor its digest may come twice, also after it was revoked; the first stays as it is."""
        key = a_key("k1", secret="s1")
        assert registry.add_key(key)
        assert not registry.add_key(a_key("k1", secret="s2", created_at=9))
        assert not registry.add_key(a_key("k2", secret="s1", role=Role.GATEWAY))
        revoked = registry.revoke_key("k1", now_us=5)
        assert not registry.add_key(key)
        assert registry.api_keys() == [revoked]

    def test_a_revoked_key_stays_revoked(self, registry: Registry) -> None:
        """The first time counts, the key stays in the list, and one that is not there is None."""
        registry.add_key(a_key("k1"))
        registry.add_key(a_key("k2", created_at=2))
        expected = structs.replace(a_key("k1"), revoked_at=77)
        assert registry.revoke_key("k1", now_us=77) == expected
        assert registry.revoke_key("k1", now_us=99) == expected
        assert registry.revoke_key("K1", now_us=99) is None
        assert registry.api_keys() == [expected, a_key("k2", created_at=2)]

    @pytest.mark.parametrize(
        "key",
        [
            a_key(role=Role.SERVICE),
            structs.replace(a_key(), merchant_id=None),
            structs.replace(a_key(role=Role.GATEWAY), merchant_id="acme"),
        ],
        ids=["service", "merchant of no merchant", "gateway of a merchant"],
    )
    def test_a_key_that_means_nothing_is_rejected(self, registry: Registry, key: ApiKey) -> None:
        """A merchant's key names the merchant, a gateway's does not, and the service has none."""
        with pytest.raises(TierRejected):
            registry.add_key(key)
        assert registry.api_keys() == []

    def test_of_two_who_add_one_key_one_does(self, harness: HotHarness) -> None:
        """Two processes that start at once may both want to make the first key."""
        one, two = harness.open().registry, harness.open().registry
        added = at_once([partial(registry.add_key, a_key()) for registry in (one, two) * 5])
        assert sorted(added) == [False] * 9 + [True]
        assert one.api_keys() == [a_key()]

    def test_a_heartbeat_has_the_databases_time(self, registry: Registry, harness: HotHarness) -> None:
        """Whatever the daemon's own clock says; the last one of an instance stands."""
        before = harness.now_us()
        registry.beat([structs.replace(a_heartbeat(state="starting"), beat_at=12345)])
        harness.pass_time(2)
        registry.beat([a_heartbeat(state="failing", last_error="no route")])
        [heartbeat] = registry.heartbeats()
        assert structs.replace(heartbeat, beat_at=0) == a_heartbeat(state="failing", last_error="no route")
        assert before + 2_000_000 - SLACK_US <= heartbeat.beat_at <= harness.now_us() + SLACK_US

    def test_heartbeats_are_listed_by_daemon_and_instance(self, registry: Registry) -> None:
        """Several of a kind are told apart, and each has its own row."""
        beats = [a_heartbeat("q2", daemon="query"), a_heartbeat("c1"), a_heartbeat("q1", daemon="query")]
        registry.beat(beats)
        registry.beat([])
        assert [heartbeat.instance for heartbeat in registry.heartbeats()] == ["c1", "q1", "q2"]

    def test_who_retires_is_forgotten(self, registry: Registry) -> None:
        """The others stay, and to forget somebody unknown is no mistake."""
        registry.beat([a_heartbeat("c1"), a_heartbeat("c2"), a_heartbeat("c3")])
        registry.retire(["c1", "nobody", "c3"])
        registry.retire([])
        assert [heartbeat.instance for heartbeat in registry.heartbeats()] == ["c2"]

    def test_the_registry_survives_a_restart(self, harness: HotHarness) -> None:
        """Keys and heartbeats are as durable as orders."""
        registry = harness.open().registry
        registry.add_key(a_key())
        registry.beat([a_heartbeat()])
        beats = registry.heartbeats()
        harness.restart()
        registry = harness.open().registry
        assert (registry.api_keys(), registry.heartbeats()) == ([a_key()], beats)
