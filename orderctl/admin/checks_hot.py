"""What must be true of the MySQL shards, and of the users who come to them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from msgspec import Struct

from orderctl.admin.checks import Check, Seen, State, at_least, is_loopback, of_each, one_of, seen, unseen
from orderctl.services.lag import Lag
from orderctl.stores.facts_mysql import ShardFacts

DAY_S = 86_400
PACKET_BYTES = 4 << 20
"""A batch of 500 orders, each with metadata whose characters all have to be escaped, is about half of it."""
CONNECTIONS = 128
"""Seven daemons with 16 connections each, and some for operators."""
LAG_SHARE = 0.5
_GRANT = re.compile(r"GRANT (.+?) ON (\S+) TO ", re.IGNORECASE)
_HARMLESS = frozenset({
    *("USAGE", "SELECT", "PROCESS", "REPLICATION SLAVE", "REPLICATION CLIENT", "BINLOG MONITOR", "SLAVE MONITOR"),
    *("REPLICA MONITOR", "SHOW DATABASES"),
})  # fmt: skip
"""What lets its holder read; all else on *.* lets it do harm beyond its database."""


class HotFacts(Struct, frozen=True, kw_only=True):
    """The shards that answer, and what this deployment expects of them; `away` says why the others do not.

    `cdc_lag` is None where it cannot be known.
    """

    shards: tuple[ShardFacts, ...]
    groups: int
    clock_skew_max_s: float
    cdc_lag: Lag | None = None
    away: tuple[str, ...] = ()


def _variables(facts: HotFacts) -> Iterator[tuple[str, dict[str, str] | None]]:
    return ((shard.name, shard.variables) for shard in facts.shards)


def _equals(variable: str, wanted: str, *, absent: str | None = None) -> Callable[[HotFacts], Iterable[Seen]]:
    return of_each(
        _variables, variable, f"{variable} = {wanted}", one_of(wanted, *_SPELT.get(wanted, ())), absent=absent
    )


_SPELT = {"ON": ("1",), "OFF": ("0",)}


def _gtid(facts: HotFacts) -> Iterator[Seen]:
    for shard in facts.shards:
        name = "gtid_strict_mode" if shard.is_mariadb else "gtid_mode"
        value = shard.variables.get(name, "-")
        yield seen(shard.name, f"{name} = {value}", f"{name} = ON", good=value.upper() in {"ON", "1"})


def _binlog_kept(facts: HotFacts) -> Iterator[Seen]:
    lag_s = facts.cdc_lag.age_s if facts.cdc_lag else 0.0
    needed_s = max(DAY_S, lag_s / LAG_SHARE)
    wanted = f"binlog_expire_logs_seconds >= {needed_s:.0f}"
    for shard in facts.shards:
        value = shard.variables.get("binlog_expire_logs_seconds")
        if value is None:
            yield unseen(shard.name, wanted)
        elif float(value) == 0:
            yield Seen(shard.name, State.NOTE, "binlogs are kept for ever, until the disk is full", wanted)
        else:
            found = f"{value} s" + (f", while cdc is {lag_s:.0f} s behind" if lag_s else "")
            yield seen(shard.name, found, wanted, good=float(value) >= needed_s)


def _one_writer(facts: HotFacts) -> Iterator[Seen]:
    wanted = "a server that copies from no other"
    for shard in facts.shards:
        if shard.replicates is None:
            yield unseen(shard.name, wanted)
        else:
            found = "it copies from another server" if shard.replicates else "it copies from none"
            yield seen(shard.name, found, wanted, good=not shard.replicates)


def _promoted(facts: HotFacts) -> Iterator[Seen]:
    for shard in facts.shards:
        if (deployment := shard.deployment) is not None:
            found = f"epoch {deployment.epoch} of {deployment.epoch_server}, answered by {deployment.server}"
            yield seen(shard.name, found, "the server that the epoch was raised on", good=deployment.is_promoted)


def _settled(facts: HotFacts) -> Iterator[Seen]:
    for shard in facts.shards:
        if (deployment := shard.deployment) is not None:
            found = f"settled up to epoch {deployment.epoch_settled} of {deployment.epoch}"
            yield seen(shard.name, found, "every epoch settled", good=deployment.epoch_settled == deployment.epoch)


def _semi_sync(facts: HotFacts) -> Iterator[Seen]:
    wanted = "on, after_sync, with a replica"
    for shard in facts.shards:
        both = shard.variables | shard.counters
        word = "source" if "rpl_semi_sync_source_enabled" in both else "master"
        is_on = both.get(f"rpl_semi_sync_{word}_enabled", "OFF").upper() in {"ON", "1"}
        clients = both.get(f"rpl_semi_sync_{word}_clients", "0")
        point = both.get(f"rpl_semi_sync_{word}_wait_point", "-").upper()
        found = f"{'on' if is_on else 'off'}, {point.lower()}, {clients} replicas"
        yield seen(
            shard.name, found, wanted, good=is_on and clients != "0" and point == "AFTER_SYNC", otherwise=State.NOTE
        )


def _isolation(facts: HotFacts) -> Iterator[Seen]:
    for shard in facts.shards:
        yield seen(shard.name, shard.isolation, "READ-COMMITTED", good=shard.isolation.upper() == "READ-COMMITTED")


def _engines(facts: HotFacts) -> Iterator[Seen]:
    for shard in facts.shards:
        others = sorted(f"{table}: {engine}" for table, engine in shard.engines.items() if engine != "InnoDB")
        yield seen(shard.name, ", ".join(others) or "InnoDB", "InnoDB", good=not others)


def _clock(facts: HotFacts) -> Iterator[Seen]:
    bound_s = facts.clock_skew_max_s
    for shard in facts.shards:
        found = f"{shard.skew_s:+.3f} s"
        yield seen(shard.name, found, f"within {bound_s:g} s of this machine's", good=abs(shard.skew_s) <= bound_s)


def _schema(facts: HotFacts) -> Iterator[Seen]:
    for shard in facts.shards:
        yield seen(shard.name, shard.schema_fault or "current", "current", good=shard.schema_fault is None)


def _groups(facts: HotFacts) -> Iterator[Seen]:
    for shard in facts.shards:
        if shard.deployment is not None:
            groups = shard.deployment.groups
            yield seen(shard.name, groups, f"{facts.groups}, as configured", good=groups == facts.groups)


def _tls(facts: HotFacts) -> Iterator[Seen]:
    for shard in facts.shards:
        found = "verified TLS" if shard.tls else f"plain text to {shard.host}"
        yield seen(shard.name, found, "TLS, except on this machine", good=shard.tls or is_loopback(shard.host))


def _rights(grants: Iterable[str], *, everywhere: bool) -> set[str]:
    """The rights that the user has on *.*, or on anything else."""
    found: set[str] = set()
    for grant in grants:
        if (match := _GRANT.match(grant)) and (match[2].replace("`", "") == "*.*") is everywhere:
            found |= {right.strip().upper() for right in re.sub(r"\([^)]*\)", "", match[1]).split(",")}
    return found


def _rights_enough(facts: HotFacts) -> Iterator[Seen]:
    wanted = "SELECT, INSERT, UPDATE, DELETE; REPLICATION SLAVE and CLIENT for cdc"
    for shard in facts.shards:
        everywhere, here = _rights(shard.grants, everywhere=True), _rights(shard.grants, everywhere=False)
        is_all = any(right.startswith("ALL") for right in everywhere)
        missing = {"SELECT", "INSERT", "UPDATE", "DELETE"} - everywhere - here
        if any(right.startswith("ALL") for right in here):
            missing = set()
        if "REPLICATION SLAVE" not in everywhere:
            missing.add("REPLICATION SLAVE")
        if not everywhere & {"REPLICATION CLIENT", "BINLOG MONITOR"}:
            missing.add("REPLICATION CLIENT")
        lacks = set() if is_all else missing
        # Users of a single daemon each are the better way, and none of them has all of this.
        found = f"lacks {', '.join(sorted(lacks))}" if lacks else "enough for every daemon"
        yield seen(shard.name, found, wanted, good=not lacks, otherwise=State.NOTE)


def _rights_too_many(facts: HotFacts) -> Iterator[Seen]:
    for shard in facts.shards:
        more = {right for right in _rights(shard.grants, everywhere=True) if right not in _HARMLESS}
        if any("WITH GRANT OPTION" in grant.upper() for grant in shard.grants):
            more.add("GRANT OPTION")
        dangerous = {right for right in more if right.startswith("ALL") or right in {"SUPER", "FILE", "GRANT OPTION"}}
        found = ", ".join(sorted(more)) + " on *.*" if more else "nothing beyond the database"
        otherwise = State.FINDING if dangerous else State.NOTE
        yield seen(shard.name, found, "nothing beyond the database but replication", good=not more, otherwise=otherwise)


CHECKS: tuple[Check[HotFacts], ...] = (
    Check(
        "schema",
        "Daemons refuse to start on a schema that is not this program's.",
        "Run `orderctl migrate` with this version of orderctl.",
        _schema,
    ),
    Check(
        "groups",
        "The number of groups says where each order is, in every tier.",
        "Set [deployment] groups to what the database says.",
        _groups,
    ),
    Check(
        "binlog",
        "Every tier behind MySQL is fed from its binlog.",
        "Set log_bin in the server's configuration, and start it again.",
        _equals("log_bin", "ON"),
    ),
    Check(
        "binlog_format",
        "Statements in the binlog do not say what a row became.",
        "SET GLOBAL binlog_format = ROW, and in the server's configuration.",
        _equals("binlog_format", "ROW"),
    ),
    Check(
        "binlog_row_image",
        "An event holds the whole order, so that a lost one harms nobody; a partial row does not.",
        "SET GLOBAL binlog_row_image = FULL, and in the server's configuration.",
        _equals("binlog_row_image", "FULL"),
    ),
    Check(
        "binlog_row_metadata",
        "cdc finds columns by their names, which are in the binlog only then.",
        "SET GLOBAL binlog_row_metadata = FULL, and in the server's configuration.",
        _equals("binlog_row_metadata", "FULL"),
    ),
    Check(
        "binlog_compression",
        "cdc does not read compressed rows.",
        "SET GLOBAL log_bin_compress (MariaDB) or binlog_transaction_compression (MySQL) = OFF.",
        lambda facts: (
            *_equals("log_bin_compress", "OFF", absent="OFF")(facts),
            *_equals("binlog_transaction_compression", "OFF", absent="OFF")(facts),
        ),
    ),
    Check(
        "binlog_retention",
        "A binlog that is purged before cdc has read it is lost to cache and archive.",
        "SET GLOBAL binlog_expire_logs_seconds = 259200, or more; see why cdc is behind.",
        _binlog_kept,
    ),
    Check(
        "gtid",
        "After a fail-over cdc goes on by GTID: file positions mean nothing on another server.",
        "Set gtid_strict_mode = ON (MariaDB), or gtid_mode and enforce_gtid_consistency = ON (MySQL).",
        _gtid,
    ),
    Check(
        "server_id",
        "Without one the server serves no binlog, and servers cannot be told apart.",
        "Give each server a server_id of its own.",
        of_each(_variables, "server_id", "server_id >= 1", at_least(1)),
    ),
    Check(
        "flush_at_commit",
        "Else a commit that was acknowledged is lost with the server's memory.",
        "SET GLOBAL innodb_flush_log_at_trx_commit = 1, and in the server's configuration.",
        _equals("innodb_flush_log_at_trx_commit", "1"),
    ),
    Check(
        "sync_binlog",
        "Else a crash leaves orders in the database that no other tier ever hears of.",
        "SET GLOBAL sync_binlog = 1, and in the server's configuration.",
        _equals("sync_binlog", "1"),
    ),
    Check(
        "doublewrite",
        "Else a page that was half written when the power went is lost.",
        "Set innodb_doublewrite = ON, and start the server again.",
        of_each(
            _variables,
            "innodb_doublewrite",
            "innodb_doublewrite = ON",
            one_of("ON", "1", "detect_and_recover"),
        ),
    ),
    Check(
        "engine",
        "Only InnoDB has transactions and survives a crash.",
        "ALTER TABLE … ENGINE = InnoDB.",
        _engines,
    ),
    Check(
        "writable",
        "The configured server is to be the primary: nothing can be written to a read-only one.",
        "Point host of the shard to the primary, or SET GLOBAL read_only = OFF after a promotion.",
        lambda facts: (*_equals("read_only", "OFF")(facts), *_equals("super_read_only", "OFF", absent="OFF")(facts)),
    ),
    Check(
        "single_writer",
        "A primary that copies from another server is written to twice, and versions are given out twice.",
        "STOP REPLICA; RESET REPLICA ALL on the primary, and fence the other one.",
        _one_writer,
    ),
    Check(
        "promoted",
        "A server other than the epoch's may be a lagging copy: it would give versions out again.",
        "Fence the old server, then `orderctl shard promote SHARD --execute`.",
        _promoted,
    ),
    Check(
        "promotion_settled",
        "Until a promotion is over, orders that are final in the archive may be open in MySQL.",
        "`orderctl shard promote SHARD --execute` goes on where it was.",
        _settled,
    ),
    Check(
        "semi_sync",
        "Only loss-less semi-synchronous replication keeps acknowledged changes when the primary is lost.",
        "Enable it on primary and replica, with rpl_semi_sync_…_wait_point = AFTER_SYNC.",
        _semi_sync,
    ),
    Check(
        "isolation",
        "Locking reads under REPEATABLE READ lock gaps, and creators would wait for each other.",
        "Find what changes the session's isolation between us and the server: a proxy, or init_connect.",
        _isolation,
    ),
    Check(
        "packet_size",
        "A batch of 500 orders is one statement.",
        "SET GLOBAL max_allowed_packet = 16777216, and in the server's configuration.",
        of_each(_variables, "max_allowed_packet", f"max_allowed_packet >= {PACKET_BYTES}", at_least(PACKET_BYTES)),
    ),
    Check(
        "connections",
        "Every process may hold 16 connections.",
        "SET GLOBAL max_connections to 16 times the number of processes, and some for operators.",
        of_each(
            _variables,
            "max_connections",
            f"max_connections >= {CONNECTIONS}",
            at_least(CONNECTIONS),
            otherwise=State.NOTE,
        ),
    ),
    Check(
        "clock",
        "Ids and creation times come from this machine's clock, deadlines are judged by the database's.",
        "Let NTP (chrony, systemd-timesyncd) keep both.",
        _clock,
    ),
    Check(
        "rights",
        "A daemon whose user may not do its work fails when it first tries.",
        "Grant what sql/mysql/grants.sql says; a user for each daemon, who lacks the others', is better.",
        _rights_enough,
    ),
    Check(
        "rights_beyond",
        "Whoever takes over a daemon has what its user may do.",
        "REVOKE it, and grant what sql/mysql/grants.sql says; owners are for `orderctl migrate`.",
        _rights_too_many,
    ),
    Check(
        "tls",
        "Orders and the password cross the network in plain text.",
        "Set tls_ca of the shard; the server needs a certificate that names its host.",
        _tls,
    ),
)
