"""What all actions here have in common, and what those share that move one value from where it is to another."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from agent.api import Outcome, Plan, PlanOutdated, PredisError, Section, Task, WrongKey
from plugins.remediation.notes import Notes

V = TypeVar("V", int, str)
T = TypeVar("T")
NOT_BEGUN = Outcome(False, "it had not begun: nothing was changed")
"""Said after a crash by actions that note what they do before they do it."""


class Params(Section):
    """Keys of an action in a rule: unknown ones are errors, and values do not change once read."""


class Action:
    """An action that cannot be taken back and does not know after a crash whether it was done; others override that.

    moves: metrics that it moves by itself; rules that would set each other off by them are refused.
    """

    name: str
    help: str
    Params: type[BaseModel] = Params
    changes_state: bool = True
    deadline: float = 30.0
    moves: tuple[str, ...] = ()

    def target(self, params: Any) -> str:
        raise NotImplementedError

    def check(self, params: Any) -> None:
        """Raises WrongKey where a name in the keys is none of [plugins.remediation]."""

    def plan(self, params: Any, task: Task) -> str:
        raise NotImplementedError

    def run(self, params: Any, task: Task) -> Outcome:
        raise NotImplementedError

    def done_before(self, params: Any, task: Task) -> Outcome | None:
        return None

    def undo(self, params: Any, undo: Mapping[str, Any], task: Task) -> Outcome:
        raise PredisError(f"{self.name} cannot be taken back")

    def close(self) -> None:
        """Lets go of what is held; the plugin is stopping."""


@dataclass(frozen=True, slots=True)
class Effects:
    """What comes of a change besides the change. text: as an end of a sentence. facts: what of it was part of what a
    person approved, so that it must come out the same when it is carried out."""

    text: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


class Dial(Action, Generic[V]):
    """An action that moves one value.

    It goes from the value that was planned to the one that was planned, or not at all. It notes both before it changes
    anything: so a second run under the same intent goes to the same value, however the first one ended, and not a step
    further; and `undo` goes back only if nobody else has changed the value since.
    """

    def read(self, params: Any, task: Task) -> V:
        """The value now, from the real thing. Raises PredisError."""
        raise NotImplementedError

    def decide(self, params: Any, old: V, task: Task) -> V:
        """Where it should go. Raises PredisError where that cannot be."""
        raise NotImplementedError

    def foresee(self, params: Any, old: V, new: V, task: Task) -> Effects:
        """What else `set` would do. Raises PredisError when the real thing would refuse."""
        return Effects()

    def set(self, params: Any, old: V, new: V, task: Task) -> str:
        """Go there; says how, as an end of a sentence. Raises PredisError."""
        raise NotImplementedError

    def what(self, params: Any) -> str:
        """What is changed, for a sentence."""
        raise NotImplementedError

    def show(self, value: V) -> str:
        """A value for people."""
        return str(value)

    def plan(self, params: Any, task: Task) -> Plan:
        old = self.read(params, task)
        new = self._decided(params, old, task)
        effects = self.foresee(params, old, new, task)
        text = f"would change {self.what(params)} from {self.show(old)} to {self.show(new)}{effects.text}"
        return Plan(text, {"old": old, "new": new, **effects.facts}, {"old": old, "new": new})

    def run(self, params: Any, task: Task) -> Outcome:
        notes = Notes(task.host.data_dir)
        current, noted = self.read(params, task), notes.read(task.intent)
        if noted is None:
            old, new = self._as_planned(params, current, task)
            effects = self.foresee(params, old, new, task)
            hold_to(task, effects.facts, f"the change of {self.what(params)}{effects.text}")
            notes.write(task.intent, {"old": old, "new": new})
        else:
            old, new = noted["old"], noted["new"]
            if current == new:
                return self._outcome(params, old, new, ", as it was begun before")
            if current != old:
                raise PredisError(
                    f"{self.what(params)} is {self.show(current)}: it was to go from {self.show(old)} to "
                    f"{self.show(new)}, and somebody else has changed it"
                )
        return self._outcome(params, old, new, self.set(params, old, new, task))

    def done_before(self, params: Any, task: Task) -> Outcome | None:
        noted = Notes(task.host.data_dir).read(task.intent)
        if noted is None:
            return NOT_BEGUN
        if (current := self.read(params, task)) != noted["new"]:
            return Outcome(False, f"{self.what(params)} is {self.show(current)} and not {self.show(noted['new'])}")
        return self._outcome(params, noted["old"], noted["new"], "")

    def undo(self, params: Any, undo: Mapping[str, Any], task: Task) -> Outcome:
        old, new, current = undo["old"], undo["new"], self.read(params, task)
        if current == old:
            return Outcome(True, f"{self.what(params)} is back at {self.show(old)} already")
        if current != new:
            return Outcome(
                False,
                f"{self.what(params)} is {self.show(current)} and not {self.show(new)}, where it was left: "
                "somebody else has changed it since, so it stays",
            )
        how = self.set(params, new, old, task)
        return Outcome(True, f"changed {self.what(params)} back from {self.show(new)} to {self.show(old)}{how}")

    def _as_planned(self, params: Any, current: V, task: Task) -> tuple[V, V]:
        """From where to where. Raises PlanOutdated when it is somewhere else than it was planned from."""
        if task.plan is None:
            return current, self._decided(params, current, task)
        old, new = task.plan["old"], task.plan["new"]
        if current != old:
            raise PlanOutdated(
                f"{self.what(params)} is {self.show(current)}: it was planned to go from {self.show(old)} to "
                f"{self.show(new)}, and somebody else has changed it since"
            )
        return old, new

    def _decided(self, params: Any, old: V, task: Task) -> V:
        new = self.decide(params, old, task)
        if new == old:
            raise PredisError(f"{self.what(params)} is {self.show(old)} already")
        return new

    def _outcome(self, params: Any, old: V, new: V, how: str) -> Outcome:
        detail = f"changed {self.what(params)} from {self.show(old)} to {self.show(new)}{how}"
        return Outcome(True, detail, {"old": old, "new": new})


def hold_to(task: Task, facts: Mapping[str, Any], what: str) -> None:
    """Raises PlanOutdated unless all of these are as they were when it was planned. `what`: what has these facts."""
    if task.plan is None:
        return
    for name, value in facts.items():
        if (planned := task.plan.get(name)) != value:
            raise PlanOutdated(f"{what}: {name} is {value!r}, and was {planned!r} when it was planned")


def pick(kind: str, table: str, named: Mapping[str, T], name: str) -> T:
    """The entry of this name in a table of [plugins.remediation]; PredisError names those that there are."""
    if (found := named.get(name)) is not None:
        return found
    raise PredisError(f"there is no {kind} {name}{nearest(name, named)}: add it to [plugins.remediation] {table}")


def must_have(key: str | tuple[str | int, ...], kind: str, table: str, named: Mapping[str, object], name: str) -> None:
    """Raises WrongKey, for the key that has it, unless there is an entry of this name, as `pick` would."""
    try:
        pick(kind, table, named, name)
    except PredisError as error:
        raise WrongKey(key, str(error)) from None


def nearest(name: str, known: Iterable[str]) -> str:
    """What may have been meant, as an end of a sentence."""
    close = difflib.get_close_matches(name, list(known), 1)
    return f" (did you mean {close[0]}?)" if close else ""
