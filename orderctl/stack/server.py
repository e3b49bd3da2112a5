"""One server of the stack, as values: its folder, its files, how it is started and how one sees that it works."""

from __future__ import annotations

import os
import shutil
import string
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from msgspec import Struct

from orderctl.stack.probes import Address
from orderctl.stack.waiting import Wait

TEMPLATES: Final = Path(__file__).parent / "conf"
_MADE: Final = "made"


class Server(Struct, frozen=True, kw_only=True):
    """One process."""

    name: str
    folder: Path
    addresses: tuple[Address, ...]
    """What it listens on; the first is the one for clients."""
    command: tuple[str, ...]
    files: Mapping[str, str]
    """Its configuration, by name in its folder. Written at every start, so that a newer orderctl's is used."""
    answers: Callable[[Address], bool]
    """Whether it speaks its protocol."""
    healthy: Callable[[Address], bool]
    """Whether it does its work, with the others of its kind."""

    @property
    def address(self) -> str:
        """Where clients find it."""
        host, port = self.addresses[0]
        return f"{host}:{port}"

    @property
    def data(self) -> Path:
        """Where it keeps what it is given."""
        return self.folder / "data"

    @property
    def log(self) -> Path:
        """What it says."""
        return self.folder / "log"

    @property
    def pid_file(self) -> Path:
        """Who it is."""
        return self.folder / "pid"

    def write_files(self) -> None:
        """Make the folder and its configuration in it."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        for name, text in self.files.items():
            self.write(name, text)

    def write(self, name: str, text: str) -> None:
        """Write one file in the folder, readable by its owner only."""
        (self.folder / name).touch(mode=0o600)
        (self.folder / name).write_text(text, "utf-8")


class Part(Struct, frozen=True, kw_only=True):
    """Servers of one kind that make one tier."""

    name: str
    servers: tuple[Server, ...]
    programs: tuple[str, ...]
    """What has to be installed."""
    make: Callable[[Wait], None]
    """Makes what the servers begin with, where it is not there: runs before they start."""
    join: Callable[[Wait], None]
    """Makes one of them where they are not yet: runs once all of them answer."""
    limit_s: float
    """How long it may take until all of them are healthy, on a slow machine."""


def nothing(_wait: Wait) -> None:
    """What a part makes or joins that has nothing to make or to join."""


def template(name: str, **values: object) -> str:
    """A configuration file's text, with the values that it leaves open."""
    return string.Template((TEMPLATES / name).read_text("utf-8")).substitute(values)


def make_once(folder: Path, data: Path, make: Callable[[], None]) -> None:
    """Make `data` by `make` unless that was done. What an interrupted attempt left is taken away first."""
    made = folder / _MADE
    if not made.exists():
        shutil.rmtree(data, ignore_errors=True)
        data.mkdir(mode=0o700)
        make()
        made.touch()


def find_program(name: str) -> str | None:
    """Where a program lies. Debian keeps servers where only root's search path looks."""
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")


def program(name: str) -> str:
    """The program's path, or its bare name where it is not installed: what is missing is said before anything starts."""
    return find_program(name) or name
