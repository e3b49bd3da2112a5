"""From a manifest to the class that it names."""

from __future__ import annotations

from importlib import import_module

from orderctl.daemons.base import Daemon
from orderctl.daemons.manifest import Manifest
from orderctl.errors import OrderctlError


def load_entry(manifest: Manifest) -> type[Daemon]:
    """The daemon's class.

    Raises:
        OrderctlError: the manifest names none.

    """
    module, _, name = manifest.entry.partition(":")
    try:
        found = getattr(import_module(module), name)
    except (ModuleNotFoundError, AttributeError) as error:
        raise OrderctlError(f"daemons/{manifest.name}.toml: there is no {manifest.entry}") from error
    if not (isinstance(found, type) and issubclass(found, Daemon)):
        raise OrderctlError(f"daemons/{manifest.name}.toml: {manifest.entry} is no daemon")
    return found
