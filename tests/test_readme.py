"""The README says what there is: every command, every route, every exit code, and only commands that exist."""

import re
from pathlib import Path
from typing import Any

import typer.main
import yaml

from orderctl.cli.main import app
from orderctl.contracts import contract_text

README = (Path(__file__).resolve().parent.parent / "README.md").read_text("utf-8")


def commands() -> dict[str, set[str]]:
    """Each verb, and the words that may follow it."""
    root: Any = typer.main.get_command(app)
    return {name: set(getattr(verb, "commands", ())) for name, verb in root.commands.items()}


def test_every_command_is_in_the_readme_and_back() -> None:
    """With its subcommands."""
    said: dict[str, set[str]] = {}
    for verb, words in re.findall(r"^    orderctl (\w+)((?: [a-z|]+)?)", README, re.MULTILINE):
        said[verb] = set(words.strip().split("|")) - {""}
    assert said == commands()


def test_every_route_is_in_the_readme() -> None:
    """Both servers'."""
    for name in ("command.yaml", "query.yaml"):
        for path, operations in yaml.safe_load(contract_text("http", name))["paths"].items():
            for method in set(operations) & {"get", "post", "patch"}:
                assert f"{method.upper()} {path}" in README or path in re.findall(r"`(/\w+(?:\.\w+)?)`", README), (
                    method,
                    path,
                )


def test_the_first_thing_it_shows_is_how_to_begin() -> None:
    """One command to serve, one to test."""
    shown = re.findall(r"^    (make \w+)$", README, re.MULTILINE)
    assert shown == ["make serve", "make test"]
