"""Groups as operators write them: 0-15,17."""

from __future__ import annotations

import re
from typing import Final

from orderctl.errors import UsageRefused

_RANGE: Final = re.compile(r"\s*([0-9]{1,4})(?:\s*-\s*([0-9]{1,4}))?\s*")


def parse_groups(text: str, groups: int) -> frozenset[int]:
    """The groups that `text` names, of a deployment of `groups`.

    Raises:
        UsageRefused: it means nothing, or names one that is not there.

    """
    found: set[int] = set()
    for part in text.split(","):
        written = _RANGE.fullmatch(part)
        if written is None:
            raise UsageRefused(f"{text!r} is no list of groups", hint="such as 0-15,17")
        first = int(written[1])
        last = int(written[2] or first)
        if not first <= last < groups:
            raise UsageRefused(f"there are no groups {part.strip()}: they are 0-{groups - 1}")
        found.update(range(first, last + 1))
    return frozenset(found)
