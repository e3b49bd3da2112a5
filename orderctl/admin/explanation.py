"""What `inspect --explain` adds: the order's time line, and what decides how it stands."""

from __future__ import annotations

from msgspec import Struct


class Step(Struct, frozen=True):
    """Something that happened to the order. `at` is RFC 3339; `lag_ms` counts from what it followed from, where that is known.

    `rule` says why it is so, where something was decided.
    """

    at: str
    tier: str
    what: str
    lag_ms: float | None = None
    rule: str | None = None


class Explanation(Struct, frozen=True):
    """The time line, and what decides how the order stands now."""

    steps: list[Step]
    decisions: list[str]
