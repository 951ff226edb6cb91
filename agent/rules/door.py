"""The way of a rule that fired up to its actions: guards, plan, and a person's approval."""

from __future__ import annotations

import queue
from typing import Any

from agent.export.model import Event
from agent.plugin.guard import Overdue
from agent.rules.course import Course
from agent.rules.extension import Now
from agent.rules.guards import Refusal, Use, may_act, may_go_on
from agent.rules.jobs import about, describe, plan_name, step_of
from agent.rules.machine import Job, Machine, Planned
from agent.rules.model import Found, Rule
from agent.rules.scene import Scene

_SILENT = frozenset({"cooldown", "kill switch", "busy"})
"""Guards whose refusal is no news: nobody is told."""


class Door:
    """What stands between a rule that fired and the first of its actions, and before each further one."""

    def __init__(self, scene: Scene, course: Course) -> None:
        self._scene, self._course = scene, course
        self._plans: queue.SimpleQueue[tuple[str, list[Planned], str]] = queue.SimpleQueue()
        self._planning: set[str] = set()  # runs

    def hold(self, machine: Machine, rule: Rule, found: Found, now: Now) -> bool:
        """The only door to actions: everything is looked at again each time."""
        if self._approval_is_over(machine, rule, now):
            self._course.fail(machine, rule, "could not be done while the approval counted")
            return True
        holds = found.holds_for(machine.subject)
        if holds is None:
            return False
        if not holds:
            return self._clear(machine)
        if self._scene.killed:
            return self._refuse(machine, rule, Refusal("kill switch", self._scene.killed))
        if not rule.changes_state:
            self._act(machine, rule, [])
            return True
        try:
            uses = self._uses(machine, rule, now)
        except Overdue as error:
            return self._refuse(machine, rule, Refusal("plugin", f"what it works on is not known: {error}"))
        except Exception as error:  # noqa: BLE001  # a plugin's code
            self._course.fail(machine, rule, f"cannot be done: {describe(error)}")
            return True
        if rule.acts:
            refusal = may_act(rule, machine, found, uses, self._scene.situation())
            if refusal is not None:
                return self._refuse(machine, rule, refusal)
        machine.guard = machine.reason = ""
        if not machine.plan:
            if self._scene.jobs.runner.runs(plan_name(machine)):
                return self._refuse(machine, rule, Refusal("hanging", "an earlier planning of it hangs"))
            machine.go("planning", self._scene.clock.now())
        elif rule.acts and rule.approval and machine.approved is None:
            self._ask_a_person(machine, rule, now)
        else:
            self._act(machine, rule, uses)
        return True

    def _clear(self, machine: Machine) -> bool:
        self._scene.note("cleared", about(machine))
        machine.result, machine.result_at = "its condition did not last", machine.fired_at
        machine.approval = ""
        machine.go("idle", self._scene.clock.now())
        return True

    def _refuse(self, machine: Machine, rule: Rule, refusal: Refusal) -> bool:
        news = machine.guard != refusal.guard
        machine.guard, machine.reason = refusal.guard, refusal.why
        if news:
            self._scene.note("refused", {**about(machine), "guard": refusal.guard, "why": refusal.why})
            if not machine.told and refusal.guard not in _SILENT:
                self._tell(machine, rule, "held", f"{machine.why}; nothing is done: {refusal.why}")
        return news

    def _tell(self, machine: Machine, rule: Rule, then: Any, text: str) -> None:
        machine.told, machine.next = True, then
        machine.jobs = [
            Job("run", "then", index, text) for index, step in enumerate(rule.steps) if not step.changes_state
        ]
        machine.go("telling", self._scene.clock.now())

    def plan(self, machine: Machine, rule: Rule, now: Now) -> bool:
        """Have its actions say what they would do; gives whether it moved."""
        run = machine.run
        if self._scene.killed:
            machine.go("held", self._scene.clock.now())
            return True
        if run not in self._planning:
            self._planning.add(run)
            self._scene.jobs.plan(machine, rule, now, lambda plans, problem: self._plans.put((run, plans, problem)))
            return True
        patience = sum(step.deadline for step in rule.steps if step.changes_state)
        if self._scene.clock.now() - machine.since > patience:
            self._course.fail(machine, rule, f"its actions did not say within {patience:g} s what they would do")
            return True
        return False

    def collect(self) -> bool:
        """Take the plans that came; gives whether any did."""
        moved = False
        while True:
            try:
                run, plans, problem = self._plans.get_nowait()
            except queue.Empty:
                return moved
            self._planning.discard(run)
            for place, machine in self._scene.kept.all.items():
                if machine.run == run and machine.state == "planning":
                    moved = True
                    self._scene.kept.dirty.add(place)
                    self._planned(machine, plans, problem)

    def fall_back(self) -> None:
        """The last round was not kept: plans that are under way are made anew."""
        self._planning.clear()

    def _planned(self, machine: Machine, plans: list[Planned], problem: str) -> None:
        rule = self._scene.rules[machine.rule]
        if problem:
            self._course.fail(machine, rule, f"cannot be done: {problem}")
            return
        machine.plans = plans
        machine.dry = rule.dry_run
        self._scene.note("dry run" if rule.dry_run else "planned", {**about(machine), "plan": machine.plan})
        machine.go("held", self._scene.clock.now())

    def _ask_a_person(self, machine: Machine, rule: Rule, now: Now) -> None:
        machine.approval = machine.run
        self._scene.note("approval asked", {**about(machine), "plan": machine.plan})
        text = f"{'; '.join(machine.plan)}. To let it: predis-agent rules approve {machine.approval}"
        attributes = {"rule": rule.name, "subject": machine.subject, "approval": machine.approval}
        title = f"Rule {rule.name} asks for approval"
        self._scene.events.append(Event(now.time, "rule_approval", title, text, "warning", attributes))
        if machine.told:
            machine.go("waiting", self._scene.clock.now())
        else:
            self._tell(machine, rule, "waiting", f"{machine.why}; waits for approval: {text}")

    def wait(self, machine: Machine, rule: Rule, found: Found) -> bool:
        """For a person's answer, as long as that is of use; gives whether it moved."""
        if found.holds_for(machine.subject) is False:
            return self._clear(machine)
        if self._scene.clock.now() - machine.since > rule.approval_timeout:
            self._scene.note("approval expired", about(machine))
            self._course.fail(machine, rule, "nobody approved it in time")
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
        machine.go("acting", self._scene.clock.now())

    def guarded(self, machine: Machine, rule: Rule, found: Found, now: Now) -> bool:
        """Whether a guard stopped the next job. Messages were sent since the door, so that things may have changed."""
        job = machine.jobs[0]
        if job.kind == "undo" or not step_of(rule, job).changes_state:
            return False
        if machine.changed:
            refusal = may_go_on(rule, self._scene.situation())
            if refusal is not None:
                self._course.fail(machine, rule, f"was not gone on with: {refusal.why}")
            return refusal is not None
        try:
            uses = self._uses(machine, rule, now)
        except Overdue:
            uses = []
        except Exception as error:  # noqa: BLE001  # a plugin's code
            self._course.fail(machine, rule, f"cannot be done: {describe(error)}")
            return True
        well = found.holds_for(machine.subject) is not True or self._approval_is_over(machine, rule, now)
        if uses and not well and may_act(rule, machine, found, uses, self._scene.situation()) is None:
            return False
        machine.jobs, machine.targets, machine.coming, machine.told = [], [], 0, True
        machine.go("held", self._scene.clock.now())
        return True

    def _uses(self, machine: Machine, rule: Rule, now: Now) -> list[Use]:
        """What its actions work on. Raises what a plugin raises, and Overdue when one does not say in time."""
        found = []
        for index, step in enumerate(rule.steps):
            if step.changes_state:
                _, target = self._scene.jobs.aim(machine, rule, Job("run", "then", index), now)
                found.append(Use(step.type.name, target, step.key(machine.labels, target)))
        return found

    def _approval_is_over(self, machine: Machine, rule: Rule, now: Now) -> bool:
        """By either clock: the engine's stands still while the machine is off, and the wall clock may be set back."""
        if machine.approved is None:
            return False
        passed = max(self._scene.clock.now() - machine.approved, now.time - machine.approved_at)
        return passed > rule.approval_timeout
