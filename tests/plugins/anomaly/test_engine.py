"""The engine: what it takes for rare, that it never looks ahead, and that nothing that comes in breaks it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from plugins.anomaly.engine import bands
from plugins.anomaly.engine.channels import CHANNELS, DAILY, HOUR, VALUE, observe
from plugins.anomaly.engine.engine import LARGEST, Engine, Judgement
from plugins.anomaly.engine.evaluate import scores_of
from plugins.anomaly.engine.table import Array
from plugins.anomaly.engine.zscore import ZScore, two_sided

START = 1.7e9


def rows(values: Array, interval: float = 60.0) -> tuple[Array, Array]:
    return START + interval * np.arange(len(values)), np.asarray(values, float)


def judged(values: Array, interval: float = 60.0) -> list[Judgement]:
    """What the engine says of each row of one series."""
    engine = Engine()
    slots = engine.table.take(1)
    return [
        engine.step(slots, np.array([time]), np.array([value]))
        for time, value in zip(*rows(values, interval), strict=True)
    ]


def noise(count: int, seed: int = 1) -> Array:
    return np.random.default_rng(seed).normal(100.0, 5.0, count)


def test_a_spike_is_rarer_than_all_noise_before_it_and_shows_the_band_it_broke_out_of() -> None:
    values = noise(1000)
    values[900] = 200.0
    found = judged(values)
    scores = [float(one.score[0]) for one in found]
    assert np.argmax(scores) == 900
    spike = found[900]
    assert spike.p_value[0] < 1e-4
    assert 70 < spike.low[0] < 100 < spike.high[0] < 130
    # the same again, somewhat later, is no news
    values[980] = 199.0
    assert judged(values)[980].score[0] < scores[900] / 2


def test_what_is_small_beside_the_level_is_seen_as_far_as_the_documentation_says() -> None:
    """docs/evaluation-anomaly.md, "What it does not see"."""
    said = {0.0: 0.62, 1e3: 0.62, 1e4: 0.65, 1e5: 0.51, 1e6: 0.15, 1e7: 0.02, 1e9: 0.0}
    drawn = np.random.default_rng(2).normal(0.0, 1.0, (8, 2600))
    drawn[:, 2500] += 20
    scores = scores_of([rows(level + one) for level in said for one in drawn])
    found = np.median(np.array(scores)[:, 2500].reshape(len(said), -1), axis=1)
    np.testing.assert_allclose(found, list(said.values()), atol=0.03)


@pytest.mark.parametrize("jump", [300.0, -100.0])
def test_a_step_is_told_once_and_then_is_how_things_are(jump: float) -> None:
    values = noise(1500)
    values[1000:] += jump
    scores = np.array([float(one.score[0]) for one in judged(values)])
    assert np.argmax(scores) == 1000
    assert (scores[1100:] < scores[1000] / 2).all()


def test_constant_series_have_no_anomalies_until_they_change() -> None:
    values = np.full(500, 45.0)
    values[400] = 46.0
    scores = np.array([float(one.score[0]) for one in judged(values)])
    assert (scores[:400] == 0).all()
    assert np.argmax(scores) == 400


def test_a_daily_job_is_no_anomaly_once_it_is_known_and_its_absence_is_seen_by_the_hour() -> None:
    # given a job of an hour each day for ten days, which the eleventh day leaves out
    per_day, days = 96, 12
    values = np.tile(np.where(np.arange(per_day) // 4 == 3, 80.0, 10.0), days) + noise(per_day * days) / 50
    missed = 11 * per_day
    values[missed : missed + per_day] = 10.0 + noise(per_day, 2) / 50
    engine, found = Engine(), []
    slots = engine.table.take(1)
    start = START - START % 86400
    for number, value in enumerate(values):
        found.append(engine.step(slots, np.array([start + number * 900.0]), np.array([value])))
    scores = np.array([float(one.score[0]) for one in found])
    job = missed + 12
    assert scores[3 * per_day : missed].max() < scores[job : job + 4].max()
    assert CHANNELS[found[job + int(np.argmax(scores[job : job + 4]))].channel[0]] == "season"


def test_profiles_speak_only_where_they_are_proven() -> None:
    # given noise without any hours, the profile is no better than the level
    engine = Engine()
    slots = engine.table.take(2)
    flat, wave = noise(2000, 3), np.zeros(2000)
    hours = np.arange(2000) / 4
    wave = 100 + 50 * np.sin(2 * np.pi * hours / 24) + noise(2000, 4) / 20
    proven = np.zeros((2, len(CHANNELS)), bool)
    for number in range(2000):
        time = np.full(2, START + number * HOUR / 4)
        _, _, proven = observe(engine.table.arrays, slots, time, np.array([flat[number], wave[number]]))
    assert proven[:, VALUE].tolist() == [True, True]
    assert proven[:, DAILY].tolist() == [False, True]


def test_a_channel_that_may_not_speak_gives_no_record_but_learns() -> None:
    may_not = np.ones((1, len(CHANNELS)), bool)
    may_not[0, DAILY] = False
    sizes = []
    for may_speak in (may_not, ~may_not):
        engine = Engine()
        arrays, slots = engine.table.arrays, engine.table.take(1)
        for number in range(100):
            arrays["rows"][slots], arrays["interval"][slots] = number + 1, 10.0
            numbers = np.full((1, len(CHANNELS)), 5.0 + number % 2)
            if number == 99:
                numbers[0, DAILY] = 500.0
            found = bands.judge(arrays, slots, numbers, may_speak)
        sizes.append(float(found.size[0]))
        assert arrays["high"][slots[0], DAILY] == 500.0
    assert sizes[0] < 0.1 < 1 < sizes[1]
    assert CHANNELS[found.channel[0]] == "season"


def some_series() -> list[tuple[Array, Array]]:
    random = np.random.default_rng(5)
    made = []
    for number, interval in enumerate((10.0, 60.0, 300.0, 3600.0, 60.0)):
        values = random.normal(0, 1, 700 + 50 * number).cumsum() + random.pareto(2, 700 + 50 * number)
        values[random.integers(0, len(values), 9)] = np.nan
        made.append(rows(values, interval))
    return made


def test_cutting_series_short_changes_no_earlier_score() -> None:
    series = some_series()
    whole = scores_of(series)
    assert max(scores.max() for scores in whole) > 0.3
    for cut in (100, 333, 699):
        for alone in (True, False):
            short = [(times[:cut], values[:cut]) for times, values in (series[:1] if alone else series)]
            for scores, before in zip(scores_of(short), whole, strict=False):
                assert np.array_equal(scores, before[:cut])  # bit by bit


def test_series_do_not_know_of_each_other() -> None:
    series = some_series()
    together = scores_of(series)
    for one, scores in zip(series, together, strict=True):
        assert np.array_equal(scores_of([one])[0], scores)


numbers = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True),
    st.floats(-1e3, 1e3),
    st.just(0.0),
)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(numbers, st.one_of(st.floats(-1e9, 4e9), st.just(START))), min_size=1, max_size=120))
@example([(0.0, 0.0), (0.0, START), (0.0, -5e-324), (0.0, 0.0)])
@example([(0.0, -5e-324), (0.0, 0.0)])
@pytest.mark.parametrize("kind", [Engine, ZScore])
def test_whatever_comes_in_scores_and_probabilities_come_out(
    kind: type[Engine] | type[ZScore], points: list[tuple[float, float]]
) -> None:
    engine = kind()
    slots = engine.table.take(2)
    with np.errstate(all="raise", under="ignore"):
        for value, time in points:
            found = engine.step(slots, np.array([time, time]), np.array([value, 1.0]))
            assert ((found.score >= 0) & (found.score <= 1)).all()
            assert ((found.p_value >= 0) & (found.p_value <= 1)).all()
            assert found.usable[0] == (np.isfinite(value) and abs(value) < LARGEST)
    for name, array in engine.table.arrays.items():
        if name not in ("daily", "weekly", "interval"):
            assert np.isfinite(array[slots[1:]]).all(), name


def test_probabilities_of_noise_of_any_kind_are_what_they_say() -> None:
    # given a thousand series of noise: normal, heavy-tailed, and small counts, whose values come again and again
    random = np.random.default_rng(6)
    engine = Engine()
    slots = engine.table.take(1200)
    kinds = (random.normal(size=(900, 400)), random.pareto(2.5, (900, 400)), random.poisson(2, (900, 400)) * 1.0)
    values = np.concatenate(kinds, axis=1)
    found = [engine.step(slots, np.full(1200, START + 10.0 * n), row).p_value for n, row in enumerate(values)]
    p_values = np.array(found).reshape(900, 3, 400)
    for kind in range(3):
        for rare in (1e-3, 1e-4, 1e-5):
            assert (p_values[:, kind] <= rare).sum() <= 4 * rare * 900 * 400 + 4, (kind, rare)
    assert (p_values <= 1e-2).sum() > 0  # and they are not simply ones


def test_rows_without_a_number_leave_no_trace() -> None:
    values = noise(300)
    with_gaps = np.insert(values, 150, [np.nan, np.inf, -np.inf])
    times = np.insert(rows(values)[0], 150, [START, START, START])
    plain = scores_of([rows(values)])[0]
    gaps = scores_of([(times, with_gaps)])[0]
    assert (gaps[150:153] == 0).all()
    assert np.array_equal(np.delete(gaps, [150, 151, 152]), plain)


def test_jumps_of_the_clock_change_little() -> None:
    values = noise(900)
    values[800] = 200.0
    times, _ = rows(values)
    times[300:] += 365 * 86400  # a year ahead, and two years back
    times[600:] -= 2 * 365 * 86400
    scores = scores_of([(times, values)])[0]
    assert np.argmax(scores) == 800


def test_it_is_useful_after_fifteen_minutes() -> None:
    values = noise(91)  # 15 minutes at 10 s
    values[90] = 200.0
    found = judged(values, 10.0)
    assert np.argmax([float(one.score[0]) for one in found]) == 90
    assert found[90].score[0] > 0.6


def test_the_normal_tail_is_as_in_the_tables() -> None:
    z = np.array([0.0, 1.0, 1.959964, 3.0, 6.0])
    assert two_sided(z) == pytest.approx([1.0, 0.3173105, 0.05, 0.002699796, 1.973175e-9], rel=2e-5)


def test_zscore_finds_the_spike_too() -> None:
    engine = ZScore()
    slots = engine.table.take(1)
    values = noise(500)
    values[450] = 200.0
    found = [engine.step(slots, np.array([START + 60.0 * n]), np.array([x])) for n, x in enumerate(values)]
    assert np.argmax([float(one.score[0]) for one in found]) == 450
    assert found[450].p_value[0] < 1e-12
    assert found[450].low[0] < 100 < found[450].high[0]
