"""What tests on real servers are given: a deployment there, and the means to hurt the servers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.deployment import Deployment
from tests.acceptance.weather import Weather
from tests.stack import RunningStack


@pytest.fixture
def deployment(stack: RunningStack, tmp_path: Path) -> Deployment:
    """A deployment that is ready to be served."""
    return Deployment(stack.folder / "orderctl.toml", tmp_path / "data")


@pytest.fixture
def weather(stack: RunningStack) -> Iterator[Weather]:
    """The servers, to be hurt; all of them are well again when the test has ended, however it ended."""
    weather = Weather(stack)
    yield weather
    weather.clear()
