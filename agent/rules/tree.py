"""Conditions joined: one of a kind with its parameters, all, any, not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent.metrics.catalogue import Catalogue
from agent.rules.bounded import BoundedCondition
from agent.rules.conditions import BuiltIn
from agent.rules.extension import ConditionType, Now
from agent.rules.jobs import plain_text
from agent.rules.model import Condition, Found
from agent.rules.series import subject_of

FIRST = (0, 0)
"""The turn of what takes no time that is worth a thought."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """One of the agent's own conditions."""

    type: BuiltIn
    params: Any
    catalogue: Catalogue

    def evaluate(self, now: Now, staying: bool = False) -> Found:
        return self.type.find(self.params, now, self.catalogue, staying)

    def metrics(self) -> Iterable[str]:
        return self.type.metrics(self.params)

    def has_clear(self) -> bool:
        return getattr(self.params, "clear", None) is not None

    def horizons(self) -> Mapping[str, float]:
        find = getattr(self.type, "horizons", None)
        return {} if find is None else dict(find(self.params))

    def turn(self) -> tuple[int, int]:
        return FIRST


@dataclass(frozen=True, slots=True)
class PluginLeaf:
    """A condition of a plugin's."""

    type: ConditionType
    params: Any

    def evaluate(self, now: Now, staying: bool = False) -> Found:
        verdict = self.type.evaluate(self.params, now)
        subjects: dict[str, dict[str, str]] = {}
        for target in verdict.targets if verdict.holds else ():
            kind, _, name = plain_text(target).partition(":")
            subjects[subject_of(((kind, name),))] = {kind: name}
        return Found(verdict.holds, plain_text(verdict.why), subjects, verdict.of)

    def metrics(self) -> Iterable[str]:
        return self.type.metrics(self.params)

    def has_clear(self) -> bool:
        return False

    def horizons(self) -> Mapping[str, float]:
        return {}

    def turn(self) -> tuple[int, int]:
        if not isinstance(self.type, BoundedCondition):
            return FIRST
        turn = self.type.turn(self.params)
        return turn.due, turn.misses


@dataclass(frozen=True, slots=True)
class _Several:
    parts: Sequence[Condition]

    def metrics(self) -> Iterable[str]:
        return [metric for part in self.parts for metric in part.metrics()]

    def has_clear(self) -> bool:
        return any(part.has_clear() for part in self.parts)

    def horizons(self) -> Mapping[str, float]:
        longest: dict[str, float] = {}
        for part in self.parts:
            for metric, horizon in part.horizons().items():
                longest[metric] = max(horizon, longest.get(metric, 0.0))
        return longest

    def turn(self) -> tuple[int, int]:
        return max((part.turn() for part in self.parts), default=FIRST)


@dataclass(frozen=True, slots=True)
class AllOf(_Several):
    """All hold, for the same subjects where they have any."""

    def evaluate(self, now: Now, staying: bool = False) -> Found:
        found = [part.evaluate(now, staying) for part in self.parts]
        of = max(part.of for part in found)
        for holds in (False, None):
            if not_true := [part for part in found if part.holds is holds]:
                return Found(holds, not_true[0].why, {}, of)
        narrowed = [part.subjects for part in found if part.subjects]
        subjects = dict(narrowed[0]) if narrowed else {}
        for others in narrowed[1:]:
            subjects = {
                subject: {**labels, **others[subject]} for subject, labels in subjects.items() if subject in others
            }
        if narrowed and not subjects:
            return Found(False, "not for the same: " + "; ".join(part.why for part in found), {}, of)
        return Found(True, "; and ".join(part.why for part in found), subjects, of)


@dataclass(frozen=True, slots=True)
class AnyOf(_Several):
    """One of them holds, for the subjects of those that do."""

    def evaluate(self, now: Now, staying: bool = False) -> Found:
        found = [part.evaluate(now, staying) for part in self.parts]
        of = max(part.of for part in found)
        holding = [part for part in found if part.holds]
        if holding:
            whole = any(not part.subjects for part in holding)
            subjects = {} if whole else {name: labels for part in holding for name, labels in part.subjects.items()}
            return Found(True, "; ".join(part.why for part in holding), subjects, of)
        unknown = any(part.holds is None for part in found)
        return Found(None if unknown else False, "; ".join(part.why for part in found), {}, of)


@dataclass(frozen=True, slots=True)
class Not(_Several):
    """The one in it holds for nothing at all."""

    def evaluate(self, now: Now, staying: bool = False) -> Found:
        found = self.parts[0].evaluate(now, False)
        return Found(
            None if found.holds is None else not found.holds, f"not: {found.why}" if found.holds else found.why
        )

    def has_clear(self) -> bool:
        return False
