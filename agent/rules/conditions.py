"""The conditions that come with the agent, on series: threshold, absence, drift."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Any, Literal, Protocol

from pydantic import AfterValidator, BaseModel, Field

from agent.config.models import Section
from agent.config.refuse import refuse
from agent.config.show import show
from agent.config.units import Duration, duration_between, format_duration
from agent.metrics.catalogue import Catalogue
from agent.metrics.model import Kind, MetricSpec
from agent.rules import series
from agent.rules.extension import Now
from agent.rules.model import Found
from agent.rules.quantity import Amount, Quantity, choice_problem, shown, unit_problem

Problem = tuple[tuple[str | int, ...], str, str]
"""(the key below the condition, what is wrong, the mend)."""

OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
}
_QUANTILE = re.compile(r"p([0-9]{1,2}(?:\.[0-9]+)?)")
AGGREGATES = ("last", "avg", "min", "max", "rate", "increase", "until", "age")

Window = Annotated[Duration, duration_between("1s", "52w")]
LabelValues = dict[str, str | tuple[str, ...]]


class BuiltIn(Protocol):
    """A condition of the agent's own: as ConditionType, and it can be checked against the catalogue."""

    name: str
    help: str
    Params: type[BaseModel]

    def metrics(self, params: Any) -> Iterable[str]:
        """What it looks at; names may be shell patterns."""

    def problems(self, params: Any, catalogue: Catalogue) -> Iterator[Problem]:
        """What does not fit the catalogue."""

    def find(self, params: Any, now: Now, catalogue: Catalogue, staying: bool) -> Found:
        """Look."""


def _aggregate(text: str) -> str:
    if text not in AGGREGATES and _QUANTILE.fullmatch(text) is None:
        mend = f'write one of {", ".join(AGGREGATES)}, or a quantile such as "p99"'
        raise refuse(f"{show(text)} is no aggregate", mend)
    return text


class Part(Section):
    """A metric with labels."""

    metric: str = Field(description="its name, as in docs/metrics.md")
    labels: LabelValues = Field(default={}, description="a value, a shell pattern or a list of them for each label")


class ThresholdParams(Part):
    """Keys of `threshold`."""

    by: tuple[str, ...] | None = Field(
        default=None, description="labels to tell series apart by; the others are joined"
    )
    join: Literal["sum", "avg", "min", "max"] = Field(default="sum", description="how series become one number")
    aggregate: Annotated[str, AfterValidator(_aggregate)] = Field(
        default="last", description="what of the window: " + ", ".join(AGGREGATES) + ", or a quantile such as p99"
    )
    window: Window = Field(default=300.0, description="how far back, for all aggregates but last, until and age")
    of: str | Part | tuple[str | Part, ...] = Field(default=(), description="metrics whose sum it is divided by")
    op: Literal[">", ">=", "<", "<=", "==", "!="] = Field(default=">", description="how it is compared")
    value: Amount = Field(description='such as 5, "90%", "1GiB", "250ms"')
    clear: Amount | None = Field(default=None, description="once it held, it holds until it is past this (hysteresis)")

    @property
    def divisors(self) -> tuple[Part, ...]:
        """What it is divided by."""
        listed = self.of if isinstance(self.of, tuple) else (self.of,)
        return tuple(Part(metric=part) if isinstance(part, str) else part for part in listed)


