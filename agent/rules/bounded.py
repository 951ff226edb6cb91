"""Plugins' conditions, and what their actions say of themselves, asked within the plugin's deadline, as its hooks are.

The rules share one thread, so a condition that hangs would hold all of them up, and so would an action that does not
say what it works on. Each question runs on a thread of its own that is waited for; a plugin that has used up its
deadline in one look at all rules is not asked again before the next one, and not at all while an earlier question
hangs. What was not looked at is unknown, which is no reason to act; an action whose target is not known is not begun.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from time import monotonic
from typing import Any, TypeVar

from pydantic import BaseModel

from agent.plugin.guard import Guarded, Overdue, Raised, describe
from agent.rules.extension import ActionType, ConditionType, Now, Outcome, Task, Verdict

Given = TypeVar("Given")
log = logging.getLogger(__name__)


class Looks:
    """Those at the conditions, or the actions, of one plugin, one at a time."""

    def __init__(self, plugin: str, deadline: float, what: str) -> None:
        """deadline: seconds that all of them may take of one look at the rules. what: "conditions" or "actions"."""
        self.plugin, self.deadline, self._what = plugin, deadline, what
        self._newest: Guarded[Any] | None = None
        self._now: Now | None = None
        self._left = deadline

    def ask(self, call: Callable[[], Given], now: Now | None = None) -> Given:
        """What the call gives. Raises what it raises, and Overdue when it takes too long, or one before it does."""
        if now is None or now is not self._now:
            self._now, self._left = now, self.deadline
        if self._left <= 0 or (self._newest is not None and self._newest.running):
            raise self._overdue()
        self._newest = guarded = Guarded(call, f"{self._what} of {self.plugin}")
        began = monotonic()
        try:
            return guarded.result(self._left)
        except Overdue:
            log.warning("%s of the plugin %s take longer than its deadline of %g s", *self._names)
            raise self._overdue() from None
        except Raised as raised:
            if isinstance(raised.error, Exception):
                raise raised.error from None
            raise RuntimeError(describe(raised.error)) from None  # sys.exit() is the plugin's own, not the agent's
        finally:
            self._left -= monotonic() - began

    @property
    def _names(self) -> tuple[str, str, float]:
        return self._what, self.plugin, self.deadline

    def _overdue(self) -> Overdue:
        return Overdue(f"the plugin {self.plugin} does not say within its deadline of {self.deadline:g} s")


class BoundedCondition:
    """A plugin's kind of condition; a ConditionType itself."""

    def __init__(self, kind: ConditionType, looks: Looks) -> None:
        self._kind, self.looks = kind, looks
        self.name: str = kind.name
        self.help: str = kind.help
        self.Params: type[BaseModel] = kind.Params

    def metrics(self, params: Any) -> Iterable[str]:
        """None when it does not say in time: they are only for the check against the catalogue."""
        try:
            return self.looks.ask(lambda: tuple(self._kind.metrics(params)))
        except Overdue:
            return ()

    def evaluate(self, params: Any, now: Now) -> Verdict:
        try:
            return self.looks.ask(lambda: self._kind.evaluate(params, now), now)
        except Overdue as overdue:
            return Verdict(None, str(overdue))


class BoundedAction:
    """A plugin's kind of action; an ActionType itself. Its methods run on threads of their own anyway, but for
    `target`, `check` and `Params`, which the engine and the reader of rules ask: through `within_deadline`."""

    def __init__(self, kind: ActionType, looks: Looks) -> None:
        self._kind, self.looks = kind, looks
        self.name: str = kind.name
        self.help: str = kind.help
        self.Params: type[BaseModel] = kind.Params
        self.changes_state: bool = kind.changes_state
        self.deadline: float = kind.deadline
        self.moves: tuple[str, ...] = tuple(getattr(kind, "moves", ()))

    def target(self, params: Any) -> str:
        return self._kind.target(params)

    def check(self, params: Any) -> Any:
        check = getattr(self._kind, "check", None)
        return None if check is None else check(params)

    def plan(self, params: Any, task: Task) -> str:
        return self._kind.plan(params, task)

    def run(self, params: Any, task: Task) -> Outcome:
        return self._kind.run(params, task)

    def done_before(self, params: Any, task: Task) -> Outcome | None:
        return self._kind.done_before(params, task)

    def undo(self, params: Any, undo: Mapping[str, Any], task: Task) -> Outcome:
        return self._kind.undo(params, undo, task)


def within_deadline(kind: object, call: Callable[[], Given], now: Now | None = None) -> Given:
    """What a call of a kind's code gives, asked as its plugin's deadline allows. Raises what it raises, and Overdue."""
    return kind.looks.ask(call, now) if isinstance(kind, (BoundedAction, BoundedCondition)) else call()
