"""How a remedy goes: from a rule that fired to what came of it. The states are those of machine.py.

This moves every machine along, and takes it up after a crash. The way up to the actions is in door.py, what comes of
them in course.py.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from agent.export.model import Event
from agent.plugin.host import Host
from agent.rules.course import Course
from agent.rules.door import Door
from agent.rules.extension import Now
from agent.rules.jobs import Jobs, Note, about
from agent.rules.ledger import Ledger
from agent.rules.machine import FORGOTTEN, WITH_JOBS, Job, Machine
from agent.rules.machines import Machines, Place, ReadAgain
from agent.rules.model import Found, Rule, RuleKey
from agent.rules.runner import Runner
from agent.rules.scene import Scene
from agent.rules.settings import EngineSettings
from agent.rules.store import Intent, RuleStore
from agent.rules.timekeeping import EngineClock

_FORGET_EVERY = 86400.0
_OPEN_ONES = 20  # incidents that are named in a record
_REMEMBERED = 86400.0  # seconds for which the last result with a subject that is gone is kept


class Remedies:
    """The machines of all rules, and what moves them. On the engine's thread."""

    def __init__(
        self,
        rules: Mapping[str, Rule],
        settings: EngineSettings,
        *,
        store: RuleStore,
        ledger: Ledger,
        clock: EngineClock,
        host: Host,
        note: Note,
        runner: Runner,
        read: ReadAgain | None = None,
    ) -> None:
        self._store, self._clock, self._host, self._note = store, clock, host, note
        self._jobs = Jobs(store=store, ledger=ledger, clock=clock, host=host, note=note, runner=runner)
        self.kept = Machines(rules, store=store, jobs=self._jobs, clock=clock, note=note, read=read)
        self._scene = Scene(rules, settings, store, clock, note, self._jobs, self.kept)
        self._course = Course(self._scene)
        self._door = Door(self._scene, self._course)
        self._asking: set[str] = set()  # intents
        self._forgot = clock.now()

    @property
    def machines(self) -> dict[Place, Machine]:
        """All of them, by rule and subject."""
        return self.kept.all

    @property
    def course(self) -> Course:
        """From the end of an action to the end of a remedy."""
        return self._course

    @property
    def ledger(self) -> Ledger:
        """What was done lately."""
        return self._jobs.ledger

    @property
    def killed(self) -> str:
        """Why no action is begun; "" when they may be."""
        return self._jobs.killed

    @killed.setter
    def killed(self, why: str) -> None:
        self._jobs.killed = why

    def look(self, found: Mapping[RuleKey, Found], now: Now) -> None:
        """What the conditions say now: rules begin to wait, fire, or calm down."""
        if self._clock.now() - self._forgot >= _FORGET_EVERY:
            self._forgot = self._clock.now()
            self._store.forget_old(self._forgot)
        self.kept.tidy()
        for name, rule in self._scene.rules.items():
            seen = found[rule.key]
            holding: Mapping[str, Mapping[str, str]] = seen.subjects or ({"": {}} if seen.holds else {})
            for subject in sorted(holding)[: self._scene.settings.max_subjects] if seen.holds else ():
                self.machines.setdefault((name, subject), Machine(name, subject, dict(holding[subject])))
        for place, machine in list(self.machines.items()):
            if (its := self.kept.rule_of(machine)) is not None and its.key in found:
                self._look(place, machine, its, found[its.key], now)

    def advance(self, found: Mapping[RuleKey, Found], now: Now, storm: str, *, fresh: bool) -> bool:
        """Every machine one thing further; gives whether any moved."""
        self._scene.storm = storm
        moved = False
        for place, machine in list(self.machines.items()):
            rule = self.kept.rule_of(machine)
            if rule is None or machine.state in FORGOTTEN or machine.state == "resting":
                continue
            if machine.superseded and not machine.under_way:
                continue  # its plan was outdated, say: nothing begins anew by an old text
            seen = found.get(rule.key, Found(None, "was not looked at yet"))
            if self._once(machine, rule, seen, now, fresh):
                self.kept.dirty.add(place)
                moved = True
        return moved

    def collect(self, now: Now) -> bool:
        """Take what came of actions and plans; gives whether anything came."""
        moved = False
        current = {machine.current: place for place, machine in self.machines.items() if machine.current}
        awaited = {machine.awaited: place for place, machine in self.machines.items() if machine.awaited}
        for result in self._jobs.results():
            moved = True
            self._asking.discard(result.intent)
            self._jobs.close(result)
            place = current.pop(result.intent, None)
            if place is None:  # it was given up before: it is taken back where that is waited for, or only written down
                if result.ending != "unknown":
                    self.ledger.unblock(result.intent, self._clock.now())
                    if (late := awaited.get(result.intent)) is not None:
                        self.kept.dirty.add(late)
                        self._course.ended_late(self.machines[late], result)
                self._note("late", {"intent": result.intent, "outcome": result.ending, "detail": result.detail})
                continue
            self.kept.dirty.add(place)
            self._course.take(self.machines[place], result, now)
        return self._door.collect() or moved

    def launch(self) -> None:
        """All is committed: begin the actions that were written down, and tell of what happened."""
        self.kept.dirty.clear()
        events, self._scene.events = self._scene.events, []
        for event in events:
            self._host.emit(event)
        self._jobs.launch()

    def recover(self, now: Now) -> None:
        """After a start: go on where the store says, and ask what nobody knows."""
        self.kept.load()
        waited_for = {machine.current for machine in self.machines.values()}
        for machine in list(self.machines.values()):
            if machine.current:
                self._resume(machine, now)
        for intent in self._store.unfinished():
            if intent.outcome is None and intent.id not in waited_for:
                detail = "the agent died meanwhile, and the rule is gone or was changed"
                self._store.finish(intent.id, "unknown", detail, self._clock.now(), undo=intent.undo)
                self._note("not known", {"rule": intent.rule, "intent": intent.id, "detail": detail})
            elif intent.blocks and not intent.changes:
                self.ledger.unblock(intent.id, self._clock.now())  # a message that hung: its thread is gone
            elif intent.blocks:
                self._ask_what_hung(intent, now)
        self._tell_of_lost(now.time)
        self._store.forget_old(self._clock.now())

    def fall_back(self, ledger: Ledger) -> None:
        """The store did not take the last round: begin from what it has."""
        self._jobs.ledger = ledger
        self._jobs.forget_launches()
        self.kept.dirty.clear()
        self._scene.events = []
        self._door.fall_back()
        self.kept.load()
        for machine in self.machines.values():
            intent = self._store.intent(machine.current) if machine.current else None
            if intent is not None and intent.outcome is None and machine.current not in self._asking:
                self._jobs.wait_again(intent)

    def use(self, rules: Mapping[str, Rule], settings: EngineSettings, read: ReadAgain | None, wall: float) -> None:
        """Other rules from now on; what is under way goes on by the old ones, which `read` reads again, if it does."""
        self._scene.rules, self._scene.settings = rules, settings
        self.ledger.topology = settings.topology
        with self._store.changes():
            self.kept.use(rules, read)
            self.kept.save()
        self.kept.dirty.clear()
        self._tell_of_lost(wall)

    def answer(self, approval: str, who: str, wall: float, *, yes: bool) -> bool:
        """A person's answer to what waits for approval; False when nothing of that name does."""
        for place, machine in self.machines.items():
            if machine.state == "waiting" and machine.approval == approval:
                self.kept.dirty.add(place)
                self._note("approved" if yes else "denied", {**about(machine), "who": who})
                if yes:
                    machine.approved, machine.approved_at, machine.approved_by = self._clock.now(), wall, who
                    machine.go("held", self._clock.now())
                else:
                    self._course.finish(machine, self._scene.rules[machine.rule], f"denied by {who}", None)
                return True
        return False

    def reset(self, rule: str) -> None:
        """Forget that actions of a rule failed or hang."""
        names = {step.type.name for step in self._scene.rules[rule].steps}
        for key in list(self._store.failures()):
            if key.split(" ", 1)[0] in names:
                self.ledger.succeeded(key, self._clock.now())
        for intent in self._store.unfinished():
            if intent.blocks and intent.rule == rule:
                self.ledger.unblock(intent.id, self._clock.now())

    def _look(self, place: Place, machine: Machine, rule: Rule, found: Found, now: Now) -> None:
        time, holds = self._clock.now(), found.holds_for(machine.subject)
        if machine.state == "resting" and time >= machine.rest_until:
            machine.go("idle", time)
            self.kept.dirty.add(place)
        if machine.state == "idle" and holds:
            machine.go("pending", time)
        elif machine.state == "pending" and not holds:  # nor when nobody knows
            machine.go("idle", time)
        if machine.state == "pending" and time - machine.since >= rule.hold:
            machine.begin(os.urandom(8).hex())
            machine.labels = dict(found.subjects.get(machine.subject, {}))
            machine.fired, machine.fired_at, machine.why, machine.version = time, now.time, found.why, rule.version
            machine.superseded = False
            self._store.keep_text(rule.name, rule.version, rule.text)
            machine.go("held", time)
            self.kept.dirty.add(place)
            open_ones = [incident.id for incident in now.incidents if incident.closed is None][:_OPEN_ONES]
            looks_at = list(rule.looks_at)
            fired = {"why": found.why, "severity": rule.severity, "looks_at": looks_at, "incidents": open_ones}
            self._note("fired", {**about(machine), **fired})
        if machine.state == "idle" and not holds and now.time - machine.result_at > _REMEMBERED:
            if machine.result:
                self.kept.dirty.add(place)
            del self.machines[place]

    def _once(self, machine: Machine, rule: Rule, found: Found, now: Now, fresh: bool) -> bool:
        if machine.state in WITH_JOBS:
            return self._work(machine, rule, found, now)
        if machine.state == "held":
            return self._door.hold(machine, rule, found, now)
        if machine.state == "planning":
            return self._door.plan(machine, rule, now)
        if machine.state == "waiting":
            return self._door.wait(machine, rule, found)
        return fresh and self._course.verify(machine, rule, found, now)

    def _work(self, machine: Machine, rule: Rule, found: Found, now: Now) -> bool:
        if machine.current:
            result = self._jobs.overdue(machine, machine.current in self._asking)
            if result is None:
                return False
            self._jobs.close(result)
            self._course.take(machine, result, now)
        elif self.killed and machine.jobs:
            self._note("stopped", {**about(machine), "why": self.killed, "left": len(machine.jobs)})
            self._course.finish(machine, rule, "stopped by the kill switch", now)
        elif machine.awaited and self._course.awaits(machine):
            return False
        elif machine.jobs and not self._door.guarded(machine, rule, found, now):
            job = machine.jobs.pop(0)
            failure = self._jobs.begin(machine, job, rule, now)
            if failure is not None:
                self._course.settle(machine, rule, job, failure)
        elif not machine.jobs and machine.state in WITH_JOBS:
            self._course.after_jobs(machine, rule, now)
        return True

    def _tell_of_lost(self, wall: float) -> None:
        """What was changed and is neither verified nor undone needs a person."""
        for machine, why in self.kept.lost:
            title = f"Rule {machine.rule} does not end what it began"
            attributes = {"rule": machine.rule, "subject": machine.subject, "run": machine.run}
            text = f"{why}; it is neither verified nor undone ({machine.why})"
            self._scene.events.append(Event(wall, "remediation", title, text, "error", attributes))
        self.kept.lost = []

    def _ask_what_hung(self, intent: Intent, now: Now) -> None:
        """Its thread is gone, but what it asked others to do may go on: its target stays alone until that is known."""
        rule, machine = self._scene.rules.get(intent.rule), self.machines.get((intent.rule, intent.subject))
        if rule is None or machine is None:
            return
        for index, step in enumerate(rule.steps):
            if step.key(machine.labels, intent.target) == intent.key:
                self._jobs.ask(intent, machine, Job("run", "then", index), rule, now)
                return

    def _resume(self, machine: Machine, now: Now) -> None:
        rule, intent = self.kept.rule_of(machine), self._store.intent(machine.current)
        if rule is None or intent is None or machine.job is None:
            machine.current, machine.job = "", None
        elif intent.outcome is not None:
            self._jobs.give_again(intent)
        else:
            self._asking.add(intent.id)
            self._jobs.ask(intent, machine, machine.job, rule, now)
