"""The plots of docs/performance.md, written as SVG: bars of a few values, and lines over the size of the work."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

WIDTH, LEFT, TOP, LINE, SMALL = 720, 250, 44, 24, 11
COLOURS = ("#2563eb", "#d97706", "#059669", "#9333ea", "#64748b")
#: The bars of other programs.
OTHERS = "#94a3b8"

#: File, title, and the rows that it shows; a name that was not measured is left out.
BARS = {
    "processes": (
        "Whole processes, times python -c pass",
        ("ec2ident --no-network", "ec2ident-agent status", "ec2ident-agent apply, nothing to do"),
        (
            "ec2ident-agent apply, first",
            "hook, an event that asks for nothing",
            "hook, an interface of another program",
        ),
        ("import pyroute2",),
    ),
    "failover": (
        "OCF actions with an instance role and TLS, times python -c pass",
        ("OCF start", "OCF deep monitor", "OCF monitor", "OCF stop"),
    ),
}
#: File, title, the word for the size, and the series.
LINES = {
    "apply": (
        "Milliseconds, by the number of addresses with their rules",
        "addresses",
        ("apply", "revert", "ip -batch", "compare, nothing to do"),
    ),
    "tables": (
        "Milliseconds, by the number of tables with an address and its rule each",
        "tables",
        ("apply, a table for each address", "revert, a table for each address"),
    ),
    "nothing": (
        "Milliseconds while everything is in place, by the number of overlay addresses",
        "addresses",
        ("look", "Node.apply, nothing to do", "Node.status"),
    ),
    "documents": (
        "Milliseconds, by the number of documents",
        "documents",
        ("documents, one process", "documents, two processes"),
    ),
    "routes": ("Milliseconds of a status, by the number of foreign routes", "routes", ("status among foreign routes",)),
}


def write(
    directory: Path,
    ratios: Mapping[str, float],
    series: Mapping[str, Mapping[int, float]],
    answers: Mapping[str, Mapping[str, float]],
) -> None:
    """Write each plot for which something was measured. `answers`: what makes a no, client -> milliseconds."""
    directory.mkdir(exist_ok=True)
    for name, (title, *groups) in BARS.items():
        shown = {row: ratios[row] for group in groups for row in group if row in ratios}
        if shown:
            _save(directory / f"{name}.svg", bars(title, shown))
    if answers:
        _save(
            directory / "no.svg", grouped_bars("Milliseconds until the answer is no (logarithmic)", answers, "ec2ident")
        )
    for name, (title, unit, names) in LINES.items():
        drawn = {each: series[each] for each in names if each in series}
        if drawn:
            _save(directory / f"{name}.svg", lines(title, unit, drawn))


def bars(title: str, values: Mapping[str, float]) -> str:
    """A bar for each value."""
    scale = (WIDTH - LEFT - 80) / max(values.values())
    parts = [_text(10, 24, title, 14)]
    for number, (name, value) in enumerate(values.items()):
        parts += _bar(TOP + number * LINE, name, value, max(1.0, value * scale), COLOURS[0])
    return _svg(TOP + len(values) * LINE + 10, parts)


def grouped_bars(title: str, values: Mapping[str, Mapping[str, float]], own: str) -> str:
    """Logarithmic bars below the name of each group; the bars of `own` have a colour of their own."""
    scale = (WIDTH - LEFT - 80) / max(math.log10(1 + value) for group in values.values() for value in group.values())
    parts, y = [_text(10, 24, title, 14)], TOP
    for group, row in values.items():
        parts.append(_text(10, y + 12, group, 12))
        for name, value in row.items():
            colour = COLOURS[0] if name == own else OTHERS
            parts += _bar(y, name, value, max(1.0, math.log10(1 + value) * scale), colour)
            y += LINE
        y += LINE // 2
    return _svg(y, parts)


def _bar(y: int, name: str, value: float, width: float, colour: str) -> list[str]:
    return [
        _text(LEFT - 8, y + 12, name, SMALL, "end"),
        f'<rect x="{LEFT}" y="{y}" width="{width:.1f}" height="16" fill="{colour}"/>',
        _text(LEFT + width + 6, y + 12, f"{float(f'{value:.3g}'):,g}", SMALL),
    ]


def lines(title: str, unit: str, series: Mapping[str, Mapping[int, float]]) -> str:
    """A line for each series, both axes logarithmic; a size of 0 is drawn where 1 is."""
    height, bottom, left, right = 340, 300, 60, WIDTH - 200
    points = [(max(1, x), y) for one in series.values() for x, y in one.items()]
    most = max(1.0, math.log10(max(x for x, _ in points)))
    low = math.floor(math.log10(min(y for _, y in points)))
    high = max(low + 1, math.ceil(math.log10(max(y for _, y in points))))

    def at(x: float, y: float) -> tuple[float, float]:
        return (
            left + math.log10(max(1, x)) / most * (right - left),
            bottom - (math.log10(y) - low) / (high - low) * (bottom - TOP),
        )

    parts = [_text(10, 24, title, 14)]
    for power in range(low, high + 1):
        _, y = at(1, 10.0**power)
        parts.append(f'<line x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e2e8f0"/>')
        parts.append(_text(left - 6, y + 4, f"{10.0**power:g}", SMALL, "end"))
    for power in range(int(most) + 1):
        x, _ = at(10**power, 10.0**low)
        parts.append(_text(x, bottom + 18, f"{10**power:,}", SMALL, "middle"))
    parts.append(_text(right, bottom + 32, unit, SMALL, "end"))
    for number, (name, values) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        places = [at(x, y) for x, y in sorted(values.items())]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places]
        parts.append(f'<rect x="{right + 16}" y="{TOP + number * 20}" width="10" height="10" fill="{colour}"/>')
        parts.append(_text(right + 32, TOP + number * 20 + 9, name, SMALL))
    return _svg(height, parts)


def _text(x: float, y: float, text: str, size: int, anchor: str = "start") -> str:
    safe = text.replace("&", "&amp;").replace("<", "&lt;")
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}">{safe}</text>'


def _svg(height: int, parts: list[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif">'
    return "\n".join([head, f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>', *parts, "</svg>", ""])


def _save(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
