"""An action's whole use: planned, run, run again, asked after a crash, taken back."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from agent.certify.rig import Rig, fail
from agent.errors import PredisError
from agent.plugin.loaded import LoadedPlugin
from agent.rules.extension import ActionType, ConditionType, Outcome, Plan, Task, WrongKey

Result = TypeVar("Result")
_TARGET = re.compile(r"[a-z][a-z0-9_-]*:.+", re.DOTALL)


def try_out(rig: Rig, plugin: LoadedPlugin, action: ActionType) -> str:
    """Use it once, in every way; the check fails when it does not keep a promise. Gives why it could not be done here,
    with nobody there to talk to; empty if it was done."""
    use = _Use(rig, plugin, action)
    use.has_a_target()
    use.is_checked()
    problem = use.planned()
    if problem:
        return problem
    outcome = use.run()
    if isinstance(outcome, str):
        return outcome
    use.once_more(outcome)
    return ""


def example_of(kind: ActionType | ConditionType) -> BaseModel:
    """Its keys, each with the first of its `examples`, or its default. The check fails when there are none."""
    model = kind.Params
    given = {field.alias or name: field.examples[0] for name, field in model.model_fields.items() if field.examples}
    try:
        return model.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "its keys"
        fail(
            f"{kind.name} cannot be tried, {where}: {first['msg']}; give each key that a rule must give an example: "
            "Field(examples=[...])"
        )


def undocumented(kind: ActionType | ConditionType, readme: str) -> list[str]:
    """Its name and its keys, as far as the README has them not in backquotes."""
    keys = [field.alias or name for name, field in kind.Params.model_fields.items()]
    return [word for word in (kind.name, *keys) if f"`{word}`" not in readme]


class _Use:
    def __init__(self, rig: Rig, plugin: LoadedPlugin, action: ActionType) -> None:
        self._rig, self._plugin, self._action = rig, plugin, action
        self._params = example_of(action)
        self._facts: dict[str, Any] | None = None  # of its plan
        self._early_undo: dict[str, Any] | None = None  # of its plan
        # What it notes for itself may stay: that it lies in a folder of its name is what tells it from what it changes.
        self._before = rig.state(without=plugin.name)

    def has_a_target(self) -> None:
        target = self._call("target", lambda: self._action.target(self._params))
        if isinstance(target, PredisError):
            fail(f"target of {self._action.name} raises {target}: it is to be known without asking anybody")
        if not isinstance(target, str) or _TARGET.fullmatch(target) is None:
            fail(f"target of {self._action.name} is {target!r}: it is to be KIND:NAME, such as cache:local")

    def is_checked(self) -> None:
        """Ask it whether its keys can be used, if it has that: names that the defaults lack are no mistake of its."""
        check = getattr(self._action, "check", None)
        if check is None:
            return
        name = self._action.name

        def asked() -> object:
            try:
                return check(self._params)
            except PredisError:
                raise
            except ValueError as error:
                raise PredisError(str(error)) from None

        given = self._call("check", asked)
        if isinstance(given, WrongKey) and given.key[:1] and given.key[0] not in self._keys():
            fail(f"check of {name} raises WrongKey for {given.key[0]!r}, which is none of its keys")
        if isinstance(given, PredisError) and not str(given).strip():
            fail(f"check of {name} raises {type(given).__name__} and does not say what is wrong")
        if given is not None and not isinstance(given, PredisError):
            fail(f"check of {name} gives {_shown(given)}: it is to give None, or to raise WrongKey")

    def _keys(self) -> list[str]:
        return [field.alias or name for name, field in self._action.Params.model_fields.items()]

    def planned(self) -> str:
        """Plan it. Gives why it could not be done."""
        before = self._rig.state()
        said = self._plan("certify-1")
        if more := _changed(before, self._rig.state()):
            fail(f"plan of {self._action.name} changes {more}: it is to say what run would do, and do nothing")
        if isinstance(said, PredisError):
            return f"{self._action.name}: {said}"
        if not isinstance(said, str) or len(said.split()) < 2 or "\n" in said:
            fail(f"plan of {self._action.name} gives {said!r}: it is to be a sentence in one line")
        if isinstance(said, Plan) and said.facts is not None:
            self._facts = _plain(f"facts in the plan of {self._action.name}", said.facts)
        if isinstance(said, Plan) and said.undo is not None:
            self._early_undo = _plain(f"undo in the plan of {self._action.name}", said.undo)
        return ""

    def run(self) -> Outcome | str:
        """Run it. Gives the outcome, or why it was not done."""
        early = self._done_before()
        if isinstance(early, Outcome) and early.done:
            fail(f"done_before of {self._action.name} says that it was done before it was")
        if self._early_undo is not None:
            self._taken_back(self._early_undo)  # what the host does when run raises before it has changed anything
        outcome = self._run()
        if isinstance(outcome, PredisError):
            return f"{self._action.name}: {outcome}"
        return outcome if outcome.done else f"{self._action.name}: {outcome.detail}"

    def once_more(self, outcome: Outcome) -> None:
        """Ask as after a crash, run it under the same intent, and take it back."""
        name, done = self._action.name, self._rig.state(without=self._plugin.name)
        answer = self._done_before()
        if isinstance(answer, Outcome) and not answer.done:
            fail(f"done_before of {name} says that it was not done, after run said that it was: {answer.detail}")
        again = self._run()
        if more := _changed(done, self._rig.state(without=self._plugin.name)):
            fail(f"run of {name} is done twice under one intent: the second run changes {more}")
        if outcome.undo is None:
            return
        ways: dict[str, Outcome] = {"run": outcome}
        if isinstance(answer, Outcome):
            ways["done_before"] = answer
        if isinstance(again, Outcome) and again.done:
            ways["a second run"] = again
        if lost := [way for way, what in ways.items() if what.undo is None]:
            fail(f"{lost[0]} of {name} gives no undo, and run did: after a crash there is no way back")
        # The last one is what the host has when it died after the first: it must lead back as far.
        self._taken_back(list(ways.values())[-1].undo or {})

    def _taken_back(self, undo: Mapping[str, Any]) -> None:
        name = self._action.name
        undone = self._call(
            "undo",
            lambda: self._action.undo(self._params, _plain(f"undo of {name}", undo), self._task("certify-2")),
        )
        if not isinstance(undone, Outcome):
            fail(f"undo of {name} gives {_shown(undone)}: it is to give an Outcome")
        if not undone.done:
            fail(f"undo of {name} does not take it back: {undone.detail}")
        if more := _changed(self._before, self._rig.state(without=self._plugin.name)):
            fail(f"undo of {name} does not take it back: {more} is not as before")
        again = self._plan("certify-3")
        if isinstance(again, PredisError):
            fail(f"undo of {name} does not take it back: plan could be done before, and now says {again}")

    def _plan(self, intent: str) -> str | PredisError:
        return self._call("plan", lambda: self._action.plan(self._params, self._task(intent)))

    def _run(self) -> Outcome | PredisError:
        outcome = self._call(
            "run", lambda: self._action.run(self._params, replace(self._task("certify-1"), plan=self._facts))
        )
        if not isinstance(outcome, Outcome | PredisError):
            fail(f"run of {self._action.name} gives {_shown(outcome)}: it is to give an Outcome")
        if isinstance(outcome, Outcome):
            if not isinstance(outcome.detail, str) or not outcome.detail.strip():
                fail(f"run of {self._action.name} does not say what it did: detail is empty")
            if outcome.undo is not None:
                _plain(f"undo in the outcome of {self._action.name}", outcome.undo)
        return outcome

    def _done_before(self) -> Outcome | PredisError | None:
        answer = self._call("done_before", lambda: self._action.done_before(self._params, self._task("certify-1")))
        if not isinstance(answer, Outcome | PredisError | None):
            fail(f"done_before of {self._action.name} gives {_shown(answer)}: it is to give an Outcome or None")
        return answer

    def _task(self, intent: str) -> Task:
        return Task(intent, self._rig.host(), self._rig.now(), "certify", "a certification is under way")

    def _call(self, what: str, call: Callable[[], Result]) -> Result | PredisError:
        """What a call gives, or the PredisError that says why it cannot be; the check fails for other errors."""

        def guarded() -> Result | PredisError:
            try:
                given: Result | PredisError = call()
            except PredisError as error:
                given = error
            self._rig.said.append(f"{what} of {self._action.name}: {given}")
            return given

        return self._rig.timed(self._plugin, f"{what} of {self._action.name}", guarded, self._action.deadline)


def _plain(what: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """As the host keeps it."""
    try:
        return dict(json.loads(json.dumps(dict(given), allow_nan=False)))
    except (TypeError, ValueError) as error:
        fail(f"{what} cannot be kept as JSON: {error}")


def _changed(before: Mapping[str, object], after: Mapping[str, object]) -> str:
    names = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    return ", ".join(names[:3])


def _shown(given: object) -> str:
    return f"an error, {given}," if isinstance(given, PredisError) else type(given).__name__
