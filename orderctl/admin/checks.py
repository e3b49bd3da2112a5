"""What a check of `doctor` is: a pure decision over what a server said, with why it matters and how to mend it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import StrEnum
from typing import Generic, TypeVar

from msgspec import Struct

F = TypeVar("F")


class State(StrEnum):
    """How a check ended, from good to bad."""

    OK = "ok"
    NOTE = "note"
    """Allowed, and an operator should know what follows from it."""
    UNKNOWN = "unknown"
    """It could not be looked at: the tier is away, or the user may not."""
    FINDING = "finding"
    """To be mended."""


class Seen(Struct, frozen=True):
    """What was found at one place, a server or a topic for example, and what would be right."""

    where: str
    state: State
    found: str
    wanted: str


class Check(Struct, Generic[F], frozen=True):
    """A check over facts of one kind. `decide` gives what was seen at each place; nothing at all is as good as ok."""

    name: str
    why: str
    mend: str
    decide: Callable[[F], Iterable[Seen]]


class Checked(Struct, frozen=True, kw_only=True):
    """A check that was made: the worst of what was seen, and all of it."""

    name: str
    tier: str
    state: State
    why: str
    mend: str
    seen: list[Seen]


def run(tier: str, checks: Sequence[Check[F]], facts: F | None) -> list[Checked]:
    """Make the checks of a tier; without facts, since it is away, none of them is known."""
    return [_run(tier, check, facts) for check in checks]


def seen(where: str, found: object, wanted: str, *, good: bool, otherwise: State = State.FINDING) -> Seen:
    """What was found at a place, by whether it is `good`."""
    return Seen(where, State.OK if good else otherwise, str(found), wanted)


def unseen(where: str, wanted: str) -> Seen:
    """A place whose settings the user may not see."""
    return Seen(where, State.UNKNOWN, "may not be seen by the configured user", wanted)


def of_each(
    places: Callable[[F], Iterable[tuple[str, dict[str, str] | None]]],
    name: str,
    wanted: str,
    good: Callable[[str], bool],
    *,
    absent: str | None = None,
    otherwise: State = State.FINDING,
) -> Callable[[F], Iterator[Seen]]:
    """Decide by one setting of every place. `absent` is what counts where a server does not have it; None is unknown."""

    def decide(facts: F) -> Iterator[Seen]:
        for where, settings in places(facts):
            value = absent if settings is None else settings.get(name, absent)
            if settings is None or value is None:
                yield unseen(where, wanted)
            else:
                yield seen(where, value or '""', wanted, good=good(value), otherwise=otherwise)

    return decide


def at_least(number: int) -> Callable[[str], bool]:
    """Whether a setting is a whole number that is not less."""
    return lambda value: value.lstrip("-").isdecimal() and int(value) >= number


def one_of(*values: str) -> Callable[[str], bool]:
    """Whether a setting is one of these, in any case."""
    return lambda value: value.lower() in {one.lower() for one in values}


def is_loopback(host: str) -> bool:
    """Whether a connection to it stays on this machine."""
    name = host.strip("[]").lower()
    return name in {"localhost", "::1"} or name.startswith("127.")


def host_of(address: str) -> str:
    """The host of host:port."""
    return address.rpartition(":")[0] or address


def _run(tier: str, check: Check[F], facts: F | None) -> Checked:
    found = [] if facts is None else list(check.decide(facts))
    states = [one.state for one in found]
    state = State.UNKNOWN if facts is None else max(states, key=list(State).index, default=State.OK)
    return Checked(name=check.name, tier=tier, state=state, why=check.why, mend=check.mend, seen=found)
