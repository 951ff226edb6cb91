"""Points of one series from a file: CSV with the columns timestamp and value, or JSON."""

from __future__ import annotations

import csv
import datetime
import io
import json
from pathlib import Path
from typing import Any

from agent.errors import PredisError

Points = list[tuple[float, float | None]]
_COLUMNS = ("timestamp", "value")


def read_points(path: Path) -> Points:
    """(Unix seconds, value) by time. JSON: [[time, value], …], {"points": …}, or an answer of /api/v1/history with one
    series. Raises PredisError, with the line of a CSV."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise PredisError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}") from None
    except UnicodeDecodeError:
        raise PredisError(f"{path} is no text: write a CSV with the columns timestamp and value, or JSON") from None
    found = _json(path, text) if text.lstrip()[:1] in ("[", "{") else _csv(path, text)
    return sorted(found, key=lambda point: point[0])


def _csv(path: Path, text: str) -> Points:
    rows = csv.reader(io.StringIO(text))
    head = [name.strip().lower() for name in next(rows, [])]
    if not set(_COLUMNS) <= set(head):
        raise PredisError(f"{path}:1: has no columns timestamp and value, but {', '.join(head) or 'nothing'}")
    at, value = map(head.index, _COLUMNS)
    found: Points = []
    for row in rows:
        if row:
            try:
                found.append((_time(row[at]), float(row[value]) if row[value].strip() else None))
            except (ValueError, IndexError):
                raise PredisError(
                    f"{path}:{rows.line_num}: {','.join(row)} is no time and number; write Unix seconds or "
                    "2026-01-31T12:00:00, and a number"
                ) from None
    return found


def _json(path: Path, text: str) -> Points:
    try:
        given: Any = json.loads(text)
        if isinstance(given, dict) and "series" in given:
            if len(given["series"]) != 1:
                raise PredisError(f"{path} has {len(given['series'])} series: leave one")
            given = given["series"][0]
        if isinstance(given, dict):
            given = given["points"]
        return [(_time(at), None if value is None else float(value)) for at, value in given]
    except (ValueError, TypeError, KeyError):
        raise PredisError(f"{path} has no points: write [[time, value], …]") from None


def _time(given: object) -> float:
    """Unix seconds; a time without a zone is UTC."""
    text = str(given).strip()
    try:
        return float(text)
    except ValueError:
        when = datetime.datetime.fromisoformat(text)
        return (when if when.tzinfo else when.replace(tzinfo=datetime.UTC)).timestamp()
