"""A rule as the engine runs it: read, checked and with its defaults filled in."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from agent.rules.bounded import within_deadline
from agent.rules.extension import ActionType, Now

_LABEL = re.compile(r"\{([^{}]+)\}")

Severity = Literal["info", "warning", "error"]
Labels = Mapping[str, str]
RuleKey = tuple[str, str]
"""Name and version."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a condition saw. `subjects`: what it holds for, with label values ("tenant:shop" → {"tenant": "shop"});
    empty, while `holds`, for the rule as a whole. `of`: how many subjects there are, the healthy ones included."""

    holds: bool | None
    why: str
    subjects: Mapping[str, Labels] = field(default_factory=dict)
    of: int = 0

    def holds_for(self, subject: str) -> bool | None:
        """Whether it holds for one subject ("" for the rule as a whole)."""
        if self.holds and self.subjects and subject:
            return subject in self.subjects
        return self.holds


class Condition(Protocol):
    """A condition, or several joined."""

    def evaluate(self, now: Now, staying: bool = False) -> Found:
        """Look. `staying`: it held before, so that it is over only past its `clear` value (hysteresis)."""

    def metrics(self) -> Iterable[str]:
        """What it looks at; names may be shell patterns."""

    def has_clear(self) -> bool:
        """Whether `staying` makes a difference."""

    def horizons(self) -> Mapping[str, float]:
        """The metrics whose forecast it needs, with how far ahead, in seconds."""

    def turn(self) -> tuple[int, int]:
        """Its place among all in one look at the rules, lowest first: see bounded.Turn."""


@dataclass(frozen=True, slots=True)
class Step:
    """One action of a rule. `raw` are its keys as written: {label} in texts stands for the subject's label value."""

    type: ActionType
    raw: Mapping[str, Any]
    deadline: float
    base: Path = Path()  # what relative paths count from

    @property
    def changes_state(self) -> bool:
        """Whether anything but a message comes of it."""
        return bool(self.type.changes_state)

    def params(self, labels: Labels) -> Any:
        """Its parameters for a subject. Raises pydantic's ValidationError when a label's value does not fit."""
        text = json.dumps(fill(self.raw, labels), default=lambda value: value.isoformat())
        return self.type.Params.model_validate_json(text, strict=True, context={"base": self.base})

    def aim(self, labels: Labels, now: Now | None) -> tuple[Any, str]:
        """Its parameters and what it works on, for a subject, within its plugin's deadline: for one look at the rules,
        that of `now`, or with None for this question alone. Raises what the plugin raises, and Overdue."""

        def asked() -> tuple[Any, str]:
            params = self.params(labels)
            return params, str(self.type.target(params))

        return within_deadline(self.type, asked, now)

    def key(self, labels: Labels, target: str) -> str:
        """What tells this use of an action from others, whichever rule asks for it; values cannot be read from it."""
        text = json.dumps(fill(self.raw, labels), sort_keys=True, default=str)
        return f"{self.type.name} {target} {hashlib.sha256(text.encode()).hexdigest()[:16]}"


@dataclass(frozen=True, slots=True)
class Verify:
    """How to tell that a rule's actions helped. `condition` None: the rule's own condition holds no more. It is looked
    at from `after` seconds after the last action on, and must hold until `within` seconds after it."""

    condition: Condition | None
    within: float
    after: float = 0.0


@dataclass(frozen=True, slots=True)
class Limit:
    """Blast radius: at most this share of the subjects may be ill or worked on, and so many actions per hour."""

    share: float
    actions_per_hour: int


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. Durations are seconds; `where` is FILE:LINE."""

    name: str
    when: Condition
    steps: tuple[Step, ...]
    limit: Limit
    escalate: tuple[Step, ...] = ()
    verify: Verify | None = None
    undo: bool = True
    hold: float = 0.0  # `for` in the file
    cooldown: float = 1800.0
    approval: bool = False
    approval_timeout: float = 3600.0
    dry_run: bool = True
    severity: Severity = "warning"
    description: str = ""
    where: str = ""
    looks_at: tuple[str, ...] = ()  # metrics, or shell patterns of them
    version: str = ""  # differs when the rule was changed
    text: str = field(default="", repr=False)  # what `RuleReader.read_again` takes

    @property
    def key(self) -> RuleKey:
        """What tells it from all others, its own former texts included."""
        return self.name, self.version

    @property
    def changes_state(self) -> bool:
        """Whether anything but messages comes of it."""
        return any(step.changes_state for step in self.steps)

    @property
    def acts(self) -> bool:
        """Whether it really changes something."""
        return self.changes_state and not self.dry_run


def fill(value: Any, labels: Labels) -> Any:
    """A value with {label} replaced in all of its texts; what is no label of the subject stays.

    What a label brings in is not looked at again: others wrote it.
    """
    if isinstance(value, str):
        return _LABEL.sub(lambda found: labels.get(found[1], found[0]), value)
    if isinstance(value, Mapping):
        return {key: fill(item, labels) for key, item in value.items()}
    return [fill(item, labels) for item in value] if isinstance(value, (list, tuple)) else value
