"""The plugin that gives tests the real servers: what it leaves out it names, and what is missing is a failure."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stack import EMBEDDED_ONLY, RUNNING, TOP

USER = '''"""A module that needs real servers."""
from tests.stack import needs


class TestReal:
    """Two tests."""
    pytestmark = needs({parts})

    def test_one(self, {fixture}): pass

    def test_two(self): pass


def test_embedded(): pass
'''


def run(folder: Path, *, parts: str = '"redis"', fixture: str = "stack", **environ: str) -> tuple[int, str]:
    """Run such a module in a pytest of its own."""
    (folder / "test_user.py").write_text(USER.format(parts=parts, fixture=fixture))
    (folder / "conftest.py").write_text("from tests.conftest import *\n")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ORDERCTL_")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--import-mode=importlib", "-p", "no:cacheprovider", str(folder)],
        cwd=folder,
        env={**kept, "PYTHONPATH": str(TOP), **environ},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    return done.returncode, done.stdout


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    """In one plain line; the others run."""
    code, said = run(tmp_path, **{EMBEDDED_ONLY: "1"})
    assert code == 0
    assert "LEFT OUT: 2 tests on real servers and 0 that take a minute; `make test-all` runs them" in said.splitlines()
    assert "1 passed, 2 deselected" in said


@pytest.mark.parametrize("fixture", ["stack", "mysql_stack"])
def test_a_missing_server_is_a_failure(tmp_path: Path, fixture: str) -> None:
    """Never a skip; why it is missing is said, once for each test that asked."""
    code, said = run(tmp_path, parts='"redis", "mysql"', fixture=fixture, **{RUNNING: str(tmp_path / "nowhere")})
    assert code == 1
    assert "the real servers are not there: there is no stack in" in said
    assert "2 passed, 1 error" in said


def test_who_asks_without_saying_so(tmp_path: Path) -> None:
    """A test that takes the stack and is not marked fails with what it has to say."""
    code, said = run(tmp_path, parts="")
    assert code == 1
    assert "no collected test says by `needs(…)` that it needs them" in said
