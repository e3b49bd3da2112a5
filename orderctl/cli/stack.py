"""`orderctl stack`: MySQL or MariaDB, Redis Cluster, Kafka and Cassandra on this machine, for development and CI."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from orderctl.cli.options import Invocation, command, examples
from orderctl.cli.output import Format, columns, emit, note, printable, write
from orderctl.duration import Duration

if TYPE_CHECKING:
    from orderctl.stack.stack import Stack, Started

UNREACHED = 4
FOLLOW_S = 0.2

app = typer.Typer(
    name="stack",
    help="The real servers on this machine, for development and CI.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Folder = Annotated[
    Path, typer.Option("--dir", metavar="DIR", help="Where their data, logs and orderctl.toml are kept.")
]
HERE = Path(".stack")


@command(
    app,
    "up",
    timeout=Duration(600),
    timed_out="what was started goes on; `orderctl stack status` shows it, and `up` again waits for it",
    examples_shown=examples(
        "orderctl stack up", "orderctl stack up --only sql,redis", "orderctl serve --config .stack/orderctl.toml"
    ),
)
def up(
    invocation: Invocation,
    folder: Folder = HERE,
    only: Annotated[
        str | None, typer.Option("--only", metavar="PARTS", help="Some of sql, redis, kafka, cassandra, with commas.")
    ] = None,
    sql: Annotated[
        Literal["mariadb", "mysql"] | None, typer.Option("--sql", help="Which server keeps open orders. [mariadb]")
    ] = None,
    redis_replicas: Annotated[
        int | None, typer.Option("--redis-replicas", min=0, max=1, help="Replicas of each Redis primary. [0]")
    ] = None,
    cassandra_nodes: Annotated[
        int | None, typer.Option("--cassandra-nodes", metavar="1|3", min=1, max=3, help="Cassandra's nodes. [1]")
    ] = None,
    port_offset: Annotated[
        int | None,
        typer.Option("--port-offset", metavar="N", min=0, help="Added to every port, for a second stack. [0]"),
    ] = None,
) -> None:
    """Start the servers, wait until they are healthy, and write DIR/orderctl.toml for them.

    What runs already stays; what has died is started again. The servers go on when this command has ended.
    """
    from orderctl.stack.configuration import FILE
    from orderctl.stack.layout import Wish

    wish = Wish(
        parts=None if only is None else tuple(only.split(",")),
        sql=sql,
        redis_replicas=redis_replicas,
        cassandra_nodes=cassandra_nodes,
        port_offset=port_offset,
    )
    stack = _stack(folder)
    as_table = invocation.output is Format.TABLE
    started = stack.up(wish, lambda server: write(_line(server)) if as_table else None)
    note(f"`orderctl serve --config {folder / FILE}` runs on them; `orderctl stack down` stops them")
    emit(started, invocation.output, table="")


@command(
    app,
    "down",
    timeout=Duration(120),
    examples_shown=examples("orderctl stack down", "orderctl stack down --purge"),
)
def down(
    invocation: Invocation,
    folder: Folder = HERE,
    purge: Annotated[bool, typer.Option("--purge", help="Take away all that they kept, too.")] = False,
) -> None:
    """Stop the servers, by force where one does not end by itself. Their data stays, unless --purge is given."""
    stopped = _stack(folder).down(purge=purge)
    if not stopped:
        note(f"there is no stack in {folder}")
    table = "".join(f"{server.name:<11}  {server.how}\n" for server in stopped)
    emit(stopped, invocation.output, table=table)


@command(app, "status", examples_shown=examples("orderctl stack status", "orderctl stack status -o json"))
def status(invocation: Invocation, folder: Folder = HERE) -> None:
    """Ask each server, in its own protocol, whether it does its work. Exit 4 where one does not."""
    seen = _stack(folder).status()
    rows = [(one.name, one.state, one.address, one.pid, one.log) for one in seen]
    emit(seen, invocation.output, table=columns(("server", "state", "address", "pid", "log"), rows))
    if any(one.state != "up" for one in seen):
        raise typer.Exit(UNREACHED)


@command(
    app,
    "logs",
    timeout=None,
    examples_shown=examples("orderctl stack logs kafka", "orderctl stack logs redis --lines 500 --follow"),
)
def logs(
    _invocation: Invocation,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="A server or a part; else all.")] = None,
    folder: Folder = HERE,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, max=1_000_000, help="How many, from the end.")] = 50,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is written from now on.")] = False,
) -> None:
    """Show the last lines that servers have written."""
    from orderctl.clock import SystemClock
    from orderctl.stack.tail import Follower, last_lines

    found = _stack(folder).logs(name)
    follower = Follower(found)
    for server, log in found.items():
        title = f"==> {server}: {log} <==\n" if len(found) > 1 else ""
        write(title + "".join(f"{printable(line)}\n" for line in last_lines(log, lines)))
    while follow:
        for server, line in follower.new_lines():
            write((f"{server}: " if len(found) > 1 else "") + printable(line) + "\n")
        SystemClock().wait(threading.Event(), FOLLOW_S)


def _stack(folder: Path) -> Stack:
    from orderctl.clock import SystemClock
    from orderctl.stack.jars import cache_folder
    from orderctl.stack.stack import Stack

    return Stack(folder, cache=cache_folder(os.environ), clock=SystemClock())


def _line(server: Started) -> str:
    how = "was running" if server.was_running else f"healthy after {server.seconds:.1f} s"
    return f"{server.name:<11}  {server.address:<16}  {how}\n"
