"""MariaDB killed, or frozen, in the middle of group commits: what was acknowledged is there, what nobody knows is told so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

import pymysql
import pytest

from orderctl.stores.tiers import Tiers
from tests.acceptance.deployment import Deployment
from tests.acceptance.fleet import Fleet
from tests.acceptance.quiet import Record, hold_to_account, opened
from tests.acceptance.server import PATIENCE_S, until
from tests.acceptance.weather import (
    WITHOUT_NEAR,
    Load,
    Weather,
    all_ready,
    archived_of,
    is_read_from,
    lasting,
    ports_of,
    says,
    under_load,
)
from tests.stack import RunningStack, needs

pytestmark = needs("sql", "redis", "kafka", "cassandra")

KILLS = 3
KILLED_S = 5.0
FROZEN_S = 14.0
"""Longer than a server waits for the answer to its COMMIT."""
COMMIT_WAIT_S = 5
"""So long that hardly ever a commit that was seen to wait is done before the server is frozen, or killed."""
CLIENTS = 8
ANSWER_S = 5
NEW_ORDER = {"merchant_ref": "while-it-is-away", "amount": 1, "currency": "EUR", "payment_method": "card"}


@contextmanager
def commits_on_their_way(stack: RunningStack, weather: Weather, fleet: Fleet) -> Iterator[None]:
    """In the block a group commit waits for more to join it, as it may, and the command server's are among those that wait."""
    process = fleet.servers["command"].process
    assert process is not None
    socket = str(stack.folder / "sql" / "data" / "mariadb.sock")
    with (
        closing(pymysql.connect(unix_socket=socket, user="root", read_timeout=ANSWER_S)) as root,
        root.cursor() as cursor,
    ):

        def are_on_their_way() -> bool:
            cursor.execute("SELECT host FROM information_schema.processlist WHERE info = 'COMMIT'")
            return not ports_of(process.pid).isdisjoint(int(host.rpartition(":")[2]) for (host,) in cursor.fetchall())

        cursor.execute(f"SET GLOBAL binlog_commit_wait_usec = {COMMIT_WAIT_S * 1_000_000}")
        cursor.execute("SET GLOBAL binlog_commit_wait_count = 1000")
        try:
            until(are_on_their_way, seconds=PATIENCE_S, what="a client's transaction commits")
            yield
        finally:
            weather.thaw()
            with suppress(pymysql.Error):  # one that was killed has forgotten it
                cursor.execute("SET GLOBAL binlog_commit_wait_count = 0")


def go_on_without(fleet: Fleet, load: Load, tiers: Tiers, archived: str) -> None:
    """While MySQL is away: nothing can be written, and clients hear when to ask again; what is cached or archived is read."""
    answer = fleet.command("POST", "/v1/orders", "demo", NEW_ORDER)
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert answer.json["type"] == "urn:orderctl:problem:unavailable"
    load.wait_for_lookups(50, seconds=PATIENCE_S)
    until(
        lambda: is_read_from(fleet, tiers, archived, "cassandra"), seconds=PATIENCE_S, what="an archived order is read"
    )
    for name in ("cdc", "archiver"):
        says(fleet.servers[name], 503, "hot", seconds=PATIENCE_S)
    for name in ("command", "query"):
        says(fleet.servers[name], 200, "hot", seconds=PATIENCE_S)


@pytest.mark.timeout(300)
def test_mariadb_killed_in_group_commits(
    deployment: Deployment, stack: RunningStack, weather: Weather, record_property: Record
) -> None:
    """Three times, each with commits on their way: their outcome is unknown, and never told otherwise."""
    with Fleet(deployment.data_dir, deployment.settings | WITHOUT_NEAR) as fleet:
        with under_load(fleet, seed=63, clients=CLIENTS) as load:
            load.wait_for_orders(200, seconds=PATIENCE_S)
            with opened(deployment.data_dir, deployment.config) as tiers:
                until(
                    lambda: bool(archived_of(load.ledger.lines[:100], tiers)),
                    seconds=PATIENCE_S,
                    what="an order is archived",
                )
                archived = archived_of(load.ledger.lines[:100], tiers)[0]
                for _ in range(KILLS):
                    with commits_on_their_way(stack, weather, fleet):
                        weather.kill("sql")
                    with lasting(KILLED_S):
                        go_on_without(fleet, load, tiers, archived)
                    weather.clear()
                    load.wait_for_orders(100, seconds=PATIENCE_S)
            all_ready(fleet, record_property)
        assert load.ledger.refused
        assert load.ledger.unknown
        hold_to_account(deployment.data_dir, load.ledger, fleet, record_property, deployment.config)
        assert fleet.stop() == {0}


@pytest.mark.timeout(300)
def test_mariadb_frozen_in_group_commits(
    deployment: Deployment, stack: RunningStack, weather: Weather, record_property: Record
) -> None:
    """It commits all the same, once it thaws, what its clients were told that nobody knows."""
    with Fleet(deployment.data_dir, deployment.settings | WITHOUT_NEAR) as fleet:
        with under_load(fleet, seed=64, clients=CLIENTS) as load:
            load.wait_for_orders(200, seconds=PATIENCE_S)
            with commits_on_their_way(stack, weather, fleet):
                weather.freeze("sql")
                with lasting(FROZEN_S):
                    says(fleet.servers["cdc"], 503, "hot", seconds=PATIENCE_S)
                    until(lambda: load.ledger.unknown > 0, seconds=PATIENCE_S, what="an outcome is unknown")
            load.wait_for_orders(100, seconds=PATIENCE_S)
            all_ready(fleet, record_property)
        hold_to_account(deployment.data_dir, load.ledger, fleet, record_property, deployment.config)
        assert fleet.stop() == {0}
