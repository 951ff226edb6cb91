"""Conditions: what they say of series as they come."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent.forecast.model import Forecast
from agent.incidents.model import Anomaly, Cause, Incident
from agent.metrics.model import Histogram, SeriesKey
from agent.rules import series
from agent.rules.extension import Now
from agent.rules.model import Found
from agent.rules.quantity import parse_quantity
from agent.rules.recorded import Recorded
from agent.rules.series import subject_of
from tests.agent.rule_world import Tell, catalogue

START = 1_000_000.0
USED = "predis_memory_used_bytes"


def at(
    values: dict[SeriesKey, list[Any]],
    *,
    every: float = 10.0,
    incidents: tuple[Incident, ...] = (),
    forecasts: dict[SeriesKey, Forecast] | None = None,
) -> Now:
    """Now, after series gave these values, one every 10 s."""
    recorded = Recorded(
        {
            key: [(START + index * every, value) for index, value in enumerate(found) if value is not None]
            for key, found in values.items()
        }
    )
    end = START + (max(map(len, values.values()), default=1) - 1) * every
    recorded.until = end
    return Now(end, recorded.snapshot(end, every, catalogue()), recorded, incidents, forecasts or {})


def find(tmp_path: Path, when: str, now: Now, staying: bool = False) -> Found:
    """What a condition says."""
    file = tmp_path / "rules.toml"
    file.write_text(f'[[rule]]\nname = "r"\nthen = [{{ action = "test.tell" }}]\nwhen.{when}\n')
    from agent.rules.reading import RuleReader

    found = RuleReader(catalogue(), (Tell(),)).read([file])
    assert not found.problems, found.problems
    return found.rules[0].when.evaluate(now, staying)


def threshold(tmp_path: Path, keys: str, values: list[Any], metric: str = USED) -> bool | None:
    return find(tmp_path, f'threshold = {{ metric = "{metric}", {keys} }}', at({(metric, ()): values})).holds


@pytest.mark.parametrize(
    ("keys", "values", "holds"),
    [
        ('value = "1KiB"', [1024.0], False),
        ('value = "1KiB", op = ">="', [1024.0], True),
        ("value = 5, op = '<'", [4.0], True),
        ("value = 5, op = '=='", [5.0], True),
        ("value = 5, aggregate = 'avg', window = '1m'", [9.0, 9, 9, 9, 2, 2, 2], True),
        ("value = 5, aggregate = 'min', window = '1m'", [9.0, 9, 9, 9, 2, 9, 9], False),
        ("value = 8, aggregate = 'max', window = '1m'", [1.0, 1, 1, 9, 1, 1, 1], True),
        ("value = 8, aggregate = 'max', window = '30s'", [1.0, 1, 9, 1, 1, 1, 1], False),
        ("value = 4.9, aggregate = 'p50', window = '1m'", [1.0, 9, 5, 9, 1, 5, 5], True),
        ("value = 5, aggregate = 'avg', window = '10m'", [9.0, 9, 9], None),  # too little is known
        ("value = 5", [math.nan], None),
        ("value = 5", [9.0, None, None, None, None, None, None], None),  # it gives no values any more
        ("value = 5, aggregate = 'avg', window = '1m'", [math.inf, 9, 9, 9, -math.inf, 9, 9], True),
    ],
)
def test_a_gauge_against_a_value(tmp_path: Path, keys: str, values: list[Any], holds: bool | None) -> None:
    assert threshold(tmp_path, keys, values) is holds


@pytest.mark.parametrize(
    ("keys", "values", "holds"),
    [
        ("aggregate = 'rate', window = '1m', value = 9.9", [0.0, 100, 200, 300, 400, 500, 600], True),
        ("aggregate = 'rate', window = '1m', value = 10.1", [0.0, 100, 200, 300, 400, 500, 600], False),
        ("aggregate = 'increase', window = '1m', value = 599", [0.0, 100, 200, 300, 400, 500, 600], True),
        # a restart: it counts from 0 again
        ("aggregate = 'increase', window = '1m', value = 399", [900.0, 1000, 1100, 0, 100, 100, 200], True),
        ("aggregate = 'increase', window = '1m', value = 400", [900.0, 1000, 1100, 0, 100, 100, 200], False),
        ("aggregate = 'increase', window = '1m', value = 0", [7.0, 7, 7, 7, 7, 7, 7], False),
    ],
)
def test_a_counter_by_its_growth(tmp_path: Path, keys: str, values: list[Any], holds: bool | None) -> None:
    assert threshold(tmp_path, keys, values, "predis_keyspace_hits_total") is holds


def test_a_ratio_of_metrics_is_unknown_without_a_divisor(tmp_path: Path) -> None:
    when = f'threshold = {{ metric = "{USED}", of = "predis_memory_max_bytes", value = "90%" }}'
    full = at({(USED, ()): [95.0], ("predis_memory_max_bytes", ()): [100.0]})
    assert find(tmp_path, when, full).why == f"{USED} / predis_memory_max_bytes is 95.0%, > 90%"
    assert find(tmp_path, when, at({(USED, ()): [95.0], ("predis_memory_max_bytes", ()): [0.0]})).holds is None
    assert find(tmp_path, when, at({(USED, ()): [95.0]})).holds is None


def test_the_share_of_hits_among_reads(tmp_path: Path) -> None:
    hits, misses = "predis_keyspace_hits_total", "predis_keyspace_misses_total"
    keys = f'metric = "{hits}", of = ["{hits}", "{misses}"], aggregate = "increase", op = "<", value = "50%"'
    when = f"threshold = {{ {keys} }}"
    rows = [100.0 * index for index in range(40)]
    poor = find(tmp_path, when, at({(hits, ()): rows, (misses, ()): [2 * row for row in rows]}))
    assert poor.holds is True
    assert poor.why == f"increase of {hits} / ({hits} + {misses}) over 5m is 33.3%, < 50%"
    assert find(tmp_path, when, at({(hits, ()): rows, (misses, ()): rows[:1] * 40})).holds is False
    idle = at({(hits, ()): [5.0] * 40, (misses, ()): [5.0] * 40})
    assert find(tmp_path, when, idle).holds is None


def histograms(fast: int, slow: int) -> list[Histogram]:
    return [Histogram((0.001, 0.01), (fast * n, slow * n, 0), 0.0) for n in range(40)]


def test_quantiles_of_histograms_are_of_the_window_and_by_series_or_together(tmp_path: Path) -> None:
    metric = "predis_command_duration_seconds"
    now = at({(metric, ("get",)): histograms(1000, 1), (metric, ("set",)): histograms(1, 100)})
    one = find(tmp_path, f'threshold = {{ metric = "{metric}", aggregate = "p99", value = "5ms" }}', now)
    assert dict(one.subjects) == {"command:set": {"command": "set"}}
    assert one.of == 2
    whole = find(tmp_path, f'threshold = {{ metric = "{metric}", aggregate = "p99", by = [], value = "5ms" }}', now)
    assert (whole.holds, dict(whole.subjects), whole.of) == (True, {}, 1)
    assert find(
        tmp_path, f'threshold = {{ metric = "{metric}", aggregate = "p50", by = [], value = "1ms" }}', now
    ).holds is (False)
    quiet = at({(metric, ("get",)): [Histogram((0.001, 0.01), (5, 5, 0), 1.0)] * 40})
    assert (
        find(tmp_path, f'threshold = {{ metric = "{metric}", aggregate = "p99", value = "5ms" }}', quiet).holds is None
    )


def test_labels_choose_series_by_value_pattern_and_list(tmp_path: Path) -> None:
    metric = "predis_tenant_memory_bytes"
    now = at({(metric, (name,)): [9.0] for name in ("shop", "shop-test", "blog")})

    def subjects(labels: str) -> set[str]:
        when = f'threshold = {{ metric = "{metric}", labels = {{ tenant = {labels} }}, value = 5 }}'
        return set(find(tmp_path, when, now).subjects)

    assert subjects('"shop*"') == {"tenant:shop", "tenant:shop-test"}
    assert subjects('["shop", "blog"]') == {"tenant:shop", "tenant:blog"}
    assert subjects('"shop"') == set()  # one series: the rule as a whole


def test_a_certificate_that_ends(tmp_path: Path) -> None:
    metric = "predis_certificate_expiry_time_seconds"
    when = f'threshold = {{ metric = "{metric}", aggregate = "until", op = "<", value = "2w" }}'
    assert find(tmp_path, when, at({(metric, ()): [START + 86400.0]})).holds is True
    assert find(tmp_path, when, at({(metric, ()): [START + 15 * 86400.0]})).holds is False
    assert find(tmp_path, when, at({(metric, ()): [0.0]})).holds is None


def test_absence_is_of_what_was_there(tmp_path: Path) -> None:
    when = f'absence = {{ metric = "{USED}", for = "5m" }}'
    assert find(tmp_path, when, at({(USED, ()): [1.0] * 3 + [None] * 40})).holds is True
    assert find(tmp_path, when, at({(USED, ()): [1.0] * 30 + [None] * 13})).holds is False
    assert find(tmp_path, when, at({("predis_cpu_busy_ratio", ()): [1.0]})).holds is None


def test_drift_is_another_spread_and_not_noise(tmp_path: Path) -> None:
    when = f'drift = {{ metric = "{USED}", window = "10m", baseline = "1h" }}'
    before = [100.0 + (index * 37) % 50 for index in range(360)]
    assert find(tmp_path, when, at({(USED, ()): before + before[:60]})).holds is False
    assert find(tmp_path, when, at({(USED, ()): before + [value + 100 for value in before[:60]]})).holds is True
    assert find(tmp_path, when, at({(USED, ()): [5.0] * 360 + [6.0] * 60})).holds is True
    assert find(tmp_path, when, at({(USED, ()): before[:30]})).holds is None


def incident(score: float = 0.9, closed: float | None = None) -> Incident:
    anomaly = Anomaly(
        ("predis_tenant_memory_bytes", ("shop",)), ("tenant",), START, START, "shift", 9.0, 1.0, 2.0, score, 1e-9
    )
    cause = Cause("tenant:shop", 1.0, "it writes a lot", signature="noisy_tenant")
    return Incident("i1", START, "memory", (anomaly,), (cause, Cause("cache", 0.5, "")), closed)


def test_anomalies_and_incidents(tmp_path: Path) -> None:
    now = at({(USED, ()): [1.0]}, incidents=(incident(),))
    anomaly = find(tmp_path, 'anomaly = { metric = "predis_tenant_*", min_score = 0.8 }', now)
    assert dict(anomaly.subjects) == {"tenant:shop": {"tenant": "shop"}}
    assert "is 9 B where 1 B to 2 B was expected (shift, score 0.90)" in anomaly.why
    assert find(tmp_path, 'anomaly = { metric = "predis_tenant_*", min_score = 0.95 }', now).holds is False
    assert find(tmp_path, 'anomaly = { metric = "predis_tenant_*", channel = "flatline" }', now).holds is False
    found = find(tmp_path, 'incident = { signature = "noisy_*" }', now)
    assert found.subjects["tenant:shop"]["tenant"] == "shop"
    assert find(tmp_path, 'incident = { component = "cache" }', now).holds is False  # the second cause
    assert find(tmp_path, 'incident = { component = "cache", first = 2 }', now).holds is True
    over = at({(USED, ()): [1.0]}, incidents=(incident(closed=START),))
    assert find(tmp_path, "incident = {}", over).holds is False


def test_a_forecast_that_reaches_a_level(tmp_path: Path) -> None:
    times = tuple(START + hour * 3600.0 for hour in range(1, 25))
    line = tuple(100.0 + 10 * hour for hour in range(1, 25))
    forecast = Forecast(times, line, line, line, tuple(v - 50 for v in line), tuple(v + 50 for v in line), "theta")
    now = at({(USED, ()): [100.0], ("predis_memory_max_bytes", ()): [200.0]}, forecasts={(USED, ()): forecast})
    assert find(tmp_path, f'forecast = {{ metric = "{USED}", reach = 150, within = "5h" }}', now).holds is True
    assert find(tmp_path, f'forecast = {{ metric = "{USED}", reach = 150, within = "4h" }}', now).holds is False
    assert (
        find(tmp_path, f'forecast = {{ metric = "{USED}", reach = 150, within = "1h", bound = "95%" }}', now).holds
        is True
    )
    share = f'forecast = {{ metric = "{USED}", of = "predis_memory_max_bytes", reach = "90%", within = "8h" }}'
    assert find(tmp_path, share, now).holds is True
    assert find(tmp_path, share, at({(USED, ()): [1.0]})).holds is None


def test_all_any_and_not(tmp_path: Path) -> None:
    metric = "predis_tenant_memory_bytes"
    now = at({(metric, ("a",)): [9.0], (metric, ("b",)): [1.0], (USED, ()): [9.0]})
    over = f'{{ threshold = {{ metric = "{metric}", value = 5 }} }}'
    under = f'{{ threshold = {{ metric = "{metric}", op = "<", value = 5 }} }}'
    used = f'{{ threshold = {{ metric = "{USED}", value = 5 }} }}'
    unknown = '{ threshold = { metric = "predis_cpu_busy_ratio", value = 5 } }'
    assert dict(find(tmp_path, f"all = [{over}, {used}]", now).subjects) == {"tenant:a": {"tenant": "a"}}
    assert find(tmp_path, f"all = [{over}, {under}]", now).holds is False  # not for the same tenant
    assert find(tmp_path, f"all = [{over}, {unknown}]", now).holds is None
    assert set(find(tmp_path, f"any = [{over}, {under}, {unknown}]", now).subjects) == {"tenant:a", "tenant:b"}
    assert find(tmp_path, f"not = {used}", now).holds is False
    assert find(tmp_path, f"not = {unknown}", now).holds is None


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=40))
def test_whatever_values_come_a_condition_answers(values: list[float]) -> None:
    rows = [(START + index, value) for index, value in enumerate(values)]
    finite = [row for row in rows if math.isfinite(row[1])]
    assert series.increase([(time, abs(value)) for time, value in finite]) >= 0
    if finite:
        quantile = series.quantile_of([value for _, value in finite], 0.5)
        assert quantile is not None


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=20), st.floats(0.01, 0.99))
def test_a_quantile_of_a_histogram_lies_within_its_bounds(counts: list[int], share: float) -> None:
    bounds = tuple(float(2**index) for index in range(len(counts) - 1))
    found = series.histogram_quantile(Histogram(bounds, tuple(counts), 0.0), share)
    if sum(counts) == 0 or not bounds:
        assert found is None
    else:
        assert found is not None
        assert 0 <= found <= bounds[-1]


@pytest.mark.parametrize(
    ("written", "value", "unit"),
    [
        ("90%", 0.9, "ratio"),
        ("1GiB", 2.0**30, "bytes"),
        ("10MiB/s", 10 * 2.0**20, "bytes_per_second"),
        ("250ms", 0.25, "seconds"),
        ("2w", 1209600.0, "seconds"),
        ("1.5", 1.5, ""),
        (7, 7.0, ""),
        ("-5%", -0.05, "ratio"),
    ],
)
def test_quantities(written: object, value: float, unit: str) -> None:
    found = parse_quantity(written)
    assert (found.value, found.unit) == (pytest.approx(value), unit)


GROUPS = st.lists(
    st.tuples(st.sampled_from(["a", "b", "name"]), st.text("ab,:\\ ", max_size=8)), min_size=1, max_size=3
)


@given(GROUPS, GROUPS)
@example([("a", "x,b:y"), ("b", "z")], [("a", "x"), ("b", "y,b:z")])
@example([("a", "x,b:y")], [("a", "x"), ("b", "y")])
@example([("a", "\\"), ("b", "")], [("a", "\\,b:")])
def test_no_two_groups_of_series_are_the_same_subject(one: list[tuple[str, str]], two: list[tuple[str, str]]) -> None:
    assert (subject_of(tuple(one)) == subject_of(tuple(two))) is (one == two)


def test_a_rule_keeps_series_apart_whose_values_look_like_labels(tmp_path: Path) -> None:
    metric = "predis_tenant_memory_bytes"
    now = at({(metric, (name,)): [9.0] for name in ("a,b", "a")})
    found = find(tmp_path, f'threshold = {{ metric = "{metric}", value = 5 }}', now)
    assert dict(found.subjects) == {"tenant:a\\,b": {"tenant": "a,b"}, "tenant:a": {"tenant": "a"}}
