"""The options that every command takes after its verb, and what they say: `Invocation`, made by the decorator `command`."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orderctl.cli.deadline import bounded
from orderctl.cli.output import Format
from orderctl.duration import Duration

if TYPE_CHECKING:
    from orderctl.config import Config

TIMEOUT_DEFAULT = Duration(30)


@dataclass
class State:
    """What `main` has to know when a command ends badly."""

    verbose: bool = False


@dataclass(frozen=True)
class Invocation:
    """One call of a command: what its shared options say. The configuration is read when it is first asked for."""

    config_flag: Path | None
    data_dir_flag: Path | None
    timeout: Duration | None
    output: Format

    @cached_property
    def config_file(self) -> Path | None:
        """The configuration file in use, None where there is none."""
        from orderctl.config import find_file

        return find_file(self.config_flag, os.environ)

    @cached_property
    def config(self) -> Config:
        """The configuration."""
        from orderctl.config import load

        return load(self.config_file, os.environ)

    @cached_property
    def data_dir(self) -> Path:
        """Where the embedded tiers keep their files."""
        from orderctl.config import data_dir

        return data_dir(self.data_dir_flag, os.environ)


def duration(text: str | Duration) -> Duration:
    """An option's text as a duration above 0."""
    try:
        parsed = text if isinstance(text, Duration) else Duration.parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    if parsed <= 0:
        raise typer.BadParameter("must be longer than 0")
    return parsed


def examples(*lines: str) -> str:
    """An epilog that shows how a command is used; the lines stay as they are."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def command(
    group: typer.Typer,
    name: str,
    *,
    examples_shown: str,
    timeout: Duration | None = TIMEOUT_DEFAULT,
    timed_out: str = "",
    bound: bool = True,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a function as a verb. Its first parameter is the `Invocation`; the shared options follow its own.

    Args:
        group: where the verb belongs.
        name: the verb.
        examples_shown: the epilog, see `examples`.
        timeout: the bound where `--timeout` is not given, None for none.
        timed_out: what to add when the bound has passed.
        bound: False where the function sees to the bound itself.

    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        def run(ctx: typer.Context, **values: Any) -> None:
            state = ctx.find_object(State) or State()
            is_verbose = values.pop("verbose")
            state.verbose = state.verbose or is_verbose
            invocation = Invocation(
                values.pop("config"), values.pop("data_dir"), values.pop("timeout"), values.pop("output")
            )
            with bounded(invocation.timeout if bound else None, message=timed_out):
                function(invocation, **values)

        _, *own = inspect.signature(function, eval_str=True).parameters.values()
        context = inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
        signature = inspect.Signature([context, *_keyword_only([*own, *_shared(timeout)])])
        vars(run)["__signature__"] = signature
        run.__annotations__ = {}  # typer would look the names up here, where they do not stand
        group.command(name, help=function.__doc__, epilog=examples_shown)(run)
        return function

    return register


def _keyword_only(parameters: list[inspect.Parameter]) -> list[inspect.Parameter]:
    return [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]


def _shared(timeout: Duration | None) -> list[inspect.Parameter]:
    unbounded = "" if timeout else " [default: none]"
    shared: list[tuple[str, Any, Any]] = [
        (
            "config",
            Annotated[
                Path | None,
                typer.Option(
                    "--config", metavar="FILE", help="The configuration; else $ORDERCTL_CONFIG, else ./orderctl.toml."
                ),
            ],
            None,
        ),
        (
            "data_dir",
            Annotated[
                Path | None,
                typer.Option(
                    "--data-dir",
                    metavar="DIR",
                    help="Where the embedded tiers live; else $ORDERCTL_DATA_DIR, else ./orderctl-data.",
                ),
            ],
            None,
        ),
        (
            "timeout",
            Annotated[
                Duration | None,
                typer.Option(
                    "--timeout",
                    metavar="DURATION",
                    parser=duration,
                    help=f"Give up after 500ms, 2s, 15m, 1h.{unbounded}",
                ),
            ],
            timeout,
        ),
        (
            "output",
            Annotated[Format, typer.Option("--output", "-o", metavar="FORMAT", help="table, json or jsonl.")],
            Format.TABLE,
        ),
        (
            "verbose",
            Annotated[bool, typer.Option("--verbose", "-v", help="Show a traceback where orderctl itself fails.")],
            False,
        ),
    ]
    return [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, annotation, default in shared
    ]
