"""The archiver with a backlog of final orders, to Cassandra and read back, beside pt-archiver, which copies to a table."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

from orderctl.bench.ground import Ground
from orderctl.bench.measuring import Measure, apart
from orderctl.bench.pt_archiver import archive_rows, require_pt_archiver
from orderctl.bench.scenario import Runs, Scenario, Where, idea_of
from orderctl.bench.scenarios.archiver_backlog import make_final, move


@contextmanager
def prepare(ground: Ground, size: int) -> Iterator[Runs]:
    """Each run has orders of its own, which are gone from the table after it."""
    require_pt_archiver()
    runs = count()

    def real() -> Measure:
        make_final(ground, f"p{next(runs)}", size)
        return apart(move, ground, size)

    def peer() -> Measure:
        make_final(ground, f"p{next(runs)}", size)
        return archive_rows(ground, size)

    yield Runs(real, peer)


SCENARIO = Scenario(
    name="archiver-beside-pt-archiver",
    idea=idea_of(__doc__),
    unit="orders",
    ceiling="pt-archiver, 1 000 rows a transaction, into a table of the same server",
    goal=1.5,
    where=Where.REAL,
    full=100_000,
    smoke=1_000,
    prepare=prepare,
    if_named=True,
)
