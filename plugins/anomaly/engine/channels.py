"""The channels of evidence: what is watched of a series, and the state that each of them needs.

Every channel is a number that is computed from the rows so far and the new one, and that has a band in which it was
before (bands.py). A channel's number minus the band's edge tells how far a row is from everything that was. One kind of
evidence is none of these and has a file of its own: that nothing changes any more (flatline.py).
"""

from __future__ import annotations

from typing import Final

import numpy as np

from plugins.anomaly.engine.table import Array, Field, Slots

MINUTE: Final = 60.0
HOUR: Final = 3600.0
DAY: Final = 86400.0
WEEK: Final = 7 * DAY

CHANNELS: Final = (
    "deviation",  # the value itself
    "shift",  # its mean over some rows
    "shift",  # its mean over an hour
    "difference",  # to the row before
    "deviation",  # from the level of the last day
    "season",  # from what the hour of the day has
    "season",  # from what the hour of the week has
    "season",  # the mean of an hour, from what the hour of the day has
    "variance",  # the mean size of differences within the hour
)
VALUE, FAST, SLOW, DIFFERENCE, LEVEL, DAILY, WEEKLY, DAILY_MEAN, VARIANCE = range(len(CHANNELS))
FLATLINE: Final = len(CHANNELS)  # what comes after the channels among the kinds of evidence
KINDS: Final = (*CHANNELS, "flatline")
PROVEN: Final = 0.95  # a profile counts when its loss is below this share of the level's

# Which horizons, in seconds, and how many rows at least where rows are rare.
FAST_HORIZON: Final = (15 * MINUTE, 4)
SLOW_HORIZON: Final = (HOUR, 6)
VARIANCE_HORIZON: Final = (HOUR, 8)
LEVEL_HORIZON: Final = (DAY, 30)
LOSS_HORIZON: Final = (3 * DAY, 60)
SPREAD_HORIZON: Final = (WEEK, 200)
SHORTEST: Final = 1e-3  # seconds between two rows; what is said to be less is a clock's error
WINSOR = 4.0  # residuals count for at most this many scales
DAILY_MEMORY, WEEKLY_MEMORY = 5.0, 3.0  # visits of an hour until it is forgotten to 1/e

FIELDS: Final = {
    "rows": Field(np.float64),
    "interval": Field(np.float64, fill=np.nan),
    "time": Field(np.float64, fill=np.nan),
    "value": Field(np.float64, fill=np.nan),
    "level": Field(np.float64),
    "scale": Field(np.float32),
    "spread": Field(np.float32),  # the scale without winsorising, over a longer time: the floor of the scale
    "fast": Field(np.float64),
    "slow": Field(np.float64),
    "size": Field(np.float32),  # of differences
    "variance": Field(np.float32),
    "daily": Field(np.float32, 24, np.nan),
    "daily_rows": Field(np.float32, 24),
    "daily_mean": Field(np.float64),
    "daily_scale": Field(np.float32),
    "daily_loss": Field(np.float32),
    "weekly": Field(np.float32, 168, np.nan),
    "weekly_rows": Field(np.float32, 168),
    "weekly_scale": Field(np.float32),
    "weekly_loss": Field(np.float32),
    "level_loss": Field(np.float32),
}


def interval_of(before: Array, elapsed: Array) -> Array:
    """The usual time between rows: the first one, then moved by at most 5 % a row, so that gaps and jumps count little.

    `elapsed` that is no length of time (the clock went back, the first row, less than SHORTEST) says nothing.
    """
    good = np.isfinite(elapsed) & (elapsed >= SHORTEST)
    safe = np.where(good, elapsed, 1.0)
    known = np.where(np.isfinite(before), before, safe)
    moved = known * np.exp(np.clip(np.log(safe / known), -0.05, 0.05))
    found: Array = np.where(good, moved, before)
    return found


class Pace:
    """How much a new row weighs at a horizon: forgetting is by time, and the first rows are a plain mean."""

    def __init__(self, rows: Array, interval: Array) -> None:
        self._first = 1 / np.maximum(rows, 1)
        self.interval = np.where(np.isfinite(interval), interval, 5 * MINUTE)

    def __call__(self, horizon: tuple[float, int]) -> Array:
        return np.maximum(self._first, self.forget(horizon))

    def forget(self, horizon: tuple[float, int]) -> Array:
        """The share that is forgotten at each row, of what is to be forgotten to 1/e within the horizon."""
        seconds, rows = horizon
        share: Array = -np.expm1(-self.interval / np.maximum(seconds, rows * self.interval))
        return share


def _toward(now: Array, target: Array, weight: Array) -> Array:
    moved: Array = now + weight * (target - now)
    return moved


def _scale(now: Array, residual: Array, weight: Array) -> Array:
    """A winsorised mean absolute deviation, times 1.25: a standard deviation where residuals are normal."""
    size = np.abs(residual)
    size = np.where(now > 0, np.minimum(size, WINSOR * now), size)
    moved: Array = now + weight * (1.25 * size - now)
    return moved


