"""What the series of a cause were: the right stretch of them, counters as rates, and no peak lost."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence

from agent.incidents.evidence import Evidence, rates, thinned
from agent.incidents.model import Anomaly, Cause, Incident
from agent.metrics.model import Histogram, Kind, MetricSpec, SeriesKey

LOAD = MetricSpec("load", Kind.gauge, "A load.", "bytes", ("disk", "host"))
WORK = MetricSpec("work_total", Kind.counter, "Work.", "")
BUILD = MetricSpec("build", Kind.info, "A version.", "", ("version",))
TOOK = MetricSpec("took_seconds", Kind.histogram, "A time.", "seconds", bounds=(1.0,))
SENT = MetricSpec("sent_bytes_total", Kind.counter, "Bytes.", "bytes")
SPECS = {spec.name: spec for spec in (LOAD, WORK, BUILD, TOOK, SENT)}
FLAT = ("load", ("flat", ""))
OPENED = time.time() - 1000


class Kept:
    """A row each ten seconds, for an hour until now, of whatever is asked for."""

    def keys(self, metric: str) -> Sequence[SeriesKey]:
        return ()

    def points(self, key: SeriesKey, start: float, end: float) -> Sequence[tuple[float, float]]:
        rows = [OPENED - 2600 + 10 * row for row in range(360)]
        if key == FLAT:
            return [(at, 1.0) for at in rows if start <= at <= end]
        return [(at, (at - OPENED + 2600) ** 2) for at in rows if start <= at <= end]

    def histogram_points(self, key: SeriesKey, start: float, end: float) -> Sequence[tuple[float, Histogram]]:
        return ()

    def latest(self, keys: Iterable[SeriesKey]) -> dict[SeriesKey, tuple[float, float]]:
        return {}


def incident(closed: float | None, *causes: Cause) -> Incident:
    key = ("load", ("a", ""))
    anomaly = Anomaly(key, LOAD.labels, OPENED - 20, OPENED, "shift", 9.0, 0.0, 1.0, 0.9, 1e-9)
    return Incident("i1", OPENED, "off", (anomaly,), causes, closed)


def test_a_cause_shows_its_first_series_around_the_incident() -> None:
    speaking = (("load", ("a", "")), ("work_total", ()), ("load", ("b", "x")))
    cause = Cause("disk:a", 1.0, "full", speaking)
    load, work = Evidence(Kept(), SPECS.get).of(cause, incident(OPENED + 100, cause))
    assert (load["series"], load["unit"]) == ('load{disk="a"}', "bytes")
    assert (work["series"], work["unit"]) == ("work_total", "a second")
    first, last = load["history"][0][0], load["history"][-1][0]
    assert OPENED - 320 <= first < OPENED - 300
    assert OPENED + 150 < last <= OPENED + 160
    at, rate = work["history"][1]
    assert math.isclose(rate, 2 * (at - OPENED + 2600) - 10, rel_tol=1e-6), "how much it counted in ten seconds, by ten"


def test_how_often_is_not_told_in_the_unit_of_how_long() -> None:
    cause = Cause("disk:a", 1.0, "slow", (("took_seconds", ()), ("sent_bytes_total", ())))
    found = Evidence(Kept(), SPECS.get).of(cause, incident(OPENED + 100, cause))
    assert [one["unit"] for one in found] == ["observations a second", "bytes a second"]


def test_one_that_lasts_is_shown_until_now() -> None:
    cause = Cause("disk:a", 1.0, "full", (("load", ("a", "")),))
    (load,) = Evidence(Kept(), SPECS.get).of(cause, incident(None, cause))
    assert load["history"][-1][0] > OPENED + 900


def test_what_there_is_no_picture_of_is_left_out() -> None:
    unknown = (("gone", ()), ("build", ("1",)), FLAT, ("load", ("a", "")))
    found = Evidence(Kept(), SPECS.get).of(Cause("x", 1.0, "y", unknown), incident(None))
    assert [one["series"] for one in found] == ['load{disk="a"}']


def test_a_counter_that_starts_anew_has_no_negative_rate() -> None:
    assert rates([(0.0, 100.0), (10.0, 150.0), (20.0, 30.0), (20.0, 31.0)]) == [(10.0, 5.0), (20.0, 3.0)]


def test_thinning_keeps_both_ends_of_what_was() -> None:
    points = [(float(at), 1.0) for at in range(1000)]
    points[333], points[777] = (333.0, 50.0), (777.0, -50.0)
    few = thinned(points, 100)
    assert len(few) <= 100
    assert {(333.0, 50.0), (777.0, -50.0)} <= set(few)
    assert few == sorted(few)
    assert thinned(points[:100], 100) == points[:100]
