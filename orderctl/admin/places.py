"""A place in the log as operators write it: PARTITION:OFFSET."""

from __future__ import annotations

import re
from typing import Final

_PLACE: Final = re.compile(r"([0-9]{1,9}):([0-9]{1,18})")


def parse_place(text: str) -> tuple[int, int] | None:
    """The partition and the offset that `text` names; None where it is not so written."""
    found = _PLACE.fullmatch(text.strip())
    return None if found is None else (int(found[1]), int(found[2]))
