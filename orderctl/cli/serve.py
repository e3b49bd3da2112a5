"""`orderctl serve`: the daemons, and for a newcomer everything that the first request needs."""

from __future__ import annotations

import shlex
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orderctl.cli.deadline import stopped_after
from orderctl.cli.options import Invocation, command, examples
from orderctl.cli.output import Format, OutputClosed, OutputFailed, emit, note, write

if TYPE_CHECKING:
    from orderctl.admin.demo_keys import DemoKeys
    from orderctl.config import Config
    from orderctl.daemons.ready import Ready

WORKERS_MAX = 64
DEMO_REF = "demo-1"


def register(group: typer.Typer) -> None:
    """Add the verb to `group`."""
    shown = examples(
        "orderctl serve",
        "orderctl serve command --workers 4",
        "ORDERCTL_COMMAND__BIND=127.0.0.1:0 orderctl serve --ready-file ready.json",
    )
    command(group, "serve", timeout=None, bound=False, examples_shown=shown)(serve)


def serve(
    invocation: Invocation,
    daemons: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="DAEMON",
            help="command, query, cdc, cache-sync, archiver, expiry, timeouts; none named: all, in one process.",
        ),
    ] = None,
    workers: Annotated[
        int,
        typer.Option("--workers", metavar="N", min=1, max=WORKERS_MAX, help="Processes that share the servers' ports."),
    ] = 1,
    ready_file: Annotated[
        Path | None,
        typer.Option("--ready-file", metavar="FILE", help="Written once all is ready: pid and addresses, as JSON."),
    ] = None,
) -> None:
    """Run daemons until SIGTERM or Ctrl-C, which let requests under way finish.

    Without a configuration everything is kept in the data directory, on this machine; the first start makes a merchant
    `demo` with a key, and a key for the gateway. Once ready, each server's address is printed, and a request to paste.
    With the tiers' servers in the configuration, `orderctl migrate` comes first, and `orderctl key create` makes keys.
    """
    from orderctl.config import is_embedded
    from orderctl.daemons import process
    from orderctl.daemons.manifest import select

    names = [manifest.name for manifest in select(daemons or ())]
    config = invocation.config
    keys = _prepare(config, invocation.data_dir) if is_embedded(config) else None

    def announce(ready: Ready) -> None:
        with suppress(OutputClosed, OutputFailed):  # whoever started the servers need not listen
            if invocation.output is Format.TABLE:
                write(introduction(ready, keys))
            else:
                emit(ready, Format.JSONL, table="")

    with stopped_after(invocation.timeout):
        process.run(
            names,
            config=config,
            data_dir=invocation.data_dir if keys else None,
            ready=announce,
            workers=workers,
            ready_file=ready_file,
        )


def _prepare(config: Config, folder: Path) -> DemoKeys:
    """Look at the data directory before anything writes to it, make what a first start needs, and say what is where."""
    from orderctl.admin.demo_keys import demo_keys
    from orderctl.clock import SystemClock
    from orderctl.stores.sqlite.datadir import DataDir
    from orderctl.stores.tiers import open_tiers

    data_dir = DataDir(folder)
    data_dir.check()
    tiers = open_tiers(config, folder, SystemClock())
    try:
        keys = demo_keys(data_dir.keys, tiers.registry, SystemClock())
    finally:
        tiers.close()
    _say(
        config,
        f"embedded: open orders and keys' digests are kept in {data_dir.hot}, final orders in {data_dir.archive}, "
        f"change events in {data_dir.log}, cached records in {data_dir.cache}, the demo keys in {data_dir.keys}; "
        "this is one machine, and what its disk loses is lost",
    )
    return keys


def _say(config: Config, text: str) -> None:
    """Tell people in a plain line, and programs that read the log in the log's form."""
    if sys.stderr is not None and sys.stderr.isatty():
        note(text)
        return
    import structlog

    from orderctl import log

    log.configure(config.log)
    structlog.stdlib.get_logger(__name__).info(text)


def introduction(ready: Ready, keys: DemoKeys | None) -> str:
    """Each server's address in a line, then what to paste to see it work."""
    addresses = {"command": ready.command, "query": ready.query, "admin": ready.admin}
    text = "".join(f"{name:<8} {address}\n" for name, address in addresses.items() if address)
    if keys is None or keys.demo is None:
        return text
    if ready.command:
        text += f"\nCreate an order:\n\n{create_request(ready.command, keys.demo)}"
    if ready.query:
        text += f"\nRead it back:\n\n{read_request(ready.query, keys.demo)}"
    return text


def create_request(address: str, key: Path) -> str:
    """A command that creates an order, as it can be pasted into any shell in any directory. The key stays in its file."""
    return (
        f"curl -sS -w '\\n' {reachable(address)}/v1/orders \\\n"
        f"  -H {_authorization(key)} \\\n"
        "  -H 'Content-Type: application/json' \\\n"
        f"""  -d '{{"merchant_ref": "{DEMO_REF}", "amount": 1999,\n"""
        """       "currency": "EUR", "payment_method": "card"}'\n"""
    )


def read_request(address: str, key: Path) -> str:
    """A command that reads that order back, by the merchant's own reference."""
    return (
        f"curl -sS -w '\\n' '{reachable(address)}/v1/orders?merchant_ref={DEMO_REF}' \\\n  -H {_authorization(key)}\n"
    )


def reachable(address: str) -> str:
    """`address` for a client on this machine: one cannot connect to "every interface" everywhere."""
    return address.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")


def _authorization(key: Path) -> str:
    return f'"Authorization: Bearer $(cat {shlex.quote(str(key))})"'
