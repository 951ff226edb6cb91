"""Signatures: known patterns of incidents, read from TOML, and found among the series of an incident."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from plugins.anomaly.cause.model import Cause, Observed, SeriesKey, shown
from plugins.anomaly.cause.shift import shift_of

SHIPPED = Path(__file__).with_name("signatures.toml")
MOVES = ("rises", "falls", "above", "below", "changes", "happens")
USUAL_SPREADS = 4.0
MOST_NAMED = 5
"""Cases of a signature at one component that are told, in the order of the series; the others are counted."""

Evidence = tuple[SeriesKey, str]
"""A series for which a condition holds, and the numbers for it."""


class SignatureError(ValueError):
    """A file of signatures says something that cannot be meant; the message has file and line."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One line of a signature; see the head of signatures.toml."""

    metric: str
    move: str
    by: float
    labels: Mapping[str, str]
    of: str = ""
    to: float | None = None
    rows: int = 1


@dataclass(frozen=True, slots=True)
class Signature:
    """A pattern: found if all of `all` hold, and none of `none`. `follows`: somebody decided it, and more likely did it
    about an incident than set it off."""

    name: str
    component: str
    why: str
    all: tuple[Condition, ...]
    none: tuple[Condition, ...] = ()
    follows: bool = False

    @property
    def metrics(self) -> set[str]:
        """The metrics that it reads."""
        conditions = (*self.all, *self.none)
        return {c.metric for c in conditions} | {c.of for c in conditions if c.of}


def load(path: Path = SHIPPED) -> list[Signature]:
    """The signatures of a file. Raises SignatureError with the line of what is wrong."""
    text = path.read_text(encoding="utf-8")
    try:
        entries = tomllib.loads(text).get("signature", [])
    except tomllib.TOMLDecodeError as error:
        raise SignatureError(f"{path}: {error}") from error
    heads = [n for n, line in enumerate(text.splitlines(), 1) if re.match(r"\s*\[\[\s*signature\s*\]\]", line)]
    if not isinstance(entries, list) or len(heads) != len(entries):
        raise SignatureError(f"{path}: write each signature as a table of its own, under [[signature]]")
    found: dict[str, Signature] = {}
    for line, entry in zip(heads, entries, strict=True):
        try:
            signature = _signature(entry)
            if signature.name in found:
                raise ValueError(f"there is a signature {signature.name!r} already")
        except (KeyError, TypeError, ValueError) as error:
            reason = f"key {error} is missing" if isinstance(error, KeyError) else str(error)
            raise SignatureError(f"{path}:{_line(text, line, reason)}: {reason}") from error
        found[signature.name] = signature
    return list(found.values())


def matches(signatures: Sequence[Signature], series: Sequence[Observed]) -> list[Cause]:
    """The signatures found among the series of an incident, as causes; scores from 2 down, above what `rank` gives."""
    by_metric: dict[str, list[Observed]] = {}
    for observed in series:
        by_metric.setdefault(observed.key[0], []).append(observed)
    causes = []
    for place, signature in enumerate(signatures):
        fields = re.findall(r"{(\w+)}", f"{signature.component} {signature.why}")
        found: dict[str, list[tuple[Mapping[str, str], list[Evidence]]]] = {}
        for binding in _bindings(fields, by_metric.get(signature.all[0].metric, ())):
            held = [_holds(condition, by_metric, binding) for condition in signature.all]
            evidence = [told for told in held if told is not None]
            if len(evidence) < len(held) or any(_holds(c, by_metric, binding) for c in signature.none):
                continue
            found.setdefault(signature.component.format_map(binding), []).append((binding, evidence))
        causes += [_cause(signature, name, cases, 2 - place / len(signatures)) for name, cases in found.items()]
    return causes


def _cause(
    signature: Signature, component: str, cases: Sequence[tuple[Mapping[str, str], Sequence[Evidence]]], score: float
) -> Cause:
    """One cause for all that a signature found at a component, such as several XIDs of a GPU."""
    values = {field: _listed([binding[field] for binding, _ in cases]) for field in cases[0][0]}
    named = cases[:MOST_NAMED]
    evidence = [told for _, several in named for told in several]
    numbers = ", ".join(dict.fromkeys(text for _, text in evidence))
    why = f"{component}: {signature.why.format_map(values)}: {numbers}."
    return Cause(component, score, why, tuple(dict.fromkeys(key for key, _ in evidence)), signature.name)


def _listed(values: Iterable[str]) -> str:
    """The values, each once, MOST_NAMED of them, and how many more there are."""
    each = list(dict.fromkeys(values))
    rest = f" and {len(each) - MOST_NAMED} more" if len(each) > MOST_NAMED else ""
    return ", ".join(each[:MOST_NAMED]) + rest


def _bindings(fields: Sequence[str], series: Iterable[Observed]) -> list[dict[str, str]]:
    """The values of the component's labels for which there are series; one empty binding where it has none."""
    if not fields:
        return [{}]
    found = ({field: dict(zip(o.labels, o.key[1], strict=False)).get(field, "") for field in fields} for o in series)
    return list({tuple(sorted(binding.items())): binding for binding in found if all(binding.values())}.values())


