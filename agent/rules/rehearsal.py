"""Rules on series that were recorded or made up: time is a number, and actions do nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from agent.forecast.model import Forecast
from agent.incidents.model import Incident
from agent.metrics.catalogue import Catalogue
from agent.metrics.model import SeriesKey
from agent.plugin.host import CacheAddress, Host
from agent.rules.engine import RuleEngine
from agent.rules.extension import ActionType, Now, Outcome, Task
from agent.rules.model import Rule
from agent.rules.recorded import Recorded
from agent.rules.runner import InlineRunner
from agent.rules.settings import EngineSettings
from agent.rules.store import RuleStore


@dataclass(frozen=True, slots=True)
class Deed:
    """An action that would have been taken. `time` in Unix seconds; kind: "run" or "undo"."""

    time: float
    rule: str
    subject: str
    action: str
    target: str
    kind: str
    text: str


@dataclass
class Rehearsed:
    """An action that only notes what is asked of it, and does as `fails` says."""

    type: ActionType
    note: Callable[[Task, str, str, str], None]
    fails: bool = False
    name: str = field(init=False)
    help: str = field(init=False)
    changes_state: bool = field(init=False)
    deadline: float = field(init=False)
    Params: Any = field(init=False)

    def __post_init__(self) -> None:
        self.name, self.help, self.Params = self.type.name, self.type.help, self.type.Params
        self.changes_state, self.deadline = self.type.changes_state, self.type.deadline

    def target(self, params: Any) -> str:
        return self.type.target(params)

    def plan(self, params: Any, task: Task) -> str:
        return f"{self.name} on {self.target(params)}"

    def run(self, params: Any, task: Task) -> Outcome:
        self.note(task, self.name, self.target(params), "run")
        return Outcome(not self.fails, "rehearsed", {})

    def done_before(self, params: Any, task: Task) -> Outcome | None:
        return None

    def undo(self, params: Any, undo: Mapping[str, Any], task: Task) -> Outcome:
        self.note(task, self.name, self.target(params), "undo")
        return Outcome(True, "rehearsed")


class Rehearsal:
    """Plays series to rules. `records` has every decision, as the audit log would: (time, kind, fields)."""

    def __init__(
        self,
        rules: Sequence[Rule],
        catalogue: Catalogue,
        recorded: Recorded,
        *,
        start: float,
        interval: float = 10.0,
        settings: EngineSettings | None = None,
        incidents: Callable[[float], tuple[Incident, ...]] = lambda time: (),
        forecasts: Callable[[float], Mapping[SeriesKey, Forecast]] = lambda time: {},
        failing: Sequence[str] = (),
    ) -> None:
        """`failing`: the names of actions that do not succeed."""
        self.time, self._interval = start, interval
        self._catalogue, self._recorded, self._incidents = catalogue, recorded, incidents
        self._forecasts = forecasts
        self.records: list[tuple[float, str, dict[str, Any]]] = []
        self.deeds: list[Deed] = []
        address = CacheAddress(Path("cache.sock"), "127.0.0.1", 0, None, Path("arena"))
        host = Host(Path(), address, "", logging.getLogger("predis.rehearsal"))
        self.engine = RuleEngine(
            [_rehearsed(rule, self._note, failing) for rule in rules],
            host,
            self,
            RuleStore(":memory:", sync=False),
            settings or EngineSettings(),
            clock=lambda: self.time - start,
            wall=lambda: self.time,
            runner=InlineRunner(),
        )

    def append(self, kind: str, fields: Mapping[str, Any]) -> None:
        """As an audit log."""
        self.records.append((self.time, kind, dict(fields)))

    def until(self, end: float) -> None:
        """Play on, until this Unix time."""
        while self.time + self._interval <= end + 1e-6:
            self.time += self._interval
            self._recorded.until = self.time
            snapshot = self._recorded.snapshot(self.time, self._interval, self._catalogue)
            self.engine.step(
                Now(self.time, snapshot, self._recorded, self._incidents(self.time), self._forecasts(self.time))
            )

    def _note(self, task: Task, action: str, target: str, kind: str) -> None:
        subject = task.attributes.get("subject", "")
        self.deeds.append(Deed(self.time, task.rule, subject, action, target, kind, task.event))


def _rehearsed(rule: Rule, note: Callable[[Task, str, str, str], None], failing: Sequence[str]) -> Rule:
    def steps(found: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(replace(step, type=Rehearsed(step.type, note, step.type.name in failing)) for step in found)

    return replace(rule, steps=steps(rule.steps), escalate=steps(rule.escalate))
