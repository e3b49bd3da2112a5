"""The extra `fast`: chosen by name, refused in one line where it is not installed."""

from __future__ import annotations

import asyncio

import pytest
import uvloop

from orderctl.daemons.event_loops import require_installed, run_in_loop
from orderctl.errors import ConfigError
from orderctl.sections import HttpSection


@pytest.mark.parametrize(
    ("http", "said"),
    [
        (HttpSection(server="granian"), '[http] server = "granian": granian is not installed'),
        (HttpSection(event_loop="uvloop"), '[http] event_loop = "uvloop": uvloop is not installed'),
    ],
)
def test_what_is_not_installed_is_refused_with_the_command_that_helps(http: HttpSection, said: str) -> None:
    """Exit code 2, as for every configuration that means nothing here."""
    with pytest.raises(ConfigError) as refused:
        require_installed(http, is_there=lambda name: False)
    assert (refused.value.message, refused.value.exit_code) == (said, 2)
    assert refused.value.hint == "pip install 'orderctl[fast]' installs it"


def test_the_default_needs_no_extra() -> None:
    """Hypercorn on asyncio is always there; the rest is where tests run."""
    require_installed(HttpSection(), is_there=lambda name: False)
    require_installed(HttpSection(server="granian", event_loop="uvloop"))


@pytest.mark.parametrize("http", [HttpSection(), HttpSection(event_loop="uvloop")])
def test_work_runs_in_the_loop_that_was_chosen(http: HttpSection) -> None:
    """And nothing else of the process changes."""
    ran: list[bool] = []

    async def work() -> None:
        ran.append(isinstance(asyncio.get_running_loop(), uvloop.Loop))

    run_in_loop(http, work())
    assert ran == [http.event_loop == "uvloop"]
