"""What is drawn anew until Ctrl-C: on a terminal in its place, else one snapshot, or a JSON line each."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

from orderctl.cli.output import Format, emit

if TYPE_CHECKING:
    from rich.text import Text

T = TypeVar("T")


def is_drawn(output: Format) -> bool:
    """Whether there is a terminal to draw on, and a table was asked for."""
    on_terminal = sys.stdout is not None and sys.stdout.isatty()
    return output is Format.TABLE and on_terminal and os.environ.get("TERM") != "dumb"


def show_live(frames: Iterator[T], output: Format, table: Callable[[T], str], *, once: bool = False) -> None:
    """Show each frame when it comes. `once`: off a terminal the first is all."""
    if is_drawn(output):
        _draw(frames, table)
        return
    for frame in frames:
        emit(frame, output, table=table(frame))
        if once:
            return


def _draw(frames: Iterator[T], table: Callable[[T], str]) -> None:
    """Draw on the terminal's other screen, which leaves what was there as it was."""
    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(highlight=False), screen=True, auto_refresh=False) as live:
        for frame in frames:
            live.update(_coloured(table(frame)), refresh=True)


def _coloured(text: str) -> Text:
    """The few words that matter, in colours that can be read on dark and on light; NO_COLOR is rich's to obey."""
    from rich.text import Text

    shown = Text(text, no_wrap=True)
    shown.highlight_regex(r"\b(running|up|ok)\b", "green")
    shown.highlight_regex(r"\b(stopped|failing|down|unknown|WRONG)\b", "bold red")
    shown.highlight_regex(r"(?m)^[A-Z_ ]{6,}$", "bold")
    return shown
