"""What tests of the command line are given."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.terminal import Process, Terminal


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    """A shell in an empty directory, whose commands run in this process."""
    return Terminal(tmp_path)


@pytest.fixture
def process(tmp_path: Path) -> Process:
    """A shell in an empty directory, whose commands are processes of their own."""
    return Process(tmp_path)
