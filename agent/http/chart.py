"""A line chart as SVG in the page: values over time, the band in which they were expected, and when it began."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from html import escape

from agent.config.units import format_number

WIDTH, HEIGHT = 420, 110  # pixels: what a column of the page has, so that texts are as large as those around them
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 8, 8, 22
_TICKS = 3
_ROOM = 9  # characters at the left


def chart(
    points: Sequence[tuple[float, float]],
    low: float | None,
    high: float | None,
    since: float,
    label: str,
) -> str:
    """Points as (Unix seconds, value), oldest first; `low` and `high` None where the band is open."""
    points = [(at, value) for at, value in points if value is not None and math.isfinite(value)]
    if len(points) < 2 or points[-1][0] <= points[0][0]:
        return '<p class="remark">too few points for a picture</p>'
    values = [value for _, value in points]
    span = max(values) - min(values)
    # The band is shown as far as it is near the values: far away it would flatten them.
    edges = [edge for edge in (low, high) if edge is not None and abs(edge - values[-1]) <= 20 * (span or 1.0)]
    least, most = min([*values, *edges]), max([*values, *edges])
    margin = 0.06 * (most - least) or 0.5 * (abs(most) or 1.0)
    bottom, top = least - margin, most + margin
    first, last = points[0][0], points[-1][0]

    def x(at: float) -> float:
        return _LEFT + (min(max(at, first), last) - first) / (last - first) * (WIDTH - _LEFT - _RIGHT)

    def y(value: float) -> float:
        return _TOP + (top - min(max(value, bottom), top)) / (top - bottom) * (HEIGHT - _TOP - _BOTTOM)

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">']
    if low is not None or high is not None:
        upper, lower = y(top if high is None else high), y(bottom if low is None else low)
        parts.append(
            f'<rect class="band" x="{_LEFT}" y="{upper:.1f}" width="{WIDTH - _LEFT - _RIGHT}"'
            f' height="{max(1.0, lower - upper):.1f}"/>'
        )
    # of what does not change all ticks would lie on one another, with the same text
    ticks = [most] if least == most else [least + (most - least) * number / (_TICKS - 1) for number in range(_TICKS)]
    for value, text in zip(ticks, _apart(ticks), strict=True):
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{escape(text)}</text>')
    if first <= since <= last:
        parts.append(
            f'<line class="onset" x1="{x(since):.1f}" x2="{x(since):.1f}" y1="{_TOP}" y2="{HEIGHT - _BOTTOM}"/>'
        )
    line = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in points)
    parts.append(f'<polyline class="line" points="{line}"/>')
    for at, anchor, text in zip((first, last), ("start", "end"), _clocks(first, last), strict=True):
        parts.append(f'<text x="{x(at):.1f}" y="{HEIGHT - 6}" text-anchor="{anchor}">{text}</text>')
    return "".join([*parts, "</svg>"])


def _apart(ticks: Sequence[float]) -> list[str]:
    """The texts at ticks: with more digits than usual where they would be the same, and where there is no room for so
    many, such as at Unix times, as what they have more than the first."""
    texts = [format_number(tick) for tick in ticks]
    for more in range(1, 12):
        if len(set(texts)) == len(texts) and all(len(text) <= _ROOM for text in texts):
            return texts
        texts = [format_number(tick, more) for tick in ticks]
    return [format_number(ticks[0]), *(f"+{format_number(tick - ticks[0])}" for tick in ticks[1:])]


def _clocks(first: float, last: float) -> tuple[str, str]:
    """When a chart begins and ends: with fractions where it is that short, with the day where it is that long."""
    if last - first >= 86_400:
        begins, ends = (time.strftime("%m-%d %H:%M", time.gmtime(at)) for at in (first, last))
    else:
        begins, ends = (time.strftime("%H:%M:%S", time.gmtime(at)) for at in (first, last))
        if last - first < 10:
            begins, ends = (f"{text}.{at % 1 * 1000 // 1:03.0f}" for text, at in ((begins, first), (ends, last)))
    return begins, ends
