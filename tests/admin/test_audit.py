"""The audit log's chain: what is done to the file afterwards is noticed, and processes do not spoil each other's lines."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from orderctl.admin.audit import audit_log
from orderctl.admin.audit_chain import Verification
from orderctl.admin.audit_read import audit_list, audit_verify
from orderctl.clock import ManualClock
from orderctl.errors import NotFound, UsageRefused

APPEND = """
import sys
from pathlib import Path
from orderctl.admin.audit import audit_log
from orderctl.clock import SystemClock
with audit_log(Path(sys.argv[1]), SystemClock()) as audit:
    for number in range(int(sys.argv[3])):
        audit.append("test", reason=None, who=sys.argv[2], number=number)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the log is."""
    return tmp_path / "audit.jsonl"


def write(path: Path, *numbers: int) -> None:
    """Append a line for each number."""
    with audit_log(path, ManualClock()) as audit:
        for number in numbers:
            audit.append("test", reason="because", number=number, padding="x" * 40_000)


def rewrite(path: Path, change: Callable[[list[bytes]], list[bytes]]) -> None:
    """Do something to the file's lines."""
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))


def wrong(found: Verification) -> list[int]:
    """The lines with something wrong."""
    return [problem.line for problem in found.problems]


def test_a_log_that_nobody_touched_is_whole(path: Path) -> None:
    """Written by one opening or by several, its lines follow each other."""
    write(path, 1, 2, 3)
    write(path, 4)
    found = audit_verify(path)
    assert (found.intact, found.lines, found.chained, found.unchained, found.problems) == (True, 4, 4, 0, [])
    assert found.head == json.loads(path.read_bytes().splitlines()[-1])["digest"]
    assert [line["number"] for line in audit_list(path)] == [1, 2, 3, 4]
    assert [line["number"] for line in audit_list(path, last=2)] == [3, 4]


def test_a_line_says_where_it_was_done(path: Path) -> None:
    """When, who, where, what, why."""
    write(path, 1)
    (line,) = audit_list(path)
    assert {"at", "by", "host", "action", "reason"} <= line.keys()
    assert all(line[name] for name in ("at", "by", "host", "action", "reason"))


DAMAGES: dict[str, tuple[Callable[[list[bytes]], list[bytes]], list[int]]] = {
    "a reason changed": (lambda lines: [lines[0], lines[1].replace(b"because", b"no idea"), *lines[2:]], [2]),
    "the last line changed": (lambda lines: [*lines[:3], lines[3].replace(b"because", b"no idea")], [4]),
    "a line missing": (lambda lines: [lines[0], *lines[2:]], [2]),
    "the first line missing": (lambda lines: lines[1:], [1]),
    "two lines exchanged": (lambda lines: [lines[0], lines[2], lines[1], lines[3]], [2, 3, 4]),
    "a line twice": (lambda lines: [*lines[:2], *lines[1:]], [3]),
    "the last line cut short": (lambda lines: [*lines[:3], lines[3][:-20]], [4]),
    "its end missing": (lambda lines: [*lines[:3], lines[3][:-1]], [4]),
    "a line in the middle cut short": (lambda lines: [lines[0], lines[1][:-20] + b"\n", *lines[2:]], [3]),
    "a line put in": (lambda lines: [*lines[:2], b'{"action":"test"}\n', *lines[2:]], [3, 4]),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_found(path: Path, damage: str) -> None:
    """And the line where it is seen is named."""
    change, lines = DAMAGES[damage]
    write(path, 1, 2, 3, 4)
    rewrite(path, change)
    found = audit_verify(path)
    assert (found.intact, wrong(found)) == (False, lines)


def test_lines_missing_at_the_end_are_found_by_the_head_that_was_kept(path: Path) -> None:
    """The log alone cannot tell: without the head it is whole."""
    write(path, 1, 2, 3)
    head = audit_verify(path).head
    write(path, 4)
    assert audit_verify(path, expected=head).intact
    rewrite(path, lambda lines: lines[:2])
    assert audit_verify(path).intact
    assert wrong(audit_verify(path, expected=head)) == [2]


def test_lines_of_before_the_chain_are_a_prefix(path: Path) -> None:
    """They are accepted and told of; from the first digest on they are covered, too."""
    path.write_text('{"at":"2026-01-01T00:00:00.000000Z","action":"old"}\n{"action":"older"}\n')
    found = audit_verify(path)
    assert (found.intact, found.lines, found.unchained, found.head) == (True, 2, 2, None)
    write(path, 1, 2)
    found = audit_verify(path)
    assert (found.intact, found.chained, found.unchained) == (True, 2, 2)
    rewrite(path, lambda lines: [lines[0].replace(b"old", b"new"), *lines[1:]])
    assert wrong(audit_verify(path)) == [3]


def test_a_line_that_a_crash_cut_short_breaks_nothing(path: Path) -> None:
    """It is covered by the next line, and so cannot be changed afterwards either."""
    write(path, 1)
    with path.open("ab") as file:
        file.write(b'{"at":"2026')
    assert wrong(audit_verify(path)) == [2]
    write(path, 2)
    found = audit_verify(path)
    assert (found.intact, found.chained, found.cut_short) == (True, 2, 1)
    assert [line["number"] for line in audit_list(path)] == [1, 2]
    rewrite(path, lambda lines: [lines[0], b'{"at":"2025\n', lines[2]])
    assert wrong(audit_verify(path)) == [3]


def test_several_processes_append_at_once(path: Path) -> None:
    """Their lines come in some order, each whole, each holding on to the one before it."""
    processes = [subprocess.Popen([sys.executable, "-c", APPEND, str(path), str(who), "50"]) for who in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    found = audit_verify(path)
    assert (found.intact, found.chained) == (True, 150)
    lines = audit_list(path)
    for who in range(3):
        assert [line["number"] for line in lines if line["who"] == str(who)] == list(range(50))


def test_without_a_log(path: Path) -> None:
    """Nothing was changed yet, or the log is gone as a whole: that is not found, and not whole."""
    assert audit_list(path) == []
    with pytest.raises(NotFound, match="there is no audit log"):
        audit_verify(path)


def test_the_folder_is_made_for_its_owner(tmp_path: Path) -> None:
    """Over real servers a command may be the first to want a data directory; one that lies deeper is somebody's mistake."""
    path = tmp_path / "data" / "audit.jsonl"
    write(path, 1)
    assert path.parent.stat().st_mode & 0o777 == 0o700
    with pytest.raises(UsageRefused, match="cannot be opened"):
        write(tmp_path / "no" / "such" / "audit.jsonl", 1)
