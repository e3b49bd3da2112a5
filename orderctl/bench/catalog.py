"""Every scenario, in the order in which they are shown and run."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pkgutil import iter_modules
from typing import Final

from orderctl.bench import scenarios
from orderctl.bench.scenario import Scenario, Where
from orderctl.errors import NotFound, UsageRefused

ORDER: Final = (
    "lookup-near",
    "lookup-cache",
    "batch-lookup-cache",
    "batch-lookup-near",
    "batch-create",
    "single-creates",
    "single-creates-beside-one-each",
    "cdc-backlog",
    "cdc-backlog-singles",
    "cdc-beside-debezium",
    "cache-sync-backlog",
    "archiver-backlog",
    "archiver-beside-pt-archiver",
    "commit-to-visible",
)


def catalog() -> tuple[Scenario, ...]:
    """All of them: a file each in `scenarios/`."""
    found: list[Scenario] = [
        import_module(f"{scenarios.__name__}.{module.name}").SCENARIO for module in iter_modules(scenarios.__path__)
    ]
    return tuple(sorted(found, key=lambda scenario: ORDER.index(scenario.name)))


def chosen(names: Sequence[str], *, is_real: bool) -> tuple[Scenario, ...]:
    """Those named, or without a name all that can run there but those beside something else.

    Raises:
        NotFound: there is none of that name.
        UsageRefused: one that is named needs servers, and the configuration names none.

    """
    known = {scenario.name: scenario for scenario in catalog()}
    for name in names:
        if name not in known:
            raise NotFound(f"there is no scenario {name}", hint=f"there are: {', '.join(known)}")
        if known[name].where is Where.REAL and not is_real:
            raise UsageRefused(
                f"{name} is measured on servers, and the configuration names none",
                hint="`orderctl stack up` starts some; name their configuration with --config",
            )
    if names:
        return tuple(known[name] for name in dict.fromkeys(names))
    return tuple(one for one in known.values() if not one.if_named and (is_real or one.where is Where.ANY))