def _holds(
    condition: Condition, by_metric: Mapping[str, Sequence[Observed]], binding: Mapping[str, str]
) -> Evidence | None:
    for observed in by_metric.get(condition.metric, ()):
        labels = dict(zip(observed.labels, observed.key[1], strict=False))
        wanted = {label: value for label, value in binding.items() if label not in condition.labels}
        if any(labels.get(label, value) != value for label, value in wanted.items()):
            continue
        if not all(fnmatchcase(labels.get(label, ""), pattern) for label, pattern in condition.labels.items()):
            continue
        seen = observed
        if condition.of:
            others = [other for other in by_metric.get(condition.of, ()) if other.key[1] == observed.key[1]]
            if not others:
                continue
            seen = _ratio(observed, others[0])
        told = _judge(condition, seen)
        if told:
            return observed.key, told
    return None


def _judge(condition: Condition, seen: Observed) -> str:
    name = f"{condition.metric} / (it + {condition.of})" if condition.of else seen.named(condition.metric)
    unit = seen.unit and f" {seen.unit}"
    if condition.move in ("above", "below"):
        values = [value for _, value in seen.during if math.isfinite(value)]
        if values and (values[-1] > condition.by if condition.move == "above" else values[-1] < condition.by):
            return f"{name} is {shown(values[-1])}{unit}"
        return ""
    if condition.move == "happens":
        rows = [*seen.before[-1:], *seen.during]  # what is its consequence shows a row later at times
        most = max((value for _, value in rows if math.isfinite(value)), default=-math.inf)
        return f"{name} was {shown(most)}{unit}" if most > condition.by else ""
    if condition.move == "changes":
        new = {value for _, value in seen.during} - {value for _, value in seen.before}
        return f"{name} changed {len(new)} time{'s' if len(new) > 1 else ''}" if new else ""
    sign = 1 if condition.move == "rises" else -1
    if condition.rows > 1:  # it moved as far as the last of so many rows that moved farthest
        farthest = sorted(seen.during, key=lambda point: -sign * point[1])[condition.rows - 1 :]
        seen = replace(seen, during=sorted(farthest))
    shift = shift_of(seen)
    if shift is None or sign * shift.spreads < condition.by:
        return ""
    if condition.to is not None and sign * shift.now < sign * condition.to:
        return ""
    verb = "rose" if condition.move == "rises" else "fell"
    return f"{name} {verb} from {shown(shift.usual)} to {shown(shift.now)}{unit}"


def _ratio(part: Observed, rest: Observed) -> Observed:
    before, during = dict(rest.before), dict(rest.during)

    def ratios(points: Iterable[tuple[float, float]], others: Mapping[float, float]) -> list[tuple[float, float]]:
        sums = [(time, value, value + others.get(time, math.nan)) for time, value in points]
        return [(time, value / total) for time, value, total in sums if total > 0]

    return replace(part, before=ratios(part.before, before), during=ratios(part.during, during), unit="")


def _signature(entry: Mapping[str, Any]) -> Signature:
    _only(entry, ("name", "component", "why", "all", "none", "follows"))
    every = tuple(_condition(table) for table in entry["all"])
    if not every:
        raise ValueError("'all' is empty: it would be found always")
    never = tuple(_condition(table) for table in entry.get("none", ()))
    follows = entry.get("follows", False)
    if not isinstance(follows, bool):
        raise ValueError(f"'follows' = {follows!r}: write true or false")
    return Signature(str(entry["name"]), str(entry["component"]), str(entry["why"]), every, never, follows)


def _condition(table: Mapping[str, Any]) -> Condition:
    _only(table, ("metric", "is", "by", "labels", "of", "to", "rows"))
    move = table["is"]
    if move not in MOVES:
        raise ValueError(f"is = {move!r} is not known; it can be {', '.join(MOVES)}")
    if move in ("above", "below") and "by" not in table:
        raise ValueError(f"is = {move!r} needs a number: by = …")
    by = table.get("by", 0.0 if move == "happens" else USUAL_SPREADS)
    if not isinstance(by, (int, float)) or isinstance(by, bool):
        raise ValueError(f"by = {by!r} is no number")
    to = table.get("to")
    if to is not None and (not isinstance(to, (int, float)) or isinstance(to, bool) or move not in ("rises", "falls")):
        raise ValueError(f"'to' = {to!r}: write a number, and only for what rises or falls")
    rows = table.get("rows", 1)
    if not isinstance(rows, int) or isinstance(rows, bool) or rows < 1 or (rows > 1 and move not in ("rises", "falls")):
        raise ValueError(f"'rows' = {rows!r}: write a whole number, and only for what rises or falls")
    labels, of = dict(table.get("labels", {})), str(table.get("of", ""))
    return Condition(str(table["metric"]), move, float(by), labels, of, None if to is None else float(to), rows)


def _only(table: Mapping[str, Any], keys: Sequence[str]) -> None:
    unknown = sorted(set(table) - set(keys))
    if unknown:
        raise ValueError(f"key {unknown[0]!r} is not known; there are {', '.join(keys)}")


def _line(text: str, head: int, reason: str) -> int:
    """The line below a signature's head that has what the reason quotes; else the head's."""
    lines = text.splitlines()
    quoted = re.findall(r"'([^']*)'", reason)
    for number in range(head, len(lines)):
        if re.match(r"\s*\[\[", lines[number]):
            break
        if quoted and quoted[0] in lines[number]:
            return number + 1
    return head
