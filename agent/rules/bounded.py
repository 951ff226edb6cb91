"""Plugins' conditions, looked at within their plugin's deadline, as its hooks are.

The rules share one thread, so a condition that hangs would hold all of them up. Each look runs on a thread of its own
that is waited for; a plugin that has used up its deadline in one look at all rules is not asked again before the next
one, and not at all while an earlier look of its hangs. What was not looked at is unknown, which is no reason to act.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any, TypeVar

from pydantic import BaseModel

from agent.plugin.guard import Guarded, Overdue, Raised, describe
from agent.rules.extension import ConditionType, Now, Verdict

Given = TypeVar("Given")
log = logging.getLogger(__name__)


class Looks:
    """Those of one plugin, one at a time."""

    def __init__(self, plugin: str, deadline: float) -> None:
        """deadline: seconds that all conditions of the plugin may take of one look at the rules."""
        self.plugin, self.deadline = plugin, deadline
        self._newest: Guarded[Any] | None = None
        self._now: Now | None = None
        self._left = deadline

    def ask(self, call: Callable[[], Given], now: Now | None = None) -> Given:
        """What the call gives. Raises what it raises, and Overdue when it takes too long, or one before it does."""
        if now is None or now is not self._now:
            self._now, self._left = now, self.deadline
        if self._left <= 0 or (self._newest is not None and self._newest.running):
            raise Overdue
        self._newest = guarded = Guarded(call, f"conditions of {self.plugin}")
        began = monotonic()
        try:
            return guarded.result(self._left)
        except Overdue:
            log.warning(
                "a condition of the plugin %s takes longer than its deadline of %g s", self.plugin, self.deadline
            )
            raise
        except Raised as raised:
            if isinstance(raised.error, Exception):
                raise raised.error from None
            raise RuntimeError(describe(raised.error)) from None  # sys.exit() is the plugin's own, not the agent's
        finally:
            self._left -= monotonic() - began


class BoundedCondition:
    """A plugin's kind of condition; a ConditionType itself."""

    def __init__(self, kind: ConditionType, looks: Looks) -> None:
        self._kind, self._looks = kind, looks
        self.name: str = kind.name
        self.help: str = kind.help
        self.Params: type[BaseModel] = kind.Params

    def metrics(self, params: Any) -> Iterable[str]:
        """None when it does not say in time: they are only for the check against the catalogue."""
        try:
            return self._looks.ask(lambda: tuple(self._kind.metrics(params)))
        except Overdue:
            return ()

    def evaluate(self, params: Any, now: Now) -> Verdict:
        try:
            return self._looks.ask(lambda: self._kind.evaluate(params, now), now)
        except Overdue:
            why = f"the plugin {self._looks.plugin} does not say within its deadline of {self._looks.deadline:g} s"
            return Verdict(None, why)
