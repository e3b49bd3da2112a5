"""A password that does not show itself: not in a log, not in a traceback, not in `config show`."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from orderctl.errors import ConfigError

HIDDEN: Final = "***"


class Secret:
    """A text that prints as `***`."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself, for whoever has to send it."""
        return self._text

    def __repr__(self) -> str:
        return f"Secret({HIDDEN!r})"

    def __str__(self) -> str:
        return HIDDEN

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)


def read_secret(said: Secret | None, file: str | None) -> str | None:
    """A secret as the configuration says it: in itself, or in the file that it names. None where it says neither.

    Raises:
        ConfigError: the file cannot be read, or is empty.

    """
    if said is not None or file is None:
        return said.reveal() if said else None
    try:
        text = Path(file).read_text("utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the secret in {file} cannot be read: {getattr(error, 'strerror', error)}") from error
    if not text:
        raise ConfigError(f"the secret in {file} cannot be read: the file is empty")
    return text
