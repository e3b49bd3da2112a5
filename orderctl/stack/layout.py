"""What a stack consists of and where it lies: servers, ports, folders. Noted in its folder, so that every verb knows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from orderctl.errors import UsageRefused

HOST: Final = "127.0.0.1"
PARTS: Final = ("sql", "redis", "kafka", "cassandra")
"""What `--only` may name, in the order in which it is shown."""
PORT_OFFSET_MAX: Final = 3000
"""Every port stays below 32768, where Linux begins to give ports to outgoing connections."""
NOTE: Final = "stack.json"


class Layout(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The choices that cannot change while there is data."""

    parts: tuple[str, ...] = PARTS
    sql: Literal["mariadb", "mysql"] = "mariadb"
    redis_replicas: Annotated[int, Meta(ge=0, le=1)] = 0
    cassandra_nodes: Literal[1, 3] = 1
    port_offset: Annotated[int, Meta(ge=0, le=PORT_OFFSET_MAX)] = 0

    @property
    def sql_port(self) -> int:
        """Where MariaDB or MySQL listens."""
        return 23306 + self.port_offset

    @property
    def redis_ports(self) -> tuple[int, ...]:
        """Where the primaries listen, then their replicas in the same order."""
        return tuple(26001 + self.port_offset + at for at in range(3 + 3 * self.redis_replicas))

    @property
    def kafka_port(self) -> int:
        """Where the broker listens; its controller takes the next one."""
        return 29092 + self.port_offset

    @property
    def cassandra_port(self) -> int:
        """Where every node listens for CQL, each on an address of its own."""
        return 29042 + self.port_offset

    @property
    def gossip_port(self) -> int:
        """Where Cassandra's nodes talk to each other."""
        return 27000 + self.port_offset

    @property
    def cassandra_hosts(self) -> tuple[str, ...]:
        """The nodes' addresses."""
        return tuple(f"127.0.0.{node}" for node in range(1, self.cassandra_nodes + 1))


class Wish(Struct, frozen=True, kw_only=True):
    """What `up` is asked for; None leaves it as it is, or as it is by default."""

    parts: tuple[str, ...] | None = None
    sql: Literal["mariadb", "mysql"] | None = None
    redis_replicas: int | None = None
    cassandra_nodes: int | None = None
    port_offset: int | None = None


def noted(folder: Path) -> Layout | None:
    """The layout of the stack in `folder`, None where there is none.

    Raises:
        UsageRefused: the note cannot be read.

    """
    try:
        return msgspec.json.decode((folder / NOTE).read_bytes(), type=Layout)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise UsageRefused(f"{folder / NOTE} cannot be read: {error}") from error


def note(folder: Path, layout: Layout) -> None:
    """Write the layout down."""
    new = folder / f"{NOTE}.new"
    new.write_bytes(msgspec.json.format(msgspec.json.encode(layout), indent=2) + b"\n")
    new.replace(folder / NOTE)


def decide(wish: Wish, before: Layout | None) -> Layout:
    """The layout that follows from what is there and what is asked for.

    Raises:
        UsageRefused: a name or number means nothing, or it differs from what the data was made with.

    """
    wanted = {name: value for name, value in msgspec.structs.asdict(wish).items() if value is not None}
    parts = wanted.pop("parts", PARTS)
    if unknown := sorted(set(parts) - set(PARTS)):
        raise UsageRefused(f"there is no part {', '.join(unknown)}; there is {', '.join(PARTS)}")
    for name, value in wanted.items():
        if before is not None and getattr(before, name) != value:
            raise UsageRefused(
                f"the stack here was made with {name.replace('_', ' ')} {getattr(before, name)}, not {value}",
                hint="`orderctl stack down --purge` takes it away with its data; --dir names another place",
            )
    known = set(parts) | set(before.parts if before else ())
    values = {**(msgspec.structs.asdict(before) if before else {}), **wanted}
    try:
        return msgspec.convert({**values, "parts": tuple(part for part in PARTS if part in known)}, Layout)
    except msgspec.ValidationError as error:
        raise UsageRefused(str(error)) from error
