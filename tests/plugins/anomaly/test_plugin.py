"""The plugin as the agent uses it: snapshots in, anomalies with evidence out, over restarts and floods of series."""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agent.api import Anomaly, CacheAddress, Histogram, Host, Incident, Kind, MetricSpec, Sample, Snapshot
from agent.incidents.grouping import Grouper
from agent.plugin import wire_analysis
from plugins.anomaly.engine import flatline, state
from plugins.anomaly.plugin import STATE_FILE, AnomalyConfig
from plugins.anomaly.plugin import Anomaly as Plugin
from tests.plugins.remediation import NoHistory

GAUGE = MetricSpec("predis_level", Kind.gauge, "A level.", labels=("part",))
COUNTER = MetricSpec("predis_done_total", Kind.counter, "A count.")
LATENCY = MetricSpec("predis_took_seconds", Kind.histogram, "A time.", "seconds", bounds=(0.1, 1.0))
INFO = MetricSpec("predis_build_info", Kind.info, "What runs.", labels=("version",))
SPECS = {spec.name: spec for spec in (GAUGE, COUNTER, LATENCY, INFO)}
START, STEP = 1.7e9, 10.0


@pytest.fixture
def host(tmp_path: Path) -> Host:
    cache = CacheAddress(tmp_path / "cache.sock", "127.0.0.1", 0, None, tmp_path / "arena")
    return Host(tmp_path, cache, "test", logging.getLogger("test"))


def plugin(host: Host, **config: object) -> Plugin:
    made = Plugin(AnomalyConfig.model_validate(config))
    made.predis_start(host)
    return made


def snapshot(number: float, *samples: Sample) -> Snapshot:
    return Snapshot(START + number * STEP, {sample.key: sample for sample in samples}, SPECS)


def level(value: float, part: str = "a") -> Sample:
    return Sample(GAUGE.name, value, (part,))


def quiet(seed: int = 1) -> Callable[[], float]:
    drawn = random.Random(seed)
    return lambda: drawn.gauss(100.0, 5.0)


def own(made: Plugin) -> dict[tuple[str, tuple[str, ...]], float]:
    return {
        sample.key: float(sample.value) for sample in made.predis_collect() if not isinstance(sample.value, Histogram)
    }


def test_an_anomaly_has_its_evidence_and_stays_itself_as_long_as_it_lasts(host: Host) -> None:
    detector, value = plugin(host), quiet()
    for number in range(400):
        assert list(detector.predis_detect(snapshot(number, level(value())))) == []
    seen: list[Anomaly] = []
    for number in range(400, 405):
        (found,) = detector.predis_detect(snapshot(number, level(500.0 + number)))
        seen.append(found)
    first, last = seen[0], seen[-1]
    assert first.series == (GAUGE.name, ("a",))
    assert first.labels == ("part",)
    assert {one.key for one in seen} == {first.key}
    assert (first.since, last.time) == (START + 400 * STEP, START + 404 * STEP)
    assert (first.value, last.value) == (900.0, 904.0)
    assert 70 < first.low < 100 < first.high < 130
    assert first.channel == "deviation"
    assert first.p_value < 1e-4
    assert first.score > 0.7
    assert len(first.history) == 60
    assert first.history[-1] == (first.time, 900.0)
    assert [time for time, _ in first.history] == [START + number * STEP for number in range(341, 401)]
    # and it is over when the value is back
    for number in range(405, 409):
        over = list(detector.predis_detect(snapshot(number, level(100.0))))
    assert over == []
    assert own(detector)["predis_anomaly_opened_total", ()] == 1


def test_noise_gives_no_more_false_alerts_than_were_asked_for(host: Host) -> None:
    detector = plugin(host)
    values = [quiet(seed) for seed in range(300)]
    for number in range(500):
        detector.predis_detect(snapshot(number, *(level(value(), str(part)) for part, value in enumerate(values))))
    # 500 looks at 10 s are 1.4 hours, in which one false alert a day should mostly give none
    assert own(detector)["predis_anomaly_tests_total", ()] == 500 * 300
    assert own(detector)["predis_anomaly_opened_total", ()] <= 1


