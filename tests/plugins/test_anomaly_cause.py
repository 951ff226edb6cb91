"""The ranking of probable causes: balance, shift, order and graph."""

import json
import math
import random
import re
from dataclasses import replace
from datetime import UTC, datetime, time
from pathlib import Path

import pytest

from agent.api import PredisError
from bench.evaluation.cause import inject, injected, interval, largest_shift, ours, shares
from plugins.anomaly.cause.account import account
from plugins.anomaly.cause.evaluation import evaluate, read_graph, read_table
from plugins.anomaly.cause.graph import Graph
from plugins.anomaly.cause.model import Cause, Meaning, Observed
from plugins.anomaly.cause.rank import rank
from plugins.anomaly.cause.shift import shift_of
from plugins.anomaly.cause.topology import Topology
from tests.servers import ROOT

PETSHOP = ROOT.parent / "shared/data/rca/petshop"
STEP, BEFORE, DURING = 60.0, 120, 6
ALARM = BEFORE * STEP
# The front calls search and pay; search calls the table; a batch job is called by nobody.
EDGES = [("front", "search"), ("front", "pay"), ("search", "table"), ("pay", "bank")]
REQUESTS = {"front": 500.0, "search": 800.0, "table": 900.0, "pay": 100.0, "bank": 100.0, "batch": 20.0}
LATENCY = {"front": 0.1, "search": 0.006, "table": 0.013, "pay": 0.2, "bank": 0.05, "batch": 3.0}


def incident(
    slower: dict[str, float] | None = None,
    failing: dict[str, float] | None = None,
    silent: tuple[str, ...] = (),
    late: tuple[str, ...] = (),
) -> list[Observed]:
    """Two hours of calm and six minutes of trouble: seconds added per request, percent failing, no requests at all."""
    chance = random.Random(3)
    found = []
    for name in REQUESTS:
        rows: dict[Meaning, list[tuple[float, float]]] = {meaning: [] for meaning in Meaning}
        for row in range(BEFORE + DURING):
            wrong = row >= BEFORE + (3 if name in late else 0)
            time = row * STEP
            requests = 0.0 if wrong and name in silent else REQUESTS[name] * chance.gauss(1, 0.03)
            latency = LATENCY[name] * chance.gauss(1, 0.05) + (slower or {}).get(name, 0.0) * wrong
            rows[Meaning.requests].append((time, requests))
            rows[Meaning.latency].append((time, latency if requests else math.nan))
            rows[Meaning.availability].append(
                (time, 100 - (failing or {}).get(name, 0.0) * wrong if requests else math.nan)
            )
        for meaning in (Meaning.requests, Meaning.latency, Meaning.availability):
            points = rows[meaning]
            found.append(Observed((meaning.value, (name,)), name, meaning, points[:BEFORE], points[BEFORE:]))
    return found


def ranked(
    series: list[Observed], meaning: Meaning = Meaning.latency, edges: list[tuple[str, str]] = EDGES
) -> list[str]:
    return [cause.component for cause in rank(series, edges, "front", alarm=ALARM, meaning=meaning)]


def test_the_slow_service_comes_before_its_callers_and_what_it_calls() -> None:
    # 25 seconds a minute more at the front: they are search's, not the table's.
    assert ranked(incident({"front": 0.05, "search": 0.031}))[0] == "search"


def test_a_slow_leaf_comes_before_those_who_wait_for_it() -> None:
    assert ranked(incident({"front": 0.05, "search": 0.031, "table": 0.028}))[:2] == ["table", "search"]


def test_what_is_unusual_but_too_small_to_matter_comes_after_what_accounts_for_the_alarm() -> None:
    # The bank is 12 times slower, by a tenth of the time that the front lost; search is 6 times slower.
    series = incident({"front": 0.05, "search": 0.031, "bank": 0.02})
    assert ranked(series)[0] == "search"
    # Without the graph and the balance the shift alone would say the same of both.
    causes = {cause.component: cause for cause in rank(series, EDGES, "front", alarm=ALARM, meaning=Meaning.latency)}
    assert causes["search"].score > 2 * causes["bank"].score