class Threshold:
    """A number of a metric compared with a value."""

    name = "threshold"
    help = "a metric's value, average, rate, quantile … is over or under a value"
    Params: type[BaseModel] = ThresholdParams

    def metrics(self, params: ThresholdParams) -> Iterable[str]:
        return [params.metric, *(part.metric for part in params.divisors)]

    def problems(self, params: ThresholdParams, catalogue: Catalogue) -> Iterator[Problem]:
        spec = catalogue.get(params.metric)
        yield from part_problems(params, catalogue, ())
        for index, part in enumerate(params.divisors):
            yield from part_problems(part, catalogue, ("of", index) if isinstance(params.of, tuple) else ("of",))
        if spec is None or any(catalogue.get(part.metric) is None for part in params.divisors):
            return
        if params.by is not None:
            for index, name in enumerate(params.by):
                if name not in spec.labels:
                    what, mend = choice_problem(name, list(spec.labels), f"label of {spec.name}")
                    yield ("by", index), what, mend
        problem = aggregate_problem(spec, params.aggregate)
        if problem is not None:
            yield ("aggregate",), *problem
            return
        if params.aggregate in ("until", "age") and params.of:
            yield ("of",), f"{params.aggregate} is a time and is divided by nothing", "remove it"
        unit = self.unit(params, catalogue)
        for key, quantity in (("value", params.value), ("clear", params.clear)):
            if quantity is not None and (wrong := unit_problem(quantity, unit)) is not None:
                yield (key,), *wrong
        if params.clear is not None and _contradict(params.op, params.value, params.clear):
            what = f"clear = {show(params.clear.text)} is on the side of value = {show(params.value.text)} that holds"
            yield (
                ("clear",),
                what,
                "once it holds it must be over only further off: choose it on the other side of value",
            )

    def unit(self, params: ThresholdParams, catalogue: Catalogue) -> str:
        """The unit of what is compared."""
        own = unit_of(catalogue.get(params.metric), params.aggregate)
        if not params.of:
            return own
        others = {unit_of(catalogue.get(part.metric), params.aggregate) for part in params.divisors}
        return "ratio" if others == {own} else ""

    def find(self, params: ThresholdParams, now: Now, catalogue: Catalogue, staying: bool) -> Found:
        spec = catalogue.get(params.metric)
        if spec is None:
            return Found(None, f"{params.metric} is not in the catalogue: is its plugin on?")
        limit = params.clear if staying and params.clear is not None else params.value
        holds = OPERATORS[params.op]
        if staying and params.clear is not None and params.op in (">", "<"):
            holds = OPERATORS[params.op + "="]  # over only past it
        unit = self.unit(params, catalogue)
        values = list(self._values(params, spec, now, catalogue))
        known = [(group, value) for group, value in values if value is not None]
        hit = [(group, value) for group, value in known if holds(value, limit.value)]
        what = _what(params)
        if not known:
            why = f"nothing is known of {what}" if not values else f"too little is known of {what}"
            return Found(None, why + (f" within {format_duration(params.window)}" if values else ""))
        worst = max(hit or known, key=lambda item: item[1] if params.op.startswith(">") else -item[1])
        where = series.subject_of(worst[0])
        verb = params.op if hit else "not " + params.op
        why = f"{what} is {shown(worst[1], unit)}{' for ' + where if where else ''}, {verb} {limit}"
        if len(hit) > 1:
            why += f" (and {len(hit) - 1} more of {len(known)})"
        return Found(bool(hit), why, {series.subject_of(group): dict(group) for group, _ in hit if group}, len(known))

    def _values(
        self, params: ThresholdParams, spec: MetricSpec, now: Now, catalogue: Catalogue
    ) -> Iterator[tuple[series.Group, float | None]]:
        names = series.grouping(spec, params.labels, params.by)
        below: list[dict[series.Group, list[Any]]] = []
        specs: list[MetricSpec] = []
        for part in params.divisors:
            other = catalogue.get(part.metric)
            if other is None:
                return
            specs.append(other)
            below.append(series.groups(now, other, part.labels, [name for name in names if name in other.labels]))
        for group, keys in series.groups(now, spec, params.labels, params.by).items():
            value = _joined(params, spec, keys, now)
            if value is None or not params.of:
                yield group, value
                continue
            total = 0.0
            for other, found in zip(specs, below, strict=True):
                same = tuple((name, dict(group)[name]) for name in other.labels if name in names)
                part_value = _joined(params, other, found.get(same, []), now)
                total += math.nan if part_value is None else part_value
            yield group, value / total if math.isfinite(total) and total != 0 else None


class AbsenceParams(Part):
    """Keys of `absence`."""

    window: Window = Field(default=300.0, alias="for", description="how long there was no value")


