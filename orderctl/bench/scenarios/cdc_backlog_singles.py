"""cdc with a backlog of row changes, one a transaction, as a busy shard without batches has it: from the binlog to Kafka."""

from functools import partial

from orderctl.bench.orders import create_each
from orderctl.bench.scenario import Scenario, Where, idea_of
from orderctl.bench.scenarios.cdc_backlog import CEILING, backlog

SCENARIO = Scenario(
    name="cdc-backlog-singles",
    idea=idea_of(__doc__),
    unit="changes",
    ceiling=CEILING,
    goal=None,
    where=Where.REAL,
    full=60_000,
    smoke=500,
    prepare=partial(backlog, name="s", write=create_each),
)
