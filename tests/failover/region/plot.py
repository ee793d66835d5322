"""Who answered the client when, as a picture: a row for each way to move a service, a panel for each fault. Pure."""

from __future__ import annotations

import math
from typing import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

#: Seconds for each bar, and the colour of a node's answers.
STEP = 0.05
COLOURS = {"node1": "#2b6cb0", "node2": "#c05621", "node3": "#c05621", "": "#e2e8f0"}
LEFT, RIGHT, ROW, BAR, TOP, GAP, WIDTH = 140, 20, 26, 18, 54, 40, 640


class Curve(NamedTuple):
    """The requests of one client around a fault: seconds since it, and the node that answered ("" for none)."""

    fault: str
    way: str
    requests: tuple[tuple[float, str], ...]


def plot(curves: Sequence[Curve], faults: Sequence[str]) -> str:
    """An SVG image. A bar is as high as the part of its requests that got an answer; grey stands for those lost."""
    shown = [fault for fault in faults if any(curve.fault == fault for curve in curves)]
    until = max((curve.requests[-1][0] for curve in curves), default=1.0)
    since = min((curve.requests[0][0] for curve in curves), default=-1.0)
    scale = WIDTH / (until - since)
    lines, y = [], TOP
    for fault in shown:
        here = [curve for curve in curves if curve.fault == fault]
        lines.append(f'<text x="{LEFT}" y="{y - 8}" font-weight="bold">{_text(fault)}</text>')
        for curve in here:
            lines.append(f'<text x="{LEFT - 8}" y="{y + BAR - 4}" text-anchor="end">{_text(curve.way)}</text>')
            lines += [
                _bar(LEFT + (start - since) * scale, y, seconds * scale, part, node)
                for start, seconds, part, node in bars(curve)
            ]
            y += ROW
        lines += _axis(y, since, until, scale)
        zero = LEFT - since * scale
        top = y - ROW * len(here) - 4
        lines.append(
            f'<line x1="{zero:.1f}" y1="{top}" x2="{zero:.1f}" y2="{y}" stroke="#1a202c" stroke-dasharray="3 2"/>'
        )
        y += GAP
    height = y + 4
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + RIGHT}" height="{height}" '
        f'viewBox="0 0 {LEFT + WIDTH + RIGHT} {height}" font-family="sans-serif" font-size="12">'
    )
    background = f'<rect width="{LEFT + WIDTH + RIGHT}" height="{height}" fill="#ffffff"/>'
    legend = [
        _square(LEFT + at, COLOURS[node]) + f'<text x="{LEFT + at + 17}" y="20">{what}</text>'
        for at, node, what in (
            (0, "node1", "the first node answers"),
            (180, "node2", "the other node answers"),
            (360, "", "no answer"),
        )
    ]
    return "\n".join([head, background, *legend, *lines, "</svg>", ""])


def bars(curve: Curve) -> list[tuple[float, float, float, str]]:
    """Start, seconds, part of the requests that were answered, and the node; neighbours that are alike are one."""
    counts: dict[int, dict[str, int]] = {}
    for sent, node in curve.requests:
        step = counts.setdefault(math.floor(sent / STEP), {})
        step[node] = step.get(node, 0) + 1
    found: list[tuple[float, float, float, str]] = []
    for number, nodes in sorted(counts.items()):
        answered = {node: count for node, count in nodes.items() if node}
        node = max(answered, key=lambda each: answered[each]) if answered else ""
        part = round(sum(answered.values()) / sum(nodes.values()), 2)
        if found and found[-1][2:] == (part, node) and math.isclose(sum(found[-1][:2]), number * STEP):
            start, seconds, *_ = found[-1]
            found[-1] = (start, seconds + STEP, part, node)
        else:
            found.append((number * STEP, STEP, part, node))
    return found


def _square(x: int, colour: str) -> str:
    return f'<rect x="{x}" y="10" width="12" height="12" fill="{colour}"/>'


def _bar(x: float, y: float, width: float, part: float, node: str) -> str:
    grey = f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{BAR}" fill="{COLOURS[""]}"/>' if part < 1 else ""
    high = BAR * part
    rect = (
        f'<rect x="{x:.1f}" y="{y + BAR - high:.1f}" width="{width:.1f}" height="{high:.1f}" fill="{COLOURS[node]}"/>'
    )
    return grey + (rect if part else "")


def _axis(y: int, since: float, until: float, scale: float) -> list[str]:
    step = 1 if until - since <= 15 else 2 if until - since <= 30 else 5
    marks = range(math.ceil(since / step) * step, math.floor(until) + 1, step)
    place = f'y="{y + 10}" text-anchor="middle" fill="#4a5568"'
    return [f'<text x="{LEFT + (each - since) * scale:.1f}" {place}>{each} s</text>' for each in marks]


def _text(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")
