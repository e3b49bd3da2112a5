"""`orderctl migrate`: create or upgrade the schema."""

from __future__ import annotations

from typing import Annotated

import typer

from orderctl.cli.deployment import opened_tiers
from orderctl.cli.options import Invocation, command, examples
from orderctl.cli.output import cell, emit

NOTHING_TO_DO = "nothing to do: the schema is the newest\n"


def register(group: typer.Typer) -> None:
    """Add the verb to `group`."""
    shown = examples("orderctl migrate --dry-run", "orderctl migrate")
    command(group, "migrate", timeout=None, examples_shown=shown)(migrate)


def migrate(
    invocation: Invocation,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what is missing.")] = False,
) -> None:
    """Create or upgrade schema, keyspace and topics. Embedded, `serve` does it by itself; here it can be looked at first."""
    from orderctl.admin.migrate import migrate as verb
    from orderctl.admin.migrate import migrate_real
    from orderctl.config import is_embedded
    from orderctl.stores.sqlite.datadir import DataDir

    assert invocation.config is not None
    if not is_embedded(invocation.config):
        found = migrate_real(invocation.config, dry_run=dry_run)
        said = "made" if found.executed else "to be made"
        rows = "".join(f"{cell(one)}: {said}\n" for one in found.missing)
        emit(found, invocation.output, table=rows or NOTHING_TO_DO)
        return

    def apply() -> None:
        with opened_tiers(invocation, make=True):
            pass

    done = verb(DataDir(invocation.data_dir), apply, dry_run=dry_run)
    says = "brought" if done.executed else "to be brought"
    lines = [
        f"{cell(one.file)}: {says} from {'nothing' if one.from_version is None else f'schema {one.from_version}'}"
        f" to schema {one.to_version}\n"
        for one in done.migrations
    ]
    emit(done, invocation.output, table="".join(lines) or NOTHING_TO_DO)
