"""The archiver with a backlog of final orders: to Cassandra, read back, compared, and removed from MySQL."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

from prometheus_client import CollectorRegistry

from orderctl.bench.ground import Ground
from orderctl.bench.measuring import Measure, apart, measured
from orderctl.bench.orders import batches, create_all, drafts_of, final_orders, new_orders
from orderctl.bench.raw_cassandra import insert_raw
from orderctl.bench.scenario import Runs, Scenario, Where, idea_of
from orderctl.clock import SystemClock
from orderctl.metrics import Metrics
from orderctl.order import Change, Status
from orderctl.services.archiving import ArchiverSettings, Mover
from orderctl.stores.tiers import Tiers

IDLE_STEPS_MAX = 20


@contextmanager
def prepare(ground: Ground, size: int) -> Iterator[Runs]:
    """Each run has orders of its own, which are gone from MySQL after it."""
    runs = count()

    def real() -> Measure:
        make_final(ground, f"a{next(runs)}", size)
        return apart(move, ground, size)

    def ceiling() -> Measure:
        return apart(insert_raw, ground.config, final_orders(f"{ground.name}-{next(runs)}", size, SystemClock()))

    yield Runs(real, ceiling)


def make_final(ground: Ground, run: str, size: int) -> None:
    """Create orders, and let them end well."""
    clock = SystemClock()
    drafts = drafts_of(new_orders(run, size), clock)
    with ground.opened() as tiers:
        create_all(tiers.hot, drafts)
        for batch in batches(drafts):
            changes = [Change(draft.order.order_id, Status.SUCCESS) for draft in batch]
            tiers.hot.change(changes, now_us=clock.now_us())


def move(ground: Ground, size: int) -> Measure:
    """Move until nothing is left. Nothing settles: how long that takes is a setting, and not work."""
    clock, metrics = SystemClock(), Metrics(CollectorRegistry())
    with ground.opened() as tiers:
        mover = Mover(tiers.hot, tiers.archive, clock=clock, metrics=metrics, settings=ArchiverSettings(settle_s=0))

        def work() -> int:
            idle = 0
            while _moved(metrics) < size and idle < IDLE_STEPS_MAX:
                idle = 0 if mover.step(None) else idle + 1
            return _moved(metrics)

        _connect(tiers)
        return measured(work)


def _connect(tiers: Tiers) -> None:
    tiers.archive.ping()
    tiers.hot.count_open()


def _moved(metrics: Metrics) -> int:
    return int(metrics.registry.get_sample_value("orderctl_archived_total") or 0)


SCENARIO = Scenario(
    name="archiver-backlog",
    idea=idea_of(__doc__),
    unit="orders",
    ceiling="the driver's concurrent inserts of as many orders and references, and nothing else",
    goal=0.5,
    where=Where.REAL,
    full=100_000,
    smoke=1_000,
    prepare=prepare,
)