def test_counters_are_watched_as_rates_and_a_reset_is_none_of_them(host: Host) -> None:
    detector, drawn, count = plugin(host), random.Random(2), 0
    for number in range(400):
        count = 0 if number == 300 else count + drawn.randint(900, 1100)
        assert list(detector.predis_detect(snapshot(number, Sample(COUNTER.name, count)))) == []
    (found,) = detector.predis_detect(snapshot(400, Sample(COUNTER.name, count + 20_000)))
    assert found.value == 2000.0  # a second
    assert 80 < found.low < 100 < found.high < 120


def test_histograms_are_watched_as_rate_and_mean(host: Host) -> None:
    detector, drawn, counts, total = plugin(host), random.Random(3), [0, 0, 0], 0.0
    found: list[Anomaly] = []
    for number in range(402):
        counts[0] += drawn.randint(90, 110)
        total += 100 * drawn.uniform(0.04, 0.06) if number < 400 else 100 * 0.5
        value = Histogram((0.1, 1.0), (counts[0], counts[1], counts[2]), total)
        found = list(detector.predis_detect(snapshot(number, Sample(LATENCY.name, value))))
        assert number >= 400 or found == []
    assert [one.channel.partition(".")[2] for one in found] == ["mean"]
    assert found[0].value == pytest.approx(0.5, rel=0.2)
    assert own(detector)["predis_anomaly_series", ()] == 2


def test_infos_its_own_metrics_and_what_is_ignored_are_left_alone(host: Host) -> None:
    detector = plugin(host, ignore=["predis_do*"])
    mine = MetricSpec("predis_anomaly_series", Kind.gauge, "Its own.")
    specs = {**SPECS, mine.name: mine}
    samples = (Sample(INFO.name, 1, ("1",)), Sample(COUNTER.name, 5), Sample(mine.name, 3), level(1.0))
    detector.predis_detect(Snapshot(START, {sample.key: sample for sample in samples}, specs))
    assert own(detector)["predis_anomaly_series", ()] == 1


def test_a_series_that_is_gone_is_absent_until_it_is_back(host: Host) -> None:
    detector, value = plugin(host), quiet()
    for number in range(400):
        detector.predis_detect(snapshot(number, level(value()), level(value(), "b")))
    found = [list(detector.predis_detect(snapshot(number, level(value(), "b")))) for number in range(400, 405)]
    assert [len(one) for one in found] == [0, 0, 1, 1, 1]
    (gone,) = found[2]
    assert (gone.series, gone.channel, gone.since) == ((GAUGE.name, ("a",)), "absence", START + 400 * STEP)
    assert gone.history[-1][0] == START + 399 * STEP
    (sent,) = wire_analysis.load_anomalies([wire_analysis.dump(gone)])  # it runs in a process of its own
    assert (sent.channel, sent.low) == ("absence", gone.low)
    assert list(detector.predis_detect(snapshot(405, level(value()), level(value(), "b")))) == []


