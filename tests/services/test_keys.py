"""Keys: minted once, kept as digests, revoked for good, and still known while the database is away."""

import pytest

from orderctl.errors import TierUnavailable
from orderctl.order import Caller, Role
from orderctl.services.keys import KEY_BYTES, KeyRing, digest_of, mint
from tests.services.tiers import Bench, Failing, away


def test_a_key_is_good_until_it_is_revoked(bench: Bench) -> None:
    """From one reload to the next."""
    registry = bench.tiers.registry
    made = mint(Role.MERCHANT, "m", now_us=1)
    ring = KeyRing(registry)
    assert ring.authenticate(made.secret) is None
    assert registry.add_key(made.key)
    ring.reload()
    assert ring.authenticate(made.secret) == Caller(Role.MERCHANT, "m")
    registry.revoke_key(made.key.key_id, now_us=2)
    assert ring.authenticate(made.secret) == Caller(Role.MERCHANT, "m")
    ring.reload()
    assert ring.authenticate(made.secret) is None


def test_the_last_set_is_kept_while_the_registry_is_away(bench: Bench) -> None:
    """A database that is away locks nobody out."""
    registry = Failing(bench.tiers.registry)
    made = mint(Role.GATEWAY, None, now_us=1)
    bench.tiers.registry.add_key(made.key)
    ring = KeyRing(registry)
    ring.reload()
    registry.error = away("mysql")
    with pytest.raises(TierUnavailable):
        ring.reload()
    assert ring.authenticate(made.secret) == Caller(Role.GATEWAY)


def test_a_key_holds_256_bits_and_its_digest_does_not_give_it_away() -> None:
    """Every byte of randomness is in the secret, none in what is kept."""
    made = mint(Role.GATEWAY, None, now_us=1, random=lambda size: bytes(range(size)))
    assert made.secret == "ok_" + bytes(range(KEY_BYTES)).hex()
    assert made.key.digest == digest_of(made.secret)
    assert made.secret not in repr(made.key)


@pytest.mark.parametrize(("role", "merchant"), [(Role.MERCHANT, None), (Role.GATEWAY, "m"), (Role.SERVICE, "m")])
def test_a_merchants_key_names_its_merchant(role: Role, merchant: str | None) -> None:
    """And no other does."""
    with pytest.raises(ValueError, match="names a merchant"):
        mint(role, merchant, now_us=1)


def test_whatever_is_sent_as_a_key_is_somebodys_or_nobodys(bench: Bench) -> None:
    """Bytes that are no text included: a header may hold anything."""
    ring = KeyRing(bench.tiers.registry)
    for secret in ("", "ok_", "ü", "\udcff", "x" * 10_000):
        assert ring.authenticate(secret) is None
