"""The loop around a daemon's steps: pauses, back-off, health, and errors that end it or do not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from orderctl.clock import ManualClock
from orderctl.config import Config
from orderctl.daemons.backoff import Backoff
from orderctl.daemons.command import CommandDaemon
from orderctl.daemons.deployment import Agreement
from orderctl.daemons.entry import load_entry
from orderctl.daemons.heartbeat import Pulse
from orderctl.daemons.loop import Loop, State
from orderctl.daemons.manifest import select
from orderctl.daemons.probe import Member, MembersProbe
from orderctl.daemons.query import QueryDaemon
from orderctl.daemons.transactions import TransactionCount
from orderctl.errors import ConfigError, TierUnavailable, UsageRefused
from orderctl.stores.tiers import Tiers, open_tiers
from tests.unit.daemon_kit import Script, context_of, half, looped, new_metrics

DOWN = TierUnavailable("hot", "connection refused")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def tiers(clock: ManualClock) -> Iterator[Tiers]:
    opened = open_tiers(Config(), None, clock)
    yield opened
    opened.close()


def test_steps_are_repeated_with_the_pauses_they_ask_for(clock: ManualClock) -> None:
    """Three steps, two of them followed by a pause; then the daemon drains, once."""
    script = Script([2.0, 0, 5.0])
    looped(script, clock).run()
    assert (script.steps, script.drained) == (3, 1)
    assert clock.monotonic_s() == 7.0


def test_back_off_doubles_up_to_its_bound_and_begins_again() -> None:
    """Pauses are cut to between half and whole; here always to three quarters."""
    backoff = Backoff(half, first_s=1.0, most_s=4.0)
    assert [backoff.next_s() for _ in range(4)] == [0.75, 1.5, 3.0, 3.0]
    backoff.reset()
    assert backoff.next_s() == 0.75


@pytest.mark.parametrize(("byte", "share"), [(b"\x00", 0.5), (b"\xff", 1.0)])
def test_back_off_stays_between_half_and_whole(byte: bytes, share: float) -> None:
    """Whatever the randomness says."""
    assert Backoff(lambda size: byte * size, first_s=1.0).next_s() == pytest.approx(share)


def test_a_failing_tier_makes_the_daemon_failing_and_success_heals_it(clock: ManualClock) -> None:
    """The error names the tier and is counted; the pause grows, and is forgotten after a success."""
    states: list[tuple[State, str | None, int]] = []
    metrics = new_metrics()

    def note() -> None:
        health = loop.health
        states.append((health.state, health.tier, health.failures_in_a_row))

    script = Script([DOWN, DOWN, 1.0, DOWN], during=note)
    loop = looped(script, clock, metrics=metrics)
    loop.run()
    assert states == [
        (State.STARTING, None, 0),
        (State.FAILING, "hot", 1),
        (State.FAILING, "hot", 2),
        (State.RUNNING, "hot", 0),
    ]
    assert (
        metrics.registry.get_sample_value("orderctl_tier_errors_total", {"tier": "hot", "kind": "TierUnavailable"}) == 3
    )
    assert clock.monotonic_s() == pytest.approx(0.075 + 0.15 + 1.0 + 0.075)


def test_a_fault_of_ours_is_logged_counted_and_survived(clock: ManualClock) -> None:
    """The one broad catch: nothing is swallowed, and the next step runs."""
    metrics = new_metrics()
    script = Script([KeyError("x"), 0])
    loop = looped(script, clock, metrics=metrics)
    with capture_logs() as logs:
        loop.run()
    assert script.steps == 2
    assert [line["event"] for line in logs if line.get("exc_info")] == ["step failed by a fault of ours"]
    assert loop.health.last_error == "KeyError: 'x'"
    labels = {"daemon": "script", "kind": "KeyError"}
    assert metrics.registry.get_sample_value("orderctl_daemon_faults_total", labels) == 1


def test_a_refusal_ends_the_loop_for_good(clock: ManualClock) -> None:
    """No repetition can help: the daemon drains, and says why it is not alive."""
    script = Script([UsageRefused("other groups"), 0])
    loop = looped(script, clock)
    loop.run()
    assert (script.steps, script.drained) == (1, 1)
    assert loop.refusal is not None
    assert loop.not_alive() == ["script: other groups"]
    assert loop.not_ready() == ["script: other groups"]


@pytest.mark.parametrize("error", [DOWN, ValueError("x")])
def test_draining_that_fails_still_ends_the_loop(clock: ManualClock, error: Exception) -> None:
    """Others have to drain as well."""
    script = Script([])
    script.at_drain = error
    loop = looped(script, clock)
    loop.run()
    assert loop.health.state is State.STOPPED


def test_ready_from_the_first_success_on_even_if_it_fails_later(clock: ManualClock) -> None:
    """What a later failure means depends on the daemon."""
    seen: list[list[str]] = []
    script = Script([DOWN, 0, DOWN, 0], during=lambda: seen.append(loop.not_ready()))
    loop = looped(script, clock)
    loop.run()
    assert seen == [["script: its first step is under way"], ["script: hot: connection refused"], [], []]


@pytest.mark.parametrize(("name", "is_server"), [("query", True), ("cdc", False)])
def test_whom_a_failing_step_makes_useless(tiers: Tiers, clock: ManualClock, name: str, is_server: bool) -> None:
    """A server still answers what it can; a daemon that only follows does nothing until the tier is back, and says which."""
    (manifest,) = select([name])
    daemon = load_entry(manifest)(manifest, context_of(tiers, clock))
    seen: list[tuple[list[str], list[str]]] = []
    script = Script([0, DOWN, 0, 0], during=lambda: seen.append((member.not_ready(), member.degraded())))
    member = Member(daemon, looped(script, clock), f"{name}@here", None)
    member.loop.run()
    why = ["script: hot: connection refused"]
    assert seen[1:] == [([], []), ([], why) if is_server else (why, []), ([], [])]
    daemon.drain()


def test_a_step_that_hangs_is_not_alive(clock: ManualClock) -> None:
    """By the monotonic clock, and only while the step is under way."""
    seen: list[list[str]] = []

    def hang() -> None:
        clock.advance(59)
        seen.append(loop.not_alive())
        clock.advance(2)
        seen.append(loop.not_alive())

    loop = looped(Script([0], during=hang), clock)
    loop.run()
    assert seen == [[], ["script: a step has been running for 61 s"]]
    assert loop.not_alive() == []


def test_a_change_of_state_is_told_at_once(clock: ManualClock) -> None:
    """So that readiness and systemd's status do not lag."""
    script, told = Script([0]), list[State]()
    loop = Loop(
        script, clock=clock, random=half, metrics=new_metrics(), on_change=lambda: told.append(loop.health.state)
    )
    script.loop = loop
    loop.run()
    assert told == [State.RUNNING, State.DRAINING, State.STOPPED]


