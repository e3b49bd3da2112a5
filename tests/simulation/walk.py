"""Random walks through a scenario, for worlds that cannot be brought back to where they were: those with a real cache."""

from __future__ import annotations

from random import Random

from tests.simulation.process import Process
from tests.simulation.scenarios import Scenario, end_well
from tests.simulation.search import QUIET
from tests.simulation.world import World


def walk(scenario: Scenario, world: World, random: Random) -> list[str]:
    """Let the processes of a fresh world take their steps in some order, to the end; returns that order.

    Raises:
        Violation: something happened that must never happen.

    """
    scenario.prepare(world)
    programs = scenario.programs(world)
    processes = {name: Process(program, name=name, now_us=world.clock.now_us()) for name, program in programs.items()}
    trail: list[str] = []
    for process in processes.values():
        process.settle()
    try:
        while choices := _choices(processes):
            name, thread, label = random.choice(choices)
            process = processes[name]
            trail.append(f"{name}: {label}")
            process.clock.set(world.clock.now_us())
            process.take(thread)
            process.settle()
            for error in process.errors:
                raise error
        end_well(world)
    finally:
        for process in processes.values():
            process.abandon()
    assert all(process.has_ended for process in processes.values()), f"they wait for each other for ever: {trail}"
    return trail


def _choices(processes: dict[str, Process]) -> list[tuple[str, int, str]]:
    running = [name for name, process in processes.items() if process.calls()]
    return [
        (name, thread, call.label)
        for name in running
        for thread, call in processes[name].calls()
        if call.may_run() and (call.label != QUIET or len(running) == 1)
    ]
