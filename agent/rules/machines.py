"""All machines of an agent: kept in the store, found again after a start, given up when their rule is another one."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping

from agent.rules.jobs import Jobs, Note, about
from agent.rules.machine import FORGOTTEN, Machine
from agent.rules.model import Found, Rule
from agent.rules.store import RuleStore
from agent.rules.timekeeping import EngineClock

log = logging.getLogger(__name__)

Place = tuple[str, str]
"""Rule and subject."""


class Machines:
    """Where every rule stands with every subject. `dirty`: those that changed since the last commit."""

    def __init__(
        self, rules: Mapping[str, Rule], *, store: RuleStore, jobs: Jobs, clock: EngineClock, note: Note
    ) -> None:
        self.rules = rules
        self._store, self._jobs, self._clock, self._note = store, jobs, clock, note
        self.all: dict[Place, Machine] = {}
        self.dirty: set[Place] = set()

    def save(self) -> bool:
        """Put what changed into the store; gives whether anything did."""
        for place in sorted(self.dirty):
            machine = self.all.get(place)
            self._store.put_machine(*place, None if machine is None else machine.saved())
        return bool(self.dirty)

    def load(self) -> None:
        """Find them again as the store has them."""
        self.all = {}
        for name, subject, document in self._store.machines():
            place = (name, subject)
            try:
                self.all[place] = machine = Machine.load(document)
            except (TypeError, KeyError):
                log.warning("what the rule %s did with %r cannot be read: %s", name, subject, json.dumps(document))
                self.dirty.add(place)
                continue
            if not self._fits(machine):
                self._abandon(place, machine)

    def use(self, rules: Mapping[str, Rule]) -> None:
        """Other rules from now on; what those that are gone or changed were about to do is given up."""
        self.rules = rules
        for place, machine in list(self.all.items()):
            if not self._fits(machine):
                self._abandon(place, machine)

    def fired_within(self, window: float) -> int:
        """How many rules and subjects fired in the last seconds."""
        now = self._clock.now()
        return sum(machine.fired > 0 and now - machine.fired <= window for machine in self.all.values())

    def is_on(self, rule: str) -> bool:
        """Whether a rule fired and its condition may still last."""
        return any(m.rule == rule and m.state not in FORGOTTEN for m in self.all.values())

    def with_hysteresis(self, rule: Rule, found: Found, staying: Found) -> Found:
        """What holds, with what held before and is not past its `clear` value."""
        on = {m.subject for m in self.all.values() if m.rule == rule.name and m.state not in FORGOTTEN}
        stays = {subject: labels for subject, labels in staying.subjects.items() if subject in on}
        if stays and staying.holds:
            return Found(True, found.why if found.holds else staying.why, {**stays, **found.subjects}, found.of)
        if staying.holds and not staying.subjects and "" in on:
            return Found(True, staying.why, {}, found.of)
        return found

    def busy(self) -> list[str]:
        """Those that are not at rest, for a log line."""
        return [f"{m.rule} {m.subject}: {m.state}" for m in self.all.values() if m.state not in FORGOTTEN][:20]

    def _fits(self, machine: Machine) -> bool:
        rule = self.rules.get(machine.rule)
        if rule is None:
            return False
        return machine.state in FORGOTTEN or machine.state == "resting" or machine.version == rule.version

    def _abandon(self, place: Place, machine: Machine) -> None:
        """Its rule is gone or another one."""
        if machine.state not in FORGOTTEN and machine.state != "resting":
            why = "its rule was changed or removed"
            self._note("abandoned", {**about(machine), "state": machine.state, "why": why})
        intent = self._store.intent(machine.current) if machine.current else None
        if intent is not None and intent.outcome is None and self._jobs.runner.runs(intent.id):
            detail = "its rule was changed or removed while it ran"
            self._store.finish(intent.id, "unknown", detail, self._clock.now(), undo=intent.undo, blocks=True)
            self._jobs.ledger.block(intent)  # until its thread ends
        del self.all[place]
        self.dirty.add(place)
