"""`status` where MySQL is away: what the other tiers know is told all the same; and how many messages are parked."""

from __future__ import annotations

from contextlib import closing

import pytest
from msgspec import structs

from orderctl.admin.status import status
from orderctl.clock import ManualClock, SystemClock
from orderctl.config import Config
from orderctl.errors import TierUnavailable
from orderctl.stores.apart import Away, open_servers_apart
from orderctl.stores.log import CHANGES, PARKED, Outgoing, Place
from orderctl.stores.servers import migrate_servers
from orderctl.stores.tiers import Tiers
from tests.services.tiers import Failing
from tests.stack import RunningStack, needs

GROUPS = {"command": None, "cdc": "cdc", "cache-sync": "cache-sync", "archiver": "archiver", "timeouts": "timeouts"}
NOBODY = 1
"""A port that nobody listens at."""


def without_mysql(config: Config) -> Config:
    """The same deployment, its shards where nobody listens."""
    shards = tuple(structs.replace(one, port=NOBODY) for one in config.mysql.shards)
    return structs.replace(config, mysql=structs.replace(config.mysql, shards=shards))


def test_parked_messages_are_counted(tiers: Tiers, clock: ManualClock) -> None:
    """Each that waits, over all groups."""
    assert status(GROUPS, tiers, clock).parked == 0
    headers = (("topic", CHANGES.encode()), ("partition", b"3"), ("offset", b"7"), ("reason", b"unreadable"))
    tiers.log.publish([Outgoing(Place(PARKED, group), b"k", b"v", headers) for group in (3, 5)])
    assert status(GROUPS, tiers, clock).parked == 2


def test_how_many_are_parked_is_not_known_without_the_log(tiers: Tiers, clock: ManualClock) -> None:
    """And that is said."""
    log = Failing(tiers.log)
    log.error = TierUnavailable("log")
    assert status(GROUPS, structs.replace(tiers, log=log), clock).parked is None


def test_a_store_that_is_away_says_why_whatever_it_is_asked() -> None:
    """And is closed like any other."""
    away = Away(TierUnavailable("hot", "no route", hint="see the cable"))
    for ask in (away.load, away.finals):
        with pytest.raises(TierUnavailable, match="no route") as raised:
            ask(["x"], limit=3)
        assert (raised.value.tier, raised.value.hint) == ("hot", "see the cable")
    away.close()


@needs("sql", "redis", "kafka", "cassandra")
def test_the_others_are_shown_while_mysql_is_away(stack: RunningStack) -> None:
    """The lag of those that follow the log is known without it; of the daemons nothing is."""
    clock = SystemClock()
    migrate_servers(stack.config, clock, dry_run=False)
    with closing(open_servers_apart(without_mysql(stack.config), clock)) as tiers:
        found = status(GROUPS, tiers, clock)
    assert {tier.name: tier.state for tier in found.tiers} == {
        "hot": "down",
        "cache": "up",
        "log": "up",
        "archive": "up",
    }
    assert {daemon.state for daemon in found.daemons} == {"unknown"}
    lags = {daemon.name: daemon.lag_events is not None for daemon in found.daemons}
    assert lags == {"command": False, "cdc": False, "cache-sync": True, "archiver": False, "timeouts": True}
    assert found.parked is not None
    assert not found.is_good


@needs("sql", "redis", "kafka", "cassandra")
def test_nothing_is_missing_while_mysql_is_there(stack: RunningStack) -> None:
    """Then it is what it always is."""
    clock = SystemClock()
    migrate_servers(stack.config, clock, dry_run=False)
    with closing(open_servers_apart(stack.config, clock)) as tiers:
        assert {tier.state for tier in status(GROUPS, tiers, clock).tiers} == {"up"}
