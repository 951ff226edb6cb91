"""Tests of rules, in TOML: series as they might come, and what the rules should make of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from agent.config.load import add_file, problem_at, read_table
from agent.config.models import ConfigPath, Section
from agent.config.sources import Place, Sources
from agent.config.units import Duration, duration_between, format_duration
from agent.errors import Problem
from agent.forecast.model import Forecast
from agent.incidents.model import Anomaly, Cause, Incident
from agent.metrics.catalogue import Catalogue
from agent.metrics.model import Histogram, SeriesKey
from agent.rules.conditions import part_problems
from agent.rules.model import Rule
from agent.rules.notation import parse_values
from agent.rules.quantity import choice_problem
from agent.rules.reading import RuleReader
from agent.rules.recorded import Recorded, Value
from agent.rules.rehearsal import Rehearsal
from agent.rules.schema import NotEmpty
from agent.rules.settings import EngineSettings


def _values(text: str) -> str:
    parse_values(text)
    return text


Values = Annotated[str, AfterValidator(_values)]
At = Annotated[Duration, duration_between("0s", "52w")]


class SeriesTable(Section):
    """A series: `values`, or, of a histogram, how many observations each bucket has."""

    metric: str
    labels: dict[str, str] = Field(default={}, description="label values by name")
    values: Values = ""
    buckets: dict[str, Values] = Field(default={}, description='upper bound → counts, the last one "+Inf"')


class IncidentTable(Section):
    """An incident that is open for some time, with one cause and, with a metric, one anomaly."""

    since: At = Field(default=0.0, alias="from")
    until: At = Field(default=10**8, alias="to")
    title: str = "incident"
    severity: Literal["info", "warning", "error"] = "warning"
    signature: str = ""
    component: str = ""
    metric: str = ""
    labels: dict[str, str] = Field(default={}, description="label values by name")
    score: float = 1.0
    channel: str = "deviation"


class ForecastTable(Section):
    """A forecast that is there from the beginning: a line from one value to another."""

    metric: str
    labels: dict[str, str] = Field(default={}, description="label values by name")
    now: float
    later: float
    ahead: Annotated[Duration, duration_between("1m", "52w")] = Field(alias="in", description="when it is so")


class ExpectTable(Section):
    """What should be so at a time. Counts are from the beginning on."""

    at: At
    fired: int | None = Field(default=None, description="how often it has fired")
    actions: tuple[str, ...] | None = Field(default=None, description="what has been done, in order; undo:NAME")
    state: str | None = Field(
        default=None, description="of the rule: idle, pending, held, waiting, verifying, resting …"
    )
    subject: str = Field(default="", description="whose state")
    result: str | None = Field(default=None, description="how the last remedy ended, or a part of it")
    refused: str | None = Field(default=None, description="the guard that holds it: storm, share, hour …")


class TestTable(Section):
    """A `[[test]]`."""

    name: str
    rule: str = Field(description="the rule that is tested; the others of the files are not there")
    series: tuple[SeriesTable, ...] = ()
    incidents: tuple[IncidentTable, ...] = ()
    forecasts: tuple[ForecastTable, ...] = ()
    interval: Annotated[Duration | None, duration_between("1s", "1d")] = Field(
        default=None, description="between two values, if not the file's"
    )
    dry_run: bool = Field(default=False, description="true: as the rule says")
    approve: Annotated[Duration | None, duration_between("0s", "52w")] = Field(default=None, description="when it is")
    failing: tuple[str, ...] = Field(default=(), description="actions that do not succeed")
    expect: Annotated[tuple[ExpectTable, ...], NotEmpty]


class FixtureFile(Section):
    """A file of tests."""

    rules: Annotated[tuple[ConfigPath, ...], NotEmpty] = Field(description="the files of the rules")
    interval: Annotated[Duration, duration_between("1s", "1d")] = Field(default=10.0, description="between two values")
    test: Annotated[tuple[TestTable, ...], NotEmpty]


@dataclass
class Tested:
    """What came of a test: `failures` is empty when all is as expected."""

    name: str
    where: str
    failures: list[str] = field(default_factory=list)


def run_fixtures(
    file: Path, reader: RuleReader, environ: Mapping[str, str] | None = None
) -> tuple[list[Tested], list[Problem]]:
    """All tests of a file, or what is wrong with it or with the rules."""
    sources, problems = Sources(file.parent.absolute()), list[Problem]()
    sources.places[()] = Place(str(file))
    add_file(file, sources, problems, "create it, or name a file of tests that there is")
    if problems:
        return [], problems
    table, problems = read_table(FixtureFile, sources.data, (), sources, environ or {})
    if table is None:
        return [], problems
    found = reader.read(list(table.rules))
    if found.problems:
        return [], found.problems
    rules = {rule.name: rule for rule in found.rules}
    results = []
    for index, test in enumerate(table.test):
        before = len(problems)
        for key, what, mend in _problems(test, rules, reader.catalogue):
            problems.append(problem_at(sources, ("test", index, *key), what, mend))
        if len(problems) == before:
            place = sources.place(("test", index))
            results.append(_run(test, rules[test.rule], test.interval or table.interval, reader.catalogue, str(place)))
    return results, problems


def _problems(
    test: TestTable, rules: Mapping[str, Rule], catalogue: Catalogue
) -> list[tuple[tuple[Any, ...], str, str]]:
    if test.rule not in rules:
        return [(("rule",), *choice_problem(test.rule, list(rules), "rule"))]
    found: list[tuple[tuple[Any, ...], str, str]] = []
    for index, forecast in enumerate(test.forecasts):
        if catalogue.get(forecast.metric) is None:
            what, mend = choice_problem(forecast.metric, [spec.name for spec in catalogue], "metric")
            found.append((("forecasts", index, "metric"), what, mend))
    for index, series in enumerate(test.series):
        found += [(("series", index, *key), what, mend) for key, what, mend in part_problems(series, catalogue, ())]  # type: ignore[arg-type]
        if bool(series.values) == bool(series.buckets):
            found.append((("series", index), "needs values or buckets", 'write values = "50x10 95x20"'))
    return found


def _run(test: TestTable, rule: Rule, interval: float, catalogue: Catalogue, where: str) -> Tested:
    tested = Tested(test.name, where)
    recorded = Recorded(dict(_series(series, catalogue, interval) for series in test.series))
    rehearsal = Rehearsal(
        [rule if test.dry_run else replace(rule, dry_run=False)],
        catalogue,
        recorded,
        start=-interval,  # so that the first look is at 0
        interval=interval,
        settings=EngineSettings(max_actions_per_hour=10_000),
        incidents=lambda time: _incidents(test.incidents, time, catalogue),
        forecasts=lambda time: _forecasts(test.forecasts, time, catalogue),
        failing=test.failing,
    )
    approve = test.approve
    for expect in sorted(test.expect, key=lambda item: item.at):
        if approve is not None and approve <= expect.at:
            rehearsal.until(approve)
            for waiting in rehearsal.engine.status()["waiting_for_approval"]:
                rehearsal.engine.approve(waiting["id"], "the test")
            approve = None
        rehearsal.until(expect.at)
        tested.failures += [
            f"at {format_duration(expect.at)}: {what}" for what in _differences(expect, rule, rehearsal)
        ]
    return tested


def _differences(expect: ExpectTable, rule: Rule, rehearsal: Rehearsal) -> list[str]:
    fired = sum(kind == "fired" for _, kind, _ in rehearsal.records)
    done = tuple(("undo:" if deed.kind == "undo" else "") + deed.action for deed in rehearsal.deeds)
    explained = rehearsal.engine.explain(rule.name)
    shown: dict[str, Any] = next((item for item in explained["subjects"] if item["subject"] == expect.subject), {})
    state, result = str(shown.get("state", "idle")), str(shown.get("last_result", ""))
    guard = next(
        (str(fields.get("guard")) for _, kind, fields in reversed(rehearsal.records) if kind == "refused"), "nothing"
    )
    guard = guard if state == "held" else "nothing"
    pairs: Sequence[tuple[str, object, object, bool]] = (
        ("it fired", expect.fired, fired, expect.fired == fired),
        ("it did", expect.actions, done, expect.actions == done),
        ("its state is", expect.state, state, expect.state == state),
        ("the last remedy's result is", expect.result, result, expect.result is not None and expect.result in result),
        ("it is held by", expect.refused, guard, expect.refused == guard),
    )
    return [
        f"{what} {_said(seen)}, expected {_said(wanted)} (its condition: {explained['why']})"
        for what, wanted, seen, same in pairs
        if wanted is not None and not same
    ]


def _said(value: object) -> str:
    return (", ".join(map(str, value)) or "nothing") if isinstance(value, tuple) else str(value)


def _series(series: SeriesTable, catalogue: Catalogue, interval: float) -> tuple[SeriesKey, list[tuple[float, Value]]]:
    spec = catalogue.get(series.metric)
    assert spec is not None
    key = (series.metric, tuple(series.labels.get(name, "") for name in spec.labels))
    if series.values:
        values = parse_values(series.values)
        return key, [(index * interval, value) for index, value in enumerate(values) if value is not None]
    bounds = tuple(float(bound) for bound in series.buckets if bound != "+Inf")
    columns = [parse_values(series.buckets[bound]) for bound in series.buckets if bound != "+Inf"]
    columns.append(parse_values(series.buckets.get("+Inf", f"0x{max(map(len, columns), default=1) - 1}")))
    rows = zip(*columns, strict=False)
    points: list[tuple[float, Value]] = []
    for index, row in enumerate(rows):
        counts = tuple(int(value or 0) for value in row)
        total = sum(
            count * bound for count, bound in zip(counts, (*bounds, bounds[-1] if bounds else 0.0), strict=True)
        )
        points.append((index * interval, Histogram(bounds, counts, total)))
    return key, points


def _forecasts(tables: Sequence[ForecastTable], time: float, catalogue: Catalogue) -> dict[SeriesKey, Forecast]:
    found = {}
    for table in tables:
        spec = catalogue.get(table.metric)
        assert spec is not None
        key = (table.metric, tuple(table.labels.get(name, "") for name in spec.labels))
        times = tuple(time + table.ahead * share / 100 for share in range(1, 101))
        middle = tuple(table.now + (table.later - table.now) * share / 100 for share in range(1, 101))
        found[key] = Forecast(times, middle, middle, middle, middle, middle)
    return found


def _incidents(tables: Sequence[IncidentTable], time: float, catalogue: Catalogue) -> tuple[Incident, ...]:
    found = []
    for index, table in enumerate(tables):
        if not table.since <= time <= table.until:
            continue
        anomalies: tuple[Anomaly, ...] = ()
        spec = catalogue.get(table.metric)
        if spec is not None:
            values = tuple(table.labels.get(name, "") for name in spec.labels)
            anomalies = (
                Anomaly(
                    (spec.name, values), spec.labels, table.since, time, table.channel, 1.0, 0.0, 0.0, table.score, 1e-6
                ),
            )
        causes = (Cause(table.component, 1.0, table.title, signature=table.signature),)
        found.append(Incident(str(index), table.since, table.title, anomalies, causes, None, table.severity))
    return tuple(found)
