"""The reference of all commands, docs/reference.md, made from the commands themselves: `make reference` writes it anew."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import typer.main

SHARED = ("config", "data_dir", "timeout", "output", "verbose")
HEAD = """\
# orderctl: every command

`make reference` writes this file from the commands' own help; a test holds the two together. Exit codes, configuration and limits
are in the [README](../README.md). `orderctl --install-completion` teaches your shell these names.

Every command takes these after its name, and its `--help` says the same as this file:
"""


def whole() -> str:
    """The reference of this program."""
    from orderctl.cli.main import app

    return reference(typer.main.get_command(app))


def reference(tree: Any) -> str:
    """The whole text, for the tree of commands that `typer.main.get_command` makes."""
    parts = [HEAD]
    for words, command in _verbs(tree, ()):
        if len(parts) == 1:
            parts.append(_options(command, [name for name in SHARED if name != "timeout"]))
            parts.append("`--timeout DURATION` bounds it, by default as said below.\n")
        parts.append(_section(words, command))
    return "\n".join(parts)


def _verbs(command: Any, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command that does something, in the order of `--help`."""
    if not hasattr(command, "commands"):
        yield words, command
        return
    for name, inner in command.commands.items():
        yield from _verbs(inner, (*words, name))


def _section(words: tuple[str, ...], command: Any) -> str:
    arguments = [param for param in command.params if param.param_type_name == "argument"]
    usage = " ".join(["orderctl", *words, *map(_argument, arguments)])
    help_ = inspect.cleandoc(command.help or "")
    own = [param.name for param in command.params if param.param_type_name == "option" and param.name not in SHARED]
    said = [f"## `{usage}`", help_, _meanings(arguments), _options(command, own), _bound(command), _examples(command)]
    return "\n\n".join(part.rstrip() for part in said if part) + "\n"


def _argument(param: Any) -> str:
    name = param.metavar or param.name.upper()
    shown = name if param.required or name.startswith("[") else f"[{name}]"
    return f"{shown}{'…' if param.nargs != 1 and '…' not in shown else ''}"


def _meanings(arguments: list[Any]) -> str:
    return "\n".join(f"- `{param.metavar or param.name.upper()}`: {param.help}" for param in arguments if param.help)


def _options(command: Any, names: list[str]) -> str:
    rows = [param for param in command.params if param.name in names]
    if not rows:
        return ""
    lines = ["| option | meaning |", "|---|---|"]
    for param in rows:
        spelt = ", ".join(f"`{opt}`" for opt in (*param.opts, *param.secondary_opts))
        value = "" if param.is_flag else f" {param.metavar or 'TEXT'}"
        lines.append(f"| {spelt}{value.replace('|', '/')} | {_one_line(param.help)}{_default(param)} |")
    return "\n".join(lines) + "\n"


def _default(param: Any) -> str:
    """What counts without the option, unless its help says so."""
    is_said = param.is_flag or param.default in {None, ""} or callable(param.default) or "default" in (param.help or "")
    return "" if is_said else f" Default: {param.default}."


def _bound(command: Any) -> str:
    [timeout] = [param for param in command.params if param.name == "timeout"] or [None]
    if timeout is None:
        return ""
    return f"Time: {'no bound' if timeout.default is None else timeout.default}."


def _examples(command: Any) -> str:
    lines = (command.epilog or "").replace("\b", "").strip().splitlines()[1:]
    return "\n".join(["```", *(line.removeprefix("  ") for line in lines), "```"]) if lines else ""


def _one_line(text: str | None) -> str:
    return " ".join((text or "").replace("|", "/").split())
