"""Single look-ups over HTTP, answered from process memory."""

from functools import partial

from orderctl.bench.looking_up import single
from orderctl.bench.scenario import Scenario, Where, idea_of

SCENARIO = Scenario(
    name="lookup-near",
    idea=idea_of(__doc__),
    unit="orders",
    ceiling="the same HTTP server answering a constant of the same size",
    goal=0.85,
    where=Where.ANY,
    full=20_000,
    smoke=200,
    prepare=partial(single, from_memory=True),
)
