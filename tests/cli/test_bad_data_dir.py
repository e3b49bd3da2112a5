"""Data directories that cannot be used: one clear line that names the file, its bytes untouched, exit not 0."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.cli.terminal import Terminal


def cut_short(file: Path) -> None:
    """The last half of the file is gone."""
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def scribbled(file: Path) -> None:
    """Somebody wrote over its pages."""
    content = bytearray(file.read_bytes())
    content[100:] = b"\x5a" * (len(content) - 100)
    file.write_bytes(content)


def emptied(file: Path) -> None:
    """The file has no byte left."""
    file.write_bytes(b"")


def newer(file: Path) -> None:
    """A later orderctl has been here."""
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA user_version = 999")
        connection.commit()


def replaced(file: Path) -> None:
    """It is a text file."""
    file.write_text("hello\n" * 100)


DAMAGES: list[tuple[Callable[[Path], None], str]] = [
    (cut_short, "is damaged"),
    (scribbled, "is damaged"),
    (emptied, "is damaged: it is empty"),
    (newer, "has schema 999; this orderctl knows up to"),
    (replaced, "is damaged"),
]
FILES = ["hot.db", "cache.db", "log.db", "archive.db"]
COMMANDS = [
    ["serve"],
    ["key", "create", "--merchant", "m"],
    ["status"],
    ["inspect", "0197b0de-5c00-7abc-8000-0123456789ab"],
]


@pytest.fixture
def data(terminal: Terminal) -> Path:
    """A data directory that was in use."""
    assert terminal.run("key", "create", "--merchant", "acme").returncode == 0
    return terminal.folder / "orderctl-data"


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda arguments: arguments[0])
@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize(("damage", "said"), DAMAGES, ids=[damage.__name__ for damage, _ in DAMAGES])
def test_a_damaged_file_is_named_and_left_alone(
    terminal: Terminal, data: Path, arguments: list[str], file: str, damage: Callable[[Path], None], said: str
) -> None:
    """Whatever the command and the tier, nothing is destroyed."""
    damage(data / file)
    before = (data / file).read_bytes()
    message = terminal.refuses(*arguments, code=2)
    assert message.startswith(f"{data / file} {said}")
    assert (data / file).read_bytes() == before


def test_a_file_in_the_directorys_place(terminal: Terminal) -> None:
    """It is named, and left alone."""
    (terminal.folder / "orderctl-data").write_text("mine")
    said = terminal.refuses("serve", code=2)
    assert said == f"{terminal.folder / 'orderctl-data'} is in the way: it is no directory"
    assert (terminal.folder / "orderctl-data").read_text() == "mine"


def test_a_directory_that_cannot_be_made(terminal: Terminal) -> None:
    """A place where even the superuser may make nothing."""
    said = terminal.refuses("serve", "--data-dir", "/proc/orderctl-data", code=2)
    assert said.startswith("/proc/orderctl-data cannot be made: ")


def test_groups_of_another_deployment(terminal: Terminal, data: Path) -> None:
    """The constant was founded with the directory, and cannot be changed by the configuration."""
    before = (data / "hot.db").read_bytes()
    said = terminal.refuses("serve", code=2, ORDERCTL_DEPLOYMENT__GROUPS="128")
    assert "founded with 64" in said
    assert (data / "hot.db").read_bytes() == before