class Absence:
    """Series that were there and give no values any more."""

    name = "absence"
    help = "a metric that was there has had no value for some time"
    Params: type[BaseModel] = AbsenceParams

    def metrics(self, params: AbsenceParams) -> Iterable[str]:
        return [params.metric]

    def problems(self, params: AbsenceParams, catalogue: Catalogue) -> Iterator[Problem]:
        yield from part_problems(params, catalogue, ())

    def find(self, params: AbsenceParams, now: Now, catalogue: Catalogue, staying: bool) -> Found:
        spec = catalogue.get(params.metric)
        if spec is None:
            return Found(None, f"{params.metric} is not in the catalogue: is its plugin on?")
        found = series.groups(now, spec, params.labels, None)
        if not found:
            return Found(None, f"{params.metric} was never there")
        gone: dict[series.Group, float] = {}
        for group, keys in found.items():
            if any(key in now.snapshot.samples for key in keys):
                continue
            newest = max((time for time, _ in now.history.latest(keys).values()), default=-math.inf)
            if newest < now.time - params.window:
                gone[group] = now.time - newest
        if not gone:
            return Found(False, f"{params.metric} has values", {}, len(found))
        group, age = max(gone.items(), key=lambda item: item[1])
        why = (
            f"{params.metric} has had no value for {format_duration(round(age))}" if math.isfinite(age) else "no value"
        )
        why += f" ({series.subject_of(group)})" if group else ""
        return Found(True, why, {series.subject_of(group): dict(group) for group in gone if group}, len(found))


class DriftParams(Part):
    """Keys of `drift`."""

    window: Window = Field(default=3600.0, description="what is looked at")
    baseline: Window = Field(default=86400.0, description="what it is compared with: so long before the window")
    min_psi: float = Field(default=0.25, gt=0, description="population stability index; above 0.25 a lot has changed")


class Drift:
    """The values of a series are spread otherwise than they were."""

    name = "drift"
    help = "a metric's values are distributed otherwise than before (population stability index)"
    Params: type[BaseModel] = DriftParams
    least = 20  # points on either side

    def metrics(self, params: DriftParams) -> Iterable[str]:
        return [params.metric]

    def problems(self, params: DriftParams, catalogue: Catalogue) -> Iterator[Problem]:
        yield from part_problems(params, catalogue, ())
        spec = catalogue.get(params.metric)
        if spec is not None and spec.kind in (Kind.histogram, Kind.info):
            yield ("metric",), f"{spec.name} is of kind {spec.kind.value}", "drift is looked for in gauges and counters"

    def find(self, params: DriftParams, now: Now, catalogue: Catalogue, staying: bool) -> Found:
        spec = catalogue.get(params.metric)
        if spec is None:
            return Found(None, f"{params.metric} is not in the catalogue: is its plugin on?")
        drifted: dict[series.Group, float] = {}
        known = 0
        for group, keys in series.groups(now, spec, params.labels, None).items():
            start = now.time - params.window
            before = _rows(spec, now.history.points(keys[0], start - params.baseline, start))
            lately = _rows(spec, now.history.points(keys[0], start, now.time))
            if min(len(before), len(lately)) < self.least:
                continue
            known += 1
            index = series.psi(before, lately)
            if index >= params.min_psi:
                drifted[group] = index
        if not known:
            return Found(None, f"{params.metric} has less than {self.least} points in the window or before it")
        if not drifted:
            return Found(False, f"{params.metric} is spread as before", {}, known)
        group, index = max(drifted.items(), key=lambda item: item[1])
        where = f" for {series.subject_of(group)}" if group else ""
        why = f"{params.metric} is spread otherwise than before{where}: PSI {index:.2f}, >= {params.min_psi:g}"
        return Found(True, why, {series.subject_of(group): dict(group) for group in drifted if group}, known)


def part_problems(part: Part, catalogue: Catalogue, below: tuple[str | int, ...]) -> Iterator[Problem]:
    """Whether a metric is catalogued and has these labels."""
    spec = catalogue.get(part.metric)
    if spec is None:
        what, mend = choice_problem(part.metric, [spec.name for spec in catalogue], "metric")
        yield (*below, "metric"), what, f"{mend} (predis-agent metrics list)"
        return
    for name in part.labels:
        if name not in spec.labels:
            what, mend = choice_problem(name, list(spec.labels), f"label of {spec.name}")
            yield (*below, "labels", name), what, mend


