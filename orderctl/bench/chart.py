"""The ratios as a picture: a bar for each scenario, its spread over the rounds, and the goal as a line across it."""

from __future__ import annotations

from typing import Final
from xml.sax.saxutils import escape

from orderctl.bench.report import Report, Result

ROW: Final = 34
LABELS: Final = 190
WIDTH: Final = 520
MARGIN: Final = 24
RATIO_MOST: Final = 1.2
"""What is above is drawn as this."""

_STYLE: Final = (
    "text{font:13px system-ui,sans-serif;fill:#222}.note{font-size:11px;fill:#666}.bar{fill:#4a7fb5}"
    ".bar.under{fill:#c77d3c}.whisker{stroke:#222;stroke-width:1.5}.goal{stroke:#1b7f3b;stroke-width:2}"
    ".axis{stroke:#ccc}svg{background:#fff}"
)


def chart(report: Report) -> str:
    """The picture, as SVG."""
    height = MARGIN * 3 + ROW * len(report.scenarios)
    total = LABELS + WIDTH + 3 * MARGIN
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{total}" height="{height}" viewBox="0 0 {total} {height}">',
        f"<style>{_STYLE}</style>",
        f'<text x="{MARGIN}" y="{MARGIN}">{escape(_title(report))}</text>',
    ]
    for tenths in range(0, 13, 2):
        x = _x(tenths / 10)
        lines.append(f'<line class="axis" x1="{x}" y1="{MARGIN * 1.5}" x2="{x}" y2="{height - MARGIN}"/>')
        lines.append(f'<text class="note" x="{x - 8}" y="{height - MARGIN / 3}">{tenths / 10:.1f}</text>')
    for row, result in enumerate(report.scenarios):
        lines += _bar(result, MARGIN * 2 + row * ROW)
    return "\n".join([*lines, "</svg>\n"])


def _title(report: Report) -> str:
    machine = report.machine
    kind = "smoke run, no measurement" if report.smoke else report.started_at[:10]
    return f"Rate, by the ceiling's in the same round ({machine.processor}, {machine.cores} cores, {kind})"


def _bar(result: Result, y: int) -> list[str]:
    zero, end, middle = _x(0), _x(result.ratio), y + ROW // 3
    css = "bar under" if result.goal is not None and result.ratio < result.goal else "bar"
    drawn = [
        f'<text x="{MARGIN}" y="{middle + 4}">{escape(result.name)}</text>',
        f'<rect class="{css}" x="{zero}" y="{y}" width="{max(1, end - zero)}" height="{ROW * 2 // 3}"/>',
        f'<line class="whisker" x1="{_x(result.ratio_least)}" y1="{middle}" x2="{_x(result.ratio_most)}" y2="{middle}"/>',
        f'<text x="{max(end, _x(result.ratio_most)) + 6}" y="{middle + 4}">{result.ratio:.2f}</text>',
    ]
    if result.goal is not None:
        x = _x(result.goal)
        drawn.append(f'<line class="goal" x1="{x}" y1="{y - 3}" x2="{x}" y2="{y + ROW * 2 // 3 + 3}"/>')
    return drawn


def _x(ratio: float) -> int:
    return LABELS + MARGIN + round(min(ratio, RATIO_MOST) / RATIO_MOST * (WIDTH - 2 * MARGIN))