def test_the_balance_tells_what_is_a_components_own() -> None:
    series = incident({"front": 0.05, "search": 0.031, "table": 0.028})
    balance = account(series, Graph(EDGES), "front", "time", ALARM)
    assert balance is not None
    assert balance.total == pytest.approx(25, rel=0.2)
    assert balance.burdens["table"].extra == pytest.approx(25, rel=0.2)
    assert balance.burdens["table"].own == 1
    assert balance.burdens["search"].own < 0.2
    assert balance.burdens["front"].own < 0.2
    assert balance.burdens["pay"].share < 0.1
    assert account(series, Graph(EDGES), "front", "failures", ALARM) is None  # nothing fails
    assert account(series, Graph(EDGES), "nobody", "time", ALARM) is None


def test_that_there_is_more_to_do_is_no_fault() -> None:
    # Twice the requests spend twice the time everywhere; only the bank is slower.
    series = [
        replace(o, during=[(time, 2 * value) for time, value in o.during]) if o.meaning is Meaning.requests else o
        for o in incident({"front": 0.05, "pay": 0.25, "bank": 0.25})
    ]
    assert ranked(series)[:2] == ["bank", "pay"]
    balance = account(series, Graph(EDGES), "front", "time", ALARM)
    assert balance is not None
    assert balance.total == pytest.approx(50, rel=0.2)  # not the 100 seconds that twice the requests would take more
    assert balance.burdens["search"].share < 0.1


def test_what_the_alarmed_service_does_not_depend_on_comes_last() -> None:
    series = incident({"front": 0.05, "search": 0.031, "batch": 30.0})
    names = ranked(series)
    assert names[0] == "search"
    without_graph = ranked(series, edges=[])
    assert without_graph.index("batch") < names.index("batch") or without_graph[0] == "batch"


def test_a_failing_service_is_found_by_its_failures() -> None:
    series = incident(slower={"pay": 0.02}, failing={"front": 4.0, "search": 2.5})
    assert ranked(series, Meaning.availability)[0] == "search"


def test_a_failing_leaf_comes_before_those_whose_requests_fail_with_it() -> None:
    # Thirty requests a minute fail at all three.
    series = incident(failing={"front": 6.0, "search": 3.75, "table": 3.4})
    assert ranked(series, Meaning.availability)[:2] == ["table", "search"]


def test_a_few_failures_say_nothing_of_a_slow_front() -> None:
    slow = {"front": 0.05, "search": 0.031}
    scores = []
    for failing in ({}, {"front": 0.1, "bank": 0.5}):
        causes = rank(incident(slow, failing), EDGES, "front", alarm=ALARM, meaning=Meaning.latency)
        scores.append({cause.component: cause.score for cause in causes}.get("bank", 0.0))
    assert scores[1] < scores[0] + 0.1


def test_a_dead_service_is_found_by_the_requests_that_no_longer_reach_it() -> None:
    series = incident(failing={"front": 20.0}, silent=("pay", "bank"))
    names = ranked(series, Meaning.availability)
    assert names[0] == "pay"
    assert names.index("pay") < (names.index("bank") if "bank" in names else 99)


def test_requests_that_are_no_longer_made_are_not_lost_ones() -> None:
    # Nobody fails: that the bank is not asked any more is not behind the slow front.
    names = ranked(incident({"front": 0.05, "search": 0.031}, silent=("bank",)))
    assert names[0] == "search"
    assert "bank" not in names[:2]


def test_a_move_that_began_after_the_alarm_counts_less() -> None:
    calm = [(STEP * row, 0.3 + 0.01 * (row % 2)) for row in range(BEFORE)]
    busy = [(STEP * row, 0.9) for row in range(BEFORE, BEFORE + DURING)]
    late = [(time, 0.3) for time, _ in busy[:3]] + busy[3:]
    front = Observed(("latency", ("front",)), "front", Meaning.latency, calm, busy)
    early_cpu, late_cpu = (
        Observed(("cpu", (name,)), name, Meaning.state, calm, rows) for name, rows in (("a", busy), ("b", late))
    )
    edges = [("front", "a"), ("front", "b")]
    causes = rank([front, late_cpu, early_cpu], edges, "front", alarm=ALARM, meaning=Meaning.latency)
    assert [cause.component for cause in causes][:2] == ["a", "b"]
    assert causes[1].score < 0.9 * causes[0].score


