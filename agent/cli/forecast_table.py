"""A forecast on the terminal."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from agent.cli.tables import print_pairs, print_table
from agent.config.units import format_count, format_duration

if TYPE_CHECKING:
    from agent.cli.forecast import Forecasted
    from agent.forecast.model import Estimate

ROWS = 14
DAY = 86_400.0  # s
_BYTES = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def show(found: Sequence[Forecasted], limit: float | None) -> None:
    """One series in full; of several, a line for each."""
    if len(found) == 1:
        _one(found[0], limit)
        return
    heads = ("now", "at the end", "95 %", *(["limit reached"] if limit is not None else []), "series")
    print_table(heads, [_line(one, limit) for one in found])


def _line(one: Forecasted, limit: float | None) -> list[str]:
    forecast = one.forecast
    now = number(one.past[-1][1], one.unit) if one.past else "–"
    reached = [_reached(one)] if limit is not None else []
    if forecast.problem:
        return [now, "–", "–", *(["–"] if reached else []), f"{one.name}: {forecast.problem}"]
    band = f"{number(forecast.low95[-1], one.unit)} to {number(forecast.high95[-1], one.unit)}"
    return [now, number(forecast.middle[-1], one.unit), band, *reached, one.name]


def _one(one: Forecasted, limit: float | None) -> None:
    forecast, unit = one.forecast, one.unit
    history = format_count(len(one.past), "point")
    if one.past:
        history += f" since {clock(one.past[0][0])} UTC, the last one {number(one.past[-1][1], unit)}"
    pairs = [("series", one.name), ("history", history)]
    if forecast.problem:
        print_pairs([*pairs, ("no forecast", forecast.problem)])
        return
    pairs.append(("model", forecast.model))
    if forecast.error is not None:
        pairs.append(("backtest", f"{forecast.error:.2f} of the error of repeating the last value or season"))
    if forecast.trend is not None:
        # Less than a day ahead is no measure of a day.
        ahead = forecast.times[-1] - one.past[-1][0] if one.past else DAY
        time_of, per = (DAY, "a day") if ahead >= DAY else (ahead, f"in {format_duration(round(ahead))}")
        change = [number(time_of * value, unit) for value in _values(forecast.trend)]
        pairs.append(("trend", f"{change[0]} {per} (95 %: {change[1]} to {change[2]})"))
    elif forecast.trend_problem:
        pairs.append(("trend", f"none: {forecast.trend_problem}"))
    if forecast.peak is not None:
        peak = [number(value, unit) for value in _values(forecast.peak)]
        pairs.append(("peak", f"{peak[0]} (95 %: {peak[1]} to {peak[2]})"))
    if limit is not None:
        pairs.append(("limit", f"{number(limit, unit)}: {_reached(one)}"))
    print_pairs(pairs)
    stride = max(1, -(-len(forecast.times) // ROWS))
    rows = range(len(forecast.times) - 1, -1, -stride)
    close = len(rows) > 1 and (forecast.times[-1] - forecast.times[-1 - stride]) < 60
    print_table(
        ("time (UTC)", "middle", "80 %", "95 %"),
        [
            (
                clock(forecast.times[row], seconds=close),
                number(forecast.middle[row], unit),
                f"{number(forecast.low80[row], unit)} to {number(forecast.high80[row], unit)}",
                f"{number(forecast.low95[row], unit)} to {number(forecast.high95[row], unit)}",
            )
            for row in reversed(rows)
        ],
    )


def _values(estimate: Estimate) -> tuple[float, float, float]:
    return estimate.middle, estimate.low95, estimate.high95


def _reached(one: Forecasted) -> str:
    likely, earliest, latest = one.forecast.reach
    if earliest is None and likely is None:
        return "not within the horizon"
    start = one.past[-1][0] if one.past else 0.0
    first = f"earliest {_ahead(earliest, start)}" if earliest is not None else ""
    last = f"latest {_ahead(latest, start)}" if latest is not None else "perhaps not within the horizon"
    middle = f"in {_ahead(likely, start)}, {clock(likely)} UTC" if likely is not None else "probably not"
    return f"{middle} (95 %: {first}{', ' if first else ''}{last})"


def _ahead(at: float, start: float) -> str:
    seconds = max(0.0, at - start)
    coarse = 3600 if seconds > 2 * 86_400 else 60 if seconds > 3600 else 1
    return format_duration(round(seconds / coarse) * coarse)


def clock(at: float, *, seconds: bool = False) -> str:
    """Unix seconds as people read them, in UTC: who prints it says so."""
    return time.strftime("%Y-%m-%d %H:%M:%S" if seconds else "%Y-%m-%d %H:%M", time.gmtime(at))


def number(value: float | None, unit: str) -> str:
    """With what the unit makes readable: 1.5GiB, 83.2 %, 12.3k."""
    if value is None:
        return "–"
    if unit.startswith("bytes"):
        power = 0
        while abs(value) >= 1024 and power < len(_BYTES) - 1:
            value, power = value / 1024, power + 1
        return f"{value:.4g}{_BYTES[power]}{unit.removeprefix('bytes')}"
    if unit == "ratio":
        return f"{100 * value:.3g} %"
    short = {"seconds": "s", "seconds/s": "s/s"}.get(unit, "/s" if unit.endswith("/s") else "")
    plain = 1e5 <= abs(value) < 1e15  # with all digits; more of them nobody can read
    return f"{value:,.0f}{short}" if plain else f"{value:,.4g}{short}"
