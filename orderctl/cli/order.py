"""`orderctl order`: a client for the two servers, to try things out and for scripts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orderctl.cli.deployment import has_data, opened_tiers
from orderctl.cli.options import Invocation, command, examples
from orderctl.cli.output import Format, cell, note, pairs, write

if TYPE_CHECKING:
    from orderctl.admin.client import OrderClient
    from orderctl.admin.order_watch import Seen
    from orderctl.admin.servers import Servers

app = typer.Typer(
    name="order", help="Create, change and read orders over HTTP.", no_args_is_help=True, rich_markup_mode=None
)

WRITTEN_OR_NOT = "whether it was written is not known; the same command again is safe"

KeyFile = Annotated[
    Path | None,
    typer.Option(
        "--key-file", metavar="FILE", help="Holds the API key; else $ORDERCTL_KEY, else the data directory's own."
    ),
]
OrderId = Annotated[str, typer.Argument(metavar="ORDER_ID", help="A UUIDv7, as `order create` answers it.")]


class NewStatus(StrEnum):
    """What an order can be asked to become."""

    PENDING = "pending"
    PROCESSING = "processing"
    SUCCESS = "success"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMEOUT = "timeout"


def _member(text: str) -> str:
    if "=" not in text or text.startswith("="):
        raise typer.BadParameter(f"{text!r} is no member: write NAME=VALUE")
    return text


@command(
    app,
    "create",
    timed_out=WRITTEN_OR_NOT,
    examples_shown=examples(
        "orderctl order create --merchant-ref A-1 --amount 1999 \\",
        "    --currency EUR --payment-method card",
        "orderctl order create --merchant-ref A-2 --amount 500 --currency JPY \\",
        "    --payment-method card --metadata basket=17 --timeout-s 60 -o json",
    ),
)
def create(
    invocation: Invocation,
    merchant_ref: Annotated[
        str, typer.Option("--merchant-ref", metavar="REF", help="The merchant's own reference: the idempotency key.")
    ],
    amount: Annotated[int, typer.Option("--amount", metavar="N", help="In the currency's minor units.")],
    currency: Annotated[str, typer.Option("--currency", metavar="CODE", help="ISO 4217, upper case.")],
    payment_method: Annotated[str, typer.Option("--payment-method", metavar="TEXT", help="1-32 characters.")],
    metadata: Annotated[
        list[str] | None,
        typer.Option("--metadata", metavar="NAME=VALUE", parser=_member, help="A member of the metadata; repeat it."),
    ] = None,
    timeout_s: Annotated[
        int | None, typer.Option("--timeout-s", metavar="N", help="Seconds until the order times out; else 900.")
    ] = None,
    key_file: KeyFile = None,
) -> None:
    """Create an order with a merchant's key, and show it.

    The same reference again shows the same order; with anything else in it, it is refused.
    """
    new = {
        "merchant_ref": merchant_ref,
        "amount": amount,
        "currency": currency,
        "payment_method": payment_method,
        "metadata": dict(member.split("=", 1) for member in metadata or ()),
        **({} if timeout_s is None else {"timeout_s": timeout_s}),
    }
    with _client(invocation, key_file, "demo") as client:
        found = client.create(new)
    if found.replayed:
        note("this reference stands for this order already: nothing was written")
    _show(found.body, invocation.output)


@command(
    app,
    "change",
    timed_out=WRITTEN_OR_NOT,
    examples_shown=examples(
        "orderctl order change ORDER_ID processing",
        "orderctl order change ORDER_ID failed --status-reason 'card expired' \\",
        "    --if-version 4294967297",
    ),
)
def change(
    invocation: Invocation,
    order_id: OrderId,
    status: Annotated[
        NewStatus,
        typer.Argument(metavar="STATUS", show_choices=False, help="processing, success, failed or cancelled."),
    ],
    status_reason: Annotated[
        str | None, typer.Option("--status-reason", metavar="TEXT", help="At most 256 characters.")
    ] = None,
    if_version: Annotated[
        int | None, typer.Option("--if-version", metavar="N", help="Only if the order is at this version.", min=1)
    ] = None,
    key_file: KeyFile = None,
) -> None:
    """Move an order on, and show it as it is then.

    pending -> processing, and either of them -> success, failed or cancelled. Final is final.
    """
    canonical = _canonical(order_id)
    with _client(invocation, key_file, "gateway") as client:
        changed = client.change(canonical, status, status_reason=status_reason, if_version=if_version)
    _show(changed.body, invocation.output)


@command(
    app,
    "get",
    timed_out="the look-up has no answer yet",
    examples_shown=examples("orderctl order get ORDER_ID", "orderctl order get ORDER_ID -o json | jq .status"),
)
def get(invocation: Invocation, order_id: OrderId, key_file: KeyFile = None) -> None:
    """Show an order as it is now."""
    from orderctl.admin.order_get import order_get
    from orderctl.clock import SystemClock

    canonical = _canonical(order_id)
    with _client(invocation, key_file, "gateway") as client:
        body = order_get(client, SystemClock(), canonical)
    _show(body, invocation.output)


@command(
    app,
    "watch",
    timeout=None,
    timed_out="the order is not final yet",
    examples_shown=examples("orderctl order watch ORDER_ID", "orderctl order watch ORDER_ID -o jsonl --timeout 15m"),
)
def watch(invocation: Invocation, order_id: OrderId, key_file: KeyFile = None) -> None:
    """Show an order's state at once, then a line for each version, until it is final.

    Versions that follow one another quickly may be left out.
    """
    from orderctl.admin.order_watch import order_watch
    from orderctl.clock import SystemClock

    canonical = _canonical(order_id)
    with _client(invocation, key_file, "gateway") as client:
        for seen in order_watch(client, SystemClock(), canonical):
            write(_line(seen) if invocation.output is Format.TABLE else seen.raw + b"\n")


@contextmanager
def _client(invocation: Invocation, key_file: Path | None, own_key: str) -> Iterator[OrderClient]:
    from orderctl.admin.client import OrderClient

    key = _key(invocation, key_file, own_key)
    with OrderClient(_servers(invocation), key) as client:
        yield client


def _key(invocation: Invocation, key_file: Path | None, own_key: str) -> str:
    from orderctl.admin.demo_keys import read_key
    from orderctl.errors import UsageRefused
    from orderctl.stores.sqlite.datadir import DataDir

    if key_file is not None:
        return read_key(key_file)
    if key := os.environ.get("ORDERCTL_KEY", "").strip():
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise UsageRefused("ORDERCTL_KEY holds no key")
        return key
    own = DataDir(invocation.data_dir).keys / own_key
    if not own.exists():
        raise UsageRefused(
            f"no key: neither --key-file nor ORDERCTL_KEY says one, and there is no {own}",
            hint="`orderctl serve` makes that one; --data-dir or $ORDERCTL_DATA_DIR names another directory",
        )
    return read_key(own)


def _servers(invocation: Invocation) -> Servers:
    from orderctl.admin.servers import find_servers
    from orderctl.config import is_embedded

    if is_embedded(invocation.config) and not has_data(invocation.data_dir):
        return find_servers([], invocation.config, now_us=0)
    with opened_tiers(invocation, check=False) as tiers:
        heartbeats = tiers.registry.heartbeats()
        return find_servers(heartbeats, invocation.config, now_us=tiers.registry.deployment().now_us)


def _canonical(order_id: str) -> str:
    """The order id, checked here so that nothing else becomes part of a path; its time is for the server to judge."""
    from orderctl.ids import parse_order_id

    return parse_order_id(order_id, now_ms=1 << 48)


def _show(body: bytes, output: Format) -> None:
    if output is not Format.TABLE:
        write(body.rstrip(b"\n") + b"\n")
        return
    import msgspec

    from orderctl.admin.client import parse_order

    order = msgspec.to_builtins(parse_order(body))
    metadata = order.pop("metadata")
    rows = [*order.items(), *((f"metadata.{cell(name)}", value) for name, value in metadata.items())]
    write(pairs(rows))


def _line(seen: Seen) -> str:
    order = seen.order
    reason = f"  {cell(order.status_reason)}" if order.status_reason else ""
    return f"{order.updated_at}  version {order.version}  {order.status}{reason}\n"
