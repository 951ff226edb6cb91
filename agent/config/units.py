"""Durations and sizes as people write them: "30s", "1h30m", "16GiB", or plain numbers of seconds and bytes.

And times as they read them."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from fractions import Fraction
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

from agent.config.refuse import refuse
from agent.config.show import show
from core_cache.options import LARGEST_SIZE, SIZE_MEND, SIZE_UNITS, SizeError
from core_cache.options import parse_size as size_of_text

_SECONDS = {
    "ns": Fraction(1, 10**9),
    "us": Fraction(1, 10**6),
    "µs": Fraction(1, 10**6),  # U+00B5, the micro sign of Latin-1 keyboards
    "μs": Fraction(1, 10**6),  # U+03BC, the Greek letter: looks the same
    "ms": Fraction(1, 1000),
    "s": Fraction(1),
    "m": Fraction(60),
    "min": Fraction(60),
    "h": Fraction(3600),
    "d": Fraction(86400),
    "w": Fraction(7 * 86400),
}
_SHOWN_SECONDS = ("w", "d", "h", "m", "s", "ms", "us", "ns")

_SHOWN_BYTES = ("PiB", "TiB", "GiB", "MiB", "KiB")

_NUMBER = r"[0-9]{1,30}(?:\.[0-9]{1,30})?"
_DURATION_PART = re.compile(rf"\s*({_NUMBER})\s*([^\W\d_]+)\s*")

_LONGEST = 100 * 366 * 86400  # no configuration means more than a century

_DURATION_MEND = 'write a number with a unit, such as "500ms", "30s", "5m" or "1h30m"'


def parse_duration(value: object) -> float:
    """Seconds from "250ms", "30s", "1.5h", "1h30m" or a number of seconds. Raises a refusal that says what to write."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise refuse(f"{show(value)} is not a duration", _DURATION_MEND)
    seconds = _duration_of_text(value) if isinstance(value, str) else float(value)
    if not math.isfinite(seconds) or seconds > _LONGEST:
        raise refuse(f"{show(value)} is too long for a duration", "write at most 100 years")
    if seconds < 0:
        raise refuse(f"{show(value)} is negative", "a duration is zero or more")
    return seconds


def _duration_of_text(text: str) -> float:
    total, end = Fraction(0), 0
    seen: set[Fraction] = set()
    for part in _DURATION_PART.finditer(text):
        factor = _SECONDS.get(part[2])
        if part.start() != end or factor is None or factor in seen:
            break
        seen.add(factor)
        total += Fraction(part[1]) * factor
        end = part.end()
    if not seen or end != len(text):
        if re.fullmatch(rf"\s*{_NUMBER}\s*", text):
            number = text.strip()
            raise refuse(f"{show(text)} has no unit", f'write "{number}s" if it means seconds')
        if text.strip().startswith("-"):
            raise refuse(f"{show(text)} is negative", "a duration is zero or more")
        raise refuse(f"{show(text)} is not a duration", _DURATION_MEND)
    return float(total) if total <= _LONGEST else math.inf


def is_duration(text: str) -> bool:
    """Whether a text is meant as a duration, be it a wrong one: it has numbers with units of time, and nothing else."""
    number = text.strip().removeprefix("-")
    parts = list(_DURATION_PART.finditer(number))
    whole = number and "".join(part[0] for part in parts) == number
    return bool(whole) and all(part[2] in _SECONDS for part in parts)


def parse_size(value: object) -> int:
    """Bytes from "512MiB", "1.5GB", "100" or a whole number. Raises a refusal that says what to write."""
    if isinstance(value, str):
        try:
            return size_of_text(value)
        except SizeError as error:
            raise refuse(f"{show(value)} {error.what}", error.mend) from None
    if isinstance(value, bool) or not isinstance(value, int):
        raise refuse(f"{show(value)} is not a size", SIZE_MEND)
    if value < 0:
        raise refuse(f"{show(value)} is negative", "a size is zero or more")
    if value > LARGEST_SIZE:
        raise refuse(f"{show(value)} is too large for a size", "write at most 8191PiB")
    return value


def format_duration(seconds: float) -> str:
    """The shortest usual way to write it: 90 → "1m30s", 0.25 → "250ms". Exact to the nanosecond."""
    nanoseconds = round(Fraction(seconds) * 10**9)
    if nanoseconds == 0:
        return "0s"
    sign, rest, parts = ("-" if nanoseconds < 0 else ""), abs(nanoseconds), []
    for unit in _SHOWN_SECONDS:
        count, rest = divmod(rest, int(_SECONDS[unit] * 10**9))
        if count:
            parts.append(f"{count}{unit}")
    return sign + "".join(parts)


def format_size(size: int) -> str:
    """The largest binary unit that writes it exactly: 1073741824 → "1GiB", 1500 → "1500B"."""
    for unit in _SHOWN_BYTES:
        factor = SIZE_UNITS[unit.lower()]
        if size and size % factor == 0:
            return f"{size // factor}{unit}"
    return f"{size}B"


def format_count(count: int, thing: str) -> str:
    """How many of something there are: 1 → "1 rule", 1200 → "1,200 rules"."""
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"


def format_number(value: float, more: int = 0) -> str:
    """A number of any size, as an axis has it: 1.2M, 340k, 0.0012. more: digits than usual."""
    size = abs(value)
    for limit, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if limit <= size < math.inf:
            return f"{value / limit:.{4 + more}g}{letter}"
    return f"{value:.{3 + more}g}"


def format_time(at: float) -> str:
    """Unix seconds → "2026-11-28 09:14:38 UTC": the same on every machine, as the names of incidents are."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(at))


Duration = Annotated[float, BeforeValidator(parse_duration)]
"""Seconds."""

Size = Annotated[int, BeforeValidator(parse_size)]
"""Bytes."""


def duration_between(low: str, high: str) -> Any:
    """Validator that bounds a Duration: ``Annotated[Duration, duration_between("100ms", "1d")]``."""
    return _between(parse_duration(low), parse_duration(high), low, high, format_duration)


def size_between(low: str, high: str) -> Any:
    """Validator that bounds a Size: ``Annotated[Size, size_between("8MiB", "64TiB")]``."""
    return _between(parse_size(low), parse_size(high), low, high, format_size)


def _between(least: float, most: float, low: str, high: str, written: Callable[[Any], str]) -> AfterValidator:
    def check(value: Any) -> Any:
        if value < least:
            raise refuse(f"{written(value)} is too little", f'write "{low}" or more')
        if value > most:
            raise refuse(f"{written(value)} is too much", f'write "{high}" or less')
        return value

    return AfterValidator(check)
