"""The search: every distinct state that some processes can bring the world to, each step of each of them in every order.

A state is what the stores hold, the time, and for each process what it got so far, which is all that its code knows. From each
state every process that can take a step takes it, once. So a finding is a shortest-found trail of steps, to be read aloud.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from hashlib import blake2b

from msgspec import Struct

from tests.simulation.process import Process, Program, Step
from tests.simulation.world import Snapshot, World

QUIET = "when all else has ended"
"""The call of a process that waits until every other process has ended."""


class Violation(AssertionError):
    """Something that must never happen has happened."""


class Place(Struct, frozen=True):
    """Where a process is: its history, and what its threads are about to do."""

    history: tuple[Step, ...]
    threads: tuple[int, ...]
    digest: bytes


class Trail(Struct, frozen=True):
    """The last step that led to a state, and those before it."""

    label: str
    before: Trail | None

    def read(self) -> tuple[str, ...]:
        """All of them, the first one first."""
        labels: list[str] = []
        trail: Trail | None = self
        while trail is not None:
            labels.append(trail.label)
            trail = trail.before
        return tuple(reversed(labels))


class State(Struct, frozen=True):
    """The world, each process's place, and how it came to this."""

    world: Snapshot
    places: tuple[Place, ...]
    trail: Trail | None

    def digest(self) -> bytes:
        """What equal states have in common, and different ones do not."""
        told = blake2b(repr(self.world).encode(), digest_size=16)
        for place in self.places:
            told.update(place.digest)
        return told.digest()


class _Found(Exception):
    def __init__(self, what: str, trail: Trail | None) -> None:
        super().__init__(what)
        self.trail = trail.read() if trail else ()


class Report(Struct):
    """What a search came to. `finding` says what went wrong, and `trail` by which steps; None if nothing did."""

    states: int = 0
    transitions: int = 0
    ends: int = 0
    finding: str | None = None
    trail: tuple[str, ...] = ()


class Search:
    """Explores one scenario: named programs over one world, which `prepare` has filled."""

    def __init__(
        self,
        world: World,
        programs: Mapping[str, Program],
        *,
        at_end: Callable[[World], None],
        mortal: Collection[str] = (),
    ) -> None:
        """`at_end` looks at the world when every process has ended, and raises `Violation`.

        Those in `mortal` may be killed before any of their steps, but not while MySQL ends a commit: it does so without them.
        """
        self._world = world
        self._names = tuple(programs)
        self._programs = tuple(programs.values())
        self._at_end = at_end
        self._mortal = frozenset(self._names.index(name) for name in mortal)
        self._begins_us = world.clock.now_us()

    def run(self, *, states_max: int = 1_000_000) -> Report:
        """Go everywhere, or to the first violation."""
        report = Report()
        try:
            self._explore(report, states_max)
        except _Found as found:
            report.finding, report.trail = str(found), found.trail
        return report

    def _explore(self, report: Report, states_max: int) -> None:
        first = self._begin()
        seen = {first.digest()}
        stack = [first]
        while stack:
            state = stack.pop()
            report.states += 1
            assert report.states <= states_max, f"more than {states_max} states"
            nexts = self._nexts(state)
            report.transitions += len(nexts)
            if not nexts:
                self._end(state, report)
            for following in nexts:
                digest = following.digest()
                if digest not in seen:
                    seen.add(digest)
                    stack.append(following)

    def _begin(self) -> State:
        world = self._world.dump()
        places = []
        for number in range(len(self._programs)):
            process = Process(self._programs[number], name=self._names[number], now_us=self._begins_us)
            places.append(self._place(process, Place((), (), b""), process.settle()))
            process.abandon()
        return State(self._world.dump(world), tuple(places), None)

    def _nexts(self, state: State) -> list[State]:
        nexts: list[State] = []
        for number, place in enumerate(state.places):
            for thread in place.threads:
                following = self._step(state, number, thread)
                if following is not None:
                    nexts.append(following)
            if place.threads and number in self._mortal and not state.world.invisible:
                nexts.append(self._kill(state, number))
        return nexts

    def _kill(self, state: State, number: int) -> State:
        dead = Place((), (), b"dead")
        places = (*state.places[:number], dead, *state.places[number + 1 :])
        return State(state.world, places, Trail(f"{self._names[number]} is killed", state.trail))

    def _step(self, state: State, number: int, thread: int) -> State | None:
        """The state after a thread's next call; None where it has to wait."""
        world, place = self._world, state.places[number]
        world.restore(state.world)
        process = self._copy(number, place)
        try:
            call = dict(process.calls())[thread]
            if not call.may_run() or (call.label == QUIET and self._others_run(state, number)):
                return None
            trail = Trail(f"{self._names[number]}: {call.label}", state.trail)
            process.clock.set(world.clock.now_us())
            taken = [process.take(thread), *process.settle()]
            self._raise_errors(process, trail)
            moved = self._place(process, place, taken)
        finally:
            process.abandon()
        places = (*state.places[:number], moved, *state.places[number + 1 :])
        return State(world.dump(state.world), places, trail)

    @staticmethod
    def _others_run(state: State, number: int) -> bool:
        return any(place.threads for other, place in enumerate(state.places) if other != number)

    def _copy(self, number: int, place: Place) -> Process:
        process = Process(self._programs[number], name=self._names[number], now_us=self._begins_us)
        for step in place.history:
            process.replay(step)
        process.settle()
        return process

    def _place(self, process: Process, before: Place, taken: list[Step]) -> Place:
        threads = tuple(thread for thread, _ in process.calls())
        digest = blake2b(before.digest + repr(taken).encode(), digest_size=16).digest()
        return Place((*before.history, *taken), threads, digest)

    @staticmethod
    def _raise_errors(process: Process, trail: Trail) -> None:
        for error in process.errors:
            if isinstance(error, Violation):
                raise _Found(str(error), trail)
            raise AssertionError("; ".join(trail.read())) from error

    def _end(self, state: State, report: Report) -> None:
        """Nobody can go on: all have ended, and the world is as it must be, or they wait for each other."""
        report.ends += 1
        if any(place.threads for place in state.places):
            raise _Found("they wait for each other for ever", state.trail)
        self._world.restore(state.world)
        try:
            self._at_end(self._world)
        except Violation as violation:
            raise _Found(str(violation), state.trail) from violation
