"""The reference in docs/rules.md, from the models: python -m agent.rules.docs prints it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from agent.config.units import format_duration
from agent.rules.quantity import Quantity
from agent.rules.reading import CONDITIONS
from agent.rules.schema import LimitTable, RuleTable, VerifyTable

_DURATIONS = frozenset({"for", "cooldown", "window", "baseline", "after", "within"})


def reference() -> str:
    """All keys of rules and of the agent's own conditions, as Markdown tables."""
    parts = ["### Keys of a rule\n", _table(RuleTable)]
    parts += ["\n`limit`:\n", _table(LimitTable)]
    parts += ["\n`verify`, besides its condition:\n", _table(VerifyTable)]
    for condition in CONDITIONS:
        parts += [f"\n### `{condition.name}`\n", f"{condition.help[:1].upper()}{condition.help[1:]}.\n"]
        parts.append(_table(condition.Params))
    return "\n".join(parts)


def _table(model: type[BaseModel]) -> str:
    return "\n".join(["| key | default | what it is |", "| --- | --- | --- |", *_rows(model)])


def _rows(model: type[BaseModel]) -> Iterator[str]:
    for name, info in model.model_fields.items():
        key = info.alias or name
        default = "required" if info.is_required() else _default(key, info.default)
        yield f"| `{key}` | {default} | {(info.description or '').replace('|', '/')} |"


def _default(key: str, value: Any) -> str:
    if value is None or isinstance(value, BaseModel):
        return ""
    if isinstance(value, Quantity):
        return f"`{value}`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, float) and key in _DURATIONS:
        return f'`"{format_duration(value)}"`'
    if isinstance(value, str):
        return f'`"{value}"`'
    if isinstance(value, (tuple, list)):
        return "`[]`"
    return f"`{value}`"


if __name__ == "__main__":
    sys.stdout.write(reference() + "\n")
