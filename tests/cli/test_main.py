"""The program itself: exit codes, what goes where, help that reads well, and a quick start."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import typer

from orderctl.cli.main import app, run
from tests.cli.terminal import PROGRAM, SECONDS_MAX, Process, Terminal, environment

DRIVERS = {"redis", "pymysql", "cassandra", "confluent_kafka", "starlette", "hypercorn", "httpx2", "sqlite3", "_sqlite3",
           "rich", "structlog", "pydantic", "prometheus_client", "asyncio"}  # fmt: skip

WRONG = [
    (["ordr"], "no such command 'ordr'. Did you mean 'order'?"),
    (["order", "gte"], "no such command 'gte'. Did you mean 'get'?"),
    (["xyzzy"], "no such command 'xyzzy'."),
    (["order", "get"], "missing argument 'ORDER_ID'."),
    (["order", "get", "a", "b"], "got unexpected extra argument(s) (b)"),
    (["key", "list", "--tiemout", "1s"], "no such option: --tiemout (Possible options: --timeout)"),
    (
        ["key", "list", "--timeout", "5"],
        "invalid value for '--timeout': '5' is no duration: write 500ms, 2s, 15m or 1h",
    ),
    (["key", "list", "--timeout", "0s"], "invalid value for '--timeout': must be longer than 0"),
    (
        ["key", "list", "-o", "xml"],
        "invalid value for '--output' / '-o': 'xml' is not one of 'table', 'json', 'jsonl'.",
    ),
    (["key", "create", "--role", "king"], "invalid value for '--role': 'king' is no role: merchant or gateway"),
    (["order", "create", "--merchant-ref", "a"], "missing option '--amount'."),
    (["order", "change", "x", "done"], "invalid value for 'STATUS': 'done' is not one of 'pending', 'processing',"),
]


@pytest.mark.parametrize(("arguments", "said"), WRONG)
def test_wrong_use_is_a_line_and_exit_2(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Wrong use is said in one line, with where to look, and nothing goes to stdout."""
    assert run(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    line, hint = err.splitlines()
    assert line.startswith(f"orderctl: {said}")
    assert hint.startswith("hint: `orderctl ")


@pytest.mark.parametrize("arguments", [[], ["order"], ["key"], ["config"]])
def test_nothing_asked_shows_the_help(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A group without a verb is wrong use: its help goes to stderr."""
    assert run(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"Usage: {' '.join(['orderctl', *arguments])} [OPTIONS] COMMAND [ARGS]...")


def commands() -> list[list[str]]:
    """Every command's words, the groups' too."""
    root = typer.main.get_command(app)
    assert isinstance(root, typer.core.TyperGroup)
    found: list[list[str]] = [[]]
    for name, command in root.commands.items():
        found.append([name])
        if isinstance(command, typer.core.TyperGroup):
            found += [[name, verb] for verb in command.commands]
    return found


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_help_reads_well_at_80_columns(
    words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every help says what it is for, shows examples where there is something to run, and fits 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    assert run([*words, "--help"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert max(map(len, out.splitlines())) <= 80
    assert out.splitlines()[2].strip().endswith((".", ",")) or "  " in out.splitlines()[2]
    is_verb = bool(words) and [*words] not in [other[:1] for other in commands() if len(other) == 2]
    if is_verb or not words:
        assert "Examples:" in out
    if is_verb:
        assert all(option in out for option in ("--config", "--data-dir", "--timeout", "--output", "--verbose"))


def test_version_names_what_it_is_made_of(process: Process) -> None:
    """The package, Python, the drivers and the schema, a line each."""
    done = process.run("--version")
    names = [line.split()[0] for line in done.stdout.splitlines()]
    assert done.returncode == 0
    assert names == ["orderctl", "Python", "SQLite", "hypercorn", "starlette", "httpx2", "msgspec", "schema"]
    tiers = done.stdout.splitlines()[-1].removeprefix("schema ").split(", ")
    assert [tier.split()[0] for tier in tiers] == ["hot", "cache", "log", "archive"]


def test_help_imports_no_driver() -> None:
    """`--help` is quick because it imports no driver, no server and no terminal library."""
    probe = (
        "import sys; from orderctl.cli.main import run; code = run(['--help']);"
        "print(*sorted(sys.modules), file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=True,
    )
    assert not DRIVERS & {name.partition(".")[0] for name in done.stderr.split()}


def test_no_colours(process: Process) -> None:
    """Neither help nor errors nor data carry escape sequences, with NO_COLOR or without a terminal."""
    for arguments in (["--help"], ["xyzzy"], ["config", "show"]):
        done = process.run(*arguments, NO_COLOR="1", TERM="xterm-256color")
        assert "\x1b" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    "arguments", [["-v", "config", "show"], ["config", "show", "-v"], ["-v", "config", "show", "-v"]]
)
def test_verbose_may_be_said_before_the_verb_or_behind_it(terminal: Terminal, arguments: list[str]) -> None:
    """Or in both places."""
    assert terminal.run(*arguments).returncode == 0


@pytest.mark.parametrize("arguments", [["config", "init"], ["--help"], ["config", "init", "-o", "json"]])
def test_a_closed_pipe_is_no_error(terminal: Terminal, arguments: list[str]) -> None:
    """`orderctl … | head -1` ends with 0 and says nothing."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [*PROGRAM, *arguments],
            cwd=terminal.folder,
            env=environment(),
            stdout=writing,
            stderr=subprocess.PIPE,
            timeout=SECONDS_MAX,
            check=False,
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_full_disk_is_said(terminal: Terminal) -> None:
    """Output that cannot be written is a line and an exit code that is not 0."""
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device, not a path of ours
        done = subprocess.run(
            [*PROGRAM, "config", "init"],
            cwd=terminal.folder,
            env=environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=SECONDS_MAX,
            check=False,
        )
    assert done.returncode == 70
    assert done.stderr == "orderctl: stdout cannot be written: No space left on device\n"


def test_a_fault_of_ours_is_a_line_and_a_traceback_only_when_asked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit 70 with one line; -v shows where."""

    def break_down() -> None:
        raise ZeroDivisionError("made for a test")

    app.command("break-down", hidden=True)(break_down)
    try:
        assert run(["break-down"]) == 70
        assert capsys.readouterr().err == (
            "orderctl: internal error: ZeroDivisionError: made for a test\nhint: -v shows where\n"
        )
        assert run(["-v", "break-down"]) == 70
        assert "Traceback" in capsys.readouterr().err
    finally:
        app.registered_commands.pop()
