"""Reads files of rules, and says of each mistake where it stands, what is wrong and what would be right."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from agent.config.load import add_file, problem_at, read_table
from agent.config.locate import KeyPath
from agent.config.scrub import Scrubber, secrets_of
from agent.config.sources import Place, Sources
from agent.errors import Problem
from agent.metrics.catalogue import Catalogue
from agent.plugin.guard import Overdue
from agent.rules.actions import BUILT_IN as ACTIONS
from agent.rules.bounded import within_deadline
from agent.rules.conditions import Absence, BuiltIn, Drift, Threshold
from agent.rules.cycles import cycles, edges
from agent.rules.extension import ActionType, ConditionType
from agent.rules.happenings import Anomaly, ForecastCondition, IncidentCondition
from agent.rules.model import Condition, Limit, Rule
from agent.rules.model import Verify as ModelVerify
from agent.rules.quantity import choice_problem
from agent.rules.schema import RuleFile, RuleTable, VerifyTable
from agent.rules.steps import read_step
from agent.rules.tree import AllOf, AnyOf, Leaf, Not, PluginLeaf

CONDITIONS: tuple[BuiltIn, ...] = (
    Threshold(),
    Absence(),
    Drift(),
    Anomaly(),
    IncidentCondition(),
    ForecastCondition(),
)
_JOINTS = ("all", "any", "not")
_DEEPEST = 8
MOST_RULES = 1000


@dataclass(frozen=True, slots=True)
class Defaults:
    """What rules that do not say get from `[rules]`."""

    dry_run: bool = True
    share: float = 0.5
    actions_per_hour: int = 10
    approval_timeout: float = 3600.0


@dataclass
class RuleSet:
    """What was read: the rules that can be used, and every problem. `skipped`: rules of shipped packs that cannot be
    used here, since a plugin that they need is off, or its configuration has not what they name, with why. `unfit`:
    what a configuration that is no more than the defaults does not allow, and the one that is used in the end may.
    `secrets`: what references in the files stand for, which plans and outcomes may repeat."""

    rules: list[Rule] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    disabled: list[str] = field(default_factory=list)
    unfit: list[Problem] = field(default_factory=list)
    secrets: list[str] = field(default_factory=list, repr=False)


class RuleReader:
    """Knows what rules can be made of: the catalogue, and the kinds of conditions and actions."""

    def __init__(
        self,
        catalogue: Catalogue,
        actions: Sequence[ActionType] = (),
        conditions: Sequence[ConditionType] = (),
        *,
        defaults: Defaults | None = None,
        environ: Mapping[str, str] | None = None,
        configured: bool = True,
    ) -> None:
        """`configured`: there is a configuration that says what actions may work on. Without, it is not held against
        rules that the defaults do not allow what they name."""
        self.catalogue = catalogue
        self.actions = {action.name: action for action in (*actions, *ACTIONS)}
        self.built_in = {condition.name: condition for condition in CONDITIONS}
        self.conditions = {condition.name: condition for condition in conditions}
        self._defaults = defaults or Defaults()
        self._environ = environ or {}
        self._configured = configured

    def read(self, files: Sequence[Path], packs: Sequence[Path] = ()) -> RuleSet:
        """All rules of all files. A rule with a mistake is left out; so is one whose name another one has."""
        found = RuleSet()
        for file in packs:
            self._file(file, found, pack=True)
        for file in files:
            self._file(file, found, pack=False)
        self._check_names(found)
        if len(found.rules) > MOST_RULES:
            what = f"there are {len(found.rules):,} rules: all are looked at at each interval, at most {MOST_RULES:,}"
            first = found.rules[MOST_RULES].where.rpartition(":")
            mend = "have one rule for all series of a metric: each is a subject of its own"
            found.problems.append(Problem(first[0], int(first[2]), "rule", what, mend))
            found.rules = found.rules[:MOST_RULES]
        self._check_cycles(found)
        return found

    def read_again(self, text: str) -> RuleSet:
        """The rule of `Rule.text`, with the defaults that it was read with and with what plugins add today."""
        document = json.loads(text)
        file, _, line = document["where"].rpartition(":")
        sources = Sources(Path(file).parent)
        sources.add_layer({"rule": [document["raw"]]}, {("rule",): Place(file, int(line))})
        # What is under way goes on, though the configuration may not have by now what the rule names.
        one = _OneRule(self, Path(file), sources, ("rule", 0)).read(
            self._environ, Defaults(**document["defaults"]), configured=False
        )
        found = RuleSet(problems=one.problems, secrets=list(secrets_of(sources, self._environ)))
        found.rules += [one.rule] if one.rule is not None else []
        return found

    def _file(self, file: Path, found: RuleSet, *, pack: bool) -> None:
        sources, problems = Sources(file.parent), found.problems
        sources.places[()] = Place(str(file))
        before = len(problems)
        add_file(file, sources, problems, "create it, or name a file of rules that there is")
        if len(problems) > before:
            return
        found.secrets += secrets_of(sources, self._environ)
        table, wrong = read_table(RuleFile, sources.data, (), sources, self._environ)
        problems += wrong
        for index in range(len(table.rule) if table is not None else 0):
            rule = _OneRule(self, file, sources, ("rule", index)).read(self._environ, self._defaults, self._configured)
            rule.scrub(found.secrets)
            found.unfit += rule.unfit
            if pack and rule.missing:
                found.skipped.append((rule.name, "; ".join(problem.what for problem in rule.missing)))
            elif rule.problems:
                problems += rule.problems
            elif rule.rule is not None:
                found.rules.append(rule.rule)
            elif rule.name:
                found.disabled.append(rule.name)

    def _check_names(self, found: RuleSet) -> None:
        seen: dict[str, Rule] = {}
        for rule in list(found.rules):
            first = seen.setdefault(rule.name, rule)
            if first is not rule:
                file, _, line = rule.where.rpartition(":")
                what, mend = f"the rule in {first.where} has this name, too", "give one of the two another name"
                found.problems.append(Problem(file, int(line), "name", f'"{rule.name}": {what}', mend))
                found.rules.remove(rule)

    def _check_cycles(self, found: RuleSet) -> None:
        graph = edges(found.rules)
        for way in cycles(found.rules):
            by_name = {rule.name: rule for rule in found.rules}
            round_ = [*way, way[0]]
            how = "; ".join(
                f"{name}'s {graph[name][after]}, which {after} looks at" for name, after in pairwise(round_)
            )
            file, _, line = by_name[way[0]].where.rpartition(":")
            what = f"the rules {', '.join(way)} set each other off: {how}"
            mend = "have one of them look at something else, or only tell"
            found.problems.append(Problem(file, int(line), "then", what, mend))
            found.rules = [rule for rule in found.rules if rule.name not in way]


class _OneRule:
    """One `[[rule]]` being read."""

    def __init__(self, reader: RuleReader, file: Path, sources: Sources, at: KeyPath) -> None:
        self._reader, self._file, self._sources, self._at = reader, file, sources, at
        self.problems: list[Problem] = []
        self.missing: list[Problem] = []  # those of what a plugin, or its configuration, would bring
        self.unfit: list[Problem] = []  # what the defaults do not allow, where they are all that there is
        self.rule: Rule | None = None
        self.name = ""

    def read(self, environ: Mapping[str, str], defaults: Defaults, configured: bool) -> _OneRule:
        """Fills in what came of it."""
        raw = self._sources.data["rule"][self._at[1]]
        self._environ = environ
        table, problems = read_table(RuleTable, raw, self._at, self._sources, environ)
        self.problems += problems
        self.name = str(raw.get("name", ""))
        if table is None:
            return self
        when = self._condition(table.when, (*self._at, "when"), 0)
        verify = self._verify(table)
        labels = None if when is None else self._labels(table.when)
        steps = [
            read_step(self._reader.actions, raw_step, (*self._at, part, index), self._sources, environ, labels, part)
            for part, raws in (("then", table.then), ("escalate", table.escalate))
            for index, raw_step in enumerate(raws)
        ]
        for step in steps:
            self.problems += step.problems
            self.missing += step.missing
            if configured:
                self.problems += step.unfit
                self.missing += step.unfit
            else:
                self.unfit += step.unfit
        if self.problems or when is None or not table.enabled:
            return self
        then = tuple(step.step for step in steps[: len(table.then)] if step.step is not None)
        escalate = tuple(step.step for step in steps[len(table.then) :] if step.step is not None)
        limit, place = table.limit, self._sources.place(self._at)
        where = f"{self._file}:{place.line if place is not None and place.line else 1}"
        self.rule = Rule(
            name=table.name,
            when=when,
            steps=then,
            limit=Limit(
                defaults.share if limit.share is None else limit.share.value,
                defaults.actions_per_hour if limit.actions_per_hour is None else limit.actions_per_hour,
            ),
            escalate=escalate,
            verify=verify,
            undo=table.undo,
            hold=table.hold,
            cooldown=table.cooldown,
            approval=table.approval == "required",
            approval_timeout=defaults.approval_timeout if table.approval_timeout is None else table.approval_timeout,
            dry_run=defaults.dry_run if table.dry_run is None else table.dry_run,
            severity=table.severity,
            description=table.description,
            where=where,
            looks_at=tuple(sorted(set(when.metrics()))),
            version=_version([raw, defaults.dry_run]),
            text=json.dumps({"where": where, "raw": raw, "defaults": asdict(defaults)}, default=str),
        )
        return self

    def scrub(self, secrets: Sequence[str]) -> None:
        """Take secrets out of what is wrong: a plugin may repeat what it was given."""
        text = Scrubber(secrets).text
        for problems in (self.problems, self.missing, self.unfit):
            problems[:] = [replace(problem, what=text(problem.what)) for problem in problems]

    def _condition(
        self, raw: Mapping[str, Any], at: KeyPath, depth: int, extra: Sequence[str] = ()
    ) -> Condition | None:
        kinds = [key for key in raw if key not in extra]
        known = [*self._reader.built_in, *self._reader.conditions, *_JOINTS]
        if len(kinds) != 1:
            what = "has no condition" if not kinds else f"has {len(kinds)} conditions: {', '.join(kinds)}"
            mend = f"write one of {', '.join(known)}" + ("; join several with all or any" if kinds else "")
            self._wrong(at, what, mend)
            return None
        kind, below = kinds[0], raw[kinds[0]]
        if depth > _DEEPEST:
            self._wrong((*at, kind), "conditions are nested too deeply", f"at most {_DEEPEST} levels")
            return None
        if kind in ("all", "any"):
            if not isinstance(below, list) or not below or not all(isinstance(item, dict) for item in below):
                self._wrong((*at, kind), "is not a list of conditions", f"write {kind} = [ {{ … }}, {{ … }} ]")
                return None
            parts = [self._condition(item, (*at, kind, index), depth + 1) for index, item in enumerate(below)]
            whole = [part for part in parts if part is not None]
            if len(whole) < len(parts):
                return None
            return AllOf(whole) if kind == "all" else AnyOf(whole)
        if not isinstance(below, dict):
            self._wrong((*at, kind), "is not a table", f"write {kind} = {{ … }}")
            return None
        if kind == "not":
            part = self._condition(below, (*at, kind), depth + 1)
            return None if part is None else Not([part])
        if kind not in known:
            what, mend = choice_problem(kind, known, "kind of condition")
            self._wrong((*at, kind), what, mend, missing=True)
            return None
        return self._leaf(kind, below, (*at, kind))

    def _leaf(self, kind: str, raw: Mapping[str, Any], at: KeyPath) -> Condition | None:
        catalogue = self._reader.catalogue
        own = self._reader.built_in.get(kind)
        model = (own or self._reader.conditions[kind]).Params
        try:
            params, problems = within_deadline(
                self._reader.conditions.get(kind), lambda: read_table(model, raw, at, self._sources, self._environ)
            )
        except Overdue as error:
            self._wrong(at, f"{kind} cannot say whether its keys are right: {error}", "mend the plugin")
            return None
        self.problems += problems
        if params is None:
            return None
        if own is not None:
            before = len(self.problems)
            for key, what, mend in own.problems(params, catalogue):
                self._wrong((*at, *key), what, mend, missing=key[-1] == "metric" or key == ("of",))
            return Leaf(own, params, catalogue) if len(self.problems) == before else None
        condition = self._reader.conditions[kind]
        for metric in condition.metrics(params):
            if catalogue.get(metric) is None:
                what, mend = choice_problem(metric, [spec.name for spec in catalogue], "metric")
                self._wrong(at, what, mend, missing=True)
                return None
        return PluginLeaf(condition, params)

    def _verify(self, table: RuleTable) -> ModelVerify | None:
        if table.verify is None:
            return None
        at = (*self._at, "verify")
        keys = tuple(VerifyTable.model_fields)
        raw = {key: value for key, value in table.verify.items() if key in keys}
        found, problems = read_table(VerifyTable, raw, at, self._sources, self._environ)
        self.problems += problems
        condition = None
        if not raw.get("cleared"):
            condition = self._condition(table.verify, at, 0, keys)
        elif len(raw) < len(table.verify):
            self._wrong((*at, "cleared"), "there is a condition, too", "write cleared = true or a condition")
        if found is not None and found.after >= found.within:
            self._wrong((*at, "within"), "is over before it is looked at", "choose it longer than after")
        return None if found is None else ModelVerify(condition, found.within, found.after)

    def _labels(self, raw: Mapping[str, Any]) -> set[str] | None:
        """The labels that subjects of a condition can have; None when only its plugin knows."""
        found: set[str] = set()
        for kind, below in raw.items():
            if kind in ("all", "any"):
                parts = [self._labels(item) for item in below]
            elif kind == "not":
                parts = []
            elif kind in ("threshold", "absence", "drift", "forecast"):
                spec = self._reader.catalogue.get(str(below.get("metric")))
                parts = [set(() if spec is None else spec.labels)]
            else:
                parts = [None]
            for part in parts:
                if part is None:
                    return None
                found |= part
        return found

    def _wrong(self, at: KeyPath, what: str, mend: str, *, missing: bool = False) -> None:
        problem = problem_at(self._sources, at, what, mend)
        self.problems.append(problem)
        if missing:
            self.missing.append(problem)


def _version(raw: Any) -> str:
    return hashlib.sha256(json.dumps(raw, sort_keys=True, default=str).encode()).hexdigest()[:16]