class Profile:
    """Means per hour of the day or week, between whose middles one goes in a straight line where rows are frequent."""

    def __init__(self, name: str, hours: int, memory: float) -> None:
        self.name, self.hours, self.memory = name, hours, memory

    def expected(self, arrays: dict[str, Array], slots: Slots, time: Array, interval: Array) -> tuple[Array, Array]:
        """What the hour has, NaN where it has nothing yet, and the number of the hour."""
        hours = time / HOUR
        hour = np.floor(hours)
        part = hours - hour
        number = np.mod(hour, self.hours).astype(np.intp)
        profile = arrays[self.name]
        here = profile[slots, number].astype(np.float64)
        beside = np.where(part < 0.5, number - 1, number + 1) % self.hours
        there = profile[slots, beside].astype(np.float64)
        share = np.abs(part - 0.5)
        blend = (interval < HOUR / 2) & np.isfinite(there)
        return np.where(blend, here * (1 - share) + np.where(blend, there, 0.0) * share, here), number

    def learn(
        self, arrays: dict[str, Array], slots: Slots, number: Array, value: Array, scale: Array, interval: Array
    ) -> None:
        """Moves the hour's mean towards the value, by at most WINSOR scales once it has seen the hour twice."""
        profile, rows = arrays[self.name], arrays[self.name + "_rows"]
        mean, seen = profile[slots, number].astype(np.float64), rows[slots, number].astype(np.float64)
        per_hour = np.maximum(HOUR / interval, 1)
        weight = np.maximum(1 / (seen + 1), -np.expm1(-1 / (self.memory * per_hour)))
        limit = np.where((scale > 0) & (seen >= 2 * per_hour), WINSOR * scale, np.inf)
        known = np.isfinite(mean)
        moved = mean + weight * np.clip(value - mean, -limit, limit)
        profile[slots, number] = np.where(known, moved, value)
        rows[slots, number] = seen + 1


DAILY_PROFILE = Profile("daily", 24, DAILY_MEMORY)
WEEKLY_PROFILE = Profile("weekly", 168, WEEKLY_MEMORY)


def observe(arrays: dict[str, Array], slots: Slots, time: Array, value: Array) -> tuple[Array, Array, Array]:
    """Takes one finite value of each of these series in and gives (channels, bases, proven).

    channels: (series, channel), each channel's number. bases: what to add to a channel's number to have a value of the
    series again (NaN where there is no such thing). proven: (series, channel), whether the channel may speak: profiles
    may once their one-step-ahead loss on the past was lower than that of the level.
    """
    s = {name: array[slots] for name, array in arrays.items() if array.ndim == 1}
    new = s["rows"] == 0
    for name in ("level", "fast", "slow"):
        s[name] = np.where(new, value, s[name])
    before = np.where(new, value, s["value"])
    s["interval"] = interval_of(s["interval"], time - s["time"])
    s["rows"] = s["rows"] + 1
    pace = Pace(s["rows"], s["interval"])
    interval = pace.interval

    from_level, difference = value - s["level"], value - before
    daily, hour = DAILY_PROFILE.expected(arrays, slots, time, interval)
    weekly, week_hour = WEEKLY_PROFILE.expected(arrays, slots, time, interval)
    has_daily, has_weekly = np.isfinite(daily), np.isfinite(weekly)
    daily = np.where(has_daily, daily, s["level"])
    weekly = np.where(has_weekly, weekly, daily)
    from_daily, from_weekly = value - daily, value - weekly

    # Losses of what was said before the row was seen, each cut at WINSOR scales.
    weight, cut = pace(LOSS_HORIZON), WINSOR * s["scale"] + 1e-12
    for name, residual, known in (
        ("level_loss", from_level, has_daily),
        ("daily_loss", from_daily, has_daily),
        ("weekly_loss", from_weekly, has_weekly),
    ):
        s[name] = np.where(known, _toward(s[name], np.minimum(np.abs(residual), cut), weight), s[name])

    bases = np.zeros((len(slots), len(CHANNELS)))
    bases[:, DIFFERENCE], bases[:, LEVEL] = before, s["level"]
    bases[:, DAILY], bases[:, WEEKLY] = daily, weekly
    bases[:, DAILY_MEAN], bases[:, VARIANCE] = daily, np.nan

    long = pace(LEVEL_HORIZON)
    limit = np.maximum(s["scale"], 0.25 * s["spread"])
    limit = np.where(limit > 0, 3 * limit, np.inf)
    s["level"] = s["level"] + long * np.clip(from_level, -limit, limit)
    s["fast"] = _toward(s["fast"], value, pace(FAST_HORIZON))
    s["slow"] = _toward(s["slow"], value, pace(SLOW_HORIZON))
    s["scale"] = _scale(s["scale"], from_level, long)
    s["spread"] = _toward(s["spread"], 1.25 * np.abs(from_level), pace(SPREAD_HORIZON))
    s["size"] = _scale(s["size"], difference, pace((DAY, 50)))
    s["daily_mean"] = _toward(s["daily_mean"], from_daily, pace(SLOW_HORIZON))
    swing = np.minimum(np.abs(difference), 8 * np.maximum(s["size"], 1e-12))
    s["variance"] = _toward(s["variance"], swing, pace(VARIANCE_HORIZON))
    s["daily_scale"] = _scale(s["daily_scale"], from_daily, pace(LOSS_HORIZON))
    s["weekly_scale"] = _scale(s["weekly_scale"], from_weekly, pace((WEEK, 100)))
    DAILY_PROFILE.learn(arrays, slots, hour, value, s["daily_scale"], interval)
    WEEKLY_PROFILE.learn(arrays, slots, week_hour, value, s["weekly_scale"], interval)
    s["time"], s["value"] = time, value
    for name in FIELDS:
        if name in s:
            arrays[name][slots] = s[name]

    channels = np.stack(
        [
            value,
            s["fast"],
            s["slow"],
            difference,
            from_level,
            from_daily,
            from_weekly,
            s["daily_mean"],
            s["variance"],
        ],
        axis=1,
    )
    proven = np.ones(channels.shape, bool)
    proven[:, DAILY] = proven[:, DAILY_MEAN] = s["daily_loss"] < PROVEN * s["level_loss"]
    proven[:, WEEKLY] = has_weekly & (s["weekly_loss"] < PROVEN * s["level_loss"])
    return channels, bases, proven
