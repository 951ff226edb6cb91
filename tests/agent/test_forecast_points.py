"""From history and from files to what a forecaster takes."""

import json
import math
from pathlib import Path

import pytest

from agent.errors import PredisError
from agent.forecast.files import read_points
from agent.forecast.points import bounds, points, span
from agent.metrics.model import Kind

DAY = 86_400.0


def test_a_gauge_comes_as_it_is_without_what_is_no_number() -> None:
    given = [(1.0, 5.0), (2.0, None), (3.0, math.nan), (4.0, math.inf), (5.0, 6.0)]
    assert list(points(Kind.gauge, given)) == [(1.0, 5.0), (5.0, 6.0)]


def test_a_clock_that_goes_back_gives_no_points_until_it_is_where_it_was() -> None:
    given = [(10.0, 1.0), (20.0, 2.0), (15.0, 3.0), (20.0, 4.0), (25.0, 5.0)]
    assert list(points(Kind.gauge, given)) == [(10.0, 1.0), (20.0, 2.0), (25.0, 5.0)]


@pytest.mark.parametrize("kind", [Kind.counter, Kind.histogram])
def test_a_counter_comes_as_its_rate_and_a_reset_is_no_loss(kind: Kind) -> None:
    given = [(0.0, 100.0), (10.0, 150.0), (20.0, 20.0), (40.0, 60.0)]
    assert list(points(kind, given)) == [(10.0, 5.0), (20.0, 2.0), (40.0, 2.0)]


def test_the_past_that_is_read_has_the_seasons_of_the_horizon() -> None:
    assert span(60.0) == 2 * DAY
    assert span(7 * DAY) == 35 * DAY
    assert span(30 * DAY) == 90 * DAY


def test_what_is_possible() -> None:
    assert bounds(Kind.gauge, "ratio") == (0.0, 1.0)
    assert bounds(Kind.gauge, "bytes") == (0.0, None)
    assert bounds(Kind.counter, "ratio") == (0.0, None)
    assert bounds(Kind.gauge, "celsius") == (None, None)


@pytest.mark.parametrize(
    "text",
    [
        "timestamp,value\n60,1.5\n\n0,2\n120,\n",
        "value, Timestamp ,more\n1.5,1970-01-01T00:01:00,x\n2,1970-01-01 00:00:00,x\n,1970-01-01T02:02:00+02:00,\n",
        "[[60, 1.5], [0, 2], [120, null]]",
        '{"points": [[60, 1.5], [0, 2], [120, null]]}',
        json.dumps({"metric": "m", "series": [{"labels": {}, "points": [[0, 2], [60, 1.5], [120, None]]}]}),
    ],
)
def test_files_that_can_be_read(tmp_path: Path, text: str) -> None:
    (tmp_path / "file").write_text(text)
    assert read_points(tmp_path / "file") == [(0.0, 2.0), (60.0, 1.5), (120.0, None)]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", ":1: has no columns timestamp and value, but nothing"),
        ("time,value\n1,2\n", ":1: has no columns timestamp and value, but time, value"),
        ("timestamp,value\n1,2\nyesterday,3\n", ":3: yesterday,3 is no time and number"),
        ("timestamp,value\n1\n", ":2: 1 is no time and number"),
        ("[1, 2]", " has no points: write [[time, value], …]"),
        ('{"a": 1}', " has no points"),
        ('{"series": []}', " has 0 series: leave one"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "file"
    path.write_text(text)
    with pytest.raises(PredisError) as raised:
        read_points(path)
    assert str(raised.value).startswith(str(path) + complaint)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(PredisError, match="cannot be read: no such file"):
        read_points(tmp_path / "none")