def test_series_that_come_and_go_are_no_anomalies(host: Host) -> None:
    detector, value = plugin(host), quiet()
    absent = 0
    for number in range(1700):
        parts = [str(part) for part in range(number // 400, number // 400 + 5)]
        found = detector.predis_detect(snapshot(number, *(level(value(), part) for part in parts)))
        absent += sum(one.channel == "absence" and one.time - one.since < 3 * STEP for one in found)
    assert absent <= 2  # the first were remarkable


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_values_that_are_no_numbers_are_left_out_and_spoil_nothing(host: Host, bad: float) -> None:
    detector, value = plugin(host), quiet()
    for number in range(400):
        given = bad if number % 7 == 3 or number > 395 else value()
        assert list(detector.predis_detect(snapshot(number, level(given)))) == []
    (found,) = detector.predis_detect(snapshot(400, level(900.0)))
    assert 70 < found.low < 100 < found.high < 130


@pytest.mark.parametrize("jump", [365 * 86400.0, -365 * 86400.0, 6 * 3600.0, -90.0])
def test_a_clock_that_jumps_and_a_gap_are_no_anomalies(host: Host, jump: float) -> None:
    detector, values = plugin(host), [quiet(seed) for seed in range(20)]

    def look(number: float) -> list[Anomaly]:
        return list(detector.predis_detect(snapshot(number, *(level(v(), str(p)) for p, v in enumerate(values)))))

    for number in range(400):
        assert look(number) == []
    told = [look(number + jump / STEP) for number in range(400, 500)]
    assert sum(len(found) for found in told) <= 2  # of 2,000 values, and none of them since it jumped
    assert told[0] == told[1] == []
    # and what is off is seen as before
    found = detector.predis_detect(snapshot(500 + jump / STEP, *(level(900.0, str(part)) for part in range(20))))
    assert len(list(found)) == 20


def test_nothing_at_all_is_no_anomaly(host: Host) -> None:
    detector, value = plugin(host), quiet()
    for number in range(10):
        assert list(detector.predis_detect(snapshot(number))) == []
    for number in range(10, 400):
        assert list(detector.predis_detect(snapshot(number, level(value())))) == []


def test_thousands_of_series_that_appear_and_vanish_leave_no_memory_behind(host: Host) -> None:
    detector, value = plugin(host, forget_after="1m"), quiet()
    steady = [level(value(), f"steady{part}") for part in range(10)]
    for number in range(5):
        flood = [level(value(), f"{number}-{part}") for part in range(3000)]
        detector.predis_detect(snapshot(number, *steady, *flood))
    most = own(detector)["predis_anomaly_state_bytes", ()]
    assert own(detector)["predis_anomaly_series", ()] == 15_010
    for number in range(5, 20):
        assert list(detector.predis_detect(snapshot(number, *steady))) == []
    assert own(detector)["predis_anomaly_series", ()] == 10
    assert own(detector)["predis_anomaly_state_bytes", ()] < most / 50


def test_what_is_over_the_limit_is_left_out_and_counted(host: Host) -> None:
    detector = plugin(host, limit=3)
    detector.predis_detect(snapshot(0, *(level(1.0, str(part)) for part in range(5))))
    detector.predis_detect(snapshot(1, *(level(1.0, str(part)) for part in range(5))))
    assert own(detector)["predis_anomaly_series", ()] == 3
    assert own(detector)["predis_anomaly_series_left_out", ()] == 2


def test_after_a_restart_it_goes_on_as_if_nothing_had_been(host: Host) -> None:
    value, other = quiet(), quiet()
    straight, stopped = plugin(host), plugin(host)
    for number in range(600):
        now = value()
        assert now == other()
        samples = (level(now if number < 500 else now + 300.0), Sample(COUNTER.name, number * 1000))
        expected = list(straight.predis_detect(snapshot(number, *samples)))
        if number in (450, 505):  # before and in the middle of an anomaly
            stopped.predis_stop()
            stopped = plugin(host)
            assert stopped.note == ""
        assert list(stopped.predis_detect(snapshot(number, *samples))) == expected
        assert (len(expected) > 0) == (number >= 500)


@pytest.mark.parametrize("rubbish", [b"", b"rubbish", b"predis-anomaly 1\n00\n{}\n"])
def test_a_damaged_state_is_told_and_learnt_anew(host: Host, rubbish: bytes) -> None:
    (host.data_dir / STATE_FILE).write_bytes(rubbish)
    detector = plugin(host)
    assert "learning anew" in detector.note
    detector.predis_detect(snapshot(0, level(1.0)))
    detector.predis_stop()
    assert plugin(host).note == ""


def test_another_methods_state_is_not_taken_up(host: Host) -> None:
    detector = plugin(host)
    detector.predis_detect(snapshot(0, level(1.0)))
    detector.predis_stop()
    assert own(plugin(host, method="zscore"))["predis_anomaly_series", ()] == 0
    assert own(plugin(host))["predis_anomaly_series", ()] == 1


def test_zscore_is_there_by_name(host: Host) -> None:
    detector, value = plugin(host, method="zscore"), quiet()
    for number in range(400):
        detector.predis_detect(snapshot(number, level(value())))
    (found,) = detector.predis_detect(snapshot(400, level(500.0)))
    assert found.channel == "deviation"
    assert 60 < found.low < found.high < 140


def test_rubbish_in_values_and_times_breaks_nothing(host: Host) -> None:
    detector, drawn = plugin(host), random.Random(4)
    strange = (float("nan"), float("inf"), -float("inf"), 1e308, -1e308, 0.0, 5e-324)
    for _ in range(300):
        number = drawn.choice((0.0, 1.0, 1e6, -1e6, drawn.uniform(0, 1e5)))
        samples = [level(drawn.choice(strange), str(part)) for part in range(drawn.randint(0, 9))]
        for found in detector.predis_detect(snapshot(number, Sample(COUNTER.name, drawn.choice(strange)), *samples)):
            assert 0 <= found.score <= 1
    detector.predis_stop()
    assert plugin(host).note == ""


def test_a_sensor_that_froze_is_told_with_its_evidence_until_it_moves_again(host: Host) -> None:
    detector, value = plugin(host), quiet()
    rows = 30.0 * np.arange(464)  # five minutes apart
    for number in rows[:400]:  # a day and nine hours
        assert list(detector.predis_detect(snapshot(number, level(value())))) == []
    found = [list(detector.predis_detect(snapshot(number, level(101.5)))) for number in rows[400:460]]
    assert [len(one) for one in found] == [0] * 15 + [1] * 45
    (frozen,) = found[-1]
    assert (frozen.channel, frozen.value, frozen.since) == ("flatline", 101.5, START + rows[415] * STEP)
    assert 70 < frozen.low < 100 < frozen.high < 130
    assert frozen.score > 0.8
    assert [value for _, value in frozen.history[-20:]] == [101.5] * 20
    assert own(detector)["predis_anomaly_open", ("flatline",)] == 1
    moving = [list(detector.predis_detect(snapshot(number, level(value())))) for number in rows[460:]]
    assert [len(one) for one in moving] == [1, 1, 0, 0]


def test_anomalies_incidents_and_causes_call_a_component_the_same(host: Host) -> None:
    # given numbers of the cache and of a tenant, which all jump
    evicted = MetricSpec("predis_evicted_keys", Kind.gauge, "Keys.")
    tenants = MetricSpec("predis_tenant_keys", Kind.gauge, "Keys.", labels=("tenant",))
    specs, detector, value, grouper = {s.name: s for s in (evicted, tenants)}, plugin(host), quiet(), Grouper()
    for number in range(405):
        jump = 1000.0 if number >= 400 else 0.0
        samples = [Sample(evicted.name, value() + jump), Sample(tenants.name, value() + jump, ("shop",))]
        taken = Snapshot(START + number * STEP, {sample.key: sample for sample in samples}, specs)
        found = wire_analysis.load_anomalies([wire_analysis.dump(one) for one in detector.predis_detect(taken)])
        grouper.look("anomaly", taken.time, found)
    # then each is called what the causes call it, in the plugin's own process as well
    assert {one.component for one in found} == {"cache", "tenant:shop"}
    (incident,) = (one.incident() for one in grouper.open.values())
    assert incident.attributes["components"] == "cache, tenant:shop"


def test_what_incidents_taught_survives_a_restart(host: Host) -> None:
    for day in range(3):
        # given an incident a day, in which part b is off half a minute after part a
        detector = plugin(host)
        at = START + day * 86400
        found = tuple(
            Anomaly((GAUGE.name, (part,)), ("part",), since, since, "deviation", 1.0, 0.0, 0.0, 0.9, 1e-6)
            for part, since in (("a", at), ("b", at + 30))
        )
        detector._topology = replace(detector._topology, components=((("predis_level",), "part:{part}", ""),))
        detector.predis_causes(Incident(f"i{day}", at, "off", found), NoHistory())
        for number in range(20):
            detector.predis_detect(snapshot(day * 8640 + number, level(1.0)))
        detector.predis_stop()
    again = plugin(host)
    assert again._learned.edges(START + 2 * 86400) == {("part:b", "part:a"): 3}
    assert 10 <= again._watch.interval < 11  # the days between are no intervals


def test_a_state_of_before_flatlines_were_watched_is_taken_up(host: Host) -> None:
    detector = plugin(host)
    for number in range(50):
        detector.predis_detect(snapshot(number, level(100.0 + number % 7)))
    detector.predis_stop()
    found = state.load(host.data_dir / STATE_FILE)
    assert found is not None
    about, arrays = found
    state.save(host.data_dir / STATE_FILE, about, {n: a for n, a in arrays.items() if n not in flatline.FIELDS})
    again = plugin(host)
    assert again.note == ""
    assert own(again)["predis_anomaly_series", ()] == 1
    (found_now,) = again.predis_detect(snapshot(50, level(900.0)))
    assert found_now.channel == "deviation"
