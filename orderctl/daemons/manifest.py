"""Manifests: which daemons there are, read from daemons/*.toml. What has no manifest is not offered."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Annotated

import msgspec
from msgspec import Meta, Struct, field

from orderctl.contracts import contract_names, contract_text
from orderctl.errors import OrderctlError, UsageRefused

Place = Annotated[str, Meta(pattern=r"^(http|hot|cache|archive|registry|binlog|expirations|orders\.[a-z-]+)$")]
"""What a daemon reads or writes: a server, a tier, a stream of a tier, or a topic."""


class Limits(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What keeps a daemon bounded."""

    step_s_max: Annotated[float, Meta(gt=0, le=3600)] = 60.0
    """A step that has run for longer means that the daemon hangs: it is not alive, and the watchdog ends it."""
    threads: Annotated[int, Meta(ge=1, le=64)] = 1
    """Threads that carry batches to the stores."""


class Manifest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One daemon. `idea` is what it is for, in a line; `group` its Kafka consumer group, None where it has none."""

    name: Annotated[str, Meta(pattern=r"^[a-z]+(-[a-z]+)*$")]
    idea: Annotated[str, Meta(pattern=r"^\S[^\n]{0,158}\S$")]
    entry: Annotated[str, Meta(pattern=r"^orderctl\.daemons\.[a-z_]+:[A-Za-z]+$")]
    reads: tuple[Place, ...]
    writes: tuple[Place, ...]
    admin_port: Annotated[int, Meta(ge=1024, le=65_535)]
    group: Annotated[str, Meta(pattern=r"^[a-z-]+$")] | None = None
    limits: Limits = field(default_factory=Limits)


def parse_manifest(text: str, *, source: str) -> Manifest:
    """The manifest in `text`; `source` names it in errors, and its file name must be the daemon's.

    Raises:
        OrderctlError: it is none.

    """
    try:
        manifest = msgspec.toml.decode(text, type=Manifest)
    except msgspec.DecodeError as error:  # ValidationError is one
        raise OrderctlError(f"{source}: {error}") from error
    if source != f"daemons/{manifest.name}.toml":
        raise OrderctlError(f"{source} calls its daemon {manifest.name}")
    return manifest


@lru_cache
def manifests() -> tuple[Manifest, ...]:
    """Every daemon that is offered, in the order of their admin ports.

    Raises:
        OrderctlError: a manifest is broken, or two claim one port.

    """
    found = [parse_manifest(contract_text("daemons", name), source=f"daemons/{name}") for name in _files()]
    found.sort(key=lambda manifest: manifest.admin_port)
    for one, other in pairwise(found):
        if one.admin_port == other.admin_port:
            raise OrderctlError(f"daemons/{one.name}.toml and daemons/{other.name}.toml claim one admin_port")
    return tuple(found)


def names() -> tuple[str, ...]:
    """The names of the daemons that are offered."""
    return tuple(manifest.name for manifest in manifests())


def select(wanted: Sequence[str]) -> tuple[Manifest, ...]:
    """The manifests of the daemons named, each once; all of them where none is named.

    Raises:
        UsageRefused: one is not offered; the message names the nearest.

    """
    offered = {manifest.name: manifest for manifest in manifests()}
    for name in wanted:
        if name not in offered:
            close = difflib.get_close_matches(name, offered, n=1, cutoff=0.5)
            raise UsageRefused(
                f"no daemon `{name}`"
                + (f"; did you mean {close[0]}?" if close else f"; there are {', '.join(offered)}")
            )
    return tuple(manifest for name, manifest in offered.items() if name in wanted or not wanted)


def _files() -> tuple[str, ...]:
    return contract_names("daemons", "*.toml")
