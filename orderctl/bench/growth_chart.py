"""The cost of an order against how many are stored, as a picture: a panel for each path, a point for each round."""

from __future__ import annotations

import math
from typing import Final
from xml.sax.saxutils import escape

from orderctl.bench.growth import Growing, GrowthReport

COLUMNS: Final = 3
PANEL: Final = (270, 190)
PLOT: Final = (200, 110)
LEFT: Final = 52
TOP: Final = 34
HEAD: Final = 40
_STYLE: Final = (
    "text{font:12px system-ui,sans-serif;fill:#222}.note{font-size:10px;fill:#666}.point{fill:#4a7fb5;fill-opacity:.6}"
    ".median{fill:none;stroke:#c77d3c;stroke-width:2}.axis{stroke:#999}svg{background:#fff}"
)


def growth_chart(report: GrowthReport) -> str:
    """The picture, as SVG. Each panel begins at zero, so that a slope is as steep as it looks."""
    shown = [task for task in report.tasks if task.costs]
    rows = -(-len(shown) // COLUMNS)
    width, height = COLUMNS * PANEL[0] + 20, HEAD + rows * PANEL[1] + 10
    kind = "smoke run, no measurement" if report.smoke else report.started_at[:10]
    title = f"CPU microseconds of our processes an order, by orders stored ({report.machine.processor}, {kind})"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">',
        f"<style>{_STYLE}</style>",
        f'<text x="12" y="22">{escape(title)}</text>',
    ]
    sizes = sorted({cost.size for task in shown for cost in task.costs})
    for place, task in enumerate(shown):
        left, top = 10 + place % COLUMNS * PANEL[0], HEAD + place // COLUMNS * PANEL[1]
        lines += [f'<g transform="translate({left},{top})">', *_panel(task, sizes), "</g>"]
    return "\n".join([*lines, "</svg>\n"])


def _panel(task: Growing, sizes: list[int]) -> list[str]:
    most = max(cost.cpu_us for cost in task.costs) * 1.1 or 1.0

    def x(size: int) -> float:
        span = math.log10(sizes[-1] / sizes[0]) or 1.0
        return round(LEFT + 12 + math.log10(size / sizes[0]) / span * (PLOT[0] - 24), 1)

    def y(us: float) -> float:
        return round(TOP + PLOT[1] * (1 - us / most), 1)

    lines = [
        f'<text x="{LEFT - 40}" y="14">{escape(task.name)}</text>',
        f'<text class="note" x="{LEFT - 40}" y="27">{escape(_said(task))}</text>',
        f'<line class="axis" x1="{LEFT}" y1="{y(0)}" x2="{LEFT + PLOT[0]}" y2="{y(0)}"/>',
        f'<line class="axis" x1="{LEFT}" y1="{TOP}" x2="{LEFT}" y2="{y(0)}"/>',
        f'<text class="note" x="4" y="{y(0)}">0</text>',
        f'<text class="note" x="4" y="{TOP + 8}">{most:,.1f}</text>',
    ]
    lines += [
        f'<text class="note" x="{x(size) - 10}" y="{y(0) + 14}">{spelt_size(size)}</text>'
        for size in sizes
        if task.median_us(size) is not None
    ]
    lines += [f'<circle class="point" cx="{x(cost.size)}" cy="{y(cost.cpu_us)}" r="3"/>' for cost in task.costs]
    medians = [(size, task.median_us(size)) for size in sizes]
    path = " ".join(f"{x(size)},{y(us)}" for size, us in medians if us is not None)
    return [*lines, f'<polyline class="median" points="{path}"/>']


def _said(task: Growing) -> str:
    if task.trend is None:
        return ""
    value, low, high = task.trend.shares
    return f"{value:+.1%} for ten times as many ({low:+.1%} to {high:+.1%})"


def spelt_size(size: int) -> str:
    """A number of orders in few signs."""
    exponent = math.log10(size)
    return f"10^{exponent:.0f}" if exponent == int(exponent) else f"{size:,}"
