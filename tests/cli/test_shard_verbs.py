"""`orderctl shard` on a data directory, without a server."""

from __future__ import annotations

import json

from tests.cli.terminal import Terminal


def test_list_shows_the_one_shard_of_a_data_directory(terminal: Terminal) -> None:
    """Its epoch, and what is to be done about it: nothing."""
    terminal.run("migrate")
    (shard,) = json.loads(terminal.run("shard", "list", "-o", "json").stdout)
    assert (shard["name"], shard["groups"], shard["state"], shard["epoch"]) == ("embedded", "0-63", "current", 0)
    row = terminal.run("shard", "list").stdout.splitlines()[1].split()
    assert row == ["embedded", "0-63", "current", "0", "-", "-", "0"]


def test_a_promotion_is_planned_first(terminal: Terminal) -> None:
    """Nothing is done, and no audit line written, without --execute."""
    terminal.run("migrate")
    plan = json.loads(terminal.run("shard", "promote", "embedded", "-o", "json").stdout)
    assert (plan["epoch_from"], plan["epoch_to"], plan["executed"]) == (0, 1, False)
    assert "nothing was done" in terminal.run("shard", "promote", "embedded").stderr
    (shard,) = json.loads(terminal.run("shard", "list", "-o", "json").stdout)
    assert shard["epoch"] == 0
    assert not (terminal.folder / "orderctl-data" / "audit.jsonl").exists()


def test_a_promotion_is_done_and_told_of(terminal: Terminal) -> None:
    """With --execute and --yes; the audit log says when it began and when it was over, and why."""
    terminal.run("migrate")
    promote = ("shard", "promote", "embedded", "--execute")
    assert terminal.refuses(*promote, code=2) == "there is no terminal to ask at"
    done = json.loads(terminal.run(*promote, "--yes", "--reason", "db1 burnt", "-o", "json").stdout)
    assert (done["epoch_to"], done["executed"], done["touched"], done["discarded"]) == (1, True, 0, 0)
    lines = map(json.loads, (terminal.folder / "orderctl-data" / "audit.jsonl").read_text().splitlines())
    assert [(line["action"], line["done"], line["reason"]) for line in lines] == [
        ("shard promote", False, "db1 burnt"),
        ("shard promote", True, "db1 burnt"),
    ]
    assert terminal.run(*promote, "--yes").stdout.splitlines()[2].split() == ["epoch", "1", "->", "2"]


def test_a_shard_that_is_not_there(terminal: Terminal) -> None:
    """Exit 3; the hint names those that are."""
    terminal.run("migrate")
    assert terminal.refuses("shard", "promote", "db7", code=3) == "there is no shard db7"
    terminal.folder.joinpath("orderctl-data", "hot.db").unlink()
    assert terminal.run("shard", "promote", "embedded").returncode == 3
