"""What rules would have done on recorded history."""

from __future__ import annotations

import csv
import datetime
import json
import math
import time
import urllib.parse
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from agent.errors import PredisError
from agent.metrics.catalogue import Catalogue
from agent.metrics.model import Kind, MetricSpec, SeriesKey
from agent.rules.model import Rule
from agent.rules.recorded import Recorded, Value
from agent.rules.rehearsal import Rehearsal
from agent.rules.settings import EngineSettings

_COLUMNS = ("time", "metric", "value")
Series = dict[SeriesKey, list[tuple[float, Value]]]


@dataclass
class Row:
    """One rule. share: of the time in which its condition held for anything."""

    fired: int = 0
    acted: int = 0
    held: int = 0
    share: float = 0.0


@dataclass
class Played:
    """What came of it. `firings`: (Unix seconds, rule, subject, why)."""

    start: float
    end: float
    series: int
    rules: dict[str, Row] = field(default_factory=dict)
    firings: list[tuple[float, str, str, str]] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def play(rules: Sequence[Rule], catalogue: Catalogue, recorded: Recorded, interval: float) -> Played:
    """Play recorded series to rules, as if all of them acted and all actions helped as little as they did."""
    span = recorded.span
    if span is None:
        raise PredisError("there is nothing recorded of what the rules look at")
    acting = [replace(rule, dry_run=False, approval=False, verify=None) for rule in rules]
    rehearsal = Rehearsal(
        acting, catalogue, recorded, start=span[0] - interval, interval=interval, settings=EngineSettings()
    )
    played = Played(span[0], span[1], recorded.count, {rule.name: Row() for rule in rules})
    steps, holding = 0, dict.fromkeys(played.rules, 0)
    while rehearsal.time + interval <= span[1] + 1e-6:
        rehearsal.until(rehearsal.time + interval)
        steps += 1
        for name in holding:
            holding[name] += rehearsal.engine.holds(name) is True
    for at, kind, fields in rehearsal.records:
        name = str(fields.get("rule", ""))
        if kind == "fired":
            played.rules[name].fired += 1
            played.firings.append((at, name, str(fields["subject"]), str(fields["why"])))
        elif kind == "acting":
            played.rules[name].acted += 1
        elif kind == "refused":
            played.rules[name].held += 1
    for name, row in played.rules.items():
        row.share = holding[name] / max(1, steps)
    return played


def load(path: Path, catalogue: Catalogue) -> Recorded:
    """Series from a CSV or from the JSON of /api/v1/history. Raises PredisError with the line that is wrong."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise PredisError(f"{path} cannot be read: {reason}") from None
    if path.suffix == ".json":
        return _of_json(path, text, catalogue)
    return _of_csv(path, text, catalogue)


def fetch(ask: Callable[[str], dict[str, Any]], specs: Sequence[MetricSpec], hours: float) -> Recorded:
    """The history of a running agent, as far as it is kept. Histograms have no buckets there: what looks at their
    quantiles is unknown."""
    end = time.time()
    series: Series = {}
    for spec in specs:
        query = urllib.parse.urlencode({"metric": spec.name, "start": end - hours * 3600, "end": end})
        _add(series, spec, ask(f"/api/v1/history?{query}").get("series", ()))
    return Recorded(series)


def metrics_of(rules: Iterable[Rule], catalogue: Catalogue) -> list[MetricSpec]:
    """What rules look at."""
    patterns = {metric for rule in rules for metric in rule.when.metrics()}
    return [spec for spec in catalogue if any(fnmatchcase(spec.name, pattern) for pattern in patterns)]


def _of_csv(path: Path, text: str, catalogue: Catalogue) -> Recorded:
    reader = csv.DictReader(text.splitlines())
    columns = reader.fieldnames or ()
    if missing := [name for name in _COLUMNS if name not in columns]:
        wanted = "its first line must be time,metric,value and a column for each label"
        raise PredisError(f"{path}:1: there is no column {', '.join(missing)}; {wanted}")
    series: Series = {}
    for row in reader:
        where = f"{path}:{reader.line_num}"
        spec = catalogue.get(row["metric"] or "")
        if spec is None:
            raise PredisError(f"{where}: there is no metric {row['metric']!r} (predis-agent metrics list)")
        try:
            value = float(row["value"] or "")
            at = _moment(row["time"] or "")
        except ValueError as error:
            raise PredisError(f"{where}: {error}; write numbers, and times as Unix seconds or ISO 8601") from None
        key = (spec.name, tuple(row.get(name) or "" for name in spec.labels))
        series.setdefault(key, []).append((at, value))
    return Recorded(series)


def _of_json(path: Path, text: str, catalogue: Catalogue) -> Recorded:
    series: Series = {}
    try:
        document = json.loads(text)
        for part in document if isinstance(document, list) else [document]:
            spec = catalogue.get(part["metric"])
            if spec is None:
                raise PredisError(f"{path}: there is no metric {part['metric']!r} (predis-agent metrics list)")
            _add(series, spec, part["series"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        what = f"{type(error).__name__}: {error}"
        raise PredisError(f"{path} is not as /api/v1/history answers, nor a list of such answers: {what}") from None
    return Recorded(series)


def _add(series: Series, spec: MetricSpec, found: Iterable[Any]) -> None:
    if spec.kind is Kind.histogram:
        return  # their counts alone would be taken for values
    for one in found:
        key = (spec.name, tuple(str(one["labels"].get(name, "")) for name in spec.labels))
        points = [(float(at), float(value)) for at, value in one["points"] if value is not None]
        series.setdefault(key, []).extend(points)


def _moment(text: str) -> float:
    try:
        at = float(text)
    except ValueError:
        at = datetime.datetime.fromisoformat(text).timestamp()
    if not math.isfinite(at):
        raise ValueError(f"{text!r} is not a time")
    return at
