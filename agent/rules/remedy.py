"""How a remedy goes: from a rule that fired to what came of it. The states are those of machine.py."""

from __future__ import annotations

import os
import queue
from collections.abc import Mapping
from typing import Any

from agent.export.model import Event
from agent.plugin.host import Host
from agent.rules.extension import Now
from agent.rules.guards import Refusal, Situation, Use, may_act, may_go_on
from agent.rules.jobs import Jobs, Note, Result, about, describe, plain_text, plan_name, step_of
from agent.rules.ledger import Ledger
from agent.rules.machine import FORGOTTEN, WITH_JOBS, Job, Machine, Planned
from agent.rules.machines import Machines, Place
from agent.rules.model import Found, Rule, Step
from agent.rules.runner import Runner
from agent.rules.settings import EngineSettings
from agent.rules.store import Intent, RuleStore
from agent.rules.timekeeping import EngineClock

_SILENT = frozenset({"cooldown", "kill switch", "busy"})
"""Guards whose refusal is no news: nobody is told."""
_FORGET_EVERY = 86400.0
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
    ) -> None:
        self._rules, self._settings = rules, settings
        self._store, self._clock, self._host, self._note = store, clock, host, note
        self._jobs = Jobs(store=store, ledger=ledger, clock=clock, host=host, note=note, runner=runner)
        self.kept = Machines(rules, store=store, jobs=self._jobs, clock=clock, note=note)
        self._asking: set[str] = set()  # intents
        self._plans: queue.SimpleQueue[tuple[str, list[Planned], str]] = queue.SimpleQueue()
        self._planning: set[str] = set()  # runs
        self._events: list[Event] = []
        self._storm = ""
        self._forgot = clock.now()

    @property
    def machines(self) -> dict[Place, Machine]:
        """All of them, by rule and subject."""
        return self.kept.all

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

    def look(self, found: Mapping[str, Found], now: Now) -> None:
        """What the conditions say now: rules begin to wait, fire, or calm down."""
        if self._clock.now() - self._forgot >= _FORGET_EVERY:
            self._forgot = self._clock.now()
            self._store.forget_old(self._forgot)
        for name in self._rules:
            seen = found[name]
            holding: Mapping[str, Mapping[str, str]] = seen.subjects or ({"": {}} if seen.holds else {})
            for subject in sorted(holding)[: self._settings.max_subjects] if seen.holds else ():
                self.machines.setdefault((name, subject), Machine(name, subject, dict(holding[subject])))
        for place, machine in list(self.machines.items()):
            rule_ = self._rules.get(machine.rule)
            if rule_ is not None:
                self._look(place, machine, rule_, found[machine.rule], now)

    def advance(self, found: Mapping[str, Found], now: Now, storm: str, *, fresh: bool) -> bool:
        """Every machine one thing further; gives whether any moved."""
        self._storm = storm
        moved = False
        for place, machine in list(self.machines.items()):
            rule = self._rules.get(machine.rule)
            if rule is None or machine.state in FORGOTTEN or machine.state == "resting":
                continue
            seen = found.get(machine.rule, Found(None, "was not looked at yet"))
            if self._once(machine, rule, seen, now, fresh):
                self.kept.dirty.add(place)
                moved = True
        return moved

    def collect(self, now: Now) -> bool:
        """Take what came of actions and plans; gives whether anything came."""
        moved = False
        current = {machine.current: place for place, machine in self.machines.items() if machine.current}
        for result in self._jobs.results():
            moved = True
            self._asking.discard(result.intent)
            self._jobs.close(result)
            place = current.pop(result.intent, None)
            if place is None:  # it was given up before: what it did is only written down
                if result.ending != "unknown":
                    self.ledger.unblock(result.intent, self._clock.now())
                self._note("late", {"intent": result.intent, "outcome": result.ending, "detail": result.detail})
                continue
            self.kept.dirty.add(place)
            self._take(self.machines[place], result, now)
        while True:
            try:
                run, plans, problem = self._plans.get_nowait()
            except queue.Empty:
                return moved
            self._planning.discard(run)
            for place, machine in self.machines.items():
                if machine.run == run and machine.state == "planning":
                    moved = True
                    self.kept.dirty.add(place)
                    self._planned(machine, plans, problem)

    def launch(self) -> None:
        """All is committed: begin the actions that were written down, and tell of what happened."""
        self.kept.dirty.clear()
        events, self._events = self._events, []
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
        self._store.forget_old(self._clock.now())

    def fall_back(self, ledger: Ledger) -> None:
        """The store did not take the last round: begin from what it has."""
        self._jobs.ledger = ledger
        self._jobs.forget_launches()
        self.kept.dirty.clear()
        self._events = []
        self._planning.clear()
        self.kept.load()
        for machine in self.machines.values():
            intent = self._store.intent(machine.current) if machine.current else None
            if intent is not None and intent.outcome is None and machine.current not in self._asking:
                self._jobs.wait_again(intent)

    def use(self, rules: Mapping[str, Rule], settings: EngineSettings) -> None:
        """Other rules from now on; remedies of those that are gone or changed are given up."""
        self._rules, self._settings = rules, settings
        self.ledger.topology = settings.topology
        with self._store.changes():
            self.kept.use(rules)
            self.kept.save()
        self.kept.dirty.clear()

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
                    self._finish(machine, self._rules[machine.rule], f"denied by {who}", None)
                return True
        return False

    def reset(self, rule: str) -> None:
        """Forget that actions of a rule failed or hang."""
        names = {step.type.name for step in self._rules[rule].steps}
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
            machine.go("held", time)
            self.kept.dirty.add(place)
            self._note("fired", {**about(machine), "why": found.why, "severity": rule.severity})
        if machine.state == "idle" and not holds and now.time - machine.result_at > _REMEMBERED:
            if machine.result:
                self.kept.dirty.add(place)
            del self.machines[place]

    def _once(self, machine: Machine, rule: Rule, found: Found, now: Now, fresh: bool) -> bool:
        if machine.state in WITH_JOBS:
            return self._work(machine, rule, found, now)
        if machine.state == "held":
            return self._hold(machine, rule, found, now)
        if machine.state == "planning":
            return self._plan(machine, rule, now)
        if machine.state == "waiting":
            return self._wait(machine, rule, found)
        return fresh and self._verify(machine, rule, found, now)

    def _hold(self, machine: Machine, rule: Rule, found: Found, now: Now) -> bool:
        """The only door to actions: everything is looked at again each time."""
        if self._approval_is_over(machine, rule, now):
            self._fail(machine, rule, "could not be done while the approval counted")
            return True
        holds = found.holds_for(machine.subject)
        if holds is None:
            return False
        if not holds:
            return self._clear(machine)
        if self.killed:
            return self._refuse(machine, rule, Refusal("kill switch", self.killed))
        if not rule.changes_state:
            self._act(machine, rule, [])
            return True
        try:
            uses = [_use(machine, rule, index) for index, step in enumerate(rule.steps) if step.changes_state]
        except Exception as error:  # noqa: BLE001  # a plugin's code
            self._fail(machine, rule, f"cannot be done: {describe(error)}")
            return True
        if rule.acts:
            refusal = may_act(rule, machine, found, uses, self._situation())
            if refusal is not None:
                return self._refuse(machine, rule, refusal)
        machine.guard = machine.reason = ""
        if not machine.plan:
            if self._jobs.runner.runs(plan_name(machine)):
                return self._refuse(machine, rule, Refusal("hanging", "an earlier planning of it hangs"))
            machine.go("planning", self._clock.now())
        elif rule.acts and rule.approval and machine.approved is None:
            self._ask_a_person(machine, rule, now)
        else:
            self._act(machine, rule, uses)
        return True

    def _clear(self, machine: Machine) -> bool:
        self._note("cleared", about(machine))
        machine.result, machine.result_at = "its condition did not last", machine.fired_at
        machine.approval = ""
        machine.go("idle", self._clock.now())
        return True

    def _refuse(self, machine: Machine, rule: Rule, refusal: Refusal) -> bool:
        news = machine.guard != refusal.guard
        machine.guard, machine.reason = refusal.guard, refusal.why
        if news:
            self._note("refused", {**about(machine), "guard": refusal.guard, "why": refusal.why})
            if not machine.told and refusal.guard not in _SILENT:
                self._tell(machine, rule, "held", f"{machine.why}; nothing is done: {refusal.why}")
        return news

    def _tell(self, machine: Machine, rule: Rule, then: Any, text: str) -> None:
        machine.told, machine.next = True, then
        machine.jobs = [
            Job("run", "then", index, text) for index, step in enumerate(rule.steps) if not step.changes_state
        ]
        machine.go("telling", self._clock.now())

    def _plan(self, machine: Machine, rule: Rule, now: Now) -> bool:
        run = machine.run
        if self.killed:
            machine.go("held", self._clock.now())
            return True
        if run not in self._planning:
            self._planning.add(run)
            self._jobs.plan(machine, rule, now, lambda plans, problem: self._plans.put((run, plans, problem)))
            return True
        patience = sum(step.deadline for step in rule.steps if step.changes_state)
        if self._clock.now() - machine.since > patience:
            self._fail(machine, rule, f"its actions did not say within {patience:g} s what they would do")
            return True
        return False

    def _planned(self, machine: Machine, plans: list[Planned], problem: str) -> None:
        rule = self._rules[machine.rule]
        if problem:
            self._fail(machine, rule, f"cannot be done: {problem}")
            return
        machine.plans = plans
        machine.dry = rule.dry_run
        self._note("dry run" if rule.dry_run else "planned", {**about(machine), "plan": machine.plan})
        machine.go("held", self._clock.now())

    def _ask_a_person(self, machine: Machine, rule: Rule, now: Now) -> None:
        machine.approval = machine.run
        self._note("approval asked", {**about(machine), "plan": machine.plan})
        text = f"{'; '.join(machine.plan)}. To let it: predis-agent rules approve {machine.approval}"
        attributes = {"rule": rule.name, "subject": machine.subject, "approval": machine.approval}
        title = f"Rule {rule.name} asks for approval"
        self._events.append(Event(now.time, "rule_approval", title, text, "warning", attributes))
        if machine.told:
            machine.go("waiting", self._clock.now())
        else:
            self._tell(machine, rule, "waiting", f"{machine.why}; waits for approval: {text}")

    def _wait(self, machine: Machine, rule: Rule, found: Found) -> bool:
        if found.holds_for(machine.subject) is False:
            return self._clear(machine)
        if self._clock.now() - machine.since > rule.approval_timeout:
            self._note("approval expired", about(machine))
            self._fail(machine, rule, "nobody approved it in time")
            return True
        return False

    def _act(self, machine: Machine, rule: Rule, uses: list[Use]) -> None:
        dry = rule.changes_state and rule.dry_run
        text = machine.why + (f"; would be done (dry run): {'; '.join(machine.plan)}" if dry else "")
        first = next((index for index, step in enumerate(rule.steps) if step.changes_state), len(rule.steps))
        machine.jobs = [
            Job("run", "then", index, text)
            for index, step in enumerate(rule.steps)
            if not (step.changes_state and dry) and not (machine.told and (index < first or dry))
        ]
        if not dry:
            machine.targets = sorted({use.target for use in uses})
            machine.coming = len(uses)
        machine.go("acting", self._clock.now())

    def _work(self, machine: Machine, rule: Rule, found: Found, now: Now) -> bool:
        if machine.current:
            result = self._jobs.overdue(machine, machine.current in self._asking)
            if result is None:
                return False
            self._jobs.close(result)
            self._take(machine, result, now)
        elif self.killed and machine.jobs:
            self._note("stopped", {**about(machine), "why": self.killed, "left": len(machine.jobs)})
            self._finish(machine, rule, "stopped by the kill switch", now)
        elif machine.jobs and not self._guarded(machine, rule, found, now):
            job = machine.jobs.pop(0)
            failure = self._jobs.begin(machine, job, rule, now)
            if failure is not None:
                self._settle(machine, rule, job, failure)
        elif not machine.jobs and machine.state in WITH_JOBS:
            self._after_jobs(machine, rule, now)
        return True

    def _guarded(self, machine: Machine, rule: Rule, found: Found, now: Now) -> bool:
        """Whether a guard stopped the next job. Messages were sent since the door, so that things may have changed."""
        job = machine.jobs[0]
        if job.kind == "undo" or not step_of(rule, job).changes_state:
            return False
        if machine.changed:
            refusal = may_go_on(rule, self._situation())
            if refusal is not None:
                self._fail(machine, rule, f"was not gone on with: {refusal.why}")
            return refusal is not None
        try:
            uses = [_use(machine, rule, index) for index, step in enumerate(rule.steps) if step.changes_state]
        except Exception as error:  # noqa: BLE001  # a plugin's code
            self._fail(machine, rule, f"cannot be done: {describe(error)}")
            return True
        well = found.holds_for(machine.subject) is not True or self._approval_is_over(machine, rule, now)
        if not well and may_act(rule, machine, found, uses, self._situation()) is None:
            return False
        machine.jobs, machine.targets, machine.coming, machine.told = [], [], 0, True
        machine.go("held", self._clock.now())
        return True

    def _approval_is_over(self, machine: Machine, rule: Rule, now: Now) -> bool:
        """By either clock: the engine's stands still while the machine is off, and the wall clock may be set back."""
        if machine.approved is None:
            return False
        passed = max(self._clock.now() - machine.approved, now.time - machine.approved_at)
        return passed > rule.approval_timeout

    def _situation(self) -> Situation:
        return Situation(self._clock.now(), self._settings, self.ledger, self.machines.values(), self._storm)

    def _after_jobs(self, machine: Machine, rule: Rule, now: Now) -> None:
        time = self._clock.now()
        if machine.state == "telling":
            machine.go(machine.next, time)
        elif machine.state == "undoing":
            self._escalate(machine, rule)
        elif machine.state == "escalating":
            self._finish(machine, rule, f"failed: {machine.reason}", now)
        elif not machine.changed:
            self._finish(machine, rule, "dry run" if machine.dry else "told", now)
        elif rule.verify is not None:
            machine.go("verifying", time)
        else:
            self._helped(machine, rule, "done", now)

    def _take(self, machine: Machine, result: Result, now: Now) -> None:
        """An action came to its end."""
        job, machine.current, machine.job = machine.job, "", None
        rule = self._rules[machine.rule]
        machine.acted, machine.acted_at = self._clock.now(), now.time
        if job is not None:
            self._settle(machine, rule, job, result)

    def _settle(self, machine: Machine, rule: Rule, job: Job, result: Result) -> None:
        step, done = step_of(rule, job), result.ending == "done"
        fields = {**about(machine), "intent": result.intent, "action": step.type.name, "detail": result.detail}
        if result.ending == "stopped":
            self._note("stopped", fields)
            self._finish(machine, rule, "stopped by the kill switch", None)
        elif result.ending == "outdated":
            self._plan_anew(machine, rule, step, fields)
        elif job.kind == "undo":
            self._note("undone" if done else "undo failed", fields)
            if not done:
                machine.reason += f"; {step.type.name} could not be undone: {result.detail}"
        elif not step.changes_state:
            self._note("told" if done else "message failed", fields)
        elif done:
            self._note("acted", fields)
            self._can_be_undone(machine, job, result)
        else:
            self._can_be_undone(machine, job, result)
            if result.intent:
                fields["failures"] = self.ledger.failed(machine.keys[-1], self._clock.now())
            self._note("failed" if result.ending == "failed" else result.ending, fields)
            self._fail(machine, rule, f"{step.type.name}: {result.detail}")

    @staticmethod
    def _can_be_undone(machine: Machine, job: Job, result: Result) -> None:
        if result.undo is not None:
            machine.done.append(Job("undo", job.part, job.index, undo=dict(result.undo)))

    def _plan_anew(self, machine: Machine, rule: Rule, step: Step, fields: Mapping[str, Any]) -> None:
        """What was planned does not fit any more, and nothing else may be done in its place: a new remedy begins, with
        a plan of its own, for which a person is asked again. Where an earlier step has changed something, it failed."""
        machine.keys.pop()
        if machine.keys:
            self._note("plan outdated", fields)
            why = f"{step.type.name} was not gone on with, its plan is outdated: {fields['detail']}"
            self._fail(machine, rule, why)
            return
        run, told = os.urandom(8).hex(), machine.told and not rule.approval
        self._note("plan outdated", {**fields, "plan": machine.plan, "anew": run})
        machine.begin(run)
        machine.told = told
        machine.go("held", self._clock.now())

    def _verify(self, machine: Machine, rule: Rule, found: Found, now: Now) -> bool:
        assert rule.verify is not None
        elapsed = self._clock.now() - machine.acted
        if elapsed <= rule.verify.after and elapsed <= rule.verify.within:
            return False
        if rule.verify.condition is None:
            seen, helped = found, found.holds_for(machine.subject) is False
        else:
            try:
                seen = rule.verify.condition.evaluate(now)
            except Exception as error:  # noqa: BLE001  # a plugin's code
                seen = Found(None, f"cannot be looked at: {describe(error)}")
            helped = seen.holds_for(machine.subject) is True
        if helped and elapsed <= rule.verify.within:
            self._note("verified", {**about(machine), "why": seen.why})
            self._helped(machine, rule, "verified", now)
            return True
        if elapsed <= rule.verify.within:
            return False
        self._note("not verified", {**about(machine), "why": seen.why})
        for key in dict.fromkeys(machine.keys):
            self.ledger.failed(key, self._clock.now())
        self._fail(machine, rule, f"did not help within {rule.verify.within:g} s: {seen.why}")
        return True

    def _helped(self, machine: Machine, rule: Rule, result: str, now: Now) -> None:
        for key in machine.keys:
            self.ledger.succeeded(key, self._clock.now())
        self._finish(machine, rule, result, now)

    def _fail(self, machine: Machine, rule: Rule, why: str) -> None:
        machine.failed, machine.reason, machine.jobs, machine.coming = True, why, [], 0
        if rule.undo and machine.done:
            machine.jobs, machine.done = machine.done[::-1], []
            for job in machine.jobs:
                job.text = f"undone, since it failed: {why}"
            machine.go("undoing", self._clock.now())
        else:
            self._escalate(machine, rule)

    def _escalate(self, machine: Machine, rule: Rule) -> None:
        self._note("escalated", {**about(machine), "why": machine.reason})
        text = f"the rule {rule.name} needs a person: {machine.reason} ({machine.why})"
        machine.jobs = [Job("run", "escalate", index, text) for index in range(len(rule.escalate))]
        machine.go("escalating", self._clock.now())

    def _finish(self, machine: Machine, rule: Rule, result: str, now: Now | None) -> None:
        time = self._clock.now()
        self._note("ended", {**about(machine), "result": result})
        machine.result, machine.result_at = result, machine.fired_at if now is None else now.time
        machine.jobs, machine.targets, machine.coming, machine.approval = [], [], 0, ""
        machine.rest_until = time + rule.cooldown
        if now is not None and (machine.changed or machine.failed):
            title = f"Rule {rule.name}: {result}"
            attributes = {"rule": rule.name, "subject": machine.subject, "result": result, "run": machine.run}
            duration = max(0.0, time - machine.fired)
            self._events.append(
                Event(
                    now.time - duration,
                    "remediation",
                    title,
                    machine.why,
                    "error" if machine.failed else "info",
                    attributes,
                    duration,
                )
            )
        machine.go("resting", time)

    def _ask_what_hung(self, intent: Intent, now: Now) -> None:
        """Its thread is gone, but what it asked others to do may go on: its target stays alone until that is known."""
        rule, machine = self._rules.get(intent.rule), self.machines.get((intent.rule, intent.subject))
        if rule is None or machine is None:
            return
        for index, step in enumerate(rule.steps):
            if step.key(machine.labels, intent.target) == intent.key:
                self._jobs.ask(intent, machine, Job("run", "then", index), rule, now)
                return

    def _resume(self, machine: Machine, now: Now) -> None:
        rule, intent = self._rules[machine.rule], self._store.intent(machine.current)
        if intent is None or machine.job is None:
            machine.current, machine.job = "", None
        elif intent.outcome is not None:
            self._jobs.give_again(intent)
        else:
            self._asking.add(intent.id)
            self._jobs.ask(intent, machine, machine.job, rule, now)


def _use(machine: Machine, rule: Rule, index: int) -> Use:
    step = rule.steps[index]
    target = plain_text(step.type.target(step.params(machine.labels)))
    return Use(step.type.name, target, step.key(machine.labels, target))
