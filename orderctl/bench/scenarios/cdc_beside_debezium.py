"""cdc with a backlog of row changes, 500 a transaction, beside Debezium with the same binlog and brokers."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

from orderctl.bench.debezium import NAME, Debezium, debezium, topic_of
from orderctl.bench.ground import Ground
from orderctl.bench.measuring import Measure, apart, cpu_s_of, memory_mib_of
from orderctl.bench.orders import create_all, drafts_of, new_orders
from orderctl.bench.own_log import OwnLog, own_log
from orderctl.bench.raw_mysql import end_of_binlog
from orderctl.bench.scenario import Runs, Scenario, Where, idea_of
from orderctl.bench.scenarios.cdc_backlog import pump
from orderctl.clock import SystemClock
from orderctl.errors import TierUnavailable
from orderctl.stack.jars import cache_folder
from orderctl.stores.log import Topic

LOOK_S: Final = 0.25
"""So seldom that looking costs nothing; of the many seconds of a run it is little."""
SILENT_S: Final = 60.0
"""If nothing comes for so long, nothing will."""


@contextmanager
def backlog(ground: Ground, size: int) -> Iterator[Runs]:
    """The same part of the binlog for both, again and again. Debezium has read as many changes before, so that it is warm."""
    clock = SystemClock()
    prefix = f"{ground.name}.{NAME}"
    topic = Topic(topic_of(ground), ground.groups)
    with (
        own_log(ground, prefix, topic) as log,
        debezium(ground, prefix, cache_folder(os.environ)) as peer,
        ground.opened() as tiers,
    ):
        create_all(tiers.hot, drafts_of(new_orders(f"warm{size}", size), clock))
        _follow(log, topic.name, peer, size)
        peer.stop()
        begin, offsets = end_of_binlog(ground.config), peer.offsets()
        create_all(tiers.hot, drafts_of(new_orders(f"debezium{size}", size), clock))
        yield Runs(
            partial(apart, pump, ground, prefix, begin, size),
            partial(_again, log, topic.name, peer, offsets, size),
        )


def _again(log: OwnLog, topic: str, peer: Debezium, offsets: object, size: int) -> Measure:
    """Let it read the backlog once more. What it does to begin is not counted: only from its first message to its last."""
    peer.go_back(offsets)
    before = _published(log, topic)
    peer.resume()
    try:
        return _follow(log, topic, peer, size, before)
    finally:
        peer.stop()


def _follow(log: OwnLog, topic: str, peer: Debezium, size: int, before: int = 0) -> Measure:
    """Measure it until it has published so many messages more than there were before, from the last look that saw none."""
    began_s = heard_s = time.perf_counter()
    began_cpu_s, seen = cpu_s_of(peer.pid), before
    while seen < before + size:
        time.sleep(LOOK_S)
        at_s, cpu_s, now = time.perf_counter(), cpu_s_of(peer.pid), _published(log, topic)
        if now == before:
            began_s, began_cpu_s = at_s, cpu_s
        if now > seen:
            heard_s, seen = at_s, now
        elif at_s > heard_s + SILENT_S:
            raise TierUnavailable(
                "log", f"Debezium published nothing for {SILENT_S:.0f} s, at {seen - before} of {size}"
            )
    return Measure(
        units=seen - before,
        seconds=time.perf_counter() - began_s,
        cpu_s=cpu_s_of(peer.pid) - began_cpu_s,
        memory_mib=memory_mib_of(peer.pid),
    )


def _published(log: OwnLog, topic: str) -> int:
    return sum(end for _, end in log.ends(topic))


SCENARIO = Scenario(
    name="cdc-beside-debezium",
    idea=idea_of(__doc__),
    unit="changes",
    ceiling="Debezium 3.5 in Kafka Connect, warm, from its first message to its last",
    goal=2.0,
    where=Where.REAL,
    full=200_000,
    smoke=1_000,
    prepare=backlog,
    if_named=True,
)