def test_why_is_one_sentence_with_the_numbers() -> None:
    cause = rank(incident({"front": 0.05, "search": 0.031}), EDGES, "front", alarm=ALARM, meaning=Meaning.latency)[0]
    assert cause.why.startswith("search: its latency rose from 0.006")
    assert " to 0.037" in cause.why
    assert re.search(r"accounts for 9\d% of the extra time at front", cause.why)
    assert cause.why.endswith(".")
    assert ". " not in cause.why
    assert "\n" not in cause.why
    assert ("latency", ("search",)) in cause.series


def test_when_it_moved_is_told_against_when_the_incident_began_and_in_which_zone() -> None:
    # given a component that moved, an alarm, and an incident that is said to have begun 50 s earlier
    series = incident({"front": 0.05, "search": 0.031})
    for began, told in ((None, ALARM), (ALARM - 50.4, ALARM - 50.4)):
        why = rank(series, EDGES, "front", alarm=ALARM, meaning=Meaning.latency, began=began)[0].why
        match = re.search(r"from ([0-9:]{8}) UTC on(?: \((\d+) s (before|after) the incident began\))?", why)
        assert match
        at = datetime.combine(datetime.fromtimestamp(ALARM, UTC), time.fromisoformat(match[1]), UTC).timestamp()
        # then the distance is that of the two times that are shown
        apart = {None: 0, "before": -1, "after": 1}[match[3]] * int(match[2] or 0)
        assert apart == at - math.floor(told)
        assert "alarm" not in why


def test_without_requests_the_shifts_and_the_graph_decide() -> None:
    series = [o for o in incident({"front": 0.05, "search": 0.031, "table": 0.028}) if o.meaning is Meaning.latency]
    assert ranked(series)[0] == "table"


def test_nothing_is_said_of_nothing() -> None:
    assert rank([], EDGES, "front", alarm=ALARM) == []
    empty = Observed(("x", ()), "front", Meaning.state, [], [])
    gaps = Observed(("y", ()), "front", Meaning.latency, [(0.0, math.nan)], [(60.0, math.nan)])
    assert rank([empty, gaps], [], "front", alarm=ALARM) == []
    assert shift_of(empty) is None


def test_a_cycle_and_a_loop_in_the_graph_do_no_harm() -> None:
    edges = [*EDGES, ("table", "front"), ("search", "search")]
    assert Graph(edges).distances("front") == {"front": 0, "search": 1, "pay": 1, "table": 2, "bank": 2}
    assert ranked(incident({"front": 0.05, "search": 0.031}), edges=edges)[0] == "search"


def test_a_level_that_drifted_long_ago_is_no_move() -> None:
    long_ago = [(float(row), 100.0 + row % 3) for row in range(100)]
    today = [(1e6 + 60 * row, 150.0) for row in range(3)]
    during = [(1e6 + 60 * row, 151.0) for row in range(3, 6)]
    shift = shift_of(Observed(("x", ()), "a", Meaning.state, long_ago + today, during))
    assert shift is not None
    assert abs(shift.spreads) < 1
    jump = shift_of(Observed(("x", ()), "a", Meaning.state, long_ago + today, [(t, 300.0) for t, _ in during]))
    assert jump is not None
    assert jump.spreads > 10
    assert jump.onset == during[0][0]


def test_our_own_metrics_have_components_and_edges() -> None:
    topology = Topology.load()
    assert topology.component("predis_gpu_temperature_celsius", {"gpu": "0"}) == "gpu:0"
    assert topology.component("predis_gpu_devices", {}) == "gpu"
    assert topology.component("predis_tenant_keys", {"tenant": "shop"}) == "tenant:shop"
    assert topology.component("predis_keyspace_hits_total", {}) == "cache"
    assert topology.component("predis_host_load_average", {"window": "1m"}) == "host"
    assert topology.component("my_metric", {}) == "my_metric"
    assert topology.meaning("predis_command_duration_seconds") is Meaning.latency
    assert topology.meaning("predis_host_load_average") is Meaning.state
    edges = topology.edges(["cache", "host", "gpu:0", "gpu:1", "tenant:shop"])
    assert ("cache", "gpu:1") in edges
    assert ("tenant:shop", "cache") in edges
    assert ("host", "cache") not in edges
    assert set(Graph(edges).distances("tenant:shop")) == {"tenant:shop", "cache", "host", "gpu:0", "gpu:1"}


