"""Flatlines: what froze is found, what stands still for good reasons is left alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plugins.anomaly.engine import flatline
from plugins.anomaly.engine.alarms import CALM_ROWS, Alarms
from plugins.anomaly.engine.channels import DAY, FLATLINE, HOUR, KINDS
from plugins.anomaly.engine.engine import Engine, Judgement
from plugins.anomaly.engine.evaluate import scores_of
from plugins.anomaly.engine.table import Array

START = 1.7e9
STEP = 300.0  # seconds between rows
PER_DAY = 288


def judged(values: Array, interval: float = STEP) -> list[Judgement]:
    """What the engine says of each row, of one series or of several side by side (row, series)."""
    engine, rows = Engine(), np.asarray(values, float).reshape(len(values), -1)
    slots = engine.table.take(rows.shape[1])
    return [engine.step(slots, np.full(len(slots), START + interval * at), row) for at, row in enumerate(rows)]


def told(values: Array, interval: float = STEP) -> list[int]:
    """The rows in which a flatline is the evidence."""
    return [row for row, one in enumerate(judged(values, interval)) if one.channel[0] == FLATLINE]


def noise(count: int, seed: int = 1, decimals: int = 6) -> Array:
    return np.round(np.random.default_rng(seed).normal(40.0, 3.0, count), decimals)


def by_hour(days: int) -> Array:
    """The hour of the day of each row, from ten in the morning on."""
    return (10 + np.arange(days * PER_DAY) * STEP / HOUR) % 24


def frozen(values: Array, begin: int, rows: int, at: float | None = None) -> Array:
    """The same, with one value from `begin` on."""
    values = values.copy()
    values[begin : begin + rows] = values[begin] if at is None else at
    return values


def test_a_sensor_that_froze_is_found_within_sixteen_rows_and_told_once() -> None:
    values = frozen(noise(900), 600, 250, at=40.5)
    found = judged(values)
    rows = [row for row, one in enumerate(found) if one.channel[0] == FLATLINE]
    assert rows[0] == 615  # the sixteenth row
    first = found[615]
    assert first.score[0] > 0.7
    assert first.p_value[0] < 1e-5
    assert 25 < first.low[0] < 40.5 < first.high[0] < 55  # where it was while it moved
    assert all(one.score[0] < 0.3 for one in found[616:850])
    # and the longer it lasts, the rarer
    rare = [found[row].p_value[0] for row in rows]
    assert len(rare) >= 2
    assert rare == sorted(rare, reverse=True)


def test_a_sensor_of_whole_degrees_that_repeats_often_is_found_later() -> None:
    values = frozen(noise(1400, decimals=0), 1200, 200, at=42.0)
    before = values[:1200]
    runs = np.diff(np.flatnonzero(np.diff(before) != 0))
    (first, *_) = told(values)
    assert first - 1200 + 1 >= flatline.LONGER * runs.max()
    assert first - 1200 + 1 <= 8 * runs.max()


def test_one_of_ten_thousand_series_that_froze_is_told_within_half_an_hour() -> None:
    # given a day at 10 s, and the rate of ten thousand series at one false alert a day
    alarms, engine = Alarms(1.0), Engine()
    slots = engine.table.take(1)
    values = frozen(noise(9000), 8700, 300, at=40.5)
    began = None
    for row, value in enumerate(values):
        time = START + 10.0 * row
        one = engine.step(slots, np.array([time]), np.array([value]))
        alarms.update(slots, time, np.array([value]), one, 10_000 * DAY / 10.0)
        began = row if began is None and alarms.open else began
    assert began is not None
    assert 8700 <= began < 8880


def quiet_by_night(at: float, days: int = 12, weekend: int = 7) -> Array:
    """Moves between 40 and 50 from eight to twenty of each day before the `weekend`th of the week."""
    hours, day = by_hour(days), (10 + np.arange(days * PER_DAY) * STEP / HOUR) // 24 % 7
    busy = (hours >= 8) & (hours < 20) & (day < weekend)
    return np.where(busy, 40 + 10 * np.sin((hours - 8) / 12 * np.pi) + (noise(len(hours)) - 40) / 3, at)


CALM = {
    "constant": np.full(3456, 45.0),
    "constant, with a gap and a step": np.concatenate([np.full(1728, 45.0), [np.nan], np.full(1727, 46.0)]),
    "idle by night": quiet_by_night(5.0),
    "idle by night, at zero": quiet_by_night(0.0),
    # It rests in the middle of where it moves by day: only that it did so before tells that this is rest.
    "quiet by night in the middle": quiet_by_night(47.0),
    "quiet over the weekend, too": quiet_by_night(47.0, weekend=5),
    "moves for an hour a day": np.where(by_hour(12) < 1, noise(12 * PER_DAY), 40.0),
    "a counter's rate that is idle": np.concatenate([noise(1728), np.zeros(1728)]),
    "a balance that is even": np.concatenate([noise(1728) - 40, np.zeros(1728)]),
    "a step": np.concatenate([noise(1728), noise(1728) + 100]),
    "full": np.concatenate([np.minimum(np.arange(1728) * 0.2 + noise(1728), 320.0), np.full(1728, 320.0)]),
    "steps every hour": np.repeat(noise(288), 12),
    "a setting that is changed now and then": np.repeat(noise(72), np.tile([24, 60, 36, 72, 48, 48], 12)),
    "a setting that was changed often": np.concatenate([np.repeat(noise(25), 12), np.full(3156, 40.0)]),
    "read every half an hour, watched every five minutes": np.repeat(noise(576), 6),
}


@pytest.fixture(scope="module")
def calm() -> dict[str, list[int]]:
    """The rows of each of them in which a flatline is told."""
    found = judged(np.stack(list(CALM.values()), axis=1))
    return {
        name: [row for row, one in enumerate(found) if one.channel[column] == FLATLINE]
        for column, name in enumerate(CALM)
    }


@pytest.mark.parametrize("name", CALM)
def test_what_stands_still_for_good_reasons_is_no_flatline(calm: dict[str, list[int]], name: str) -> None:
    assert calm[name] == []


def test_a_rest_of_another_day_than_the_first_is_none_at_an_edge_only() -> None:
    # given an office that is empty from the fifth evening on for the first time
    busy = 45 + 8 * np.sin(by_hour(7) / 12 * np.pi) + (noise(7 * PER_DAY) - 40) / 3
    lowest = busy[: 5 * PER_DAY].min()
    empty = np.arange(len(busy)) >= 5 * PER_DAY
    assert told(np.where(empty, lowest, busy)) == []
    assert told(np.where(empty, 44.25, busy)) != []


def test_before_a_day_is_known_nothing_is_told() -> None:
    assert told(frozen(noise(PER_DAY), 200, 88)) == []


def test_it_is_over_once_the_value_moves_again_and_not_before() -> None:
    alarms, engine = Alarms(1.0), Engine()
    slots = engine.table.take(1)
    values = frozen(noise(900), 600, 60, at=40.5)
    lasts = []
    for row, value in enumerate(values):
        time = START + STEP * row
        one = engine.step(slots, np.array([time]), np.array([value]))
        alarms.update(slots, time, np.array([value]), one, float(PER_DAY))
        lasts.append(alarms.open[int(slots[0])].channel if alarms.open else "")
    assert set(lasts) == {"", KINDS[FLATLINE]}
    (first, last) = (lasts.index("flatline"), len(lasts) - 1 - lasts[::-1].index("flatline"))
    assert first == 615
    assert last == 660 + CALM_ROWS - 2
    assert all(lasts[first:last])


def test_the_same_run_again_is_how_the_series_is() -> None:
    rows = told(frozen(frozen(noise(2000), 1000, 60), 1500, 60))
    assert rows[0] == 1015
    assert max(rows) < 1060


runs = st.lists(st.tuples(st.floats(-100, 100), st.integers(1, 60)), min_size=20, max_size=60)


@settings(deadline=None, max_examples=8)
@given(runs, st.integers(1, 400))
def test_cutting_a_series_short_changes_no_earlier_score(held: list[tuple[float, int]], cut: int) -> None:
    # given runs of any values and lengths after a day that moves
    values = np.concatenate([noise(300), *(np.full(rows, value) for value, rows in held)])
    times = START + STEP * np.arange(len(values))
    cut = min(cut, len(values))
    (whole,), (short,) = scores_of([(times, values)]), scores_of([(times[:cut], values[:cut])])
    assert np.array_equal(whole[:cut], short)


@settings(deadline=None, max_examples=10)
@given(st.lists(st.sampled_from([0.0, 1.0, 2.0, 2.5]), min_size=400, max_size=700), st.integers(0, 2**31))
def test_runs_of_chance_are_hardly_ever_told(values: list[float], seed: int) -> None:
    """Whatever comes in, what is told had the same value for twice as long as ever before, and long enough."""
    moving = np.concatenate([noise(300, seed), values])
    for row in told(moving):
        held = row - np.flatnonzero(np.diff(moving[: row + 1]) != 0)[-1]
        edges = np.flatnonzero(np.diff(moving[: row - held + 1]) != 0)
        assert held >= max(flatline.LEAST_ROWS, flatline.LONGER * 0.9 * np.diff(edges).max())
        assert moving[row] != 0
