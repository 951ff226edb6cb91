"""The conditions that come with the agent, on what others found: anomaly, incident, forecast."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, Literal

from pydantic import BaseModel, Field

from agent.config.models import Section
from agent.config.units import format_duration
from agent.forecast.model import Forecast
from agent.incidents.model import Cause, Incident
from agent.metrics.catalogue import Catalogue
from agent.metrics.model import Kind, MetricSpec
from agent.rules import series
from agent.rules.conditions import LabelValues, Part, Problem, Window, part_problems, unit_of
from agent.rules.extension import Now
from agent.rules.model import Found
from agent.rules.quantity import Amount, choice_problem, shown, unit_problem


class AnomalyParams(Section):
    """Keys of `anomaly`."""

    metric: str = Field(description="a metric, or a shell pattern of metrics")
    labels: LabelValues = Field(default={}, description="a value, a shell pattern or a list of them for each label")
    min_score: float = Field(default=0.5, ge=0, le=1, description="from 0 to 1; the higher, the rarer")
    channel: str = Field(default="*", description="which evidence: deviation, difference, shift, flatline …")


class Anomaly:
    """A detector found a series not as it should be."""

    name = "anomaly"
    help = "a detector says that a series is not as it should be"
    Params: type[BaseModel] = AnomalyParams

    def metrics(self, params: AnomalyParams) -> Iterable[str]:
        return [params.metric]

    def problems(self, params: AnomalyParams, catalogue: Catalogue) -> Iterator[Problem]:
        specs = [spec for spec in catalogue if fnmatchcase(spec.name, params.metric)]
        if not specs:
            what, mend = choice_problem(params.metric, [spec.name for spec in catalogue], "metric")
            yield ("metric",), what, f"{mend} (predis-agent metrics list)"
            return
        labels = {name for spec in specs for name in spec.labels}
        for name in params.labels:
            if name not in labels:
                what, mend = choice_problem(name, sorted(labels), f"label of {params.metric}")
                yield ("labels", name), what, mend

    def find(self, params: AnomalyParams, now: Now, catalogue: Catalogue, staying: bool) -> Found:
        subjects: dict[str, dict[str, str]] = {}
        worst: tuple[float, str] | None = None
        whole = False
        for anomaly in (found for incident in _open(now) for found in incident.anomalies):
            spec = catalogue.get(anomaly.series[0])
            if spec is None or anomaly.score < params.min_score or not fnmatchcase(anomaly.channel, params.channel):
                continue
            if not fnmatchcase(spec.name, params.metric) or not series.matches(spec, anomaly.series, params.labels):
                continue
            names = series.grouping(spec, params.labels, None)
            labels = dict(zip(spec.labels, anomaly.series[1], strict=False))
            group = tuple((name, labels[name]) for name in names if name in labels)
            whole = whole or not group
            if group:
                subjects[series.subject_of(group)] = dict(group)
            text = (
                f"{spec.name} is {shown(anomaly.value, spec.unit)} where {shown(anomaly.low, spec.unit)} to"
                f" {shown(anomaly.high, spec.unit)} was expected ({anomaly.channel}, score {anomaly.score:.2f})"
            )
            if worst is None or anomaly.score > worst[0]:
                worst = (anomaly.score, text)
        if worst is None:
            return Found(False, f"no anomaly of {params.metric} with a score of {params.min_score:g} or more")
        return Found(True, worst[1], {} if whole else subjects)


class IncidentParams(Section):
    """Keys of `incident`."""

    signature: str = Field(default="*", description="a known pattern that one of the causes has; a shell pattern")
    component: str = Field(default="*", description="what is behind it; a shell pattern")
    first: int = Field(default=1, ge=1, le=20, description="among so many of the most probable causes")
    severity: tuple[Literal["info", "warning", "error"], ...] = Field(default=(), description="empty for any")


class IncidentCondition:
    """There is an open incident of a kind."""

    name = "incident"
    help = "there is an open incident with such a signature or probable cause"
    Params: type[BaseModel] = IncidentParams

    def metrics(self, params: IncidentParams) -> Iterable[str]:
        return []

    def problems(self, params: IncidentParams, catalogue: Catalogue) -> Iterator[Problem]:
        return iter(())

    def find(self, params: IncidentParams, now: Now, catalogue: Catalogue, staying: bool) -> Found:
        subjects: dict[str, dict[str, str]] = {}
        first: Incident | None = None
        cause_of_first: Cause | None = None
        for incident in _open(now):
            if params.severity and incident.severity not in params.severity:
                continue
            causes = [cause for cause in incident.causes[: params.first] if _fits(params, cause)]
            if not causes and (params.signature, params.component) != ("*", "*"):
                continue
            if first is None:
                first, cause_of_first = incident, causes[0] if causes else None
            for cause in causes:
                kind, colon, name = cause.component.partition(":")
                if colon:  # KIND:NAME, as targets are called
                    subjects[cause.component] = {kind: name, "component": cause.component}
        if first is None:
            return Found(False, "no such incident is open")
        why = f"incident {first.id}: {first.title}"
        if cause_of_first is not None:
            why += f"; probably {cause_of_first.component}: {cause_of_first.why}"
        return Found(True, why, subjects)


class ForecastParams(Part):
    """Keys of `forecast`."""

    op: Literal[">", "<"] = Field(default=">", description="from which side it reaches the level")
    reach: Amount = Field(description='the level, such as "90%" or "16GiB"; of a counter: per second')
    of: str = Field(default="", description="reach is a share of this metric's newest value")
    within: Window = Field(description="how far ahead")
    bound: Literal["middle", "80%", "95%"] = Field(
        default="middle", description="which line must reach it: the middle, or the far end of an interval"
    )


class ForecastCondition:
    """A series will reach a level."""

    name = "forecast"
    help = "a series is expected to reach a level within some time"
    Params: type[BaseModel] = ForecastParams

    def metrics(self, params: ForecastParams) -> Iterable[str]:
        return [params.metric, *([params.of] if params.of else [])]

    def horizons(self, params: ForecastParams) -> Mapping[str, float]:
        """The forecast that it needs."""
        return {params.metric: params.within}

    def problems(self, params: ForecastParams, catalogue: Catalogue) -> Iterator[Problem]:
        yield from part_problems(params, catalogue, ())
        spec = catalogue.get(params.metric)
        other = catalogue.get(params.of) if params.of else None
        if params.of and other is None:
            what, mend = choice_problem(params.of, [spec.name for spec in catalogue], "metric")
            yield ("of",), what, mend
        elif spec is not None and (wrong := unit_problem(params.reach, _forecast_unit(spec, other))) is not None:
            yield ("reach",), *wrong

    def find(self, params: ForecastParams, now: Now, catalogue: Catalogue, staying: bool) -> Found:
        spec = catalogue.get(params.metric)
        if spec is None:
            return Found(None, f"{params.metric} is not in the catalogue: is its plugin on?")
        subjects: dict[str, dict[str, str]] = {}
        soonest: tuple[float, str] | None = None
        known, problem = 0, f"there is no forecast of {params.metric} yet"
        whole = False
        for group, keys in series.groups(now, spec, params.labels, None).items():
            forecast = now.forecasts.get(keys[0])
            level = _level(params, keys[0], now)
            if forecast is None or forecast.problem or level is None:
                problem = forecast.problem if forecast is not None and forecast.problem else problem
                continue
            known += 1
            reached = _reached(params, forecast, level, now.time)
            if reached is None:
                continue
            whole = whole or not group
            if group:
                subjects[series.subject_of(group)] = dict(group)
            when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(reached))
            ahead = format_duration(round(max(0.0, reached - now.time)))
            unit = spec.unit if params.of else _forecast_unit(spec, None)
            text = f"{params.metric} is expected to reach {shown(level, unit)} in {ahead}, {when}"
            if soonest is None or reached < soonest[0]:
                soonest = (reached, text)
        if soonest is not None:
            return Found(True, soonest[1], {} if whole else subjects, known)
        if not known:
            return Found(None, problem)
        return Found(False, f"{params.metric} does not reach {params.reach} within {format_duration(params.within)}")


def _open(now: Now) -> Iterator[Incident]:
    return (incident for incident in now.incidents if incident.closed is None)


def _fits(params: IncidentParams, cause: Cause) -> bool:
    return fnmatchcase(cause.signature, params.signature) and fnmatchcase(cause.component, params.component)


def _forecast_unit(spec: MetricSpec, other: MetricSpec | None) -> str:
    if other is not None:
        return "ratio" if spec.unit == other.unit else ""
    return unit_of(spec, "rate" if spec.kind is Kind.counter else "last")


def _level(params: ForecastParams, key: Any, now: Now) -> float | None:
    if not params.of:
        return params.reach.value
    whole = series.latest(now, (params.of, key[1]))
    if whole is None:
        whole = series.latest(now, (params.of, ()))
    return None if whole is None else whole * params.reach.value


def _reached(params: ForecastParams, forecast: Forecast, level: float, now: float) -> float | None:
    """When the line reaches the level within the time, in Unix seconds."""
    above = params.op == ">"
    far = {"80%": (forecast.low80, forecast.high80), "95%": (forecast.low95, forecast.high95)}.get(params.bound)
    line = forecast.middle if far is None else far[1 if above else 0]
    for at, value in zip(forecast.times, line, strict=False):
        if now <= at <= now + params.within and (value >= level if above else value <= level):
            return at
    return None
