"""`orderctl` as a user runs it, in a directory of its own: in this process, which is quick, or in one of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import NamedTuple

from orderctl.cli.main import run

PROGRAM = [sys.executable, "-W", "error", "-m", "orderctl"]
SECONDS_MAX = 60
TOP = Path(__file__).resolve().parents[2]


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without orderctl's own variables, and `extra`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ORDERCTL_")}
    return {**kept, "PYTHONPATH": str(TOP), "COLUMNS": "80", **(extra or {})}


class Done(NamedTuple):
    """A command that has ended."""

    returncode: int
    stdout: str
    stderr: str


class Terminal:
    """A user's shell in `folder`. Commands run in this process: for what depends on a process see `Process`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, *arguments: str, **environ: str) -> Done:
        """Run a command to its end. No traceback may be shown, whatever happens."""
        done = self.execute(list(arguments), environment(environ))
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def execute(self, arguments: list[str], environ: dict[str, str]) -> Done:
        """Run a command with that environment."""
        out, err = (TextIOWrapper(BytesIO(), "utf-8", write_through=True) for _ in range(2))
        with chdir(self.folder), _environ(environ), redirect_stdout(out), redirect_stderr(err):
            code = run(arguments)
        return Done(code, *(_written(stream) for stream in (out, err)))

    def refuses(self, *arguments: str, code: int, **environ: str) -> str:
        """Run a command that ends with `code`; returns the one line it says, after its name. Nothing goes to stdout."""
        done = self.run(*arguments, **environ)
        assert done.returncode == code, done.stderr
        assert done.stdout == ""
        said, *more = done.stderr.splitlines()
        assert said.startswith("orderctl: "), done.stderr
        assert all(line.startswith("hint: ") for line in more), done.stderr
        return said.removeprefix("orderctl: ")


class Process(Terminal):
    """A terminal whose commands are processes of their own, where every warning is an error."""

    def execute(self, arguments: list[str], environ: dict[str, str]) -> Done:
        done = subprocess.run(
            [*PROGRAM, *arguments],
            cwd=self.folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS_MAX,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)


@contextmanager
def _environ(values: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    _replace_environ(values)
    try:
        yield
    finally:
        _replace_environ(before)


def _replace_environ(values: Mapping[str, str]) -> None:
    os.environ.clear()
    os.environ.update(values)


def _written(stream: TextIOWrapper) -> str:
    buffer = stream.detach()
    assert isinstance(buffer, BytesIO)
    return buffer.getvalue().decode()
