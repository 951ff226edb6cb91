"""A small chart for the terminal: values over time in a few lines of blocks, and a mark where it began."""

from __future__ import annotations

import math
from collections.abc import Sequence

from agent.config.units import format_number

WIDTH, HEIGHT = 64, 4
_BLOCKS = " ▁▂▃▄▅▆▇█"


def sparkline(
    points: Sequence[Sequence[float | None]], since: float, width: int = WIDTH, height: int = HEIGHT
) -> list[str]:
    """Lines for points as (Unix seconds, value), oldest first; nothing for fewer than two. Each column shows the
    largest value in its time; the last line has a ^ below `since`."""
    known = [(at, value) for at, value in points if at is not None and value is not None and math.isfinite(value)]
    if len(known) < 2 or known[-1][0] <= known[0][0]:
        return []
    first, last = known[0][0], known[-1][0]
    columns: list[float | None] = [None] * min(width, len(known))

    def column(at: float) -> int:
        return min(len(columns) - 1, int((at - first) / (last - first) * len(columns)))

    for at, value in known:
        before = columns[column(at)]
        columns[column(at)] = value if before is None else max(before, value)
    low, high = min(value for _, value in known), max(value for _, value in known)
    steps = height * (len(_BLOCKS) - 1)
    heights = [0 if v is None else 1 + round((v - low) / ((high - low) or 1.0) * (steps - 1)) for v in columns]
    lines = []
    for row in reversed(range(height)):
        blocks = "".join(_BLOCKS[max(0, min(len(_BLOCKS) - 1, full - row * (len(_BLOCKS) - 1)))] for full in heights)
        edge = format_number(high) if row == height - 1 else format_number(low) if row == 0 else ""
        lines.append(f"{edge:>10} ┤{blocks}")
    if first <= since <= last:
        lines.append(" " * (12 + column(since)) + "^ began")
    return lines
