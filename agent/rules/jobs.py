"""Doing one thing of a remedy: write the intent down, run the action, take its outcome, ask after a crash."""

from __future__ import annotations

import json
import logging
import queue
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from agent.plugin.guard import Overdue
from agent.plugin.host import Host
from agent.rules.extension import Now, Outcome, Plan, PlanOutdated, Task
from agent.rules.ledger import Ledger
from agent.rules.machine import Job, Machine, Planned
from agent.rules.model import Rule, Step
from agent.rules.runner import Runner
from agent.rules.store import Intent, RuleStore
from agent.rules.timekeeping import EngineClock

log = logging.getLogger(__name__)

_LONGEST = 4000  # characters of what a plugin says

Note = Callable[[str, Mapping[str, Any]], None]
Ending = Literal["done", "failed", "overdue", "unknown", "stopped", "outdated"]
"""outdated: its plan did not fit any more, and it changed nothing."""


@dataclass(frozen=True, slots=True)
class Result:
    """What came of an intent. late: it was given up before, so that this is only for the log."""

    intent: str
    ending: Ending
    detail: str
    undo: Mapping[str, Any] | None = None
    late: bool = False


class Jobs:
    """Begins jobs and collects their results. All but what runs on the actions' threads is on the engine's."""

    def __init__(
        self, *, store: RuleStore, ledger: Ledger, clock: EngineClock, host: Host, note: Note, runner: Runner
    ) -> None:
        self._store, self.ledger, self._clock, self._host = store, ledger, clock, host
        self._note, self.runner = note, runner
        self.killed = ""
        self._results: queue.SimpleQueue[Result] = queue.SimpleQueue()
        self._taken: list[Result] = []  # in this round, which may still be undone
        self._launches: list[tuple[str, Callable[[], None]]] = []
        self._deadlines: dict[str, float] = {}
        self._aims: dict[tuple[str, str, int], tuple[Any, str]] = {}  # by remedy, part and index
        self._aimed_at: Now | None = None

    def aim(self, machine: Machine, rule: Rule, job: Job, now: Now) -> tuple[Any, str]:
        """The parameters of a job and what it works on, asked once in a look at the rules. Raises what a plugin raises,
        and Overdue when it does not say within its deadline."""
        if now is not self._aimed_at:
            self._aims, self._aimed_at = {}, now
        place = (machine.run, job.part, job.index)
        if place not in self._aims:
            # what is to be taken back is not left as it is because others of the plugin took too long just now
            params, target = step_of(rule, job).aim(machine.labels, None if job.kind == "undo" else now)
            self._aims[place] = params, plain_text(target)
        return self._aims[place]

    def begin(self, machine: Machine, job: Job, rule: Rule, now: Now) -> Result | None:
        """Write the intent down, to run once that is committed. A result at once when it cannot even begin."""
        step = step_of(rule, job)
        try:
            params, target = self.aim(machine, rule, job, now)
        except Overdue as error:
            return Result("", "failed", f"cannot be begun: what it works on is not known: {error}")
        except Exception as error:  # noqa: BLE001  # a plugin's code
            return Result("", "failed", f"cannot be begun: {describe(error)}")
        if hangs := self.ledger.hangs_at(target):
            return Result("", "failed", f"cannot be begun: an action that hangs may still be at work on {hangs}")
        machine.number += 1
        intent = Intent(
            id=f"{machine.run}-{machine.number}",
            rule=machine.rule,
            subject=machine.subject,
            action=step.type.name,
            target=target,
            key=step.key(machine.labels, target),
            kind=job.kind,
            changes=step.changes_state,
            deadline=step.deadline,
            started=self._clock.now(),
            undo=None if (planned := machine.planned(job)) is None else planned.undo,
        )
        kind = "undoing" if job.kind == "undo" else "acting" if step.changes_state else "telling"
        fields = {**about(machine), "intent": intent.id, "action": intent.action, "target": target}
        self._note(kind, fields if planned is None else {**fields, "plan": planned.text})
        self.ledger.begin(intent)
        machine.current, machine.job = intent.id, job
        if step.changes_state and job.kind == "run":
            machine.changed = True
            machine.keys.append(intent.key)
            machine.coming = max(0, machine.coming - 1)
        self._deadlines[intent.id] = intent.started + step.deadline
        task = self._task(machine, rule, job, now, intent.id)
        shown = planned.text if planned is not None and planned.facts is None and rule.approval else None
        self._launches.append((intent.id, lambda: self._run(step, job, params, task, shown, intent.undo)))
        return None

    def plan(self, machine: Machine, rule: Rule, now: Now, give: Callable[[list[Planned], str], None]) -> None:
        """Have all steps say what they would do; `give` is called with that, or why it cannot be, on another thread."""
        labels, steps = dict(machine.labels), rule.steps
        task = self._task(machine, rule, Job("run", "then", 0, text=machine.why), now, f"{machine.run}-plan")
        task = replace(task, cancelled=lambda: bool(self.killed))

        def work() -> None:
            try:
                plans = [
                    _planned(index, step.type.plan(step.params(labels), task))
                    for index, step in enumerate(steps)
                    if step.changes_state
                ]
            except Exception as error:  # noqa: BLE001  # a plugin's code
                give([], describe(error))
            else:
                give(plans, "")

        self._launches.append((plan_name(machine), work))

    def launch(self) -> None:
        """What was written down is committed: begin it."""
        launches, self._launches, self._taken = self._launches, [], []
        for name, work in launches:
            self.runner.start(name, work)

    def forget_launches(self) -> None:
        """What was written down was not committed: it must not begin, and results count as not taken."""
        for result in self._taken:
            self._results.put(result)
        self._launches, self._taken = [], []

    def results(self) -> list[Result]:
        """What came in since the last time."""
        while True:
            try:
                self._taken.append(self._results.get_nowait())
            except queue.Empty:
                break
        return list(self._taken)

    def overdue(self, machine: Machine, asking: bool) -> Result | None:
        """Whether an action takes too long: then it is not waited for any more, and its target is left alone."""
        if self._clock.now() <= self._deadlines.setdefault(machine.current, self._clock.now()):
            return None
        intent = self._store.intent(machine.current)
        if intent is None or intent.outcome is not None:
            return None  # its result is on the way
        ending: Ending = "unknown" if asking else "overdue"
        detail = f"did not end within {intent.deadline:g} s; {intent.target} is left alone until it does"
        if self._store.finish(intent.id, ending, detail, self._clock.now(), undo=intent.undo, blocks=True):
            self.ledger.block(intent)
            return Result(intent.id, ending, detail, intent.undo)
        return None

    def close(self, result: Result) -> Intent | None:
        """Take note of a result in the books; gives its intent."""
        intent = self._store.intent(result.intent)
        if intent is not None:
            if intent.outcome is None:  # its thread could not write it down, or it was asked for
                ending = "failed" if result.ending == "stopped" else result.ending
                self._store.finish(intent.id, ending, result.detail, self._clock.now(), undo=result.undo)
            if result.ending == "outdated":
                self.ledger.withdrawn(intent)
            else:
                self.ledger.ended(intent, self._clock.now())
        self._deadlines.pop(result.intent, None)
        return intent

    def ask(self, intent: Intent, machine: Machine, job: Job, rule: Rule, now: Now) -> None:
        """After a crash: find out whether an action was done."""
        step = step_of(rule, job)
        self._note("asked after a crash", {**about(machine), "intent": intent.id, "action": intent.action})
        self._deadlines[intent.id] = self._clock.now() + step.deadline
        task = self._task(machine, rule, job, now, intent.id)

        def work() -> None:
            try:
                answer = step.type.done_before(step.params(machine.labels), task)
                outcome = None if answer is None else checked(answer)
            except Exception as error:  # noqa: BLE001  # a plugin's code
                outcome, why = None, describe(error)
            else:
                why = "the action cannot tell"
            if outcome is None:
                detail = f"the agent died meanwhile, and whether it was done is not known ({why})"
                self._results.put(Result(intent.id, "unknown", detail, intent.undo, late=intent.outcome is not None))
            else:
                self._results.put(
                    Result(
                        intent.id,
                        "done" if outcome.done else "failed",
                        outcome.detail,
                        _plain(outcome.undo),
                        late=intent.outcome is not None,
                    )
                )

        self._launches.append((intent.id, work))

    def give_again(self, intent: Intent) -> None:
        """A result that is in the store and was not acted upon."""
        ending: Any = intent.outcome
        self._results.put(Result(intent.id, ending, intent.detail, intent.undo))

    def wait_again(self, intent: Intent) -> None:
        """An action that runs in this very process."""
        self._deadlines[intent.id] = intent.started + intent.deadline

    def _run(
        self, step: Step, job: Job, params: Any, task: Task, shown: str | None, way_back: Mapping[str, Any] | None
    ) -> None:
        """On the action's own thread. shown: the plan that a person approved, where that is only a text. way_back: the
        undo that was written down before."""
        intent = task.intent
        ending: Ending
        undo: Mapping[str, Any] | None = None
        if self.killed:
            ending, detail = "stopped", "the kill switch was used before it began"
        else:
            try:
                if job.kind == "undo":
                    outcome = checked(step.type.undo(params, job.undo or {}, task))
                else:
                    if shown is not None and (again := plain_text(step.type.plan(params, task))) != shown:
                        raise PlanOutdated(f"by now it says: {again}")
                    outcome = checked(step.type.run(params, task))
                ending, detail, undo = "done" if outcome.done else "failed", outcome.detail, _plain(outcome.undo)
            except PlanOutdated as error:
                planned = job.kind == "run" and step.changes_state  # what only tells has no plan
                ending, detail = ("outdated", plain_text(error)) if planned else ("failed", describe(error))
            except Exception as error:  # noqa: BLE001  # a plugin's code
                ending, detail, undo = "failed", describe(error), way_back  # it may have changed something before
        late = False
        try:
            kept = "failed" if ending == "stopped" else ending
            late = not self._store.finish(intent, kept, detail, self._clock.now(), undo=undo)
        except Exception:
            log.exception("the outcome of %s cannot be written down yet", intent)
        self._results.put(Result(intent, ending, detail, undo, late))

    def _task(self, machine: Machine, rule: Rule, job: Job, now: Now, intent: str) -> Task:
        return Task(
            intent=intent,
            host=self._host,
            now=now,
            rule=machine.rule,
            event=job.text,
            attributes={**machine.labels, "subject": machine.subject, "run": machine.run, "severity": rule.severity},
            cancelled=lambda: bool(self.killed) or intent not in self._deadlines,
            plan=None if (planned := machine.planned(job)) is None else planned.facts,
        )


