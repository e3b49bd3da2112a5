"""Manifests: strict, complete, and in step with the code both ways."""

from __future__ import annotations

import inspect
from importlib import import_module
from pathlib import Path

import pytest

import orderctl.daemons
from orderctl.config import Config
from orderctl.daemons.base import Daemon, ServerDaemon
from orderctl.daemons.entry import load_entry
from orderctl.daemons.manifest import Manifest, manifests, names, parse_manifest, select
from orderctl.errors import OrderctlError, UsageRefused

ORDER = ("command", "query", "cdc", "cache-sync", "archiver", "expiry", "timeouts", "auditor")
GOOD = """
name = "good"
idea = "Does good."
entry = "orderctl.daemons.query:QueryDaemon"
reads = ["http", "orders.changes"]
writes = []
group = "orderctl-good"
admin_port = 8799
"""


def daemon_classes() -> set[type[Daemon]]:
    """Every daemon in the code."""
    found: set[type[Daemon]] = set()
    for path in Path(str(orderctl.daemons.__file__)).parent.glob("*.py"):
        for value in vars(import_module(f"orderctl.daemons.{path.stem}")).values():
            if isinstance(value, type) and issubclass(value, Daemon) and not inspect.isabstract(value):
                found.add(value)
    return found


def test_every_manifest_names_a_daemon_and_back() -> None:
    """What has no manifest is not offered; what has no code is not either."""
    assert {load_entry(manifest) for manifest in manifests()} == daemon_classes()


@pytest.mark.parametrize("manifest", manifests(), ids=lambda manifest: manifest.name)
def test_a_manifest_keeps_to_the_conventions(manifest: Manifest) -> None:
    """Each daemon has its own admin port, and a server listens where its section says."""
    assert manifest.admin_port == 8711 + ORDER.index(manifest.name)
    entry = load_entry(manifest)
    assert issubclass(entry, ServerDaemon) == ("http" in manifest.reads)
    if issubclass(entry, ServerDaemon):
        assert entry.bind(Config()) == getattr(Config(), manifest.name).bind


def test_a_whole_manifest() -> None:
    """Limits have defaults; the group is optional."""
    manifest = parse_manifest(GOOD, source="daemons/good.toml")
    assert (manifest.name, manifest.group, manifest.limits.threads) == ("good", "orderctl-good", 1)
    assert parse_manifest(GOOD.replace('group = "orderctl-good"', ""), source="daemons/good.toml").group is None


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ('idea = "Does good."', "", "idea"),
        ("admin_port = 8799", "admin_port = 80", "admin_port"),
        ("admin_port = 8799", "admin_port = 8799\ncolour = 1", "colour"),
        ('"http", ', '"shelf", ', "reads"),
        ("orderctl.daemons.query:", "os:", "entry"),
        ('name = "good"', 'name = "Good"', "name"),
        ('name = "good"', 'name = "other"', "other"),
        ('name = "good"', "name = ", "daemons/good.toml"),
        ("admin_port = 8799", "admin_port = 8799\n[limits]\nthreads = 0", "threads"),
    ],
)
def test_a_broken_manifest_is_one_clear_line(old: str, new: str, why: str) -> None:
    """It names the file and the member."""
    with pytest.raises(OrderctlError) as caught:
        parse_manifest(GOOD.replace(old, new), source="daemons/good.toml")
    assert caught.value.message.startswith("daemons/good.toml")
    assert why in caught.value.message


@pytest.mark.parametrize(
    "entry", ["orderctl.daemons.nothing:Daemon", "orderctl.daemons.query:No", "orderctl.daemons.base:edge"]
)
def test_an_entry_that_is_no_daemon_is_told(entry: str) -> None:
    """Whether the module, the name or the base is missing."""
    manifest = parse_manifest(GOOD.replace("orderctl.daemons.query:QueryDaemon", entry), source="daemons/good.toml")
    with pytest.raises(OrderctlError, match=r"daemons/good\.toml"):
        load_entry(manifest)


def test_none_named_selects_all_and_one_named_twice_counts_once() -> None:
    """In the order of the ports, whatever the order asked."""
    assert tuple(manifest.name for manifest in select([])) == names()
    assert [manifest.name for manifest in select(["query", "command", "query"])] == ["command", "query"]


@pytest.mark.parametrize(("asked", "told"), [("qurey", "did you mean query"), ("zzz", "there are command, query")])
def test_a_daemon_that_is_not_offered_is_refused(asked: str, told: str) -> None:
    """The nearest is named, or all."""
    with pytest.raises(UsageRefused, match=told):
        select([asked])
