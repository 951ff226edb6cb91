"""What a detector is shown, and what its anomalies must be."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator
from functools import partial

from agent.certify.rig import SPECS, Rig, fail
from agent.incidents.model import Anomaly
from agent.metrics.model import Histogram, MetricSpec, Sample, Snapshot
from agent.plugin.loaded import LoadedPlugin
from agent.plugin.wire_analysis import MOST_HISTORY

_BEGIN = 1_700_000_000.0
_STEP = 10.0  # seconds between snapshots
_LEARNING = 150  # snapshots: what most detectors want to have seen before they judge


def show(rig: Rig, plugin: LoadedPlugin) -> list[Anomaly]:
    """Let it look at every stage; the check fails when it does not cope with one. Gives all that it found."""
    rig.timed(plugin, "predis_start", lambda: plugin.start(rig.host()))
    catalogue = {spec.name: spec for spec in (*SPECS, *plugin.specs)}
    found: list[Anomaly] = []
    for stage, snapshot in stages():
        given = rig.timed(plugin, f"predis_detect, {stage},", partial(plugin.detect, snapshot))
        for anomaly in given:
            if problem := problem_of(anomaly, catalogue):
                fail(f"predis_detect, {stage}, gives an anomaly of {anomaly.series!r} {problem}")
        if twice := _first_twice(given):
            fail(f"predis_detect, {stage}, gives two anomalies of one series, channel and since: {twice.key!r}")
        found += given
    rig.timed(plugin, "predis_stop", plugin.stop)
    return found


def stages() -> Iterator[tuple[str, Snapshot]]:
    """Snapshots in their order, each with what is the matter, as the end of a sentence."""
    noise = random.Random(11)
    time, seen = _BEGIN, 0.0

    def row(*, level: float | None = None, gone: bool = False) -> Snapshot:
        nonlocal time, seen
        time, seen = time + _STEP, seen + noise.randint(5, 9)
        values: list[Sample] = [Sample("predis_certify_seen_total", seen)]
        if not gone:
            usual = noise.gauss(2.5, 0.1)
            counts = (int(seen * 3), int(seen * 2), int(seen))
            values += [
                Sample("predis_certify_level", usual if level is None else level, ("a",)),
                Sample("predis_certify_level", noise.gauss(40.0, 2.0), ("b",)),
                Sample("predis_certify_time_seconds", Histogram((0.1, 1.0), counts, seen * 4.5)),
            ]
        return _snapshot(time, values)

    yield "of an empty snapshot", Snapshot(time)
    for _ in range(_LEARNING):
        yield "as series are learnt", row()
    for value in (math.nan, math.inf, -math.inf):
        yield f"with {value} for a value", row(level=value)
    for _ in range(20):
        yield "when a level is a thousand times as high", row(level=2500.0)
    time -= 3600.0
    for _ in range(5):
        yield "when the clock was set back an hour", row(level=2500.0)
    time += 86400.0
    for _ in range(5):
        yield "when the clock was put on a day", row(level=2500.0)
    for _ in range(20):
        yield "when a level is back", row()
    for _ in range(20):
        yield "when series have vanished", row(gone=True)
    yield "when all series have vanished", Snapshot(time + _STEP)
    for _ in range(5):
        yield "when series are back", row()
    seen = 0.0
    yield "when a counter begins anew", row()
    same = row()
    yield "when a snapshot comes twice", same
    yield "when a snapshot comes twice", same


def problem_of(anomaly: Anomaly, catalogue: dict[str, MetricSpec]) -> str:
    """What is wrong with an anomaly, as the end of a sentence; empty if nothing is."""
    try:
        name, values = anomaly.series
    except (TypeError, ValueError):
        return "which is no (name, label values)"
    spec = catalogue.get(name)
    if spec is None:
        return "which is not in the catalogue"
    if anomaly.labels != spec.labels or not isinstance(values, tuple) or len(values) != len(spec.labels):
        return f"with the labels {anomaly.labels!r}: the catalogue has {spec.labels!r}"
    numbers = {name: getattr(anomaly, name) for name in ("since", "time", "value", "low", "high", "score", "p_value")}
    # The value may be what was measured, whatever that is; all the rest is the detector's own.
    wrong = [name for name, n in numbers.items() if not _is_number(n) or (name != "value" and math.isnan(n))]
    if wrong:
        return f"whose {wrong[0]} is {numbers[wrong[0]]!r}: it is to be a number"
    if not (math.isfinite(anomaly.since) and math.isfinite(anomaly.time) and anomaly.since <= anomaly.time):
        return f"since {anomaly.since!r}, which is not before its time {anomaly.time!r}"
    for name in ("score", "p_value"):
        if not 0 <= numbers[name] <= 1:
            return f"whose {name} is {numbers[name]!r}: it is to be from 0 to 1"
    if anomaly.low > anomaly.high:
        return f"expected between {anomaly.low!r} and {anomaly.high!r}: low is to be the lower one"
    if not isinstance(anomaly.channel, str) or not anomaly.channel:
        return "without a channel: say which evidence it is"
    times = [at for at, _ in anomaly.history]
    if len(times) > MOST_HISTORY:
        return f"with {len(times)} points of history: at most {MOST_HISTORY} are kept"
    return ""


def _snapshot(time: float, samples: Iterable[Sample]) -> Snapshot:
    by_key = {sample.key: sample for sample in samples}
    names = {sample.name for sample in by_key.values()}
    return Snapshot(time, by_key, {spec.name: spec for spec in SPECS if spec.name in names})


def _first_twice(anomalies: list[Anomaly]) -> Anomaly | None:
    keys = set()
    for anomaly in anomalies:
        if anomaly.key in keys:
            return anomaly
        keys.add(anomaly.key)
    return None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
