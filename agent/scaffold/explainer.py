"""The files of a new explainer: what moved furthest is the most probable cause, to be replaced by a better idea."""

from __future__ import annotations

from agent.scaffold.heads import README_HEAD, SAMPLE_HEAD

SUMMARY = "An explainer for Predis Agent: what moved furthest from its usual level is the most probable cause."

PLUGIN = '''\
"""Says what is probably behind an incident: the metric that moved furthest. Replace `Moved`, and keep the shape."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Annotated

from agent.api import Anomaly, Cause, Duration, History, Incident, PluginConfig, duration_between, hookimpl
from pydantic import Field

SIGMA = 1.4826  # times the median of absolute deviations is the standard deviation of a normal distribution


class @cls@Config(PluginConfig):
    """`[plugins.@plugin@]`"""

    look_back: Annotated[Duration, duration_between("1m", "1d")] = Field(
        default=3600.0, description="before the anomaly: what is usual"
    )
    rows: int = Field(default=5, ge=3, description="fewest rows before the anomaly that say what is usual")
    most: int = Field(default=5, ge=1, description="causes of one incident")


@dataclass(frozen=True)
class Moved:
    """How far a series is from its usual level, in robust standard deviations: the distance from the median over
    1.4826 times the median of absolute deviations (Rousseeuw and Croux 1993). `usual` and `value` are in its unit."""

    anomaly: Anomaly
    usual: float
    deviations: float

    @classmethod
    def of(cls, anomaly: Anomaly, before: list[float]) -> Moved:
        usual = median(before)
        spread = SIGMA * median(abs(value - usual) for value in before) or 1e-9 * max(1.0, abs(usual))
        return cls(anomaly, usual, abs(anomaly.value - usual) / spread)

    @property
    def score(self) -> float:
        """From 0 to 1, the higher the further."""
        return self.deviations / (1 + self.deviations) if math.isfinite(self.deviations) else 1.0


class @cls@:
    """The host makes one from the table, and a new one whenever that changes."""

    api_version = 1
    Config = @cls@Config

    def __init__(self, config: @cls@Config) -> None:
        # Cheap, and without I/O: `predis-agent plugins list` constructs it, too.
        self._config = config

    @hookimpl
    def predis_causes(self, incident: Incident, history: History) -> Iterator[Cause]:
        # On a thread of its own, when an incident opens, and again as it grows.
        furthest: dict[str, Moved] = {}
        for anomaly in incident.anomalies:
            moved = self._moved(anomaly, history)
            metric = anomaly.series[0]
            if moved is not None and (metric not in furthest or moved.deviations > furthest[metric].deviations):
                furthest[metric] = moved
        ranked = sorted(furthest.items(), key=lambda item: (-item[1].deviations, item[0]))
        for metric, moved in ranked[: self._config.most]:
            labels = ", ".join(moved.anomaly.series[1])
            why = f"{metric}{f' ({labels})' if labels else ''} is {moved.anomaly.value:g}, usually {moved.usual:g}"
            yield Cause(metric, moved.score, why, (moved.anomaly.series,))

    def _moved(self, anomaly: Anomaly, history: History) -> Moved | None:
        """None where nothing can be said: what is usual is not known, or what is is no number."""
        rows = history.points(anomaly.series, anomaly.since - self._config.look_back, anomaly.since)
        before = [value for at, value in rows if at < anomaly.since and math.isfinite(value)]
        if len(before) < self._config.rows or not math.isfinite(anomaly.value):
            return None
        return Moved.of(anomaly, before)
'''

SAMPLE = (
    SAMPLE_HEAD
    + """\
# How long before an anomaly its series says what is usual, and the fewest rows that do.
look_back = "1h"
rows = 5
# How many causes an incident gets.
most = 5
"""
)

README = (
    README_HEAD
    + """\

Of each metric with an anomaly, the series that moved furthest counts: by how many robust standard deviations it is away
from its median of the last hour. The metric that moved furthest is the most probable cause.

## Troubleshooting

An incident without causes of this plugin: its series have no history of `rows` rows before the anomaly.
"""
)

TESTS = '''\
"""@cls@ names what moved furthest, and says by how much."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from agent.api import Anomaly, Cause, Incident

from @module@.plugin import @cls@, @cls@Config

SINCE = 1_700_000_000.0
Key = tuple[str, tuple[str, ...]]


class Known:
    """A history of these values, one a minute, the last a minute before SINCE."""

    def __init__(self, **values: Sequence[float]) -> None:
        self._values = values

    def points(self, key: Key, start: float, end: float) -> list[tuple[float, float]]:
        values = self._values.get(key[0], ())
        rows = [(SINCE - 60.0 * (len(values) - row), value) for row, value in enumerate(values)]
        return [row for row in rows if start <= row[0] <= end]


def causes(values: dict[str, float], most: int = 5, **known: Sequence[float]) -> list[Cause]:
    found = [Anomaly((n, ()), (), SINCE, SINCE + 60, "limit", v, 0.0, 1.0, 0.9, 0.01) for n, v in values.items()]
    history: Any = Known(**known)
    incident = Incident("i-1", SINCE, "Something is wrong", tuple(found))
    return list(@cls@(@cls@Config(most=most)).predis_causes(incident, history))


def test_what_moved_furthest_comes_first() -> None:
    near, far = causes({"near": 14.0, "far": 20.0}, near=[9, 10, 11, 10, 10, 11], far=[9, 10, 11, 10, 10, 11])[::-1]
    assert (far.component, near.component) == ("far", "near")
    assert 0 < near.score < far.score < 1
    assert far.why == "far is 20, usually 10"
    assert far.series == (("far", ()),)


def test_a_level_that_never_moved_counts_as_far() -> None:
    (cause,) = causes({"level": 5.0}, level=[4.0] * 10)
    assert cause.score == pytest.approx(1.0)


def test_there_are_as_many_as_are_wanted() -> None:
    assert len(causes({"a": 5.0, "b": 6.0}, most=1, a=[1.0] * 9, b=[1.0] * 9)) == 1


def test_nothing_is_said_of_what_is_not_known() -> None:
    assert causes({"a": 5.0, "b": float("nan")}, a=[1.0, 2.0], b=[1.0] * 9) == []
'''
