"""What the parts of a remedy share: the rules in force, the books, and the clock that all of them go by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from agent.export.model import Event
from agent.rules.guards import Situation
from agent.rules.jobs import Jobs, Note
from agent.rules.ledger import Ledger
from agent.rules.machines import Machines
from agent.rules.model import Rule
from agent.rules.settings import EngineSettings
from agent.rules.store import RuleStore
from agent.rules.timekeeping import EngineClock


@dataclass(slots=True)
class Scene:
    """One for all rules, on the engine's thread."""

    rules: Mapping[str, Rule]
    settings: EngineSettings
    store: RuleStore
    clock: EngineClock
    note: Note
    jobs: Jobs
    kept: Machines
    storm: str = ""  # why there is one; "" for none
    events: list[Event] = field(default_factory=list)  # to be told once the round is committed

    @property
    def ledger(self) -> Ledger:
        """What was done lately."""
        return self.jobs.ledger

    @property
    def killed(self) -> str:
        """Why no action is begun; "" when they may be."""
        return self.jobs.killed

    def situation(self) -> Situation:
        """What the guards look at."""
        return Situation(self.clock.now(), self.settings, self.ledger, self.kept.all.values(), self.storm)
