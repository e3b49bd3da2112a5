"""Reads the Lua scripts in `lua/`: each a file of its own, which may take in others by a line `-- include NAME.lua`."""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import sha1
from pathlib import Path
from typing import Final

from msgspec import Struct

from orderctl.errors import OrderctlError

FOLDER: Final = Path(__file__).parent / "lua"

_INCLUDE: Final = re.compile(r"^-- include (\S+)$", re.MULTILINE)


class Script(Struct, frozen=True):
    """A script's whole text, and the digest by which a node that has run it before knows it."""

    text: str
    digest: str


@lru_cache
def script(name: str, *, folder: Path = FOLDER) -> Script:
    """The script `name`.lua.

    Raises:
        OrderctlError: it, or a file that it includes, is missing or no UTF-8.

    """
    text = _INCLUDE.sub(lambda match: _text(folder / match[1]), _text(folder / f"{name}.lua"))
    # Not for secrecy: it is how Redis names scripts.
    return Script(text, sha1(text.encode(), usedforsecurity=False).hexdigest())


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        hint = "the installation is incomplete: install orderctl again"
        raise OrderctlError(f"the Lua script {path.name} cannot be read: {error}", hint=hint) from error
