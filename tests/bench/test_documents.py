"""What docs/ shows of plan, growth and memory is what the program says of the reports beside it."""

from __future__ import annotations

import shlex
from pathlib import Path

import msgspec

from orderctl.bench.growth import GrowthReport
from orderctl.bench.growth_chart import growth_chart
from orderctl.bench.memory import MemoryReport
from orderctl.cli.bench_growth import table as growth_table
from orderctl.cli.bench_memory import table as memory_table
from tests.cli.terminal import Terminal

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_plan_in_the_documents_is_the_programs(tmp_path: Path) -> None:
    """Running its command again gives the same text, so neither the bench nor the arithmetic has moved on without it."""
    text = (DOCS / "plan-20-million.md").read_text("utf-8")
    command, answer = _session(text)
    done = Terminal(tmp_path).run(*command)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == answer.strip()


def test_the_figures_in_the_documents_are_the_reports() -> None:
    """Both tables are what the program makes of the JSON beside them."""
    text = (DOCS / "growth.md").read_text("utf-8")
    growth = msgspec.json.decode((DOCS / "growth.json").read_bytes(), type=GrowthReport)
    memory = msgspec.json.decode((DOCS / "memory.json").read_bytes(), type=MemoryReport)
    assert f"```text\n{growth_table(growth)}```" in text
    assert f"```text\n{memory_table(memory)}```" in text
    assert growth_chart(growth) == (DOCS / "growth.svg").read_text("utf-8")


def _session(text: str) -> tuple[list[str], str]:
    """The command that the document shows, with its file where it lies, and what it shows as the answer."""
    block = text.split("```text\n")[1].split("```", maxsplit=1)[0]
    line, _, answer = block.partition("\n\n")
    words = shlex.split(line.replace("\\\n", " "))
    assert words[:2] == ["$", "orderctl"]
    return [str(DOCS / word.removeprefix("docs/")) if word.startswith("docs/") else word for word in words[2:]], answer
