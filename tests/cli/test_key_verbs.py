"""`orderctl key`, `migrate` and `status` on a data directory, without a server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.terminal import Terminal


def test_create_shows_the_key_once(terminal: Terminal) -> None:
    """The documented members and no others; listed it is without the key."""
    made = json.loads(terminal.run("key", "create", "--merchant", "acme", "--role", "merchant", "-o", "json").stdout)
    assert list(made) == ["key_id", "merchant_id", "role", "key"]
    assert (made["merchant_id"], made["role"]) == ("acme", "merchant")
    listed = terminal.run("key", "list", "-o", "json").stdout
    assert json.loads(listed)[0]["key_id"] == made["key_id"]
    assert "key" not in json.loads(listed)[0]
    assert made["key"] not in listed


def test_a_gateways_key(terminal: Terminal) -> None:
    """It belongs to no merchant; one that is given is said to be ignored."""
    done = terminal.run("key", "create", "--role", "gateway", "--merchant", "acme", "-o", "jsonl")
    assert json.loads(done.stdout)["merchant_id"] is None
    assert "--merchant is ignored" in done.stderr


def test_a_merchant_is_needed(terminal: Terminal) -> None:
    """Nothing is made without one."""
    assert terminal.refuses("key", "create", code=2) == "a merchant's key names its merchant"
    assert "'a b' is no merchant's id" in terminal.refuses("key", "create", "--merchant", "a b", code=2)
    assert json.loads(terminal.run("key", "list", "-o", "json").stdout) == []


def test_revoke_and_its_audit_line(terminal: Terminal) -> None:
    """Revoked is shown in the list, and why is in the audit log of the data directory."""
    key_id = json.loads(terminal.run("key", "create", "--merchant", "acme", "-o", "json").stdout)["key_id"]
    revoked = json.loads(terminal.run("key", "revoke", key_id, "--reason", "lost", "-o", "json").stdout)
    assert revoked["revoked_at"].endswith("Z")
    row = terminal.run("key", "list").stdout.splitlines()[1].split()
    assert (row[0], row[-1][:4]) == (key_id, revoked["revoked_at"][:4])
    audited = (terminal.folder / "orderctl-data" / "audit.jsonl").read_text().splitlines()
    assert [(json.loads(line)["action"], json.loads(line)["reason"]) for line in audited] == [
        ("key create", None),
        ("key revoke", "lost"),
    ]


def test_the_audit_log_is_where_the_configuration_says(terminal: Terminal) -> None:
    """`[audit] path` moves it."""
    terminal.run("key", "create", "--merchant", "m", ORDERCTL_AUDIT__PATH="trail.jsonl")
    assert "key create" in (terminal.folder / "trail.jsonl").read_text()
    assert not (terminal.folder / "orderctl-data" / "audit.jsonl").exists()


def test_an_unknown_key(terminal: Terminal) -> None:
    """Exit 3."""
    terminal.run("migrate")
    assert terminal.refuses("key", "revoke", "key_x", code=3) == "there is no key key_x"


@pytest.mark.parametrize("arguments", [["key", "list"], ["key", "revoke", "key_x"]], ids=" ".join)
def test_a_look_makes_no_data_directory(terminal: Terminal, arguments: list[str]) -> None:
    """A directory that was misspelt is said, and not made."""
    said = terminal.refuses(*arguments, "--data-dir", "misspelt", code=3)
    assert said == f"nothing was ever started on the data directory {terminal.folder / 'misspelt'}"
    assert not (terminal.folder / "misspelt").exists()


def test_migrate_says_what_it_does(terminal: Terminal) -> None:
    """A dry run makes no database; the second run finds nothing to do."""
    planned = json.loads(terminal.run("migrate", "--dry-run", "-o", "json").stdout)
    assert not list(terminal.folder.glob("orderctl-data/*.db"))
    done = json.loads(terminal.run("migrate", "-o", "json").stdout)
    assert planned["migrations"] == done["migrations"]
    assert [Path(one["file"]).name for one in done["migrations"]] == ["hot.db", "cache.db", "log.db", "archive.db"]
    assert {one["from_version"] for one in done["migrations"]} == {None}
    assert (planned["executed"], done["executed"]) == (False, True)
    assert terminal.run("migrate").stdout == "nothing to do: the schema is the newest\n"


def test_status_before_anything_and_without_a_daemon(terminal: Terminal) -> None:
    """Exit 4 both times: first the tiers are down, then they are up and no daemon runs."""
    before = terminal.run("status", "-o", "json")
    shown = json.loads(before.stdout)
    assert before.returncode == 4
    assert {tier["state"] for tier in shown["tiers"]} == {"down"}
    assert list(shown["daemons"][0]) == ["name", "state", "lag_events", "lag_s", "last_error"]
    assert list(shown["tiers"][0]) == ["name", "kind", "state", "latency_ms"]
    assert not list(terminal.folder.iterdir())
    terminal.run("migrate")
    after = terminal.run("status", "-o", "json")
    shown = json.loads(after.stdout)
    assert (after.returncode, {tier["state"] for tier in shown["tiers"]}) == (4, {"up"})
    assert {daemon["state"] for daemon in shown["daemons"]} == {"stopped"}
    assert [tier["name"] for tier in shown["tiers"]] == ["hot", "cache", "log", "archive"]
    lags = {daemon["name"]: (daemon["lag_events"], daemon["lag_s"]) for daemon in shown["daemons"]}
    followers = dict.fromkeys(["cdc", "cache-sync", "archiver", "timeouts"], (0, 0.0))
    assert lags == dict.fromkeys(["command", "query", "expiry"], (None, None)) | followers


def test_the_data_directory_comes_from_flag_or_environment(terminal: Terminal) -> None:
    """The flag comes first."""
    terminal.run("migrate", ORDERCTL_DATA_DIR="by-environment")
    terminal.run("migrate", "--data-dir", "by-flag", ORDERCTL_DATA_DIR="unused")
    assert sorted(path.name for path in terminal.folder.iterdir()) == ["by-environment", "by-flag"]