def test_a_topology_that_is_wrong_is_named(tmp_path: Path) -> None:
    path = tmp_path / "topology.toml"
    path.write_text('[[edge]]\nfrom = "cache"\n')
    with pytest.raises(ValueError, match=r"topology\.toml.*'to'"):
        Topology.load(path)


def table(path: Path, rows: list[list[str]]) -> None:
    path.write_text("\n".join(",".join(row) for row in rows) + "\n", encoding="utf-8")


def recorded(folder: Path) -> Path:
    """The files of one incident in the form of PetShop: search gets slow."""
    names = ["front", "search", "pay"]
    heads = [["microservice"], ["metric"], ["statistic"]]
    for metric, statistic in (("latency", "Average"), ("requests", "Sum"), ("availability", "Average")):
        for name in names:
            for head, word in zip(heads, (name, metric, statistic), strict=True):
                head.append(word)
    index = [["unix_timestamp", *[""] * (len(heads[0]) - 1)]]

    def row(time: int, slow: bool) -> list[str]:
        wobble = 1 + 0.02 * (time // 300 % 3)
        latency = [0.1 + 0.05 * slow, 0.006 + 0.031 * slow, 0.2]
        return [str(time), *(f"{v * wobble}" for v in [*latency, 500, 800, 100]), "100", "100", ""]

    table(folder / "normal.csv", [*heads, *index, *(row(300 * k, False) for k in range(100))])
    table(folder / "metrics.csv", [*heads, *index, *(row(90000 + 300 * k, k in (2, 3)) for k in range(5))])
    table(
        folder / "graph.csv",
        [["", *names], ["front", "0", "1", "1"], ["search", "0", "0", "0"], ["pay", "0", "0", "0"]],
    )
    case = {
        "target": {"node": "front", "metric": "latency", "agg": "Average", "timestamp": 90650},
        "metrics": "metrics.csv",
        "normal": "normal.csv",
        "graph": "graph.csv",
    }
    cases = folder / "cases.json"
    cases.write_text(json.dumps({"one": {**case, "cause": ["pay"]}, "two": case}))
    return cases


def test_the_evaluation_writes_a_ranking_per_incident_and_reads_no_cause(tmp_path: Path) -> None:
    cases = recorded(tmp_path)
    evaluate(cases, tmp_path / "out.json", tmp_path)
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["one"] == found["two"]
    assert found["one"][0] == "search"
    assert read_graph(tmp_path / "graph.csv") == [("front", "search"), ("front", "pay")]


def test_cases_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    cases = recorded(tmp_path)
    with pytest.raises(PredisError, match=r"cases\.json, one: .*elsewhere/normal\.csv cannot be read: no such file"):
        evaluate(cases, tmp_path / "out.json", tmp_path / "elsewhere")
    for text, complaint in (
        ('{"one": ', "is no JSON"),
        ("[]", "must be an object with an entry per incident, and is a list"),
        ('{"one": {"target": {}}}', "one: needs target .*, metrics, normal and graph: KeyError"),
        ('{"one": 3}', "one: needs target .*, metrics, normal and graph: TypeError"),
    ):
        cases.write_text(text)
        with pytest.raises(PredisError, match=rf"cases\.json,? {complaint}"):
            evaluate(cases, tmp_path / "out.json", tmp_path)
    assert not (tmp_path / "out.json").exists()


@pytest.mark.parametrize(
    ("key", "content", "complaint"),
    [
        ("metrics", b"a,b\n1,2\n", "broken.csv: needs three header rows"),
        ("normal", b"\xff\xfe", "broken.csv is no CSV in UTF-8"),
        ("graph", b",front,search\nfront,0\n", "broken.csv: is no matrix"),
        ("graph", None, "broken.csv cannot be read: no such file"),
    ],
)
def test_a_broken_incident_costs_no_other(tmp_path: Path, key: str, content: bytes | None, complaint: str) -> None:
    cases = recorded(tmp_path)
    both = json.loads(cases.read_text())
    both["one"][key] = "broken.csv"
    if content is not None:
        (tmp_path / "broken.csv").write_bytes(content)
    cases.write_text(json.dumps(both))
    with pytest.raises(PredisError) as told:
        evaluate(cases, tmp_path / "out.json", tmp_path)
    first, rest = str(told.value).splitlines()
    assert first.startswith(f"{cases}, one: ")
    assert complaint in first
    assert rest == f"The others (1) are in {tmp_path / 'out.json'}."
    found = json.loads((tmp_path / "out.json").read_text())
    assert list(found) == ["two"]
    assert found["two"][0] == "search"


def test_an_alarm_after_all_rows_still_has_an_incident(tmp_path: Path) -> None:
    cases = recorded(tmp_path)
    late = json.loads(cases.read_text())
    late["one"]["target"]["timestamp"] = 1e9
    cases.write_text(json.dumps(late))
    evaluate(cases, tmp_path / "out.json", tmp_path)
    assert json.loads((tmp_path / "out.json").read_text())["one"]


def test_an_incident_of_which_nothing_was_recorded_has_no_ranking_and_costs_no_other(tmp_path: Path) -> None:
    cases = recorded(tmp_path)
    both = json.loads(cases.read_text())
    both["two"]["metrics"] = "nothing.csv"
    lines = (tmp_path / "metrics.csv").read_text().splitlines(keepends=True)
    (tmp_path / "nothing.csv").write_text("".join(lines[:4]))
    both["one"]["target"]["timestamp"] = "1970-01-02T01:10:50Z"  # the same time
    cases.write_text(json.dumps(both))
    evaluate(cases, tmp_path / "out.json", tmp_path)
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["two"] == []
    assert found["one"][0] == "search"
    both["one"]["target"]["timestamp"] = "yesterday"
    cases.write_text(json.dumps(both))
    with pytest.raises(PredisError, match="'yesterday' is no time"):
        evaluate(cases, tmp_path / "out.json", tmp_path)


def test_a_table_of_another_form_is_named(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(PredisError, match=r"metrics\.csv: needs three header rows"):
        read_table(path)


@pytest.mark.skipif(not PETSHOP.is_dir(), reason="no recorded incidents: put shared/data beside the project")
def test_on_real_traffic_with_faults_at_every_service_ours_beats_the_largest_shift() -> None:
    places: dict[str, list[float]] = {"ours": [], "shift": []}
    for case in injected(PETSHOP, 16, seed=5):
        for name, ranking in (("ours", ours), ("shift", largest_shift)):
            found = ranking(case)
            places[name].append(found.index(case.cause) + 1 if case.cause in found else math.inf)
    assert shares(places["ours"])["top3"] >= 0.6
    assert shares(places["ours"])["top3"] > shares(places["shift"])["top3"]


def test_the_interval_of_a_share_is_that_of_the_incidents() -> None:
    assert interval([1.0, 2.0, 3.0] * 5) == (1.0, 1.0)
    low, high = interval([1.0, 4.0] * 50)
    assert (low, high) == (pytest.approx(0.4, abs=0.03), pytest.approx(0.6, abs=0.03))  # 0.5 ± 1.96 · √(0.25 / 100)


@pytest.mark.skipif(not PETSHOP.is_dir(), reason="no recorded incidents: put shared/data beside the project")
def test_an_injected_fault_reaches_the_front_and_leaves_what_was_before_alone() -> None:
    normal = read_table(PETSHOP / "low_traffic/noissue/metrics.csv")
    edges = read_graph(PETSHOP / "low_traffic/graph.csv")
    copy = {key: list(points) for key, points in normal.items()}
    case = inject(normal, edges, "petInfo_AWS::DynamoDB::Table", "slow", random.Random(1))
    assert normal == copy
    latency = [value for _, value in case.during[("PetSite", "latency", "Average")]]
    assert min(latency[2:4]) > 1.2 * max(latency[:2])


def test_causes_are_what_the_agent_takes() -> None:
    cause = rank(incident({"front": 0.05, "search": 0.031}), EDGES, "front", alarm=ALARM, meaning=Meaning.latency)[0]
    assert isinstance(cause, Cause)
    assert cause.signature == ""
