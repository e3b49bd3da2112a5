"""What runs every test: a few that failed may run once more, alone, and nothing else makes a red run green."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lanes import AGAIN
from tests.stack import TOP

SOME = '''"""Tests that fail as often as a file says."""
import pathlib
import pytest


@pytest.mark.parametrize("name", ["a::b", "c d"])
def test_that(name):
    left = pathlib.Path("fails")
    often = int(left.read_text())
    left.write_text(str(often - 1))
    assert often <= 0


def test_fine(): pass
'''


def run(folder: Path, *, fails: int, again: int, module: str = SOME) -> tuple[int, str]:
    """Run them where so many tests fail before all pass, and so many may run once more."""
    (folder / "test_some.py").write_text(module)
    (folder / "fails").write_text(str(fails))
    done = subprocess.run(
        [sys.executable, "-m", "tests.lanes", "test_some.py"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(TOP), AGAIN: str(again)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    return done.returncode, done.stdout


def test_once_more(tmp_path: Path) -> None:
    """Those that failed, and they alone; what failed first is still shown."""
    code, said = run(tmp_path, fails=2, again=2)
    assert code == 0
    assert said.index("2 failed, 1 passed") < said.index("These failed, and run once more") < said.index("2 passed")


@pytest.mark.parametrize(
    ("fails", "again"), [(2, 0), (2, 1), (3, 2)], ids=["not asked for", "too many", "failed again"]
)
def test_red(tmp_path: Path, fails: int, again: int) -> None:
    """Nobody asked for it, too many failed, or one failed again."""
    assert run(tmp_path, fails=fails, again=again)[0] == 1


def test_a_run_that_ended_early_is_red(tmp_path: Path) -> None:
    """Then nobody knows what else would have failed."""
    ends = SOME.replace("def test_fine(): pass", "def test_fine(): pytest.exit('early', 7)")
    code, said = run(tmp_path, fails=1, again=2, module=ends)
    assert (code, "once more" in said) == (7, False)