def aggregate_problem(spec: MetricSpec, aggregate: str) -> tuple[str, str] | None:
    """(what is wrong, the mend) when an aggregate makes no sense for a metric of this kind."""
    kind, quantile = spec.kind, _QUANTILE.fullmatch(aggregate) is not None
    what = f"{aggregate} makes no sense for {spec.name}, which is of kind {kind.value}"
    if aggregate in ("until", "age"):
        if spec.unit == "seconds" and spec.name.endswith(("_time_seconds", "_timestamp_seconds")):
            return None
        return f"{spec.name} is no Unix time", f"{aggregate} is for metrics whose names end with _time_seconds"
    if kind is Kind.counter and aggregate not in ("rate", "increase", "last"):
        return what, 'a counter only grows: write "rate" or "increase"'
    if kind is Kind.histogram and not quantile and aggregate not in ("rate", "increase", "avg"):
        return what, 'write a quantile such as "p99", "avg", or "rate" or "increase" of the number of observations'
    if kind in (Kind.gauge, Kind.info) and aggregate in ("rate", "increase"):
        return what, 'a gauge goes up and down: write "last", "avg", "min", "max" or a quantile'
    return None


def unit_of(spec: MetricSpec | None, aggregate: str) -> str:
    """The unit of an aggregate: a rate of bytes is in bytes per second, one of seconds is a ratio."""
    unit = "" if spec is None else spec.unit
    if spec is not None and spec.kind is Kind.histogram and aggregate in ("rate", "increase"):
        return ""  # of observations
    if aggregate == "rate":
        return {"bytes": "bytes_per_second", "seconds": "ratio"}.get(unit, "")
    return unit


def _contradict(op: str, value: Quantity, clear: Quantity) -> bool:
    """Whether `clear` lies where `value` holds; of what is no number nothing can be said."""
    if op.startswith(">"):
        return clear.value > value.value
    return clear.value < value.value if op.startswith("<") else True


def _what(params: ThresholdParams) -> str:
    labels = ", ".join(f"{name}={value}" for name, value in params.labels.items() if isinstance(value, str))
    text = params.metric + (f"{{{labels}}}" if labels else "")
    if params.of:
        of = " + ".join(part.metric for part in params.divisors)
        text += f" / ({of})" if len(params.divisors) > 1 else f" / {of}"
    if params.aggregate in ("until", "age"):
        return f"the time until {text}" if params.aggregate == "until" else f"the age of {text}"
    return text if params.aggregate == "last" else f"{params.aggregate} of {text} over {format_duration(params.window)}"


def _joined(params: ThresholdParams, spec: MetricSpec, keys: Sequence[Any], now: Now) -> float | None:
    """One number for the series of a group; None when it is not known."""
    aggregate = params.aggregate
    quantile = _QUANTILE.fullmatch(aggregate)
    if spec.kind is Kind.histogram and (quantile or aggregate == "avg"):
        grown = [series.histogram_increase(series.histograms_of(now, key, params.window)) for key in keys]
        histogram = series.together([item for item in grown if item is not None])
        if histogram is None or histogram.count == 0:
            return None
        if quantile is None:
            return histogram.sum / histogram.count
        return series.histogram_quantile(histogram, float(quantile[1]) / 100)
    values = [value for key in keys if (value := _of_one(aggregate, quantile, params.window, key, now)) is not None]
    return series.JOINS[params.join](values) if values else None


def _of_one(aggregate: str, quantile: re.Match[str] | None, window: float, key: Any, now: Now) -> float | None:
    if aggregate in ("last", "until", "age"):
        value = series.latest(now, key)
        if aggregate == "last" or value is None:
            return value
        if value <= 0:
            return None  # a time that never was
        return value - now.time if aggregate == "until" else now.time - value
    points = series.points_of(now, key, window)
    if not points:
        return None
    values = [value for _, value in points]
    if quantile is not None:
        return series.quantile_of(values, float(quantile[1]) / 100)
    if aggregate == "rate":
        return series.rate(points)
    if aggregate == "increase":
        return series.increase(points) if len(points) > 1 else None
    return {"avg": math.fsum(values) / len(values), "min": min(values), "max": max(values)}[aggregate]


def _rows(spec: MetricSpec, points: Sequence[tuple[float, float]]) -> list[float]:
    if spec.kind is not Kind.counter:
        return [value for _, value in points if math.isfinite(value)]
    return [
        (value - before if value >= before else value) / (time - earlier)
        for (earlier, before), (time, value) in pairwise(points)
        if time > earlier and math.isfinite(value - before)
    ]
