"""From an incident and the history to causes: which series are read, and what is said of them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from agent.api import Anomaly, Incident, Kind, MetricSpec
from agent.metrics import self_metrics
from agent.metrics.docs import shipped_entry_points, specs_of
from agent.metrics.model import SeriesKey
from agent.own_specs import SPECS as OWN
from plugins.anomaly.cause.explain import explain
from plugins.anomaly.cause.signatures import load
from plugins.anomaly.cause.topology import Topology

SPECS: dict[str, MetricSpec] = {spec.name: spec for point in shipped_entry_points() for spec in specs_of(point)}
SPECS |= {spec.name: spec for spec in OWN if spec.name == "predis_supervisor_restarts_total"}
START, ROWS = 1_000_000.0, 60
OPENED = START + 10 * (ROWS - 6)


class Kept:
    """A history in a dictionary."""

    def __init__(self, values: dict[SeriesKey, list[float]]) -> None:
        self._values = values

    def keys(self, metric: str) -> Sequence[SeriesKey]:
        return [key for key in self._values if key[0] == metric]

    def points(self, key: SeriesKey, start: float, end: float) -> Sequence[tuple[float, float]]:
        rows = [(START + 10 * row, value) for row, value in enumerate(self._values.get(key, []))]
        return [(time, value) for time, value in rows if start <= time <= end]

    def points_of(
        self, keys: Iterable[SeriesKey], start: float, end: float
    ) -> Iterator[tuple[SeriesKey, Sequence[tuple[float, float]]]]:
        return ((key, self.points(key, start, end)) for key in keys)

    def latest(self, keys: Iterable[SeriesKey]) -> dict[SeriesKey, tuple[float, float]]:
        return {key: self.points(key, 0, 1e12)[-1] for key in keys}


def calm(level: float) -> list[float]:
    return [level * (1 + 0.01 * (row % 3)) for row in range(ROWS)]


def from_opening(level: float, now: float) -> list[float]:
    return [*calm(level)[:-6], *[now] * 6]


def counted(rates: list[float]) -> list[float]:
    total, counts = 0.0, []
    for rate in rates:
        total += 10 * rate
        counts.append(total)
    return counts


def anomaly(metric: str, *labels: str) -> Anomaly:
    names = SPECS[metric].labels
    return Anomaly((metric, labels), names, OPENED, OPENED + 50, "deviation", 1, 0, 0, 0.99, 1e-6)


def history(**changed: list[float]) -> Kept:
    values: dict[SeriesKey, list[float]] = {
        ("predis_keyspace_hits_total", ()): counted(calm(900)),
        ("predis_keyspace_misses_total", ()): counted(calm(100)),
        ("predis_evicted_keys_total", ()): counted(calm(10)),
        ("predis_cache_start_time_seconds", ()): [5e5] * ROWS,
        ("predis_host_cpu_busy_ratio", ()): calm(0.3),
        ("predis_gpu_temperature_celsius", ("0",)): calm(60),
        ("predis_gpu_throttled", ("0", "thermal")): [0.0] * ROWS,
        ("predis_gpu_clock_hertz", ("0", "sm")): calm(1.7e9),
        ("predis_tenant_commands_total", ("shop",)): counted(calm(500)),
        ("predis_tenant_throttled_total", ("shop",)): counted([0.0] * ROWS),
        ("predis_tenant_commands_total", ("news",)): counted(calm(500)),
        ("predis_supervisor_restarts_total", ("requested",)): [1.0] * ROWS,
        ("predis_supervisor_restarts_total", ("killed",)): [0.0] * ROWS,
    }
    values.update({next(key for key in values if key[0] == metric): rows for metric, rows in changed.items()})
    return Kept(values)


def causes(incident: Incident, kept: Kept, **options: object) -> list[tuple[str, str]]:
    found = explain(incident, kept, SPECS, topology=Topology.load(), signatures=load(), **options)  # type: ignore[arg-type]
    return [(cause.component, cause.signature) for cause in found]


def incident(*anomalies: Anomaly) -> Incident:
    return Incident("i-1", OPENED, "slow", anomalies)


def test_a_throttled_gpu_is_behind_a_cache_that_does_less() -> None:
    kept = history(
        predis_gpu_throttled=from_opening(0, 1), predis_gpu_clock_hertz=from_opening(1.7e9, 0.8e9),
        predis_keyspace_hits_total=counted(from_opening(900, 600)),
    )  # fmt: skip
    assert causes(incident(anomaly("predis_keyspace_hits_total")), kept)[0] == ("gpu:0", "gpu throttling")


def test_a_busy_host_is_found_without_a_signature_and_each_component_once() -> None:
    kept = history(predis_host_cpu_busy_ratio=from_opening(0.3, 0.99))
    found = causes(incident(anomaly("predis_keyspace_hits_total")), kept)
    assert found[0] == ("host", "")
    assert len({component for component, _ in found}) == len(found)


RESTARTED = {"predis_cache_start_time_seconds": [*[5e5] * (ROWS - 4), *[OPENED + 15] * 4]}
REQUESTED = {"predis_supervisor_restarts_total": [*[1.0] * (ROWS - 4), *[2.0] * 4]}  # the first of them is "requested"


def test_a_restart_that_was_asked_for_comes_after_what_may_have_been_the_reason() -> None:
    flood: dict[str, list[float]] = {
        "predis_tenant_commands_total": counted(from_opening(500, 9000)),
        "predis_tenant_throttled_total": counted([0.0] * (ROWS - 6) + [300.0] * 6),
    }
    busy = {"predis_host_cpu_busy_ratio": from_opening(0.3, 0.99)}
    suffering = incident(anomaly("predis_tenant_commands_total", "shop"), anomaly("predis_host_cpu_busy_ratio"))
    found = causes(suffering, history(**flood, **busy, **RESTARTED, **REQUESTED))
    assert found[0] == ("tenant:shop", "noisy tenant")
    assert found[1] == ("host", ""), "also what is only ranked comes before"
    assert ("cache", "cache restarted on request") in found[2:]
    # it is told where there is room for few
    few = causes(suffering, history(**flood, **busy, **RESTARTED, **REQUESTED), limit=2)
    assert few == [("tenant:shop", "noisy tenant"), ("cache", "cache restarted on request")]
    assert causes(suffering, history(**flood, **RESTARTED, **REQUESTED), limit=1) == few[:1]
    # one that nobody asked for is a cause as before
    found = causes(suffering, history(**flood, **busy, **RESTARTED))
    assert found[:2] == [("tenant:shop", "noisy tenant"), ("cache", "cache restarted")]


def test_a_restart_that_was_asked_for_is_told_with_what_the_cache_suffered_from() -> None:
    pressure = {
        "predis_evicted_keys_total": counted(from_opening(10, 5000)),
        "predis_keyspace_hits_total": counted(from_opening(900, 500)),
        "predis_keyspace_misses_total": counted(from_opening(100, 500)),
    }
    kept = history(**pressure, **REQUESTED, **RESTARTED)
    full = incident(anomaly("predis_evicted_keys_total", "capacity"))
    signatures = [one for one in load() if not one.name.startswith("cold cache")]
    (first, *_) = explain(full, kept, SPECS, topology=Topology.load(), signatures=signatures)
    assert (first.component, first.signature) == ("cache", "memory pressure")
    assert "the cache is full" in first.why
    assert "; its process was replaced, since a rule, a changed configuration or a person asked for that: " in first.why
    assert ("predis_cache_start_time_seconds", ()) in first.series


def test_one_that_died_besides_is_not_hidden_by_one_that_was_asked_for() -> None:
    kept = history(**RESTARTED, **REQUESTED)
    kept._values["predis_supervisor_restarts_total", ("killed",)] = [*[0.0] * (ROWS - 2), 1.0, 1.0]
    found = causes(incident(anomaly("predis_keyspace_hits_total")), kept)
    assert found[0] == ("cache", "cache restarted unasked")


def test_a_tenant_that_floods_is_told_from_one_that_suffers() -> None:
    kept = history(
        predis_tenant_commands_total=counted(from_opening(500, 9000)),
        predis_tenant_throttled_total=counted([0.0] * (ROWS - 6) + [300.0] * 6),
    )
    suffering = anomaly("predis_tenant_hits_total", "news")
    assert causes(incident(suffering, anomaly("predis_tenant_commands_total", "shop")), kept)[0] == (
        "tenant:shop",
        "noisy tenant",
    )


def test_the_row_in_which_it_began_is_no_part_of_what_is_usual() -> None:
    """A detector looks a moment after the row was collected; the row in which most is evicted is the first."""
    evicted = [*[0.0] * (ROWS - 6), 20_000.0, *[300.0] * 5]
    kept = Kept(
        {
            ("predis_memory_max_bytes", ()): from_opening(64e6, 8e6),
            ("predis_evicted_keys_total", ("capacity",)): counted(evicted),
        }
    )
    alarm = anomaly("predis_memory_max_bytes")
    for late in (0.0, 4.0):
        found = incident(replace(alarm, since=OPENED + late, time=OPENED + 50 + late))
        assert causes(found, kept)[0] == ("cache", "memory limit lowered")


def test_a_counter_that_starts_anew_is_no_move() -> None:
    restarted = counted(calm(900))
    restarted[-3:] = [value - restarted[-4] for value in restarted[-3:]]
    assert causes(incident(anomaly("predis_host_cpu_busy_ratio")), history(predis_keyspace_hits_total=restarted)) == []


def test_edges_of_the_user_count() -> None:
    specs = {
        **SPECS,
        "shop_latency": MetricSpec("shop_latency", Kind.gauge, "x"),
        "bank": MetricSpec("bank", Kind.gauge, "x"),
    }
    kept = Kept({("shop_latency", ()): from_opening(1, 3), ("bank", ()): from_opening(1, 3)})
    alarm = Anomaly(("shop_latency", ()), (), OPENED, OPENED + 50, "deviation", 3, 0, 1, 0.99, 1e-6)

    def first(edges: list[tuple[str, str]]) -> str:
        found = explain(incident(alarm), kept, specs, topology=Topology.load(), signatures=[], edges=edges)
        return found[0].component

    assert first([("shop_latency", "bank")]) == "bank"
    assert first([("bank", "shop_latency")]) == "shop_latency"


def test_when_there_is_no_more_time_what_is_read_is_ranked_that_of_the_incident_first() -> None:
    kept = history(predis_host_cpu_busy_ratio=from_opening(0.3, 0.99))
    asked: list[SeriesKey] = []
    whole, late = incident(anomaly("predis_host_cpu_busy_ratio")), kept.points

    def points(key: SeriesKey, start: float, end: float) -> Sequence[tuple[float, float]]:
        asked.append(key)
        return late(key, start, end)

    kept.points = points  # type: ignore[method-assign]
    assert causes(whole, kept, within=0.0) == [("host", "")]
    assert asked == [("predis_host_cpu_busy_ratio", ())]
    assert causes(whole, kept) == [("host", "")]
    assert len(asked) > 10


def test_how_often_something_was_timed_is_told_as_such_and_a_ratio_without_a_unit() -> None:
    specs = {**SPECS, **{spec.name: spec for spec in self_metrics.SPECS}}
    run = ("predis_plugin_run_duration_seconds", ("anomaly",))
    kept = Kept(
        {
            ("predis_host_cpu_busy_ratio", ()): from_opening(0.3, 0.99),
            ("predis_network_bytes_total", ("out",)): counted(from_opening(1e5, 1e6)),
            run: counted(from_opening(2, 30)),
        }
    )
    opened = replace(incident(anomaly("predis_host_cpu_busy_ratio")), opened=OPENED - 8)
    found = explain(opened, kept, specs, topology=Topology.load(), signatures=[])
    why = {cause.component: cause.why for cause in found}
    assert (
        "its observations of predis_plugin_run_duration_seconds{anomaly} rose from 2.02 to 30 a second, "
        in (why["plugin:anomaly"])
    )
    assert "rose from 0.303 to 0.99, " in why["host"]
    assert "rose from 101k to 1M bytes a second, " in why["cache"]
    # and when it did is told from when the incident is shown to have begun, though the alarm was later
    assert " UTC on (8 s after the incident began)." in why["host"]


def test_an_incident_without_anomalies_has_no_causes() -> None:
    assert causes(incident(), history()) == []


def test_an_idle_cpu_is_no_cause() -> None:
    """The time that a CPU is idle rises when others stop to work: it says nothing of causes."""
    topology = Topology.load()
    assert topology.is_harmless("predis_host_cpu_seconds_total", {"mode": "idle"})
    assert not topology.is_harmless("predis_host_cpu_seconds_total", {"mode": "steal"})
    assert not topology.is_harmless("predis_memory_used_bytes", {})
