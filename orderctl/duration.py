"""Durations as people write them: `500ms`, `2s`, `15m`, `1h`."""

from __future__ import annotations

import re

_WRITTEN = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)(ms|s|m|h)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class Duration(float):
    """Seconds, written `500ms`, `2s`, `15m` or `1h`."""

    @classmethod
    def parse(cls, text: str) -> Duration:
        """The duration that `text` says.

        Raises:
            ValueError: it says none.

        """
        match = _WRITTEN.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is no duration: write 500ms, 2s, 15m or 1h")
        number, unit = float(match[1]), match[2]
        return cls(number / 1000 if unit == "ms" else number * _SECONDS[unit])

    def __str__(self) -> str:
        if not self:
            return "0s"
        for unit, seconds in reversed(_SECONDS.items()):
            if unit != "ms" and self % seconds == 0:
                return f"{int(self / seconds)}{unit}"
        return f"{self * 1000:.10g}ms"

    def __repr__(self) -> str:
        return f"Duration({str(self)!r})"

    @property
    def ms(self) -> int:
        """The duration in whole milliseconds."""
        return round(self * 1000)
