"""What must be true of the Cassandra cluster and our keyspace."""

from __future__ import annotations

import re
from collections.abc import Iterator

from msgspec import Struct

from orderctl.admin.checks import Check, Seen, State, is_loopback, seen, unseen
from orderctl.stores.facts_cassandra import ArchiveFacts

RELEASE = (4, 1)
BATCH_BYTES = 40_000
"""The most that one batch of ours holds."""
COPIES = 3
PERIODS = 2
"""A write has certainly been on the disk when it stood for two periods."""
TTL_MIN_S = 86_400
_MS = {"ms": 1.0, "s": 1e3, "m": 60e3, "h": 3600e3}
_BYTES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20}
_BUCKETED_BY_TIME = ("TimeWindowCompactionStrategy", "DateTieredCompactionStrategy")


class ArchiveChecked(Struct, frozen=True, kw_only=True):
    """The archive, and what this deployment expects of it."""

    archive: ArchiveFacts
    datacenter: str
    replication: int
    settle_s: float
    has_user: bool = False


def _schema(facts: ArchiveChecked) -> Iterator[Seen]:
    fault = facts.archive.schema_fault
    yield seen("keyspace", fault or "current", "current", good=fault is None)


def _copies(facts: ArchiveChecked) -> Iterator[Seen]:
    replication = facts.archive.replication
    if not replication:
        return
    kind = replication.get("class", "").rpartition(".")[2]
    if kind != "NetworkTopologyStrategy" or facts.datacenter not in replication:
        yield Seen("keyspace", State.FINDING, f"{replication}", f"NetworkTopologyStrategy with {facts.datacenter}")
        return
    copies = int(replication[facts.datacenter].partition("/")[0])
    if copies < facts.replication:
        yield Seen("keyspace", State.FINDING, f"{copies} copies", f"{facts.replication}, as configured")
    else:
        yield seen("keyspace", f"{copies} copies", f"{COPIES}", good=copies >= COPIES, otherwise=State.NOTE)


def _nodes(facts: ArchiveChecked) -> Iterator[Seen]:
    ours = sum(node.datacenter == facts.datacenter for node in facts.archive.nodes)
    if facts.archive.nodes:
        wanted = f"{facts.replication} or more in {facts.datacenter}"
        yield seen(facts.datacenter, f"{ours} nodes", wanted, good=ours >= facts.replication)


def _agreement(facts: ArchiveChecked) -> Iterator[Seen]:
    versions = {node.schema for node in facts.archive.nodes}
    if versions:
        yield seen("cluster", f"{len(versions)} schema versions", "1", good=len(versions) == 1)


def _release(facts: ArchiveChecked) -> Iterator[Seen]:
    for node in facts.archive.nodes:
        numbers = tuple(map(int, re.findall(r"\d+", node.release)[:2]))
        yield seen(node.address, node.release, "4.1 or later", good=numbers >= RELEASE)


def _durable(facts: ArchiveChecked) -> Iterator[Seen]:
    good = facts.archive.durable_writes
    yield seen("keyspace", "yes" if good else "no", "durable_writes = true", good=good)


def _settling(facts: ArchiveChecked) -> Iterator[Seen]:
    for settings in facts.archive.settings:
        mode = settings.get("commitlog_sync")
        if mode is None:
            yield unseen("node", "commitlog_sync")
        elif mode in {"batch", "group"}:
            yield seen("node", mode, "batch or group, or settle_s long enough", good=True)
        else:
            period_ms = _amount(settings, "commitlog_sync_period", _MS, "_in_ms")
            needed_s = PERIODS * (10_000.0 if period_ms is None else period_ms) / 1000
            found = f"{mode}, settle_s = {facts.settle_s:g} s"
            yield seen("node", found, f"settle_s >= {needed_s:g} s", good=facts.settle_s >= needed_s)


def _compaction(facts: ArchiveChecked) -> Iterator[Seen]:
    for name, table in facts.archive.tables.items():
        kind = table.compaction.rpartition(".")[2]
        yield seen(name, kind, "one that does not go by write time", good=kind not in _BUCKETED_BY_TIME)


def _kept(facts: ArchiveChecked) -> Iterator[Seen]:
    for name, table in facts.archive.tables.items():
        if name.startswith(("orders", "late")):
            found = f"{table.ttl_s} s" if table.ttl_s else "for ever"
            good = not 0 < table.ttl_s < TTL_MIN_S
            yield seen(name, found, f"for ever, or {TTL_MIN_S} s at the least", good=good)


