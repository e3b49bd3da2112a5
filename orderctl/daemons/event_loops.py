"""The event loop that is configured, and whether what is configured is installed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from importlib.util import find_spec
from typing import Any, Final

from orderctl.errors import ConfigError
from orderctl.sections import HttpSection

OWN: Final = frozenset({"hypercorn", "asyncio"})
"""What needs no extra."""


def is_installed(name: str) -> bool:
    """Whether there is such a module."""
    return find_spec(name) is not None


def require_installed(http: HttpSection, is_there: Callable[[str], bool] = is_installed) -> None:
    """Refuse to start with a server or an event loop that is not there.

    Raises:
        ConfigError: the extra `fast` is not installed.

    """
    for key, name in (("server", http.server), ("event_loop", http.event_loop)):
        if name not in OWN and not is_there(name):
            raise ConfigError(
                f'[http] {key} = "{name}": {name} is not installed', hint="pip install 'orderctl[fast]' installs it"
            )


def run_in_loop(http: HttpSection, work: Coroutine[Any, Any, None]) -> None:
    """Run `work` to its end in an event loop of the kind that is configured."""
    if http.event_loop == "uvloop":
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(work)
    else:
        asyncio.run(work)
