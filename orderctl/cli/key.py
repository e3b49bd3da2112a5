"""`orderctl key`: API keys, shown once and stored as a digest."""

from __future__ import annotations

from typing import Annotated

import typer

from orderctl.cli.deployment import opened_registry, opened_tiers
from orderctl.cli.options import Invocation, command, examples
from orderctl.cli.output import columns, emit, note, pairs
from orderctl.order import Role

app = typer.Typer(
    name="key", help="API keys: shown once, stored as a digest.", no_args_is_help=True, rich_markup_mode=None
)

Reason = Annotated[str | None, typer.Option("--reason", metavar="TEXT", help="Why; goes into the audit log.")]


def _role(text: str) -> Role:
    if text not in {Role.MERCHANT, Role.GATEWAY}:
        raise typer.BadParameter(f"{text!r} is no role: merchant or gateway")
    return Role(text)


@command(
    app,
    "create",
    examples_shown=examples(
        "orderctl key create --merchant acme",
        "orderctl key create --role gateway --reason 'new gateway' -o json",
    ),
)
def create(
    invocation: Invocation,
    merchant: Annotated[
        str | None, typer.Option("--merchant", metavar="ID", help="The merchant: 1-64 visible ASCII characters.")
    ] = None,
    role: Annotated[
        Role, typer.Option("--role", metavar="merchant|gateway", parser=_role, help="Whose key it is.")
    ] = Role.MERCHANT,
    reason: Reason = None,
) -> None:
    """Make an API key, and show it this once.

    A merchant's key creates and reads its own orders, and cancels them while they are pending. A gateway's key changes
    and reads any order, and creates none. Servers know a new key within 2 s.
    """
    from orderctl.admin.key_create import key_create
    from orderctl.clock import SystemClock

    if role is Role.GATEWAY and merchant is not None:
        note("a gateway's key is for every merchant: --merchant is ignored")
    with opened_registry(invocation, make=True) as (registry, audit):
        created = key_create(registry, audit, SystemClock(), role=role, merchant_id=merchant, reason=reason)
    note("this is the only time that the key is shown")
    shown = {"key_id": created.key_id, "merchant_id": created.merchant_id, "role": created.role, "key": created.key}
    emit(created, invocation.output, table=pairs(shown))


@command(app, "list", examples_shown=examples("orderctl key list", "orderctl key list -o jsonl"))
def list_(invocation: Invocation) -> None:
    """List all API keys, oldest first, revoked ones too. The keys themselves are kept nowhere."""
    from orderctl.admin.key_list import key_list

    with opened_tiers(invocation) as tiers:
        keys = key_list(tiers.registry)
    rows = [
        (key.key_id, key.role, key.merchant_id, key.created_at[:19] + "Z", _good_until(key.revoked_at)) for key in keys
    ]
    emit(keys, invocation.output, table=columns(("key_id", "role", "merchant_id", "created_at", "revoked_at"), rows))


@command(
    app,
    "revoke",
    examples_shown=examples(
        "orderctl key revoke key_0123456789ab", "orderctl key revoke key_demo --reason 'not needed'"
    ),
)
def revoke(
    invocation: Invocation,
    key_id: Annotated[str, typer.Argument(metavar="KEY_ID", help="As `orderctl key list` shows it.")],
    reason: Reason = None,
) -> None:
    """Revoke an API key for ever. Servers refuse it within 2 s."""
    from orderctl.admin.key_revoke import key_revoke
    from orderctl.clock import SystemClock

    with opened_registry(invocation) as (registry, audit):
        revoked = key_revoke(registry, audit, SystemClock(), key_id=key_id, reason=reason)
    shown = {"key_id": revoked.key_id, "merchant_id": revoked.merchant_id, "role": revoked.role}
    emit(revoked, invocation.output, table=pairs({**shown, "revoked_at": revoked.revoked_at}))


def _good_until(revoked_at: str | None) -> str | None:
    return None if revoked_at is None else revoked_at[:19] + "Z"
