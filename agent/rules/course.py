"""What comes of a remedy's actions: they helped, or failed, are taken back and a person is told."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from agent.export.model import Event
from agent.rules.extension import Now
from agent.rules.jobs import Result, about, describe, step_of
from agent.rules.machine import Job, Machine
from agent.rules.model import Condition, Found, Rule, RuleKey, Step
from agent.rules.scene import Scene
from agent.rules.store import Intent

MOST_PATIENCE = 300.0  # seconds for which an action that is overdue is waited for, to take it back once it has ended


class Course:
    """From the end of an action to the end of the remedy."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._seen: dict[RuleKey, Found] = {}  # of conditions that verify, in the newest look
        self._seen_at: Now | None = None

    def take(self, machine: Machine, result: Result, now: Now) -> None:
        """An action came to its end."""
        job, machine.current, machine.job = machine.job, "", None
        rule = self._scene.kept.rule_of(machine)
        assert rule is not None, "what has none is given up"
        machine.acted, machine.acted_at = self._scene.clock.now(), now.time
        if job is not None:
            self.settle(machine, rule, job, result)

    def settle(self, machine: Machine, rule: Rule, job: Job, result: Result) -> None:
        """Take note of what came of one job, and go on from there."""
        step, done = step_of(rule, job), result.ending == "done"
        fields = {**about(machine), "intent": result.intent, "action": step.type.name, "detail": result.detail}
        if result.ending == "stopped":
            self._scene.note("stopped", fields)
            self.finish(machine, rule, "stopped by the kill switch", None)
        elif result.ending == "outdated":
            self._plan_anew(machine, rule, step, fields)
        elif job.kind == "undo":
            self._scene.note("undone" if done else "undo failed", fields)
            if not done:
                machine.reason += f"; {step.type.name} could not be undone: {result.detail}"
        elif not step.changes_state:
            self._scene.note("told" if done else "message failed", fields)
        elif done:
            self._scene.note("acted", fields)
            self._can_be_undone(machine, job, result)
        else:
            if rule.undo and (hangs := self._hangs(result.intent)):
                machine.awaited, fields["patience"] = result.intent, _patience(hangs)
                machine.done.append(Job("undo", job.part, job.index, undo=_plain(result.undo)))
            else:
                self._can_be_undone(machine, job, result)
            if result.intent:
                fields["failures"] = self._scene.ledger.failed(machine.keys[-1], self._scene.clock.now())
            self._scene.note("failed" if result.ending == "failed" else result.ending, fields)
            self.fail(machine, rule, f"{step.type.name}: {result.detail}")

    def awaits(self, machine: Machine) -> bool:
        """Whether an action that is overdue is still waited for, to be taken back: not while it may be at work. As long
        again as its deadline, MOST_PATIENCE at most; what has not ended by then is not taken back any more."""
        hangs = self._hangs(machine.awaited)
        if hangs is None:  # a person vouches that it is at work no more: what was planned is the way back
            self._go_back(machine, machine.jobs[0].undo)
            return False
        patience = _patience(hangs)
        if self._scene.clock.now() - machine.since <= patience:
            return True
        why = f"it did not end within {patience:g} s more either, and may still be at work on {hangs.target}"
        self._scene.note("not undone", {**about(machine), "intent": hangs.id, "action": hangs.action, "why": why})
        machine.reason += f"; {hangs.action} was not undone: {why}"
        self._go_back(machine, None)
        return False

    def ended_late(self, machine: Machine, result: Result) -> None:
        """What was waited for has ended, and left this to take it back with."""
        self._go_back(machine, _plain(result.undo))

    def _hangs(self, intent: str) -> Intent | None:
        blocked = self._scene.ledger.blocked.values()
        return next((other for other in blocked if other.id == intent), None)

    @staticmethod
    def _go_back(machine: Machine, undo: dict[str, Any] | None) -> None:
        """The first to be undone is the one that was waited for; with None there is nothing of it to take back."""
        machine.awaited = ""
        if undo is None:
            del machine.jobs[0]
        else:
            machine.jobs[0].undo = undo

    @staticmethod
    def _can_be_undone(machine: Machine, job: Job, result: Result) -> None:
        if result.undo is not None:
            machine.done.append(Job("undo", job.part, job.index, undo=dict(result.undo)))

    def _plan_anew(self, machine: Machine, rule: Rule, step: Step, fields: Mapping[str, Any]) -> None:
        """What was planned does not fit any more, and nothing else may be done in its place: a new remedy begins, with
        a plan of its own, for which a person is asked again. Where an earlier step has changed something, it failed."""
        machine.keys.pop()
        if machine.keys:
            self._scene.note("plan outdated", fields)
            why = f"{step.type.name} was not gone on with, its plan is outdated: {fields['detail']}"
            self.fail(machine, rule, why)
            return
        run, told = os.urandom(8).hex(), machine.told and not rule.approval
        self._scene.note("plan outdated", {**fields, "plan": machine.plan, "anew": run})
        machine.begin(run)
        machine.told = told
        machine.go("held", self._scene.clock.now())

    def after_jobs(self, machine: Machine, rule: Rule, now: Now) -> None:
        """Nothing of this state is left to do."""
        time = self._scene.clock.now()
        if machine.state == "telling":
            machine.go(machine.next, time)
        elif machine.state == "undoing":
            self._escalate(machine, rule)
        elif machine.state == "escalating":
            self.finish(machine, rule, f"failed: {machine.reason}", now)
        elif not machine.changed:
            self.finish(machine, rule, "dry run" if machine.dry else "told", now)
        elif rule.verify is not None:
            machine.go("verifying", time)
        else:
            self._helped(machine, rule, "done", now)

    def verify(self, machine: Machine, rule: Rule, found: Found, now: Now) -> bool:
        """Whether it helped: gives whether that is known by now."""
        assert rule.verify is not None
        elapsed = self._scene.clock.now() - machine.acted
        if elapsed <= rule.verify.after and elapsed <= rule.verify.within:
            return False
        if rule.verify.condition is None:
            seen, helped = found, found.holds_for(machine.subject) is False
        else:
            seen = self.check(rule, rule.verify.condition, now)
            helped = seen.holds_for(machine.subject) is True
        if helped and elapsed <= rule.verify.within:
            self._scene.note("verified", {**about(machine), "why": seen.why})
            self._helped(machine, rule, "verified", now)
            return True
        if elapsed <= rule.verify.within:
            return False
        self._scene.note("not verified", {**about(machine), "why": seen.why})
        for key in dict.fromkeys(machine.keys):
            self._scene.ledger.failed(key, self._scene.clock.now())
        self.fail(machine, rule, f"did not help within {rule.verify.within:g} s: {seen.why}")
        return True

    def to_check(self) -> list[tuple[Rule, Condition]]:
        """The conditions, with their rules, by which something may be verified now."""
        found: dict[RuleKey, tuple[Rule, Condition]] = {}
        for machine in self._scene.kept.all.values():
            rule = self._scene.kept.rule_of(machine) if machine.state == "verifying" else None
            verify = None if rule is None else rule.verify
            if rule is None or verify is None or verify.condition is None:
                continue
            if self._scene.clock.now() - machine.acted > verify.after:
                found[rule.key] = rule, verify.condition
        return list(found.values())

    def check(self, rule: Rule, condition: Condition, now: Now) -> Found:
        """What the condition says that verifies a rule: asked once in a look at the rules, for all subjects."""
        if now is not self._seen_at:
            self._seen, self._seen_at = {}, now
        if rule.key not in self._seen:
            try:
                self._seen[rule.key] = condition.evaluate(now)
            except Exception as error:  # noqa: BLE001  # a plugin's code
                self._seen[rule.key] = Found(None, f"cannot be looked at: {describe(error)}")
        return self._seen[rule.key]

    def _helped(self, machine: Machine, rule: Rule, result: str, now: Now) -> None:
        for key in machine.keys:
            self._scene.ledger.succeeded(key, self._scene.clock.now())
        self.finish(machine, rule, result, now)

    def fail(self, machine: Machine, rule: Rule, why: str) -> None:
        """Take back what was done, as far as the rule wants that, then tell a person."""
        machine.failed, machine.reason, machine.jobs, machine.coming = True, why, [], 0
        if rule.undo and machine.done:
            machine.jobs, machine.done = machine.done[::-1], []
            for job in machine.jobs:
                job.text = f"undone, since it failed: {why}"
            machine.go("undoing", self._scene.clock.now())
        else:
            self._escalate(machine, rule)

    def _escalate(self, machine: Machine, rule: Rule) -> None:
        self._scene.note("escalated", {**about(machine), "why": machine.reason})
        text = f"the rule {rule.name} needs a person: {machine.reason} ({machine.why})"
        machine.jobs = [Job("run", "escalate", index, text) for index in range(len(rule.escalate))]
        machine.go("escalating", self._scene.clock.now())

    def finish(self, machine: Machine, rule: Rule, result: str, now: Now | None) -> None:
        """Its end; `now` None: nobody is told of it."""
        time = self._scene.clock.now()
        self._scene.note("ended", {**about(machine), "result": result})
        machine.result, machine.result_at = result, machine.fired_at if now is None else now.time
        machine.jobs, machine.targets, machine.coming, machine.approval, machine.awaited = [], [], 0, "", ""
        machine.rest_until = time + rule.cooldown
        if now is not None and (machine.changed or machine.failed):
            title = f"Rule {rule.name}: {result}"
            attributes = {"rule": rule.name, "subject": machine.subject, "result": result, "run": machine.run}
            duration = max(0.0, time - machine.fired)
            self._scene.events.append(
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


def _patience(hangs: Intent) -> float:
    return min(hangs.deadline, MOST_PATIENCE)


def _plain(undo: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if undo is None else dict(undo)
