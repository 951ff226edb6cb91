"""The files of a new detector: it learns how high each gauge usually goes, to be replaced by a better idea."""

from __future__ import annotations

from agent.scaffold.heads import README_HEAD

SUMMARY = "A detector for Predis Agent: gauges over a limit that is learnt."

PLUGIN = '''\
"""Learns how high each gauge usually goes, and tells of those that go beyond. Replace `Learnt`, and keep the shape."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from fnmatch import fnmatchcase

from agent.api import Anomaly, Host, Kind, PluginConfig, Snapshot, hookimpl
from pydantic import Field

SeriesKey = tuple[str, tuple[str, ...]]
MEMORY = 0.01  # weight of the newest row: about the last hundred rows count
CLIPPED = 2.0  # standard deviations over the mean: what is learnt of a value over the limit


class @cls@Config(PluginConfig):
    """`[plugins.@plugin@]`"""

    metrics: tuple[str, ...] = Field(default=("*",), description="shell patterns of the gauges that are watched")
    width: float = Field(default=8.0, gt=1, allow_inf_nan=False, description="standard deviations up to the limit")
    rows: int = Field(default=60, ge=10, description="that are learnt before a series is judged")


class Learnt:
    """How high one series usually is: mean and variance with exponential weights, brought up to date with each row
    (Finch 2009, Incremental calculation of weighted mean and variance). Values and limits are in the metric's unit."""

    def __init__(self) -> None:
        self.rows = 0
        self.mean = self.variance = 0.0
        self.since: float | None = None
        self.history: deque[tuple[float, float]] = deque(maxlen=60)

    def learn(self, value: float) -> None:
        self.rows += 1
        weight = max(MEMORY, 1 / self.rows)
        difference = value - self.mean
        self.mean += weight * difference
        self.variance = (1 - weight) * (self.variance + weight * difference**2)

    def half_width(self, width: float) -> float:
        return width * math.sqrt(self.variance)


class @cls@:
    """The host makes one from the table, and a new one whenever that changes."""

    api_version = 1
    Config = @cls@Config

    def __init__(self, config: @cls@Config) -> None:
        # Cheap, and without I/O: `predis-agent plugins list` constructs it, too.
        self._config = config
        self._learnt: dict[SeriesKey, Learnt] = {}
        self.note = ""

    @hookimpl
    def predis_start(self, host: Host) -> None:
        host.logger.info("watching %s", ", ".join(self._config.metrics))

    @hookimpl
    def predis_detect(self, snapshot: Snapshot) -> Iterator[Anomaly]:
        # On a thread of its own. An anomaly is given as long as it lasts; that it is over is told by its absence.
        watched = dict(self._values(snapshot))
        for key in self._learnt.keys() - snapshot.samples.keys():
            del self._learnt[key]  # it is gone: what was learnt of it must not stay for ever
        self.note = f"{len(watched)} series are watched"
        for key, value in watched.items():
            anomaly = self._judge(key, snapshot.specs[key[0]].labels, value, snapshot.time)
            if anomaly is not None:
                yield anomaly

    def _values(self, snapshot: Snapshot) -> Iterator[tuple[SeriesKey, float]]:
        taken = 0
        for key, sample in snapshot.samples.items():
            value, kind = sample.value, snapshot.specs[sample.name].kind
            if kind is not Kind.gauge or not isinstance(value, int | float) or not math.isfinite(value):
                continue
            if taken < self._config.max_series and any(fnmatchcase(key[0], name) for name in self._config.metrics):
                taken += 1
                yield key, float(value)

    def _judge(self, key: SeriesKey, labels: tuple[str, ...], value: float, time: float) -> Anomaly | None:
        learnt = self._learnt.setdefault(key, Learnt())
        learnt.history.append((time, value))
        half = learnt.half_width(self._config.width)
        limit = learnt.mean + half
        # Of a series that never moved, nobody knows how far it may go.
        if learnt.rows < self._config.rows or half == 0 or value <= limit:
            learnt.learn(value)
            learnt.since = None
            return None
        # Cantelli's inequality, which holds whatever the distribution is.
        p_value = 1 / (1 + ((value - learnt.mean) * self._config.width / half) ** 2)
        # No more than that is learnt: a peak does not raise the limit, and a level that stays is usual in time.
        learnt.learn(learnt.mean + CLIPPED * half / self._config.width)
        learnt.since = time if learnt.since is None else min(learnt.since, time)  # clocks are set back at times
        return Anomaly(
            series=key,
            labels=labels,
            since=learnt.since,
            time=time,
            channel="limit",
            value=value,
            low=limit - 2 * half,
            high=limit,
            score=1 - p_value,
            p_value=p_value,
            history=tuple(learnt.history),
        )
'''

