"""`orderctl config`: what the configuration says, whether it is valid, and one to start from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from orderctl.cli.options import Invocation, command, examples
from orderctl.cli.output import cell, columns, emit, note

app = typer.Typer(
    name="config", help="Show, check or begin a configuration.", no_args_is_help=True, rich_markup_mode=None
)


@command(
    app,
    "show",
    examples_shown=examples("orderctl config show", "ORDERCTL_LOG__LEVEL=debug orderctl config show -o json"),
)
def show(invocation: Invocation) -> None:
    """Show every setting as it is in force, from the file and the environment; secrets as ***."""
    from orderctl.config import as_values

    values = as_values(invocation.config)
    note(f"from {invocation.config_file or 'no file'}, the environment and the defaults")
    rows = [
        row for section, keys in values.items() for key, value in keys.items() for row in _rows(section, key, value)
    ]
    emit(values, invocation.output, table=columns(("section", "key", "value"), rows))


def _rows(section: str, key: str, value: Any) -> Iterator[tuple[str, str, str]]:
    """A setting's line; for tables, a line for each of their keys."""
    if isinstance(value, tuple) and value and isinstance(value[0], dict):
        for table in value:
            yield from ((f"{section}.{key}", name, cell(item)) for name, item in table.items())
    else:
        yield section, key, cell(", ".join(value) if isinstance(value, tuple) else value)


@command(
    app,
    "check",
    examples_shown=examples("orderctl config check", "orderctl config check --config new.toml && echo good"),
)
def check(invocation: Invocation) -> None:
    """Read the configuration as `serve` would, and say what is wrong with it: exit 0 where nothing is, else 2."""
    assert invocation.config is not None
    file = None if invocation.config_file is None else str(invocation.config_file)
    emit(
        {"file": file, "valid": True},
        invocation.output,
        table=f"{cell(file)}: valid" if file else "no configuration file; the environment and the defaults are valid",
    )


@command(
    app,
    "init",
    examples_shown=examples(
        "orderctl config init > my.toml", "orderctl config init --write", "orderctl config init -o json"
    ),
)
def init(
    invocation: Invocation,
    write: Annotated[
        bool, typer.Option("--write", help="Write ./orderctl.toml, or what --config names, never over an old one.")
    ] = False,
) -> None:
    """Print a configuration file: every key, its meaning and its default.

    With --write it goes to ./orderctl.toml instead, or where --config says. A file that is there already is left as it
    is, and the exit code is 2.
    """
    from orderctl.admin.config_init import config_text, write_new
    from orderctl.config import FILE_DEFAULT, Config, as_values

    if not write:
        emit(as_values(Config()), invocation.output, table=config_text())
        return
    path = invocation.config_flag or FILE_DEFAULT
    write_new(path, config_text())
    emit({"file": str(path)}, invocation.output, table=f"wrote {cell(json.dumps(str(path), ensure_ascii=False))}")
