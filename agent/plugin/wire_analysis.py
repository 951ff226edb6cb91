"""Anomalies, incidents, causes and forecasts as JSON, between the agent and a plugin's own process."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from agent.forecast.model import Estimate, Forecast, ForecastRequest
from agent.incidents.model import Anomaly, Cause, Incident
from agent.metrics.model import SeriesKey
from agent.plugin.wire import checked

MOST_HISTORY = 1000  # points of one anomaly's picture
_MAY_BE_NAN = ("value", "low", "high")


def dump(value: Any) -> Any:
    """One of these, as JSON has it."""
    return dataclasses.asdict(value)


def load_anomalies(given: Any) -> list[Anomaly]:
    """Anomalies from JSON. Raises WireError."""
    return checked(lambda: [_anomaly(**one) for one in given], "anomalies")


def load_causes(given: Any) -> list[Cause]:
    """Causes from JSON. Raises WireError."""
    return checked(lambda: [_cause(**one) for one in given], "causes")


def load_forecast(given: Any) -> Forecast:
    """A forecast from JSON. Raises WireError."""

    def made() -> Forecast:
        rows = ("times", "middle", "low80", "high80", "low95", "high95")
        numbers = {name: tuple(map(float, given[name])) for name in rows}
        if len(set(map(len, numbers.values()))) != 1:
            raise ValueError
        likely, earliest, latest = (None if at is None else float(at) for at in given["reach"])
        error = None if given["error"] is None else float(given["error"])
        return Forecast(
            **numbers,
            model=_text(given["model"]),
            error=error,
            reach=(likely, earliest, latest),
            peak=_estimate(given["peak"]),
            trend=_estimate(given["trend"]),
            trend_problem=_text(given["trend_problem"]),
            problem=_text(given["problem"]),
        )

    return checked(made, "a forecast")


def load_request(given: Any) -> ForecastRequest:
    """A request from JSON. Raises WireError."""
    return checked(
        lambda: ForecastRequest(**{**given, "times": tuple(given["times"]), "values": tuple(given["values"])}),
        "a request",
    )


def load_incident(given: Any) -> Incident:
    """An incident from JSON. Raises WireError."""

    def made() -> Incident:
        anomalies, causes = map(_tuple, (load_anomalies(given["anomalies"]), load_causes(given["causes"])))
        closed = None if given["closed"] is None else _number(given["closed"])
        attributes = {_text(name): _text(value) for name, value in given["attributes"].items()}
        return Incident(
            _text(given["id"]),
            _number(given["opened"]),
            _text(given["title"]),
            anomalies,
            causes,
            closed,
            _text(given["severity"]),
            attributes,
        )

    return checked(made, "an incident")


def load_key(given: Any) -> SeriesKey:
    """A series' name and label values from JSON. Raises WireError."""
    return checked(lambda: _key(given), "a series")


def _anomaly(series: Any, labels: Any, history: Any, channel: Any, component: Any = "", **numbers: Any) -> Anomaly:
    points = tuple((_number(at), float(value)) for at, value in history[-MOST_HISTORY:])
    # What is absent has no value, and where nothing is known there is no band: NaN, as inside of the agent.
    made = {name: float(value) if name in _MAY_BE_NAN else _number(value) for name, value in numbers.items()}
    named = tuple(map(_text, labels))
    return Anomaly(_key(series), named, channel=_text(channel), history=points, component=_text(component), **made)


def _cause(component: Any, score: Any, why: Any, series: Any, signature: Any) -> Cause:
    return Cause(_text(component), _number(score), _text(why), tuple(map(_key, series)), _text(signature))


def _key(given: Any) -> SeriesKey:
    name, labels = given
    return _text(name), tuple(map(_text, labels))


def _estimate(given: Any) -> Estimate | None:
    return None if given is None else Estimate(**{name: _number(value) for name, value in given.items()})


def _tuple(given: Any) -> tuple[Any, ...]:
    return tuple(given)


def _text(given: Any) -> str:
    if not isinstance(given, str):
        raise TypeError
    return given


def _number(given: Any) -> float:
    number = float(given)
    if math.isnan(number):
        raise ValueError
    return number
