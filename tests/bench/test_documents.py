"""The worked-out plan in docs/ is what the program says of the bench beside it."""

from __future__ import annotations

import shlex
from pathlib import Path

from tests.cli.terminal import Terminal

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_plan_in_the_documents_is_the_programs(tmp_path: Path) -> None:
    """Running its command again gives the same text, so neither the bench nor the arithmetic has moved on without it."""
    text = (DOCS / "plan-20-million.md").read_text("utf-8")
    command, answer = _session(text)
    done = Terminal(tmp_path).run(*command)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == answer.strip()


def _session(text: str) -> tuple[list[str], str]:
    """The command that the document shows, with its file where it lies, and what it shows as the answer."""
    block = text.split("```text\n")[1].split("```", maxsplit=1)[0]
    line, _, answer = block.partition("\n\n")
    words = shlex.split(line.replace("\\\n", " "))
    assert words[:2] == ["$", "orderctl"]
    return [str(DOCS / word.removeprefix("docs/")) if word.startswith("docs/") else word for word in words[2:]], answer
