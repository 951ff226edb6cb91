"""Plugins for measurements: 10,000 series that change as a cache's do, and one that notes how late it is asked."""

import os
import random
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from agent.api import Histogram, Kind, MetricSpec, Sample, hookimpl

BOUNDS = (0.00001, 0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 1.0)
COUNTERS, GAUGES, HISTOGRAMS = 5000, 4500, 500
SERIES = COUNTERS + GAUGES + HISTOGRAMS
PER_METRIC = 500  # series of one metric
LABELS = ("tenant", "command")
PLUGINS = {"many_series": "bench.series:ManySeries", "metronome": "bench.series:Metronome"}
LATE_FILE = "PREDIS_BENCH_LATE"
TICK = 0.25  # seconds, the metronome's interval


def _specs(name: str, kind: Kind, series: int, unit: str = "", bounds: tuple[float, ...] = ()) -> list[MetricSpec]:
    numbers = range(series // PER_METRIC)
    return [MetricSpec(name.format(number), kind, "For a benchmark.", unit, LABELS, bounds) for number in numbers]


COUNTER_SPECS = _specs("predis_bench_counted{}_total", Kind.counter, COUNTERS)
GAUGE_SPECS = _specs("predis_bench_level{}", Kind.gauge, GAUGES)
HISTOGRAM_SPECS = _specs("predis_bench_took{}_seconds", Kind.histogram, HISTOGRAMS, "seconds", BOUNDS)
SPECS = (*COUNTER_SPECS, *GAUGE_SPECS, *HISTOGRAM_SPECS)
_OF_METRIC = [(f"tenant-{number // 25}", f"command{number % 25}") for number in range(PER_METRIC)]


class Numbers:
    """What the series are at, turn by turn: counters grow by up to 1,000, levels wander, a third stands still."""

    def __init__(self, seed: int = 1) -> None:
        self._random = random.Random(seed)
        self._counts = [0] * COUNTERS
        self._levels = [self._random.uniform(0, 1e6) for _ in range(GAUGES)]
        self._times = [[0] * (len(BOUNDS) + 1) for _ in range(HISTOGRAMS)]
        self._sums = [0.0] * HISTOGRAMS

    def next(self) -> list[Sample]:
        """The samples of the next turn."""
        drawn = self._random.random
        samples = []
        for number in range(COUNTERS):
            if number % 3:
                self._counts[number] += int(drawn() * 1000)
            spec = COUNTER_SPECS[number // PER_METRIC]
            samples.append(Sample(spec.name, self._counts[number], _OF_METRIC[number % PER_METRIC]))
        for number in range(GAUGES):
            if number % 3:
                self._levels[number] *= 0.99 + 0.02 * drawn()
            spec = GAUGE_SPECS[number // PER_METRIC]
            samples.append(Sample(spec.name, self._levels[number], _OF_METRIC[number % PER_METRIC]))
        for number in range(HISTOGRAMS):
            times = self._times[number]
            for bucket in range(2, 6):
                times[bucket] += int(drawn() * 50)
            self._sums[number] += drawn()
            value = Histogram(BOUNDS, tuple(times), self._sums[number])
            spec = HISTOGRAM_SPECS[number // PER_METRIC]
            samples.append(Sample(spec.name, value, _OF_METRIC[number % PER_METRIC]))
        return samples


class ManySeries:
    """Gives SERIES series. What making them costs is the measurement's own: it is told in predis_bench_own_seconds."""

    api_version = 1

    def __init__(self, config: Any) -> None:
        self._numbers = Numbers()
        self._own = 0.0

    @hookimpl
    def predis_metric_specs(self) -> tuple[MetricSpec, ...]:
        return (*SPECS, MetricSpec("predis_bench_own_seconds_total", Kind.counter, "CPU for the numbers.", "seconds"))

    @hookimpl
    def predis_collect(self) -> list[Sample]:
        began = time.thread_time()
        samples = self._numbers.next()
        self._own += time.thread_time() - began
        return [*samples, Sample("predis_bench_own_seconds_total", self._own)]


class Metronome:
    """Notes when it is asked, as seconds of the monotonic clock, one a line, in the file that LATE_FILE names."""

    api_version = 1

    def __init__(self, config: Any) -> None:
        self._file = os.open(os.environ[LATE_FILE], os.O_WRONLY | os.O_APPEND)

    @hookimpl
    def predis_collect(self) -> Iterator[Sample]:
        os.write(self._file, f"{time.monotonic()!r}\n".encode())
        return iter(())

    @hookimpl
    def predis_stop(self) -> None:
        os.close(self._file)


def lateness(path: Path, since: float) -> list[float]:
    """How much later than planned the metronome was asked, in seconds, each time since then (monotonic).

    It is asked at multiples of TICK from a moment that only the scheduler knows: that of the call after the widest gap
    between all calls, taken modulo TICK. A call that is missing counts as TICK late.
    """
    times = [time for line in path.read_text().splitlines() if (time := float(line)) >= since]
    phases = sorted(time % TICK for time in times)
    gaps = [after - before for before, after in pairwise([*phases, phases[0] + TICK])]
    first = phases[(gaps.index(max(gaps)) + 1) % len(phases)]
    missing = round((times[-1] - times[0]) / TICK) - (len(times) - 1)
    return [(phase - first) % TICK for phase in phases] + [TICK] * max(0, missing)
