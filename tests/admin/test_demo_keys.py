"""The keys of the first start: there once, for ever, and for the owner only, however the process was ended."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from orderctl.admin.demo_keys import DemoKeys, demo_keys, read_key
from orderctl.clock import ManualClock
from orderctl.errors import DataDirError
from orderctl.order import Caller, Role
from orderctl.services.keys import KeyRing
from orderctl.stores.tiers import Tiers


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The data directory's folder of keys."""
    return tmp_path


def caller(tiers: Tiers, path: Path | None) -> Caller | None:
    """Whose key a file holds."""
    assert path is not None
    ring = KeyRing(tiers.registry)
    ring.reload()
    return ring.authenticate(read_key(path))


def test_the_first_start_makes_two_keys(folder: Path, tiers: Tiers, clock: ManualClock) -> None:
    """A merchant's and a gateway's, each in a file of its own that only the owner may read."""
    made = demo_keys(folder, tiers.registry, clock)
    assert made == DemoKeys(folder / "demo", folder / "gateway")
    assert caller(tiers, made.demo) == Caller(Role.MERCHANT, "demo")
    assert caller(tiers, made.gateway) == Caller(Role.GATEWAY)
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert sorted(path.name for path in folder.iterdir()) == ["demo", "gateway"]


def test_later_starts_change_nothing(folder: Path, tiers: Tiers, clock: ManualClock) -> None:
    """The keys stay as they are."""
    first = demo_keys(folder, tiers.registry, clock)
    contents = [path.read_bytes() for path in sorted(folder.iterdir())]
    assert demo_keys(folder, tiers.registry, clock) == first
    assert [path.read_bytes() for path in sorted(folder.iterdir())] == contents
    assert len(tiers.registry.api_keys()) == 2


def test_a_process_killed_between_file_and_digest(folder: Path, tiers: Tiers, clock: ManualClock) -> None:
    """The file that is there is the key, whoever wrote it."""
    (folder / "demo").write_text("ok_" + "0f" * 32 + "\n")
    made = demo_keys(folder, tiers.registry, clock)
    assert read_key(folder / "demo") == "ok_" + "0f" * 32
    assert caller(tiers, made.demo) == Caller(Role.MERCHANT, "demo")


def test_many_that_start_at_once_agree(folder: Path, tiers: Tiers, clock: ManualClock) -> None:
    """Of all the keys that they make, one stands, in the file and in the registry."""
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: demo_keys(folder, tiers.registry, clock), range(16)))
    assert set(made) == {DemoKeys(folder / "demo", folder / "gateway")}
    assert [key.key_id for key in tiers.registry.api_keys() if key.revoked_at is None] in (
        ["key_demo", "key_gateway"],
        ["key_gateway", "key_demo"],
    )
    assert caller(tiers, made[0].demo) == Caller(Role.MERCHANT, "demo")
    assert sorted(path.name for path in folder.iterdir()) == ["demo", "gateway"]


@pytest.mark.parametrize("file_is_gone", [False, True])
def test_a_revoked_key_does_not_come_back(
    folder: Path, tiers: Tiers, clock: ManualClock, *, file_is_gone: bool
) -> None:
    """Neither the old one nor a new one in its place, whether or not its file was taken away."""
    demo_keys(folder, tiers.registry, clock)
    tiers.registry.revoke_key("key_demo", now_us=clock.now_us())
    if file_is_gone:
        (folder / "demo").unlink()
    assert demo_keys(folder, tiers.registry, clock) == DemoKeys(None, folder / "gateway")
    assert (folder / "demo").exists() is not file_is_gone
    assert len(tiers.registry.api_keys()) == 2


def test_a_file_that_was_taken_away_is_not_made_anew(folder: Path, tiers: Tiers, clock: ManualClock) -> None:
    """Whoever keeps the key elsewhere finds it still the only one."""
    demo_keys(folder, tiers.registry, clock)
    (folder / "gateway").unlink()
    assert demo_keys(folder, tiers.registry, clock).gateway is None
    assert len(tiers.registry.api_keys()) == 2


@pytest.mark.parametrize("content", [b"", b"secret\n", b"ok_12\n", b"\xff\xfe", b"ok_" + b"0" * 64 + b"\nmore\n"])
def test_a_file_that_holds_no_key_is_named(folder: Path, tiers: Tiers, clock: ManualClock, content: bytes) -> None:
    """It is not taken for a key, and not overwritten."""
    (folder / "demo").write_bytes(content)
    with pytest.raises(DataDirError, match=r"demo (holds no key|cannot be read)"):
        demo_keys(folder, tiers.registry, clock)
    assert (folder / "demo").read_bytes() == content
    assert tiers.registry.api_keys() == []


def test_a_folder_that_is_not_there_is_named(folder: Path, tiers: Tiers, clock: ManualClock) -> None:
    """What the system says about the file is passed on."""
    with pytest.raises(DataDirError, match="demo cannot be written: No such file or directory"):
        demo_keys(folder / "gone", tiers.registry, clock)
