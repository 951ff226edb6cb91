"""Which rarities are told: the rate of false ones, how long an anomaly lasts, when it ends."""

from __future__ import annotations

import numpy as np

from plugins.anomaly.engine.alarms import CALM_ROWS, LONGEST, Alarms, discoveries
from plugins.anomaly.engine.engine import Judgement
from plugins.anomaly.engine.table import Array


def judgement(p_values: list[float], low: float = 0.0, high: float = 10.0) -> Judgement:
    count = len(p_values)
    return Judgement(
        1 - np.array(p_values),
        np.array(p_values),
        np.zeros(count, np.intp),
        np.full(count, low),
        np.full(count, high),
        np.ones(count, bool),
    )


def look(alarms: Alarms, time: float, value: float, p_value: float) -> None:
    alarms.update(np.array([7]), time, np.array([value]), judgement([p_value]), 1000.0)


def test_where_nothing_is_wrong_alarms_are_as_rare_as_was_asked_for() -> None:
    # given uniform p-values of 10 series for 50,000 looks, and a false alarm in 1,000 tests to put up with
    random = np.random.default_rng(1)
    told = sum(int(discoveries(random.uniform(0, 1, 10), 1e-3).sum()) for _ in range(50_000))
    assert 0.8 < told / 500 < 1.2


def test_when_many_are_rare_at_once_smaller_rarities_count() -> None:
    quiet: Array = np.full(1000, 0.5)
    alone, together = quiet.copy(), quiet.copy()
    alone[0] = 3e-5
    together[:50] = 3e-5
    assert discoveries(alone, 1e-6).sum() == 0
    assert discoveries(together, 1e-6).sum() == 50


def test_an_anomaly_keeps_its_onset_and_channel_and_ends_after_calm_rows() -> None:
    alarms = Alarms(1.0)
    look(alarms, 0.0, 50.0, 1e-9)
    for time in range(1, 20):
        look(alarms, float(time), 50.0, 1.0)
    assert (alarms.open[7].since, alarms.open[7].channel, alarms.opened) == (0.0, "deviation", 1)
    look(alarms, 20.0, 9.9, 1.0)  # within, but not well within
    for time in range(21, 20 + CALM_ROWS):
        look(alarms, float(time), 5.0, 1.0)
    assert 7 in alarms.open
    look(alarms, 30.0, 5.0, 1.0)
    assert alarms.open == {}


def test_flapping_is_one_anomaly() -> None:
    alarms = Alarms(1.0)
    for time in range(40):
        look(alarms, float(time), 50.0 if time % 3 else 5.0, 1e-9)
    assert alarms.opened == 1
    assert alarms.open[7].since == 0.0


def test_what_lasts_too_long_is_how_things_are_even_when_the_clock_goes_back() -> None:
    for end in (LONGEST + 1.0, -1.0):
        alarms = Alarms(1.0)
        look(alarms, 0.0, 50.0, 1e-9)
        look(alarms, end, 50.0, 1.0)
        assert alarms.open == {}


def test_one_false_alert_a_day_is_less_per_test_where_there_are_more_tests() -> None:
    for tests, told in ((1e3, True), (86.4e6, False)):
        alarms = Alarms(1.0)
        alarms.update(np.array([7]), 0.0, np.array([50.0]), judgement([1e-6]), tests)
        assert (7 in alarms.open) == told
