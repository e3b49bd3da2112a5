"""What must be true of this machine: its limits, the files that hold secrets, and the embedded data directory."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from orderctl.admin.checks import Check, Seen, State, host_of, is_loopback, seen

FILES = 4_096
FILES_MIN = 1_024
FREE_BYTES = 1 << 30
NETWORK_FILE_SYSTEMS = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "ceph", "glusterfs"})
OTHERS = 0o077
"""The bits by which others than the owner may do something."""


class FileFacts(Struct, frozen=True):
    """A file or folder, and its permission bits."""

    path: str
    mode: int


class DatabaseFacts(Struct, frozen=True):
    """An embedded database: the schema that it has, None where it is missing, and the one that this program needs."""

    path: str
    schema: int | None
    wanted: int


class HostFacts(Struct, frozen=True, kw_only=True):
    """This machine as a process of the operator's sees it. `secrets` are files that hold one."""

    files_max: int
    secrets: tuple[FileFacts, ...]
    binds: tuple[tuple[str, str], ...]


class EmbeddedFacts(Struct, frozen=True, kw_only=True):
    """A data directory. `file_system` is the kind that it lies on, "" where that is not known."""

    databases: tuple[DatabaseFacts, ...]
    files: tuple[FileFacts, ...]
    free_bytes: int
    file_system: str


def _limit(facts: HostFacts) -> Iterator[Seen]:
    otherwise = State.NOTE if facts.files_max >= FILES_MIN else State.FINDING
    good = facts.files_max >= FILES
    yield seen("RLIMIT_NOFILE", facts.files_max, f"{FILES} or more", good=good, otherwise=otherwise)


def _private(files: tuple[FileFacts, ...]) -> Iterator[Seen]:
    for file in files:
        yield seen(file.path, f"{file.mode:04o}", "nobody but the owner", good=not file.mode & OTHERS)


def _binds(facts: HostFacts) -> Iterator[Seen]:
    for name, bind in facts.binds:
        good = is_loopback(host_of(bind))
        yield seen(name, bind, "this machine, behind a proxy that ends TLS", good=good, otherwise=State.NOTE)


def _databases(facts: EmbeddedFacts) -> Iterator[Seen]:
    for one in facts.databases:
        found = "missing" if one.schema is None else f"schema {one.schema}"
        yield seen(one.path, found, f"schema {one.wanted}", good=one.schema == one.wanted)


def _room(facts: EmbeddedFacts) -> Iterator[Seen]:
    found = f"{facts.free_bytes / FREE_BYTES:.1f} GiB free"
    yield seen("data directory", found, "1 GiB or more", good=facts.free_bytes >= FREE_BYTES)


def _file_system(facts: EmbeddedFacts) -> Iterator[Seen]:
    good = facts.file_system not in NETWORK_FILE_SYSTEMS
    yield seen("data directory", facts.file_system or "unknown", "a local file system", good=good)


CHECKS: tuple[Check[HostFacts], ...] = (
    Check(
        "open_files",
        "Each connection is a file; a server that is out of them accepts no more.",
        "ulimit -n 65536 in this shell; the systemd units set LimitNOFILE for the daemons.",
        _limit,
    ),
    Check(
        "secret_files",
        "Whoever can read a key or a password has what it opens.",
        "chmod 600 FILE.",
        lambda facts: _private(facts.secrets),
    ),
    Check(
        "binds",
        "The servers speak plain HTTP: keys cross the network as they are.",
        "Bind to 127.0.0.1 behind nginx (http/nginx.conf), or to a network that nobody else is in.",
        _binds,
    ),
)
EMBEDDED_CHECKS: tuple[Check[EmbeddedFacts], ...] = (
    Check(
        "databases",
        "A database that is missing was lost; one of an older schema is brought up by a start.",
        "Restore it from a backup; `orderctl migrate` brings schemas up.",
        _databases,
    ),
    Check(
        "permissions",
        "The data directory holds every order, and the keys.",
        "chmod -R go= DIR.",
        lambda facts: _private(facts.files),
    ),
    Check(
        "room",
        "A database that cannot grow takes no order.",
        "Make room, or move the data directory.",
        _room,
    ),
    Check(
        "file_system",
        "SQLite's shared memory does not work over a network, and its locks often not.",
        "Move the data directory to a local disk.",
        _file_system,
    ),
)
