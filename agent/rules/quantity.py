"""Numbers in rules as people write them: "90%", "1GiB", "250ms", and whether they fit a metric's unit."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import PlainValidator

from agent.config.refuse import refuse
from agent.config.show import any_of, show
from agent.config.units import is_duration, parse_duration, parse_size
from core_cache.options import SIZE_UNITS

_PERCENT = re.compile(r"\s*(-?[0-9]{1,30}(?:\.[0-9]{1,30})?)\s*%\s*")
_RATE = re.compile(r"(.+?)\s*/\s*s\s*")
UNREADABLE = "?"
KINDS = {  # unit: what people call a number in it, and how they write one
    "ratio": ("a share", '"90%"'),
    "bytes": ("a size", '"1GiB"'),
    "bytes_per_second": ("a size a second", '"10MiB/s"'),
    "seconds": ("a duration", '"250ms"'),
}
_SIZE_UNIT = re.compile(r"[0-9.\s]+([A-Za-z]+)\s*")


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number in base units, with the unit that was written: "ratio", "bytes", "bytes_per_second", "seconds", or ""
    for a plain number, which fits any metric. UNREADABLE, with NaN, is a text that is none of these: what should have
    been written is known where it is compared."""

    value: float
    unit: str
    text: str

    def __str__(self) -> str:
        return self.text


def parse_quantity(value: object) -> Quantity:
    """A number, or text with a unit; where it is neither, unit_problem says what to write. Raises a refusal for what
    is no text or no finite number, or has a unit and is wrong."""
    if isinstance(value, Quantity):
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise refuse(f"{show(value)} is not a number", 'write a number, or one with a unit: "90%", "1GiB", "250ms"')
    if not isinstance(value, str):
        if not math.isfinite(value):
            raise refuse(f"{show(value)} is not a finite number", "write one that is")
        return Quantity(float(value), "", f"{value:g}" if isinstance(value, float) else str(value))
    text = value.strip()
    if percent := _PERCENT.fullmatch(text):
        return Quantity(float(percent[1]) / 100, "ratio", text)
    if rate := _RATE.fullmatch(text):
        return Quantity(float(parse_size(rate[1])), "bytes_per_second", text)
    unit = _SIZE_UNIT.fullmatch(text)
    if unit and unit[1].lower() in SIZE_UNITS:
        return Quantity(float(parse_size(text)), "bytes", text)
    try:
        return Quantity(float(text), "", text)
    except ValueError:
        pass
    if not is_duration(text):
        return Quantity(math.nan, UNREADABLE, text)
    return Quantity(parse_duration(text), "seconds", text)


def shown(value: float, unit: str) -> str:
    """A measured value for people, about as a rule would have it."""
    if unit == "ratio":
        return f"{value:.4g}" if abs(value) > 10 else f"{value:.1%}"
    if unit in ("bytes", "bytes_per_second"):
        for name, factor in (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
            if abs(value) >= factor:
                return f"{value / factor:.3g} {name}" + ("/s" if unit == "bytes_per_second" else "")
        return f"{value:g} B" + ("/s" if unit == "bytes_per_second" else "")
    if unit == "seconds":
        return f"{value:.4g} s" if abs(value) >= 1 else f"{value * 1000:.4g} ms"
    return f"{value:.6g}"


def unit_problem(quantity: Quantity, unit: str) -> tuple[str, str] | None:
    """(what is wrong, the mend) when a quantity does not fit a metric's unit; `unit` "" is a plain count."""
    if not quantity.unit or quantity.unit == unit:
        return None
    plain = f"a number in {unit}" if unit else "a plain number"
    kind, example = KINDS.get(unit, (plain, "5"))
    mend = f"write {kind}, such as {example}" if unit in KINDS else "write a number without a unit"
    if quantity.unit == UNREADABLE:
        return f"{show(quantity.text)} is not {kind}", mend
    return f"{show(quantity.text)} is {KINDS[quantity.unit][0]}, and it is compared with {kind}", mend


Amount = Annotated[Quantity, PlainValidator(parse_quantity)]
"""A number with or without a unit."""


def choice_problem(word: str, known: list[str], what: str) -> tuple[str, str]:
    """(what is wrong, the mend) for a name that is none of those known."""
    from agent.config.explain import nearest

    guess = nearest(word, known)
    if guess is not None:
        return f'there is no {what} "{word}"', f'did you mean "{guess}"?'
    listed = any_of(known[:12]) if known else "none"
    return f'there is no {what} "{word}"', f"there are: {listed}" + (" …" if len(known) > 12 else "")


def plain(value: Any) -> Any:
    """A quantity as it was written, for JSON."""
    return value.text if isinstance(value, Quantity) else value
