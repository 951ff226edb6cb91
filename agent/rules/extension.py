"""What plugins add to rules: kinds of conditions and kinds of actions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from pydantic import BaseModel

from agent.errors import PredisError
from agent.forecast.model import Forecast
from agent.incidents.model import Incident
from agent.metrics.history import History
from agent.metrics.model import SeriesKey, Snapshot
from agent.plugin.host import Host


@dataclass(frozen=True, slots=True)
class Now:
    """What conditions and actions may look at: the newest state, what came before, the incidents that are open, and the
    newest forecast of each series that a rule asks for (`RuleEngine.forecasts_wanted`)."""

    time: float  # Unix seconds
    snapshot: Snapshot
    history: History
    incidents: tuple[Incident, ...] = ()
    forecasts: Mapping[SeriesKey, Forecast] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a condition holds: None when nobody can know, for which `why` gives the reason.

    `targets` narrows what the rule is about, such as ("tenant:shop",); empty for the rule's own target. `of`: how many
    such targets there are, those that are well included, for limits by share; 0 when nobody knows.
    """

    holds: bool | None
    why: str
    targets: tuple[str, ...] = ()
    of: int = 0


class ConditionType(Protocol):
    """A kind of condition: `name` is what stands in a rule, `Params` the model of its keys."""

    name: str
    help: str
    Params: type[BaseModel]

    def metrics(self, params: Any) -> Iterable[str]:
        """The metrics it needs, for the check against the catalogue."""

    def evaluate(self, params: Any, now: Now) -> Verdict:
        """Look; no I/O that may take long: what takes longer than the plugin's deadline is unknown."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an action. `undo` is what `undo` takes to take it back (JSON values), also where it is not done
    and has changed something all the same; None: no way back, or nothing to take back."""

    done: bool
    detail: str
    undo: Mapping[str, Any] | None = None


class Plan(str):
    """What `run` would do, in a sentence, with what that rests on.

    facts: what was decided and from which state (JSON values), such as {"old": 1, "new": 2}: what must be as it was
    shown for the plan to be carried out. None: the sentence alone tells; where a person approves, `plan` is then asked
    again just before, and must say the same.
    undo: what `undo` would take to take it back (JSON values). It is written down before `run` begins, so that there is
    a way back when `run` raises, hangs or dies after it has changed something; `undo` may then find nothing changed at
    all. None: there is none before it is done.
    """

    facts: Mapping[str, Any] | None
    undo: Mapping[str, Any] | None

    def __new__(cls, text: str, facts: Mapping[str, Any] | None = None, undo: Mapping[str, Any] | None = None) -> Plan:
        plan = super().__new__(cls, text)
        plan.facts, plan.undo = facts, undo
        return plan


class PlanOutdated(PredisError):
    """`run` raises it, before it changes anything, when its plan does not fit any more: it is planned anew, and asked
    for anew where a person has to approve."""


class WrongKey(PredisError):
    """A key whose value cannot be used here, such as a name that the plugin's configuration has not.

    key: which, or the way to it within the action's table, such as ("followers", 0). what: a sentence, with its mend.
    """

    def __init__(self, key: str | Iterable[str | int], what: str) -> None:
        super().__init__(what)
        self.key = (key,) if isinstance(key, str) else tuple(key)


@dataclass(frozen=True, slots=True)
class Task:
    """One use of an action.

    intent: stays the same when the agent died in the middle and asks again: an action that was done under this name is
    not done twice. `now`: as of the decision. `event` says what it is about, for people. `cancelled` tells whether the
    host still waits for it. `plan` has the facts of the plan that `run` carries out; None where it had none.
    """

    intent: str
    host: Host
    now: Now
    rule: str = ""
    event: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    cancelled: Callable[[], bool] = lambda: False
    plan: Mapping[str, Any] | None = None


class ActionType(Protocol):
    """A kind of action: `name` is what stands in a rule ("cache.memory"), `Params` the model of its keys.

    changes_state: whether anything but a message comes of it; such actions are dry runs unless a rule says otherwise.
    deadline: seconds that it may take, unless a rule says otherwise.
    An action may also have `moves`, a tuple of the metrics that it moves by itself, such as those that a restart makes
    jump: rules that would set each other off that way are refused when they are loaded.

    And it may have `check(params) -> None`, which is asked when rules are loaded, after the check of its keys and
    within the plugin's deadline, as that is. It raises WrongKey, or PredisError or ValueError with a sentence, when the
    plugin's configuration does not allow what the keys say, such as a name that is not in it; it does no I/O. A {label}
    stands for its own name there, and what is wrong with a key that has one is not held against the rule.
    """

    name: str
    help: str
    Params: type[BaseModel]
    changes_state: bool
    deadline: float

    def target(self, params: Any) -> str:
        """What it works on, as KIND:NAME ("cache:local", "tenant:shop", "deployment:prod/cache"): cooldowns and limits
        count by it. Within the plugin's deadline, as the check of its keys: what does not say is not begun."""

    def plan(self, params: Any, task: Task) -> str:
        """What `run` would do now, in a sentence, best as a Plan; nothing is changed. Raises PredisError when it could
        not be done."""

    def run(self, params: Any, task: Task) -> Outcome:
        """Do it. On a thread of its own; what it raises counts as not done. With `task.plan` it does what was planned
        and nothing else, or raises PlanOutdated."""

    def done_before(self, params: Any, task: Task) -> Outcome | None:
        """After a crash: whether `run` was done under this intent; None if it was not, or cannot be known."""

    def undo(self, params: Any, undo: Mapping[str, Any], task: Task) -> Outcome:
        """Take it back, with what `run` left for that; with what `plan` gave for it, where `run` came to no end: then
        it may have changed nothing, which is as good as taken back."""
