"""docs/reference.md says what the commands say, and a shell can complete them."""

from __future__ import annotations

from pathlib import Path

import pytest

from orderctl.cli.reference import whole
from tests.cli.terminal import Process, Terminal

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference.md"


def test_the_reference_is_what_the_commands_say() -> None:
    """`make reference` writes it anew when a command has changed."""
    assert REFERENCE.read_text("utf-8") == whole(), "run `make reference`"


def test_every_command_has_examples_there() -> None:
    """Below its own heading."""
    for section in whole().split("\n## ")[1:]:
        assert "\n```\norderctl " in section or "\n```\nORDERCTL_" in section, section.splitlines()[0]


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("orderctl sta", {"status", "stack"}),
        ("orderctl shard ", {"list", "promote"}),
        ("orderctl status --wa", {"--watch"}),
        ("orderctl doctor --al", {"--all"}),
    ],
)
def test_a_shell_completes(process: Process, words: str, offered: set[str]) -> None:
    """Verbs, their subcommands, and options, as bash asks for them."""
    at = str(len(words.split(" ")) - 1)
    done = process.run(_ORDERCTL_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=at)
    assert set(done.stdout.split()) == offered


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_can_be_shown(process: Process, shell: str) -> None:
    """To be put where the shell keeps such things; here it is named, since no shell need be what runs the tests."""
    done = process.run("--show-completion", shell, _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert done.returncode == 0, done.stderr
    assert "_ORDERCTL_COMPLETE" in done.stdout


@pytest.mark.parametrize(("wrong", "right"), [("docter", "doctor"), ("statsu", "status"), ("topp", "top")])
def test_a_misspelt_verb_is_understood(terminal: Terminal, wrong: str, right: str) -> None:
    """Nothing is done, and the nearest is named."""
    assert terminal.refuses(wrong, code=2) == f"no such command '{wrong}'. Did you mean '{right}'?"
