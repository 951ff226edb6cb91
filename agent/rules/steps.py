"""Reads one action of a rule."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import Field

from agent.config.load import problem_at, read_table
from agent.config.locate import KeyPath
from agent.config.models import Section
from agent.config.secrets import Secrets
from agent.config.sources import Sources
from agent.config.units import Duration, duration_between
from agent.errors import PredisError, Problem
from agent.plugin.guard import Overdue, describe
from agent.rules.bounded import within_deadline
from agent.rules.extension import ActionType, WrongKey
from agent.rules.model import Step, fill
from agent.rules.quantity import choice_problem

_PLACEHOLDER = re.compile(r"\{([a-z][a-z0-9_]*)\}")


class StepTable(Section):
    """What the host reads of an action; the rest is the action's own."""

    action: str = Field(description="the kind of action")
    deadline: Annotated[Duration | None, duration_between("100ms", "1d")] = Field(
        default=None, description="how long it may take; absent for the action's own"
    )


@dataclass
class ReadStep:
    """A step, or what is wrong with it. `missing`: those of what a plugin would bring. `unfit`: what its plugin's
    configuration does not allow, which is a problem for whoever has that configuration."""

    step: Step | None = None
    problems: list[Problem] = field(default_factory=list)
    missing: list[Problem] = field(default_factory=list)
    unfit: list[Problem] = field(default_factory=list)


def read_step(
    actions: Mapping[str, ActionType],
    raw: Mapping[str, Any],
    at: KeyPath,
    sources: Sources,
    environ: Mapping[str, str],
    labels: set[str] | None,
    part: str,
) -> ReadStep:
    """The action that stands at a path. `labels`: what may stand in braces; None when nobody knows."""
    found = ReadStep()

    def wrong(key: KeyPath, what: str, mend: str) -> ReadStep:
        found.problems.append(problem_at(sources, (*at, *key), what, mend))
        return found

    own = {key: value for key, value in raw.items() if key in StepTable.model_fields}
    table, problems = read_table(StepTable, own, at, sources, environ)
    found.problems += problems
    if table is None:
        return found
    action = actions.get(table.action)
    if action is None:
        what, mend = choice_problem(table.action, sorted(actions), "action")
        wrong(("action",), what, f"{mend} (is its plugin on?)")
        found.missing += found.problems[-1:]
        return found
    if part == "escalate" and action.changes_state:
        return wrong(("action",), f"{action.name} changes something", "escalate only tells somebody")
    rest = {key: value for key, value in raw.items() if key != "action"}
    if "deadline" in rest and "deadline" not in action.Params.model_fields:
        del rest["deadline"]
    for path, name in placeholders(rest, ()):
        if labels is not None and name not in labels:
            known = sorted(labels)
            what, mend = choice_problem(name, known, "label of what the rule looks at")
            wrong(path, what, mend if known else "the condition has no labels: write the value itself")
    if found.problems:
        return found

    def read(keys: Mapping[str, Any]) -> list[Problem]:
        return within_deadline(action, lambda: read_table(action.Params, keys, at, sources, environ)[1])

    try:
        problems = read(rest)
        if problems and placeholders(rest, ()):  # perhaps only since a label stands for it: try with a word
            problems = read(_example(rest))
    except Overdue as error:
        return wrong((), f"{action.name} cannot say whether its keys are right: {error}", "mend the plugin")
    found.problems += problems
    if found.problems:
        return found
    expanded = Secrets(environ, sources.base).expand_tree(rest, (), lambda path, error: None, set())
    deadline = table.deadline if table.deadline is not None and "deadline" not in rest else action.deadline
    step = Step(action, expanded, float(deadline), sources.base)
    example = {name: name for _, name in placeholders(rest, ())}
    try:
        target = within_deadline(action, lambda: action.target(step.params(example)))
        if not isinstance(target, str) or not target:
            raise TypeError(f"its target is {target!r}")
    except Exception as error:  # noqa: BLE001  # a plugin's code
        return wrong((), f"{action.name} cannot say what it works on: {error}", "mend its keys, or the plugin")
    try:
        unfit = within_deadline(action, lambda: _unfit(action, step.params(example), rest))
    except Exception as error:  # noqa: BLE001  # a plugin's code
        said = str(error) if isinstance(error, Overdue) else describe(error)
        return wrong((), f"{action.name} cannot say whether it can be used so: {said}", "mend the plugin")
    if unfit is not None:
        key, what = unfit
        found.unfit.append(problem_at(sources, (*at, *key), what, ""))
    found.step = step
    return found


def _unfit(action: ActionType, params: Any, raw: Mapping[str, Any]) -> tuple[KeyPath, str] | None:
    """Why an action cannot be used with these keys, by what its plugin is configured with: which key, and a sentence.

    None for what is written with a {label}: what will stand there is not known yet.
    """
    check = getattr(action, "check", None)
    if check is None:
        return None
    key: KeyPath = ()
    try:
        if (given := check(params)) is not None:
            raise TypeError(f"check gives {type(given).__name__} and should give None or raise WrongKey")
        return None
    except WrongKey as error:
        key, what = tuple(part if isinstance(part, int) else str(part) for part in error.key), str(error)
    except (PredisError, ValueError) as error:
        what = str(error)
    value = _at(raw, key)
    unknown = bool(placeholders(value, ())) and (isinstance(value, str) or not key)
    return None if unknown else (key, what or f"{action.name} cannot be used so")


def _at(raw: Any, path: KeyPath) -> Any:
    """What stands at a path of a table; None where there is nothing."""
    for part in path:
        try:
            raw = raw[part]
        except (LookupError, TypeError):
            return None
    return raw


def placeholders(value: Any, at: KeyPath) -> list[tuple[KeyPath, str]]:
    """Each {label} in the texts of a table, with its path."""
    if isinstance(value, str):
        return [(at, name) for name in _PLACEHOLDER.findall(value.replace("${", "$("))]
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, item in items for found in placeholders(item, (*at, key))]


def _example(raw: Mapping[str, Any]) -> Any:
    return fill(raw, {name: name for _, name in placeholders(raw, ())})
