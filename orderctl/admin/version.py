"""`--version`: what this program is made of."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

import orderctl
from orderctl.stores.sqlite.about import SQLITE_VERSION, schema_versions

_LIBRARIES = ("hypercorn", "starlette", "httpx2", "msgspec")


def versions() -> list[tuple[str, str]]:
    """Each part's name and version: the package, Python, the drivers and libraries, the newest schema of each tier."""
    return [
        ("orderctl", orderctl.__version__),
        ("Python", platform.python_version()),
        ("SQLite", SQLITE_VERSION),
        *((name, _installed(name)) for name in _LIBRARIES),
        ("schema", ", ".join(f"{tier} {number}" for tier, number in schema_versions().items())),
    ]


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"
