"""Incidents as the JSON of /api/v1/incidents."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from agent.incidents.grouping import component_of, quantity_of, series_text
from agent.incidents.model import Anomaly, Cause, Incident
from agent.incidents.remedied import STARTED, restarted_by


def summary(incident: Incident) -> dict[str, Any]:
    """An incident in a line."""
    first = incident.causes[0] if incident.causes else None
    return {
        "id": incident.id,
        "opened": incident.opened,
        "closed": incident.closed,
        "severity": incident.severity,
        "title": incident.title,
        "series": int(incident.attributes.get("series", len(incident.anomalies))),
        "components": incident.attributes.get("components", ""),
        "cause": None if first is None else first.component,
        "why": None if first is None else first.why,
        "signature": None if first is None else first.signature,
    }


Evidence = Callable[[Cause, Incident], list[dict[str, Any]]]
"""What the series of a cause were; see Evidence.of in agent/incidents/evidence.py."""


def incident_document(
    incident: Incident,
    evidence: Evidence = lambda cause, incident: [],
    remedied: Sequence[dict[str, Any]] = (),
    starts: Sequence[float] = (),
) -> dict[str, Any]:
    """All of an incident: its causes and its anomalies, with evidence and history, and what rules did about it: the
    records that remedied.py gives. `starts`: when cache processes started in it (Unix seconds); a cause that tells of
    that says which rule had it done. JSON has no infinity: null."""
    by_rules = restarted_by(remedied, starts)
    return {
        **summary(incident),
        "attributes": dict(incident.attributes),
        "causes": [_cause(cause, evidence(cause, incident), by_rules) for cause in incident.causes],
        "anomalies": [_anomaly(anomaly) for anomaly in incident.anomalies],
        "remediation": list(remedied),
    }


def _cause(cause: Cause, evidence: list[dict[str, Any]], by_rules: str) -> dict[str, Any]:
    restarted = by_rules and any(name == STARTED for name, _ in cause.series)
    return {
        "component": cause.component,
        "score": _finite(cause.score),
        "why": f"{cause.why.rstrip('.')}; {by_rules}." if restarted else cause.why,
        "signature": cause.signature,
        "series": [{"metric": name, "labels": list(labels)} for name, labels in cause.series],
        "evidence": [{**one, "history": [[at, _finite(value)] for at, value in one["history"]]} for one in evidence],
    }


def _anomaly(anomaly: Anomaly) -> dict[str, Any]:
    numbers = ("since", "time", "value", "low", "high", "score", "p_value")
    return {
        "series": series_text(anomaly),
        "metric": anomaly.series[0],
        "labels": dict(zip(anomaly.labels, anomaly.series[1], strict=False)),
        "component": component_of(anomaly),
        "channel": anomaly.channel,
        "quantity": quantity_of(anomaly),
        **{name: _finite(getattr(anomaly, name)) for name in numbers},
        "history": [[at, _finite(value)] for at, value in anomaly.history],
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
