"""`orderctl invalidate`, `replay`, `parked` and `audit` on a data directory, without a server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from orderctl.clock import SystemClock
from orderctl.config import Config
from orderctl.ids import group_of
from orderctl.order import Order, Status
from orderctl.services.passages import REPLAYABLE
from orderctl.stores.log import CHANGES, Outgoing, Place
from orderctl.stores.tiers import open_tiers
from tests.admin.flowing import GROUPS, Flow
from tests.cli.terminal import Terminal
from tests.unit.flow_kit import manifest

ID = "0197b0de-5c00-7abc-8000-0123456789ab"


@pytest.fixture
def data(terminal: Terminal) -> Path:
    """A data directory with nothing in it yet."""
    assert terminal.run("migrate").returncode == 0
    return terminal.folder / "orderctl-data"


@contextmanager
def flowing(data: Path) -> Iterator[Flow]:
    """What is in it."""
    tiers = open_tiers(Config(), data, SystemClock())
    try:
        yield Flow(tiers, SystemClock(), data / "audit.jsonl")
    finally:
        tiers.close()


def made(data: Path, count: int = 3) -> list[Order]:
    """Orders that are cached at an older version than the log has."""
    with flowing(data) as flow:
        orders = flow.orders.move(flow.orders.create(count), Status.PROCESSING)
        flow.pump()
        flow.follow()
        return flow.orders.cache([structs.replace(order, version=1, status=Status.PENDING) for order in orders])


def said(terminal: Terminal, *arguments: str, code: int = 0) -> Any:
    """What `-o json` says, having ended so."""
    done = terminal.run(*arguments, "-o", "json")
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


class TestInvalidate:
    """One order at once, many by plan."""

    def test_named_orders_go_at_once(self, terminal: Terminal, data: Path) -> None:
        """Whether they are cached or not; JSON has the shape that programs rely on."""
        [order] = made(data, 1)
        group = str(group_of(order.order_id, GROUPS))
        shown = said(terminal, "invalidate", order.order_id, "--reason", "wrong")
        assert shown == {"orders": 1, "by_group": {group: 1}, "executed": True}
        with flowing(data) as flow:
            assert flow.cached(order) is None
            assert [line["reason"] for line in flow.audited()] == ["wrong", "wrong"]
        assert said(terminal, "invalidate", order.order_id)["orders"] == 1

    @pytest.mark.parametrize("by", ["--groups", "--merchant", "--from-file"])
    def test_many_are_planned_first(self, terminal: Terminal, data: Path, by: str) -> None:
        """Without --execute nothing is done; with it, and without a terminal, --yes is needed."""
        orders = made(data, 5)
        listed = [f"{order.order_id}\n" for order in orders]
        (terminal.folder / "ids.txt").write_text("# wrong ones\n\n" + "".join(listed))
        chosen = ("invalidate", by, {"--groups": "0-63", "--merchant": "acme", "--from-file": "ids.txt"}[by])
        plan = said(terminal, *chosen)
        assert (plan["orders"], sum(plan["by_group"].values()), plan["executed"]) == (5, 5, False)
        assert "nothing was done" in terminal.run(*chosen).stderr
        assert terminal.refuses(*chosen, "--execute", code=2) == "there is no terminal to ask at"
        with flowing(data) as flow:
            assert all(map(flow.cached, orders))
            assert flow.audited() == []
        assert said(terminal, *chosen, "--execute", "--yes") == {**plan, "executed": True}
        with flowing(data) as flow:
            assert [flow.cached(order) for order in orders] == [None] * 5

    @pytest.mark.parametrize(
        ("arguments", "text"),
        [
            ([], "say what to forget"),
            ([ID, "--groups", "1"], "say what to forget"),
            (["no-id"], "not an order id"),
            (["--groups", "0-99"], "there are no groups 0-99: they are 0-63"),
            (["--from-file", "gone.txt"], "gone.txt cannot be read"),
            ([ID] * 501, "501 order ids, at most 500"),
        ],
    )
    def test_wrong_use(self, terminal: Terminal, data: Path, arguments: list[str], text: str) -> None:
        """Exit 2, and nothing is done."""
        assert text.lower() in terminal.refuses("invalidate", *arguments, code=2).lower()
        assert not (data / "audit.jsonl").exists()


class TestReplay:
    """A plan, then the run."""

    def test_planned_then_done(self, terminal: Terminal, data: Path) -> None:
        """The shape that programs rely on, and what the plan says is what is applied."""
        orders = made(data)
        replay = ("replay", "cache-sync", "--from", "1h")
        plan = said(terminal, *replay)
        assert {"daemon", "from", "to", "events", "orders", "would_change", "applied"} <= plan.keys()
        assert (plan["events"], plan["orders"], plan["would_change"], plan["applied"]) == (6, 3, 3, 0)
        shown = terminal.run(*replay).stdout
        assert "cached version 1 becomes 2, processing" in shown
        assert terminal.refuses(*replay, "--execute", code=2) == "there is no terminal to ask at"
        assert said(terminal, *replay, "--execute", "--yes")["applied"] == 3
        with flowing(data) as flow:
            assert [flow.cached(order).version for order in orders] == [2] * 3
        assert said(terminal, *replay)["would_change"] == 0

    def test_moving_the_group_instead(self, terminal: Terminal, data: Path) -> None:
        """The same plan; then the group reads it all again."""
        made(data)
        seek = ("replay", "cache-sync", "--from", "1h", "--seek")
        assert said(terminal, *seek)["would_change"] == 3
        done = said(terminal, *seek, "--execute", "--yes")
        assert (done["sought"], done["applied"]) == (True, 0)
        with flowing(data) as flow:
            assert {offset or 0 for offset in flow.tiers.log.committed("cache-sync", CHANGES)} == {0}
        again = terminal.run(*seek, "--execute", "--yes")
        assert (again.returncode, "it would go forwards" in again.stderr) == (2, True)

    @pytest.mark.parametrize(
        ("arguments", "text"),
        [
            (["query", "--from", "1h"], "'query' cannot be replayed"),
            (["cache-sync", "--from", "yesterday"], "'yesterday' is no place in the log"),
            (["cache-sync", "--from", "99:0"], "orders.changes has no partition 99: they are 0-63"),
            (["cache-sync", "--from", "1h", "--to", "1m", "--seek"], "leave --to out"),
        ],
    )
    def test_wrong_use(self, terminal: Terminal, data: Path, arguments: list[str], text: str) -> None:
        """Exit 2, and nothing is done."""
        assert text in terminal.refuses("replay", *arguments, code=2)
        assert not (data / "audit.jsonl").exists()

    def test_it_knows_the_daemons_as_their_manifests_do(self) -> None:
        """Their groups, and that they read these topics."""
        for name, known in REPLAYABLE.items():
            assert manifest(name).group == known.group
            assert known.topic in manifest(name).reads


class TestParked:
    """What a daemon could not process."""

    def poison(self, data: Path) -> Order:
        """An order with a message that means nothing."""
        with flowing(data) as flow:
            [order] = flow.orders.create(1)
            place = Place(CHANGES, group_of(order.order_id, GROUPS))
            flow.tiers.log.publish([Outgoing(place, order.order_id.encode(), b"\x1b[31m{")])
            flow.follow()
            return order

    def test_listed_shown_and_retried(self, terminal: Terminal, data: Path) -> None:
        """Retrying acts at once; a terminal is not steered by what the message holds."""
        order = self.poison(data)
        [listed] = said(terminal, "parked", "list")
        assert list(listed) == [
            *("id", "order_id", "topic", "partition", "offset", "daemon", "reason", "parked_at"),
        ]  # fmt: skip
        assert listed["order_id"] == order.order_id
        shown = terminal.run("parked", "show", listed["id"])
        assert "\\x1b[31m{" in shown.stdout
        assert order.order_id in shown.stdout
        assert said(terminal, "parked", "retry", listed["id"]) == [listed]
        assert said(terminal, "parked", "list") == []
        assert terminal.refuses("parked", "show", listed["id"], code=3) == f"nothing is parked at {listed['id']}"

    def test_dropped_by_plan(self, terminal: Terminal, data: Path) -> None:
        """All, or those that are named; without --execute nothing is."""
        self.poison(data)
        assert said(terminal, "parked", "drop", "--all")["messages"] == 1
        [listed] = said(terminal, "parked", "list")
        drop = ("parked", "drop", listed["id"])
        assert terminal.refuses(*drop, "--execute", code=2) == "there is no terminal to ask at"
        assert said(terminal, *drop, "--execute", "--yes")["executed"] is True
        assert said(terminal, "parked", "list") == []
        assert "name what to drop" in terminal.refuses("parked", "drop", code=2)
        assert "name what to drop" in terminal.refuses(*drop, "--all", code=2)


class TestAudit:
    """What operators changed."""

    def test_listed_and_verified(self, terminal: Terminal, data: Path) -> None:
        """Every change is in it; a line that was changed is exit 1, and named."""
        assert said(terminal, "audit", "list") == []
        terminal.run("key", "create", "--merchant", "acme", "--reason", "new shop")
        terminal.run("invalidate", ID, "--reason", "wrong")
        lines = said(terminal, "audit", "list")
        assert [line["action"] for line in lines] == ["key create", "invalidate", "invalidate"]
        assert said(terminal, "audit", "list", "--last", "1") == lines[-1:]
        assert "new shop" in terminal.run("audit", "list").stdout
        found = said(terminal, "audit", "verify")
        assert (found["intact"], found["lines"], found["problems"]) == (True, 3, [])
        assert said(terminal, "audit", "verify", "--expect", found["head"])["intact"]
        path = data / "audit.jsonl"
        path.write_text(path.read_text().replace("new shop", "old shop"))
        done = terminal.run("audit", "verify")
        assert (done.returncode, done.stderr) == (1, "orderctl: line 1: it was changed\n")

    def test_without_one(self, terminal: Terminal, data: Path) -> None:
        """No log is not a whole one; a data directory that is not there is said."""
        assert "there is no audit log" in terminal.refuses("audit", "verify", code=3)
        assert "nothing was ever started" in terminal.refuses("audit", "list", "--data-dir", "other", code=3)
        assert data.exists()


@pytest.mark.parametrize(
    "words",
    [
        ["invalidate", ID],
        ["replay", "cache-sync", "--from", "1h"],
        ["parked", "list"],
        ["parked", "drop", "--all"],
    ],
    ids=" ".join,
)
def test_a_tier_that_is_missing_is_exit_4(terminal: Terminal, data: Path, words: list[str]) -> None:
    """It is not made anew in its place, as if nothing had ever been in it."""
    (data / "log.db").unlink()
    assert "log.db is missing" in terminal.refuses(*words, code=4)
    assert not (data / "log.db").exists()


def test_help_says_what_each_verb_takes(terminal: Terminal) -> None:
    """The plan's options where there is a plan."""
    for words in (["invalidate"], ["replay"], ["parked", "drop"]):
        shown = terminal.run(*words, "--help").stdout
        assert all(option in shown for option in ("--execute", "--yes", "--reason"))
