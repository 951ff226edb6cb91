"""All machines of an agent: kept in the store, found again after a start.

When a rule is changed or removed, what has begun to change something goes on by the old text to its end: it is
verified, undone and escalated as the rule said that it would be. The text is in the store, so that this holds over a
restart, too. What only waits, for a guard or for a person, is given up. Either way the audit log says so.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from agent.plugin.guard import describe
from agent.rules.jobs import Jobs, Note, about
from agent.rules.machine import FORGOTTEN, Machine
from agent.rules.model import Found, Rule, RuleKey
from agent.rules.store import RuleStore
from agent.rules.timekeeping import EngineClock

log = logging.getLogger(__name__)

Place = tuple[str, str]
"""Rule and subject."""
ReadAgain = Callable[[str], Rule]
"""A rule from its text; raises what is wrong with it today."""


class Machines:
    """Where every rule stands with every subject.

    dirty: those that changed since the last commit. superseded: rules that are in force no more, and that something
    under way goes by. lost: what could not go on, with why.
    """

    def __init__(
        self,
        rules: Mapping[str, Rule],
        *,
        store: RuleStore,
        jobs: Jobs,
        clock: EngineClock,
        note: Note,
        read: ReadAgain | None = None,
    ) -> None:
        """read: None where rules are off, so that nothing goes on."""
        self.rules, self._read = rules, read
        self._store, self._jobs, self._clock, self._note = store, jobs, clock, note
        self.all: dict[Place, Machine] = {}
        self.dirty: set[Place] = set()
        self.superseded: dict[RuleKey, Rule] = {}
        self.lost: list[tuple[Machine, str]] = []

    def rule_of(self, machine: Machine) -> Rule | None:
        """The rule that it goes by: the one in force, unless it is under way by an older text."""
        if machine.superseded:
            return self.superseded.get((machine.rule, machine.version))
        return self.rules.get(machine.rule)

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
            self._fit(place, machine)

    def use(self, rules: Mapping[str, Rule], read: ReadAgain | None) -> None:
        """Other rules from now on."""
        self.rules, self._read, self.superseded = rules, read, {}
        for place, machine in list(self.all.items()):
            self._fit(place, machine)

    def tidy(self) -> None:
        """Forget old texts that nothing goes by any more, and what is over of rules that are gone."""
        for place, machine in list(self.all.items()):
            if machine.superseded and not machine.under_way:  # it is over, or would begin anew
                machine.superseded = False
                self.dirty.add(place)
                self._fit(place, machine)
        used = {(machine.rule, machine.version) for machine in self.all.values() if machine.superseded}
        self.superseded = {key: rule for key, rule in self.superseded.items() if key in used}

    def fired_within(self, window: float) -> int:
        """How many rules and subjects fired in the last seconds."""
        now = self._clock.now()
        return sum(machine.fired > 0 and now - machine.fired <= window for machine in self.all.values())

    def is_on(self, rule: Rule) -> bool:
        """Whether a rule fired and its condition may still last."""
        return any(self._on(rule))

    def with_hysteresis(self, rule: Rule, found: Found, staying: Found) -> Found:
        """What holds, with what held before and is not past its `clear` value."""
        on = {machine.subject for machine in self._on(rule)}
        stays = {subject: labels for subject, labels in staying.subjects.items() if subject in on}
        if stays and staying.holds:
            return Found(True, found.why if found.holds else staying.why, {**stays, **found.subjects}, found.of)
        if staying.holds and not staying.subjects and "" in on:
            return Found(True, staying.why, {}, found.of)
        return found

    def busy(self) -> list[str]:
        """Those that are not at rest, for a log line."""
        return [f"{m.rule} {m.subject}: {m.state}" for m in self.all.values() if m.state not in FORGOTTEN][:20]

    def _on(self, rule: Rule) -> Iterator[Machine]:
        for machine in self.all.values():
            if machine.rule == rule.name and machine.state not in FORGOTTEN and self.rule_of(machine) is rule:
                yield machine

    def _fit(self, place: Place, machine: Machine) -> None:
        """Find the rule that it goes by, or give it up."""
        rule = self.rules.get(machine.rule)
        idle = machine.state in FORGOTTEN or machine.state == "resting"
        if rule is not None and (idle or machine.version == rule.version):
            if machine.superseded:
                machine.superseded = False
                self.dirty.add(place)
            return
        why = "its rule was removed" if rule is None else "its rule was changed"
        if not machine.under_way:
            self._abandon(place, machine, why)
        elif self._read is None:
            self._abandon(place, machine, "rules are off")
        else:
            try:
                self._go_on(place, machine, why, self._read)
            except Exception as error:  # noqa: BLE001  # a plugin's code, or what it needs is not there any more
                self._abandon(place, machine, f"{why}, and the old text cannot be used: {describe(error)}")

    def _go_on(self, place: Place, machine: Machine, why: str, read: ReadAgain) -> None:
        key = (machine.rule, machine.version)
        if key not in self.superseded:
            text = self._store.text(*key)
            if text is None:
                raise LookupError("it is not kept")
            self.superseded[key] = replace(read(text), version=machine.version)
        if not machine.superseded:
            machine.superseded = True
            self.dirty.add(place)
            self._note("goes on", {**about(machine), "state": machine.state, "why": f"{why}: by its old text"})

    def _abandon(self, place: Place, machine: Machine, why: str) -> None:
        if machine.state not in FORGOTTEN and machine.state != "resting":
            self._note("abandoned", {**about(machine), "state": machine.state, "why": why})
        if machine.under_way:
            self.lost.append((machine, why))
        intent = self._store.intent(machine.current) if machine.current else None
        if intent is not None and intent.outcome is None and self._jobs.runner.runs(intent.id):
            detail = "its rule was changed or removed while it ran"
            self._store.finish(intent.id, "unknown", detail, self._clock.now(), undo=intent.undo, blocks=True)
            self._jobs.ledger.block(intent)  # until its thread ends
        del self.all[place]
        self.dirty.add(place)