def _batches(facts: ArchiveChecked) -> Iterator[Seen]:
    for settings in facts.archive.settings:
        bytes_ = _amount(settings, "batch_size_fail_threshold", _BYTES, "_in_kb", 1024)
        if bytes_ is None:
            yield unseen("node", f"{BATCH_BYTES} bytes or more")
        else:
            yield seen("node", f"{bytes_:.0f} bytes", f"{BATCH_BYTES} or more", good=bytes_ >= BATCH_BYTES)


def _amount(
    settings: dict[str, str], name: str, units: dict[str, float] | dict[str, int], suffix: str, scale: float = 1.0
) -> float | None:
    """A setting with its unit, or as Cassandra 4.0 called it; None where there is neither."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([A-Za-z]+)", settings.get(name, ""))
    if match and match[2] in units:
        return float(match[1]) * units[match[2]]
    old = settings.get(name + suffix, settings.get(name, ""))
    return float(old) * scale if re.fullmatch(r"\d+(?:\.\d+)?", old) else None


def _plain_text(facts: ArchiveChecked) -> Iterator[Seen]:
    for node in facts.archive.nodes:
        good = is_loopback(node.address)
        found = "this machine" if good else "plain text over the network"
        yield seen(node.address, found, "a network of its own, or this machine", good=good, otherwise=State.NOTE)


def _password(facts: ArchiveChecked) -> Iterator[Seen]:
    for node in facts.archive.nodes:
        good = facts.has_user or is_loopback(node.address)
        found = "a user" if facts.has_user else "nobody in particular"
        yield seen(node.address, found, "a user with a password, except on this machine", good=good)


CHECKS: tuple[Check[ArchiveChecked], ...] = (
    Check(
        "schema",
        "Without its tables, and partitions where orders are looked for, nothing is archived.",
        "Run `orderctl migrate` with this version of orderctl.",
        _schema,
    ),
    Check(
        "replication",
        "An archived order is nowhere else. A quorum of three outlives the loss of a node.",
        "ALTER KEYSPACE … WITH replication, then nodetool repair --full on each node.",
        _copies,
    ),
    Check(
        "nodes",
        "With fewer nodes than copies there is no quorum.",
        "Add nodes, or set datacenter of [cassandra] to the cluster's.",
        _nodes,
    ),
    Check(
        "schema_agreement",
        "Nodes that disagree on the schema refuse what others accept.",
        "nodetool describecluster names them; start those again one by one.",
        _agreement,
    ),
    Check("release", "The driver's protocol, and the settings read here, are those of 4.1.", "Upgrade.", _release),
    Check(
        "durable_writes",
        "Else acknowledged writes are in memory only, until they are flushed.",
        "ALTER KEYSPACE … WITH durable_writes = true.",
        _durable,
    ),
    Check(
        "settling",
        "An acknowledged write may not be on the disk yet, and the row leaves MySQL after settle_s.",
        "Set commitlog_sync: group (or batch), or [archiver] settle_s to twice commitlog_sync_period.",
        _settling,
    ),
    Check(
        "compaction",
        "Write timestamps are versions here and no clocks: tables by time would never be compacted.",
        "ALTER TABLE … WITH compaction = {'class': 'UnifiedCompactionStrategy'}, before 5.0 SizeTiered….",
        _compaction,
    ),
    Check(
        "time_to_live",
        "An order that vanishes within a day is not archived: its reference is still in force.",
        "ALTER TABLE … WITH default_time_to_live = 0, or as long as orders must be kept.",
        _kept,
    ),
    Check(
        "batch_size",
        "Batches of up to 40 000 bytes go to one partition; the archiver stops at one that is refused.",
        "Set batch_size_fail_threshold: 50KiB.",
        _batches,
    ),
    Check(
        "password",
        "Whoever reaches a node can read and write every archived order.",
        "Set authenticator: PasswordAuthenticator, and [cassandra] user and password_file.",
        _password,
    ),
    Check(
        "plain_text",
        "Connections to Cassandra are not encrypted.",
        "Keep nodes and daemons in a network that nobody else is in, or tunnel it.",
        _plain_text,
    ),
)
