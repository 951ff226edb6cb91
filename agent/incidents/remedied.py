"""What rules did about an incident, found again in the audit log.

A remedy belongs to an incident when it began while that lasted and is about the same: its rule looks at a metric that
stood out or speaks for a cause, or its subject is a probable cause; or the rule looks at no metric but at incidents,
and this one was open. The record that a rule fired says what it looked at.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from agent.incidents.audit_files import lines_since
from agent.incidents.model import Incident
from agent.metrics.history import History

MOST = 200  # records of one incident
_EARLY = 60.0  # seconds: a rule may see what is off before a detector does
_LATE = 3600.0  # seconds: for so long after it is over its remedies are followed
STARTED = "predis_cache_start_time_seconds"
_SLACK = 1.0  # seconds between the clocks of the audit log and of the cache process
_DETAILS = ("detail", "result", "why")  # what a record says, the first of these that it has


def remedied(path: Path, incident: Incident) -> list[dict[str, Any]]:
    """The records of the audit log at `path` that belong to an incident, oldest first, at most MOST.

    Each has `n`, `hash` (SHA-256 of its line, which is the next record's `prev`), `time` (Unix seconds), `rule`,
    `subject`, `run`, `what` (the record's kind), `action` and `target` ("" where it is about none), and `detail`.
    Raises OSError when the log cannot be read.
    """
    about = _About(incident)
    found: list[dict[str, Any]] = []
    runs: set[str] = set()
    begun: dict[str, tuple[str, str]] = {}  # intent → its action and target
    for line, record in _records(path, about.since - _EARLY, about.until + _LATE):
        run = str(record.get("run") or str(record.get("intent", "")).rpartition("-")[0])
        if record["kind"] == "fired" and about.has(record):
            runs.add(run)
        if run not in runs:
            continue
        intent = str(record.get("intent", ""))
        if "target" in record:
            begun[intent] = str(record.get("action", "")), str(record["target"])
        action, target = begun.get(intent, (str(record.get("action", "")), ""))
        found.append(
            {
                "n": record["n"],
                "hash": hashlib.sha256(line.rstrip(b"\n")).hexdigest(),
                "time": record["time"],
                "rule": str(record.get("rule") or next((f["rule"] for f in found if f["run"] == run), "")),
                "subject": str(record.get("subject", "")),
                "run": run,
                "what": record["kind"],
                "action": action,
                "target": target,
                "detail": _detail(record),
            }
        )
        if len(found) == MOST:
            break
    return found


def starts_in(history: History, incident: Incident) -> list[float]:
    """When the cache processes started that there were while an incident lasted (Unix seconds, ascending)."""
    until = time.time() if incident.closed is None else incident.closed
    return sorted({start for _, start in history.points((STARTED, ()), incident.opened, until)})


def restarted_by(records: Sequence[Mapping[str, Any]], starts: Sequence[float]) -> str:
    """Which rules had the cache process started anew, as an end of a sentence; empty when none of them did.

    records: of `remedied`. starts: when cache processes started (Unix seconds), as STARTED has it.
    """
    asked: dict[str, None] = {}
    for place, record in enumerate(records):
        if record["what"] != "acting":
            continue
        same = (later for later in records[place + 1 :] if _use(later) == _use(record))
        end = next((float(later["time"]) for later in same), float("inf"))
        if any(record["time"] - _SLACK <= start <= end + _SLACK for start in starts):
            asked[f"the rule {record['rule']} asked for it ({record['action']})"] = None
    return "; ".join(asked)


def _use(record: Mapping[str, Any]) -> tuple[str, str, str]:
    return str(record["run"]), str(record["action"]), str(record["target"])


class _About:
    """What an incident is about, for comparison with rules that fired."""

    def __init__(self, incident: Incident) -> None:
        self._id = incident.id
        self.since = min([incident.opened, *(anomaly.since for anomaly in incident.anomalies)])
        self.until = float("inf") if incident.closed is None else incident.closed
        self._components = {cause.component for cause in incident.causes}
        self._metrics = {anomaly.series[0] for anomaly in incident.anomalies}
        self._metrics |= {name for cause in incident.causes for name, _ in cause.series}

    def has(self, fired: Mapping[str, Any]) -> bool:
        """Whether a rule fired because of it, as far as one can tell."""
        if not self.since - _EARLY <= fired["time"] <= self.until:
            return False
        if fired.get("subject") in self._components:
            return True
        looked_at = fired.get("looks_at") or ()
        if not looked_at:
            return self._id in (fired.get("incidents") or ())
        return any(fnmatchcase(metric, pattern) for pattern in looked_at for metric in self._metrics)


def _records(path: Path, start: float, end: float) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """Each record of that time, with its line; what is none is left out: `audit verify` tells of it."""
    for line in lines_since(path, start):
        try:
            record = json.loads(line)
            record["kind"], record["n"], at = record["kind"], int(record["n"]), float(record["time"])
        except (ValueError, KeyError, TypeError):
            continue
        if at > end:
            return
        yield line, record


def _detail(record: Mapping[str, Any]) -> str:
    plan = record.get("plan")
    if isinstance(plan, list):
        return "; ".join(map(str, plan))
    return next((str(record[key]) for key in _DETAILS if record.get(key)), "")