SAMPLE = """\
[plugins.@plugin@]
enabled = true
# How often it collects; empty for agent.interval. A run that takes longer than the deadline counts as failed.
interval = ""
deadline = "5s"
# More series than this are not watched.
max_series = 2000
# Shell patterns of the gauges that are watched.
metrics = ["*"]
# How many standard deviations over its mean a series may go, and how many rows are learnt before it is judged.
width = 8.0
rows = 60
"""

README = (
    README_HEAD
    + """\

Each gauge has a limit of its own: its mean of about the last hundred rows and `width` standard deviations more. A
value over that is an anomaly in the channel `limit`, for as long as it lasts. A new level that stays is learnt, and
then it is over. What is learnt is in memory only: after a start, `rows` rows are learnt anew.

## Troubleshooting

- Too many incidents: name fewer `metrics`, or let `width` be larger.
- None at all: `predis-agent status` shows how many series are watched.
"""
)

TESTS = '''\
"""@cls@ tells of what goes over the limit that it learnt, while it does."""

from __future__ import annotations

from agent.api import Anomaly, Kind, MetricSpec, Sample, Snapshot

from @module@.plugin import @cls@, @cls@Config

LEVEL = MetricSpec("predis_level", Kind.gauge, "A level.", labels=("who",))
STEP = 10.0


def look(plugin: @cls@, row: int, value: float) -> list[Anomaly]:
    sample = Sample("predis_level", value, ("a",))
    return list(plugin.predis_detect(Snapshot(row * STEP, {sample.key: sample}, {LEVEL.name: LEVEL})))


def usual(row: int) -> float:
    return 10.0 + row % 3


def taught(rows: int = 100, **keys: object) -> @cls@:
    plugin = @cls@(@cls@Config.model_validate(keys))
    assert [anomaly for row in range(rows) for anomaly in look(plugin, row, usual(row))] == []
    return plugin


def test_what_goes_over_the_limit_is_an_anomaly_while_it_does() -> None:
    plugin = taught()
    (first,) = look(plugin, 100, 50.0)
    (second,) = look(plugin, 101, 51.0)
    assert (first.series, first.labels) == (("predis_level", ("a",)), ("who",))
    assert (first.since, first.time, second.since, second.time) == (1000.0, 1000.0, 1000.0, 1010.0)
    assert first.key == second.key
    assert first.low < 10 < 12 < first.high < 50 == first.value
    assert 0 < first.p_value < 0.01
    assert first.history[-2:] == ((990.0, usual(99)), (1000.0, 50.0))
    assert look(plugin, 102, 11.0) == []


def test_nothing_is_judged_before_enough_is_learnt() -> None:
    assert look(taught(rows=59), 59, 1000.0) == []
    assert len(look(taught(rows=60), 60, 1000.0)) == 1


def test_a_new_level_is_learnt_in_time_and_one_peak_is_not() -> None:
    plugin = taught()
    (before,) = look(plugin, 100, 1e6)
    (after,) = look(plugin, 101, 1e6)
    assert after.high < 1.05 * before.high
    rows = (row for row in range(102, 1000) if not look(plugin, row, 30.0 + row % 3))
    assert next(rows) > 140


def test_what_was_learnt_of_a_series_goes_with_it() -> None:
    plugin = taught()
    assert list(plugin.predis_detect(Snapshot(1000.0))) == []
    assert look(plugin, 101, 1000.0) == []


def test_metrics_that_are_not_named_are_not_watched() -> None:
    plugin = taught(metrics=["predis_other*"])
    assert look(plugin, 100, 1000.0) == []
    assert plugin.note == "0 series are watched"
'''
