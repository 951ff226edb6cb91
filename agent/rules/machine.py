"""Where one rule stands with one subject: the states, and what is kept of them.

    idle → pending (`for`) → held (a guard says no) ⇄ telling → planning → waiting (approval) → acting → verifying
         → undoing → escalating → resting (cooldown) → idle

`telling` sends a rule's messages ahead of what must wait; `planning` has the actions say what they would do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

State = Literal[
    "idle",
    "pending",
    "held",
    "telling",
    "planning",
    "waiting",
    "acting",
    "verifying",
    "undoing",
    "escalating",
    "resting",
]
WORKING = frozenset({"acting", "verifying", "undoing"})
"""States in which something may be changed just now, so that its subject counts as ill and its targets as taken."""
WITH_JOBS = frozenset({"telling", "acting", "undoing", "escalating"})
FORGOTTEN = frozenset({"idle", "pending"})
"""States that a restart begins anew: whether a condition held all the time while nobody looked, cannot be known."""


@dataclass(slots=True)
class Job:
    """One thing to do: a step of the rule's `then` or `escalate`, or its undoing with what it left for that."""

    kind: Literal["run", "undo"]
    part: Literal["then", "escalate"]
    index: int
    text: str = ""
    undo: dict[str, Any] | None = None


@dataclass(slots=True)
class Planned:
    """What one step said it would do: its sentence, facts and way back, see extension.Plan."""

    index: int
    text: str
    facts: dict[str, Any] | None = None
    undo: dict[str, Any] | None = None


@dataclass(slots=True)
class Machine:
    """One rule and one subject. Times are the engine's seconds; what `saved` gives survives a restart."""

    rule: str
    subject: str
    labels: dict[str, str] = field(default_factory=dict)
    state: State = "idle"
    since: float = 0.0  # in this state
    fired: float = 0.0
    fired_at: float = 0.0  # Unix seconds
    why: str = ""  # the condition's, when it fired
    reason: str = ""  # what a guard says, or why it failed
    guard: str = ""  # which guard that is
    version: str = ""  # the rule's, when it fired
    superseded: bool = False  # its rule was changed or removed since, and it goes on by the old text
    run: str = ""  # the name of this remedy, the beginning of its intents'
    number: int = 0  # of intents so far
    told: bool = False
    next: State = "held"  # after telling
    plans: list[Planned] = field(default_factory=list)
    approval: str = ""  # what a person approves: the remedy's name
    approved_by: str = ""
    approved: float | None = None
    approved_at: float = 0.0  # Unix seconds
    jobs: list[Job] = field(default_factory=list)
    current: str = ""  # the intent whose outcome is waited for
    job: Job | None = None  # the one to it
    awaited: str = ""  # the intent that is overdue, and undone once its thread has ended
    targets: list[str] = field(default_factory=list)  # taken by this remedy
    keys: list[str] = field(default_factory=list)  # Step.key of what was done and changes something
    done: list[Job] = field(default_factory=list)  # what can be undone, in the order in which it was done
    coming: int = 0  # actions that change something and are still to be begun
    changed: bool = False  # an action that changes something was begun
    dry: bool = False
    acted: float = 0.0  # when the last action ended
    acted_at: float = 0.0  # the same, in Unix seconds
    failed: bool = False
    result: str = ""  # of the last remedy
    result_at: float = 0.0  # Unix seconds
    rest_until: float = 0.0

    @property
    def plan(self) -> list[str]:
        """What it is about to do, in a sentence for each step that changes something."""
        return [planned.text for planned in self.plans]

    def planned(self, job: Job) -> Planned | None:
        """The plan that a job carries out."""
        if job.kind == "undo" or job.part == "escalate":
            return None
        return next((planned for planned in self.plans if planned.index == job.index), None)

    def go(self, state: State, now: float) -> None:
        """Enter a state."""
        self.state, self.since = state, now

    def begin(self, run: str) -> None:
        """Begin a new remedy: nothing of the last one counts any more."""
        self.run, self.number, self.told, self.plans = run, 0, False, []
        self.approval, self.approved_by, self.approved = "", "", None
        self.jobs, self.current, self.job, self.targets, self.keys, self.done = [], "", None, [], [], []
        self.awaited = ""
        self.coming, self.changed, self.dry, self.failed, self.reason, self.guard = 0, False, False, False, "", ""

    def saved(self) -> dict[str, Any] | None:
        """What survives a restart; None: nothing."""
        if self.state in FORGOTTEN and not self.result:
            return None
        document = asdict(self)
        if self.state in FORGOTTEN:
            document["state"] = "idle"
        return document

    @property
    def under_way(self) -> bool:
        """Whether something was changed, which is verified, taken back and told of whatever becomes of the rule."""
        return self.state in ("verifying", "undoing", "escalating") or (self.state == "acting" and self.changed)

    @staticmethod
    def load(document: Mapping[str, Any]) -> Machine:
        """The inverse of `saved`. Raises TypeError for another version's."""
        values = dict(document)
        values["plans"] = [Planned(**planned) for planned in values["plans"]]
        values["jobs"] = [Job(**job) for job in values["jobs"]]
        values["done"] = [Job(**job) for job in values["done"]]
        values["job"] = None if values["job"] is None else Job(**values["job"])
        return Machine(**values)
