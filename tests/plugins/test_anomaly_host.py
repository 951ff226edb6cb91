"""The plugin anomaly looks at all numbers of the host together, and gives causes (predis_causes) of what it found."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from agent.api import Anomaly, Incident, Kind, MetricSpec, Sample, Snapshot
from plugins.anomaly.host import HostWatch
from plugins.anomaly.plugin import Anomaly as Plugin
from plugins.anomaly.plugin import AnomalyConfig

METRICS = 12
SPECS = {f"predis_host_{i}": MetricSpec(f"predis_host_{i}", Kind.gauge, "A test's.") for i in range(METRICS)}
HITS = MetricSpec("predis_keyspace_hits_total", Kind.counter, "Reads that found their key.")
MISSES = MetricSpec("predis_keyspace_misses_total", Kind.counter, "Reads that did not find their key.")


class Past:
    """A history of what was given to it."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, tuple[str, ...]], list[tuple[float, float]]] = {}

    def add(self, snapshot: Snapshot) -> None:
        for key, sample in snapshot.samples.items():
            assert isinstance(sample.value, (int, float))
            self.rows.setdefault(key, []).append((snapshot.time, sample.value))

    def keys(self, metric: str) -> Sequence[tuple[str, tuple[str, ...]]]:
        return [key for key in self.rows if key[0] == metric]

    def points(self, key: tuple[str, tuple[str, ...]], start: float, end: float) -> Sequence[tuple[float, float]]:
        return [point for point in self.rows.get(key, []) if start <= point[0] <= end]

    def points_of(
        self, keys: Iterable[tuple[str, tuple[str, ...]]], start: float, end: float
    ) -> Iterator[tuple[tuple[str, tuple[str, ...]], Sequence[tuple[float, float]]]]:
        return ((key, self.points(key, start, end)) for key in keys)

    def latest(
        self, keys: Iterable[tuple[str, tuple[str, ...]]]
    ) -> dict[tuple[str, tuple[str, ...]], tuple[float, float]]:
        return {key: self.rows[key][-1] for key in keys if key in self.rows}


def rows(count: int, seed: int = 1) -> Iterable[dict[tuple[str, tuple[str, ...], str], float]]:
    """Numbers that all follow one load, each with a little noise of its own."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        load = 50 + 20 * math.sin(number / 40) + rng.normal(0, 2)
        yield {(f"predis_host_{i}", (), ""): (i + 1) * load + rng.normal(0, i + 1) for i in range(METRICS)}


def test_numbers_that_part_are_noticed_though_each_is_within_what_is_usual_for_it() -> None:
    watch = HostWatch(false_alerts_per_day=100)
    usual = list(rows(4000))
    for number, row in enumerate(usual):
        watch.take(row, number * 60.0, 60.0)
    watch.open = None
    low, high = usual[190], usual[60]  # both are usual; half of the one and half of the other never was
    mixed = {key: (low if int(key[0][12:]) % 2 else high)[key] for key in low}
    for number in range(20):
        watch.take(mixed, (4000 + number) * 60.0, 60.0)
    found = watch.anomaly(4020 * 60.0, {})
    assert found is not None
    assert found.channel == "host"
    assert found.series[0].startswith("predis_host_")
    assert found.since >= 4000 * 60.0
    for number, row in enumerate(rows(400, seed=2)):
        watch.take(row, (4020 + number) * 60.0, 60.0)
    assert watch.anomaly(4420 * 60.0, {}) is None, "it is over"


def test_what_was_learnt_of_the_host_survives_a_restart(tmp_path: Path) -> None:
    one = HostWatch(1.0)
    for number, row in enumerate(rows(300)):
        one.take(row, number * 10.0, 10.0)
    about, arrays = one.dump()
    two = HostWatch(1.0)
    two.restore(about, arrays)
    (row,) = rows(1, seed=3)
    one.take(row, 3000.0, 10.0)
    two.take(row, 3000.0, 10.0)
    assert two.keys == one.keys
    after, again = one.dump()[1], two.dump()[1]
    assert all(np.array_equal(after[name], again[name], equal_nan=True) for name in after)


def test_numbers_that_come_and_go_keep_what_is_known_of_the_others() -> None:
    watch = HostWatch(1.0)
    for number, row in enumerate(rows(120)):
        watch.take(row, number * 10.0, 10.0)
    gone = watch.keys[3]
    watch.forget({gone})
    assert gone not in watch.keys
    (row,) = rows(1, seed=3)
    watch.take({**row, ("predis_host_new", (), ""): 1.0}, 1200.0, 10.0)
    assert len(watch.keys) == METRICS + 1


def test_causes_name_what_moved() -> None:
    """Given an hour of reads that hit, when they miss, then predis_causes speaks of the cache with numbers in it."""
    plugin, past = Plugin(AnomalyConfig()), Past()
    specs = {HITS.name: HITS, MISSES.name: MISSES}
    hits = misses = 0.0
    rng = np.random.default_rng(1)
    for number in range(400):
        broken = number >= 380
        hits += 300 + rng.normal(0, 5) if broken else 1000 + rng.normal(0, 10)
        misses += 700 + rng.normal(0, 5) if broken else 10 + rng.normal(0, 1)
        samples = [Sample(HITS.name, hits), Sample(MISSES.name, misses)]
        snapshot = Snapshot(10.0 * number, {sample.key: sample for sample in samples}, specs)
        past.add(snapshot)
        list(plugin.predis_detect(snapshot))
    anomaly = Anomaly((MISSES.name, ()), (), 3800.0, 3990.0, "deviation", 70.0, 0.9, 1.1, 0.99, 1e-9)
    causes = list(plugin.predis_causes(Incident("1", 3800.0, "misses", (anomaly,)), past))
    assert causes
    assert causes[0].component == "cache"
    assert any(letter.isdigit() for letter in causes[0].why)
