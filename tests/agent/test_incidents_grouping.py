"""What belongs together: storms, drifts, flapping, and incidents that nobody looks at any more."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.incidents.grouping import FORSAKEN, MANY, QUIET, SHOWN, TOGETHER, YOUNG, Grouper, Open, component_of
from agent.incidents.model import Anomaly


def anomaly(
    name: str = "predis_cache_load",
    tenant: str = "",
    since: float = 1000.0,
    score: float = 0.9,
    channel: str = "shift",
    component: str = "",
) -> Anomaly:
    labels, values = (("tenant",), (tenant,)) if tenant else ((), ())
    return Anomaly((name, values), labels, since, since + 10, channel, 5.0, 0.0, 1.0, score, 1e-6, (), component)


def look(grouper: Grouper, at: float, *anomalies: Anomaly, plugin: str = "anomaly") -> tuple[int, int, int]:
    changes = grouper.look(plugin, at, anomalies)
    return len(changes.opened), len(changes.grown), len(changes.closed)


def test_an_anomaly_that_is_seen_once_opens_nothing() -> None:
    grouper = Grouper()
    assert look(grouper, 1010, anomaly()) == (0, 0, 0)
    assert look(grouper, 1020) == (0, 0, 0)
    assert look(grouper, 1030, anomaly(since=1025)) == (0, 0, 0)
    assert grouper.open == {}


def test_one_that_lasts_opens_an_incident_which_closes_after_it_was_quiet() -> None:
    grouper = Grouper()
    look(grouper, 1010, anomaly())
    assert look(grouper, 1020, anomaly()) == (1, 0, 0)
    (one,) = grouper.open.values()
    assert one.opened == 1000.0
    assert look(grouper, 1030) == (0, 0, 0)
    assert look(grouper, 1030 + QUIET - 1) == (0, 0, 0)
    changes = grouper.look("anomaly", 1030 + QUIET, [])
    assert [(closed.id, at) for closed, at in changes.closed] == [(one.id, 1030.0)]


def test_what_comes_back_before_that_is_the_same_incident() -> None:
    grouper = Grouper()
    for turn in range(60):
        at = 1000 + 40.0 * turn
        look(grouper, at, *([anomaly(since=at)] if turn % 2 else [anomaly(since=at), anomaly(since=at, channel="x")]))
        look(grouper, at + 10, *([anomaly(since=at)] if turn % 2 else []))
        look(grouper, at + 20)
    assert len(grouper.open) <= 1


def test_a_storm_is_one_incident_at_once() -> None:
    grouper = Grouper()
    storm = [
        anomaly(f"predis_{part}_m{n}", since=1000.0 + n % 50) for part in ("cache", "host", "gpu") for n in range(700)
    ]
    assert look(grouper, 1050, *storm) == (1, 0, 0)
    (one,) = grouper.open.values()
    assert len(one.series) == 2100
    incident = one.incident()
    assert incident.severity == "critical"
    assert len(incident.anomalies) == SHOWN
    assert incident.attributes["series"] == "2100"
    assert "2099 more series" in incident.title


def test_what_begins_elsewhere_later_is_another_incident_and_the_same_component_is_not() -> None:
    grouper = Grouper()
    first, drift = anomaly(tenant="shop"), anomaly("predis_cache_hits", tenant="shop", since=1000 + 5 * TOGETHER)
    other = anomaly("predis_host_load", since=1000 + 5 * TOGETHER)
    look(grouper, 1010, first)
    look(grouper, 1020, first)
    at = 1000 + 5 * TOGETHER
    assert look(grouper, at + 10, first, drift) == (0, 1, 0)
    look(grouper, at + 400, first, other)
    grouper.look("anomaly", at + 410, [first])
    far = anomaly("predis_gpu_power", since=at + YOUNG * 2)
    look(grouper, at + YOUNG * 2 + 10, first, far)
    assert look(grouper, at + YOUNG * 2 + 20, first, far) == (1, 0, 0)
    assert len(grouper.open) == 2


def test_two_detectors_do_not_end_each_others_anomalies() -> None:
    grouper = Grouper()
    for at in (1010.0, 1020.0):
        look(grouper, at, anomaly(), plugin="a")
        look(grouper, at, anomaly("predis_cache_hits"), plugin="b")
    (one,) = grouper.open.values()
    assert len(one.active) == 2
    for turn in range(100):
        assert look(grouper, 1030 + 10 * turn, plugin="b") == (0, 0, 0)
        look(grouper, 1030 + 10 * turn, anomaly(), plugin="a")
        look(grouper, 1032 + 10 * turn, plugin="b")
        assert len(one.active) == 1
    assert len(grouper.open) == 1


def test_an_old_incident_does_not_take_in_what_merely_begins_while_it_grows() -> None:
    grouper = Grouper()
    drifting: list[Anomaly] = []
    for turn in range(60):
        at = 1000.0 + 30 * turn
        drifting.append(anomaly(f"predis_cache_m{turn}", since=at))
        look(grouper, at + 5, *drifting)
        look(grouper, at + 10, *drifting)
    assert len(grouper.open) == 1
    elsewhere = anomaly("predis_host_load", since=at)
    look(grouper, at + 15, *drifting, elsewhere)
    assert look(grouper, at + 20, *drifting, elsewhere) == (1, 0, 0)


def test_an_incident_whose_detector_is_gone_is_closed() -> None:
    grouper = Grouper()
    for at in (1010.0, 1020.0):
        look(grouper, at, anomaly())
    assert grouper.forsaken(1030.0, {"anomaly"}) == []
    assert grouper.forsaken(1030.0 + QUIET + 100, {"anomaly"}) == []
    assert len(grouper.forsaken(1030.0 + QUIET + 100, set())) == 1
    for at in (3010.0, 3020.0):
        look(grouper, at, anomaly(since=3000.0))
    assert len(grouper.forsaken(3020.0 + FORSAKEN + 1, {"anomaly"})) == 1
    assert grouper.open == {}


def test_components_are_told_by_labels_or_else_by_the_metric() -> None:
    assert component_of(anomaly(tenant="shop")) == "tenant:shop"
    assert component_of(anomaly("predis_gpu_power_watts")) == "gpu"


def test_a_component_is_called_what_its_detector_calls_it_and_that_groups_nothing() -> None:
    # given two series of one component, and a third of it that begins long after both
    grouper = Grouper()
    found = [anomaly("predis_evicted_keys_total", component="cache"), anomaly("predis_hits_total", component="cache")]
    for at in (1010.0, 1020.0):
        look(grouper, at, *found)
    late = anomaly("predis_memory_used_bytes", since=1000.0 + YOUNG + 1, component="cache")
    for at in (1960.0, 1970.0):
        look(grouper, at, *found, late)
    # then people read one name, and the third is an incident of its own
    assert [one.incident().attributes["components"] for one in grouper.open.values()] == ["cache", "cache"]


SOME = st.builds(
    anomaly,
    st.sampled_from(["predis_a_x", "predis_b_x", "predis_c_x"]),
    st.sampled_from(["", "t1", "t2"]),
    st.sampled_from([1000.0, 1030.0, 1500.0, 5000.0]),
    st.floats(0, 1),
)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["p", "q"]), st.lists(SOME, max_size=6)), max_size=25))
def test_no_series_is_in_two_incidents_and_all_closes_in_the_end(turns: Iterable[tuple[str, list[Anomaly]]]) -> None:
    grouper, at, opened, closed = Grouper(), 1000.0, 0, 0
    for plugin, anomalies in turns:
        at += 10.0
        changes = grouper.look(plugin, at, anomalies)
        opened, closed = opened + len(changes.opened), closed + len(changes.closed)
        lasting = [key for one in grouper.open.values() for key in one.active]
        assert len(lasting) == len(set(lasting))
        seen = {(plugin, (a.series, a.channel)) for a in anomalies}
        assert seen <= set(lasting) | set(grouper._waiting)
    for _ in range(3):
        at += QUIET
        closed += sum(len(grouper.look(plugin, at, []).closed) for plugin in ("p", "q"))
    assert grouper.open == {}
    assert opened == closed


def test_an_incident_of_a_clock_that_was_ahead_is_over_once_it_was_quiet() -> None:
    grouper = Grouper()
    ahead = 1000.0 + 365 * 86400
    for at in (ahead, ahead + 10):
        look(grouper, at, anomaly(since=ahead))
    assert len(grouper.open) == 1
    look(grouper, 1010)  # the clock is right again
    assert look(grouper, 1010 + QUIET + 10) == (0, 0, 1)


def test_the_title_tells_of_what_is_off_still() -> None:
    back = dataclasses.replace(anomaly("load", score=0.9), value=0.5)
    one = Open("i1", 0.0, {})
    one.take("seer", back)
    assert one.incident().title == "load is off (shift): 0.5, expected 0 to 1"
    one.take("seer", anomaly("heat", score=0.8))
    assert one.incident().title == "heat is off (shift): 5, expected 0 to 1; 1 more series"


def test_what_is_back_within_its_band_is_told_with_the_value_that_was_off() -> None:
    """The newest value would say nothing: "0.5, expected 0 to 1"."""
    grouper = Grouper()
    off = anomaly()
    back = dataclasses.replace(off, time=off.time + 10, value=0.5)
    look(grouper, 1010, off)
    assert look(grouper, 1020, back) == (1, 0, 0)
    (one,) = grouper.open.values()
    assert one.incident().title == "predis_cache_load is off (shift): 5, expected 0 to 1"
    look(grouper, 1030, dataclasses.replace(off, time=off.time + 20, value=9.0))
    look(grouper, 1040, dataclasses.replace(back, time=off.time + 30))
    (kept,) = one.incident().anomalies
    assert (kept.value, kept.time) == (9.0, off.time + 30)
    again = dataclasses.replace(back, since=1050.0, time=1060.0)
    look(grouper, 1060, again)
    assert one.incident().anomalies == (again,)


def test_what_is_absent_has_a_title_without_a_number() -> None:
    grouper = Grouper()
    gone = dataclasses.replace(anomaly(channel="absence"), value=math.nan, low=3.0, high=3.0)
    look(grouper, 1010, gone)
    look(grouper, 1020, gone)
    (one,) = grouper.open.values()
    assert one.incident().title == "predis_cache_load is off (absence): no value, expected 3 to 3"


def test_a_flatline_has_a_title_that_says_that_nothing_moves() -> None:
    grouper = Grouper()
    for at in (1010, 1020):
        look(grouper, at, dataclasses.replace(anomaly(channel="flatline"), value=0.5))
    (one,) = grouper.open.values()
    title = one.incident().title
    assert title == "predis_cache_load is off (flatline): stays at 0.5, expected to move between 0 and 1"


def test_a_title_tells_large_numbers_as_the_axes_do() -> None:
    grouper = Grouper()
    large = dataclasses.replace(anomaly(), value=22_550.0, low=-math.inf, high=1.5e9)
    for at in (1010.0, 1020.0):
        look(grouper, at, large)
    (one,) = grouper.open.values()
    assert one.incident().title == "predis_cache_load is off (shift): 22.55k, expected -inf to 1.5G"


def test_a_title_says_what_of_a_histogram_is_off() -> None:
    for channel, what in (("shift.rate", "observations a second"), ("shift.mean", "mean")):
        grouper = Grouper()
        look(grouper, 1010, *(anomaly(f"predis_run_{n}_seconds", channel=channel) for n in range(MANY)))
        (one,) = grouper.open.values()
        assert one.incident().title.startswith(f"predis_run_0_seconds, {what}, is off ({channel}): 5, expected 0 to 1;")
