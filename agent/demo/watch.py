"""What the agent says while the demonstration runs: incidents from its API, decisions from its audit log."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.cli.client import get_json
from agent.config.models import Config
from agent.errors import PredisError
from agent.incidents.audit import BEGUN, log_path


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that was said. `at` is Unix time as the agent has it; `source`: who said it."""

    at: float
    source: str
    kind: str
    text: str
    fields: dict[str, Any] = field(default_factory=dict)


class Watch:
    """Gives each moment once."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._audit = log_path(config.agent.data_dir)
        self._offset = 0
        self._restarted: int | None = None
        self._told: dict[tuple[str, str], str] = {}

    def moments(self) -> Iterator[Moment]:
        """What is new since the last call."""
        yield from self._incidents()
        yield from self._restarts()
        yield from self._records()

    def _incidents(self) -> Iterator[Moment]:
        try:
            incidents = get_json(self._config, "/api/v1/incidents")["incidents"]
        except (PredisError, KeyError):
            return  # asked again in a moment
        for incident in reversed(incidents):
            said = (("opened", incident["opened"], incident["title"]), ("cause", time.time(), incident["why"]))
            for kind, at, text in (*said, ("closed", incident["closed"], incident["title"])):
                if at is None or not text or self._told.get((incident["id"], kind)) == text:
                    continue
                if kind != "cause" and (incident["id"], kind) in self._told:
                    continue  # titles grow with the incident
                self._told[incident["id"], kind] = text
                yield Moment(at, "incident", kind, text, incident)

    def _restarts(self) -> Iterator[Moment]:
        """What the supervisor did: it watches the cache process closer than collectors do."""
        try:
            cache = get_json(self._config, "/api/v1/status")["cache"]
        except (PredisError, KeyError):
            return
        if self._restarted is not None and cache["restarts"] > self._restarted:
            reasons = ", ".join(cache["restarts_by_reason"])
            yield Moment(time.time(), "supervisor", "restarted", f"the cache process was started again ({reasons})")
        self._restarted = cache["restarts"]

    def _records(self) -> Iterator[Moment]:
        for record in read_records(self._audit, self._offset):
            self._offset = record.pop("end")
            parts = [str(record[name]) for name in ("rule", "action", "why", "detail", "result") if record.get(name)]
            plan = record.get("plan")
            if isinstance(plan, list):
                parts += map(str, plan)
            if record["kind"] == BEGUN:
                parts.append("the log of all decisions begins")
            yield Moment(record["time"], "audit", record["kind"], ": ".join(parts), record)


def read_records(path: Path, offset: int = 0) -> Iterator[dict[str, Any]]:
    """The whole records of an audit log from a place on; `end` is the place behind each."""
    try:
        with path.open("rb") as file:
            if file.seek(0, 2) < offset:
                offset = 0  # it goes on in another file
            file.seek(offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                offset += len(line)
                yield {**json.loads(line), "end": offset}
    except FileNotFoundError:
        return
