"""`orderctl`: finds the command, runs it, and turns what happens into one line on stderr and an exit code."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer
from typer.exceptions import Abort, Exit, TyperException

from orderctl.cli import (
    audit,
    bench,
    configuration,
    doctor,
    inspection,
    invalidate,
    key,
    migrate,
    order,
    parked,
    plan,
    reconcile,
    replay,
    serve,
    shard,
    stack,
    status,
    top,
)
from orderctl.cli.deadline import TimedOut
from orderctl.cli.options import State
from orderctl.cli.output import OutputClosed, give_up_stdout, note, write
from orderctl.errors import Interrupted, OrderctlError

COMPLETE = "_ORDERCTL_COMPLETE"
"""Set by the shell's function that `--install-completion` installs."""

app = typer.Typer(name="orderctl", rich_markup_mode=None, no_args_is_help=True, pretty_exceptions_enable=False)


def main() -> NoReturn:
    """Run the command that the arguments name, and end the process."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    if COMPLETE in os.environ:  # the shell asks what may follow
        typer.main.get_command(app).main(prog_name="orderctl", complete_var=COMPLETE)
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run the command that `arguments` name; returns the exit code."""
    state = State()
    try:
        return _dispatch(arguments, state)
    except BrokenPipeError:  # the help text, which is written elsewhere
        give_up_stdout()
        return OutputClosed.exit_code
    except (KeyboardInterrupt, Abort):
        return Interrupted.exit_code
    except (Exception, TimedOut) as error:  # noqa: BLE001 - the last resort of the whole program
        return _report(error, verbose=state.verbose)


def _report(error: BaseException, *, verbose: bool) -> int:
    """Say in a line what went wrong; returns the exit code."""
    match error:
        case OutputClosed():
            pass
        case OrderctlError():
            _explain(str(error), error.hint)
        case TimedOut():
            note(str(error))
        case _:
            _explain(f"internal error: {type(error).__name__}: {error}", None if verbose else "-v shows where")
    exit_code = error.exit_code if isinstance(error, (OrderctlError, TimedOut)) else OrderctlError.exit_code
    if verbose and exit_code == OrderctlError.exit_code:
        traceback.print_exception(error)
    return exit_code


def _dispatch(arguments: Sequence[str], state: State) -> int:
    tree = typer.main.get_command(app)
    try:
        with tree.make_context("orderctl", list(arguments), obj=state) as context:
            tree.invoke(context)
    except Exit as ended:
        return ended.exit_code
    except TyperException as error:
        _explain_usage(error)
        return 2
    return 0


def _explain_usage(error: TyperException) -> None:
    context = getattr(error, "ctx", None)
    text = " ".join(error.format_message().replace("Value error, ", "").split())
    if context is None or type(error).__name__ == "NoArgsIsHelpError":
        print(error.format_message(), file=sys.stderr)
        return
    _explain(text[:1].lower() + text[1:], f"`{context.command_path} --help` shows how it is used")


def _explain(message: str, hint: str | None) -> None:
    note(message)
    if hint and sys.stderr is not None:
        print(f"hint: {hint}", file=sys.stderr)


def _show_version(asked: bool) -> None:
    if asked:
        from orderctl.admin.version import versions

        write("".join(f"{name} {version}\n" for name, version in versions()))
        raise Exit


@app.callback(
    epilog="\b\nExamples:\n"
    "  orderctl serve\n"
    "  orderctl order create --merchant-ref A-1 --amount 1999 \\\n"
    "      --currency EUR --payment-method card\n"
    "  orderctl status -o json\n\n"
    "\b\nExit codes: 0 done, 1 a difference was found, 2 wrong use or refused,\n"
    "3 not found, 4 a tier could not be reached, 5 time-out or outcome unknown,\n"
    "70 internal error, 130 interrupted."
)
def _root(
    ctx: typer.Context,
    version: Annotated[  # noqa: ARG001 - typer calls `_show_version` for it
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Name the package, Python, drivers and schema."
        ),
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show a traceback where orderctl itself fails.")
    ] = False,
) -> None:
    """The order service of a payment gateway: its daemons, and its operators' tools."""
    state = ctx.find_object(State)
    if state is not None:
        state.verbose = verbose


serve.register(app)
for group in (order, key, configuration, stack, shard, bench, parked, audit):
    app.add_typer(group.app)
inspection.register(app)
reconcile.register(app)
invalidate.register(app)
replay.register(app)
migrate.register(app)
status.register(app)
plan.register(app)
doctor.register(app)
top.register(app)
