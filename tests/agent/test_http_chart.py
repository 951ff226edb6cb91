"""What stands at the axes of a chart tells places apart, however short or flat what it shows."""

from __future__ import annotations

import re

import pytest

from agent.http.chart import chart

STARTED = 1_764_308_400.0  # a Unix time, as start times are


def texts(points: list[tuple[float, float]]) -> tuple[list[str], list[str]]:
    """Of the axis of values, from below, and of the axis of time."""
    found = re.findall(
        r'<text x="[^"]*" y="[^"]*" text-anchor="(\w+)">([^<]*)</text>', chart(points, None, None, 0, "")
    )
    return [text for _, text in found[:-2]], [text for _, text in found[-2:]]


def test_usual_values_have_short_texts() -> None:
    values, times = texts([(0.0, 0.0), (3600.0, 2_000_000.0)])
    assert values == ["0", "1M", "2M"]
    assert times == ["00:00:00", "01:00:00"]


def test_what_does_not_change_has_one_text() -> None:
    values, _ = texts([(0.0, STARTED), (10.0, STARTED), (20.0, STARTED)])
    assert values == ["1.764G"]


@pytest.mark.parametrize("span", [1e-3, 0.5, 2.0, 90.0, 5000.0, 1e6])
def test_start_times_that_lie_close_together_are_told_apart(span: float) -> None:
    values, _ = texts([(0.0, STARTED), (10.0, STARTED + span)])
    assert len(set(values)) == 3
    assert all(len(text) <= 9 for text in values)


def test_values_that_differ_far_behind_the_point_are_told_apart() -> None:
    values, _ = texts([(0.0, 0.99991), (10.0, 0.99993)])
    assert values == ["0.99991", "0.99992", "0.99993"]


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        (0.25, ["07:40:00.250", "07:40:00.500"]),
        (2.0, ["07:40:00.250", "07:40:02.250"]),
        (60.0, ["07:40:00", "07:41:00"]),
        (86_400.0, ["11-28 07:40", "11-29 07:40"]),
        (30 * 86_400.0, ["11-28 07:40", "12-28 07:40"]),
    ],
)
def test_the_axis_of_time_tells_its_ends_apart(span: float, expected: list[str]) -> None:
    begins = 1_764_315_600.25
    assert texts([(begins, 0.0), (begins + span, 1.0)])[1] == expected
