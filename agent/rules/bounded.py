"""Plugins' conditions, and what their actions say of themselves, asked within the plugin's deadline, as its hooks are.

The rules share one thread, so a condition that hangs would hold all of them up, and so would an action that does not
say what it works on. Each question runs on a thread of its own that is waited for; a plugin that has used up its
deadline in one look at all rules is not asked again before the next one, and not at all while an earlier question
hangs. What was not looked at is unknown, which is no reason to act; an action whose target is not known is not begun.

Conditions take turns: what was left out goes first in the next look, and what took a whole deadline for itself is left
out of ever more looks, so that it costs the others little. The conditions of all plugins together get, in one look, as
long as the plugin that may take longest.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any, TypeVar

from pydantic import BaseModel

from agent.plugin.guard import Guarded, Overdue, Raised, describe
from agent.rules.extension import ActionType, ConditionType, Now, Outcome, Task, Verdict

Given = TypeVar("Given")
log = logging.getLogger(__name__)


WHOLE = 0.75
"""Of its plugin's deadline: what a question must have had of it for its being late to be its own fault."""
MOST_SKIPPED = 32
"""Looks after which a question is asked again that took too long however often."""


class Round:
    """What all that is asked of plugins in one look at the rules shares: the look's number, and the seconds left of it,
    `longest` in the beginning."""

    def __init__(self) -> None:
        self.number, self.longest, self.left = 0, 0.0, 0.0
        self._now: Now | None = None

    def at(self, now: Now) -> None:
        """Begin another one, unless this is still the same."""
        if now is not self._now:
            self._now, self.left = now, self.longest
            self.number += 1


@dataclass(slots=True)
class Turn:
    """When a question is to be asked: in the look of the number `due`.

    misses: how often in a row it took a whole deadline for itself.
    """

    due: int = 0
    misses: int = 0

    def answered(self, look: int) -> None:
        """It is asked in the next look again, after those that have waited for longer."""
        self.due, self.misses = look + 1, 0

    def missed(self, look: int) -> None:
        """It is left out of one look, of three, of seven … next time."""
        self.misses += 1
        self.due = look + min(2**self.misses, MOST_SKIPPED)


class Looks:
    """Those at the conditions, or the actions, of one plugin, one at a time."""

    def __init__(self, plugin: str, deadline: float, what: str, round_: Round | None = None) -> None:
        """deadline: seconds that all of them may take of one look at the rules. what: "conditions" or "actions".
        round_: shared with other plugins."""
        self.plugin, self.deadline, self._what = plugin, deadline, what
        self.round = Round() if round_ is None else round_
        self.round.longest = max(self.round.longest, deadline)
        self._newest: Guarded[Any] | None = None
        self._now: Now | None = None
        self._left = deadline
        self._turns: dict[Hashable, Turn] = {}

    def turn(self, question: Hashable) -> Turn:
        """Of a question, for `ask`."""
        return self._turns.setdefault(question, Turn())

    def ask(self, call: Callable[[], Given], now: Now | None = None, turn: Turn | None = None) -> Given:
        """What the call gives. Raises what it raises, and Overdue when it takes too long, or one before it does.

        turn: of the question, where it may be left out of looks since it takes too long.
        """
        if now is None or now is not self._now:
            self._now, self._left = now, self.deadline
        if now is not None:
            self.round.at(now)
        if turn is not None and turn.misses and turn.due > self.round.number:
            raise Overdue(f"{self._did('did not say')}: it is asked again later")
        allowed = self._left if now is None else min(self._left, self.round.left)
        if allowed <= 0 and turn is not None:
            raise self._used_up()
        if allowed <= 0 or (self._newest is not None and self._newest.running):
            raise self._overdue()
        self._newest = guarded = Guarded(call, f"{self._what} of {self.plugin}")
        began = monotonic()
        try:
            given = guarded.result(allowed)
        except Overdue:
            if turn is not None and allowed < WHOLE * self.deadline:
                raise self._used_up() from None  # by others: it goes first in the next look
            log.warning("%s of the plugin %s take longer than its deadline of %g s", *self._names)
            if turn is not None:
                turn.missed(self.round.number)
            raise self._overdue() from None
        except Raised as raised:
            if turn is not None:
                turn.answered(self.round.number)
            if isinstance(raised.error, Exception):
                raise raised.error from None
            raise RuntimeError(describe(raised.error)) from None  # sys.exit() is the plugin's own, not the agent's
        finally:
            took = monotonic() - began
            self._left -= took
            self.round.left -= took
        if turn is not None:
            turn.answered(self.round.number)
        return given

    @property
    def _names(self) -> tuple[str, str, float]:
        return self._what, self.plugin, self.deadline

    def _did(self, what: str) -> str:
        return f"the plugin {self.plugin} {what} within its deadline of {self.deadline:g} s"

    def _overdue(self) -> Overdue:
        return Overdue(self._did("does not say"))

    def _used_up(self) -> Overdue:
        if self._left > self.round.left:
            return Overdue(f"plugins have used up the {self.round.longest:g} s that they have in one look at the rules")
        return Overdue(
            f"the plugin {self.plugin} has used up its deadline of {self.deadline:g} s in this look at the rules"
        )


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
            return self.looks.ask(lambda: self._kind.evaluate(params, now), now, self.turn(params))
        except Overdue as overdue:
            return Verdict(None, str(overdue))

    def turn(self, params: Any) -> Turn:
        """When it is to be looked at, with these parameters; they are the same object at each look."""
        return self.looks.turn((self.name, id(params)))


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