def test_other_groups_than_the_database_s_are_refused(tiers: Tiers, clock: ManualClock) -> None:
    """Whatever such a daemon wrote would be looked for elsewhere."""
    with pytest.raises(ConfigError, match=r"groups = 128, but the database says 64"):
        Agreement(tiers.registry, clock, groups=128).check()


def test_a_host_whose_clock_is_off_is_not_ready_and_says_so(tiers: Tiers, clock: ManualClock) -> None:
    """Ids and created_at come from the command server's clock; the query server does not mind."""
    (manifest,) = select(["command"])
    here = ManualClock(clock.now_us() + 1_500_000)
    daemon = CommandDaemon(manifest, context_of(tiers, here))
    assert daemon.step() == 2.0
    assert daemon.not_ready() == ["this host's clock is +1.500 s off the database's; at most 1 s are allowed"]
    clock.advance(1)
    daemon.step()
    assert daemon.not_ready() == []
    daemon.drain()


def test_the_query_server_reads_keys_and_is_ready(tiers: Tiers, clock: ManualClock) -> None:
    """Its step asks the registry and waits for two seconds."""
    (manifest,) = select(["query"])
    daemon = QueryDaemon(manifest, context_of(tiers, clock))
    assert daemon.step() == 2.0
    assert daemon.not_ready() == []
    daemon.drain()


def test_heartbeats_say_where_the_server_is_and_retire_in_the_end(tiers: Tiers, clock: ManualClock) -> None:
    """One beat for all daemons of the process; an address for those that have one."""
    (manifest,) = select(["query"])
    context = context_of(tiers, clock)
    daemon = QueryDaemon(manifest, context)
    loop = Loop(daemon, clock=clock, random=half, metrics=context.metrics)
    member = Member(daemon, loop, "query@here", "http://127.0.0.1:1")
    pulse = Pulse(tiers.registry, [member])
    assert pulse.step() == 2.0
    (beat,) = tiers.registry.heartbeats()
    assert (beat.instance, beat.daemon, beat.state, beat.address) == (
        "query@here",
        "query",
        "starting",
        "http://127.0.0.1:1",
    )
    pulse.drain()
    assert tiers.registry.heartbeats() == []
    probe = MembersProbe([member], is_draining=lambda: True)
    assert probe.not_ready() == ["draining"]
    assert probe.status()["daemons"][0]["state"] == "starting"
    daemon.drain()


def test_the_store_s_transactions_become_a_metric() -> None:
    """Only what is new is added, however often one asks."""

    class Counting:
        transactions = 3

    metrics, hot = new_metrics(), Counting()
    count = TransactionCount(hot, metrics)
    count.update()
    hot.transactions = 5
    count.update()
    count.update()
    assert metrics.registry.get_sample_value("orderctl_transactions_total", {"tier": "mysql"}) == 5