def step_of(rule: Rule, job: Job) -> Step:
    """The step that a job is about."""
    return (rule.escalate if job.part == "escalate" else rule.steps)[job.index]


def about(machine: Machine) -> dict[str, Any]:
    """What every record about a remedy has."""
    return {"rule": machine.rule, "subject": machine.subject, "run": machine.run}


def plan_name(machine: Machine) -> str:
    """What the planning of a rule with a subject is called by the runner."""
    return f"plan {machine.rule} {machine.subject}"


def describe(error: Exception) -> str:
    """An exception in a line."""
    text = plain_text(" ".join(str(error).split()))
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def plain_text(given: object) -> str:
    """What a plugin says, as it can be kept and shown: a text of some length at most, which UTF-8 has."""
    text = str(given)
    text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
    return text.encode("utf-8", "backslashreplace").decode()


def checked(outcome: object) -> Outcome:
    """What an action gave, if it is what it should be. Raises TypeError."""
    if not isinstance(outcome, Outcome):
        raise TypeError(f"the action gave {type(outcome).__name__}, not an Outcome")
    return replace(outcome, done=bool(outcome.done), detail=plain_text(outcome.detail))


def _planned(index: int, given: object) -> Planned:
    """What an action says that it would do; raises TypeError or ValueError for what JSON does not keep."""
    if isinstance(given, Plan):
        return Planned(index, plain_text(given), _plain(given.facts), _plain(given.undo))
    return Planned(index, plain_text(given))


def _plain(undo: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """As JSON keeps it; raises TypeError or ValueError for what it does not."""
    return None if undo is None else dict(json.loads(json.dumps(dict(undo), allow_nan=False)))
