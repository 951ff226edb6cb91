"""Between the agent and the engine: which series there are, what numbers of theirs are watched, and since when."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any, Final, Protocol

import numpy as np

from agent.api import Anomaly, Histogram, Kind, Sample, Snapshot
from plugins.anomaly.engine import flatline
from plugins.anomaly.engine.alarms import Alarm, Alarms
from plugins.anomaly.engine.channels import DAY, HOUR
from plugins.anomaly.engine.engine import Judgement
from plugins.anomaly.engine.table import Array, Field, Slots, Table
from plugins.anomaly.host import HostWatch, Watched

POINTS: Final = 60  # of history that an anomaly shows
ABSENT_AFTER: Final = 3  # intervals without a value
ABSENT_ROWS: Final = 360  # rows without such a gap, before a gap is remarkable
LONGEST_STEP: Final = 3.0  # intervals: longer ones count for as much
CHURN: Final = 0.1  # a metric of which a larger share of series has vanished before is one whose series come and go
WHOLE, RATE, MEAN = "", ".rate", ".mean"  # what of a sample a watched number is

SINCE_LATER: Final = frozenset(flatline.FIELDS)  # a state of before they were there is taken up without them

HOST_FIELDS: Final = {
    "seen": Field(np.int64),  # the look at which it had a value last
    "steady": Field(np.int64),  # rows without a gap
    "before": Field(np.float64, fill=np.nan),  # what was counted, at `before_time`
    "before_sum": Field(np.float64, fill=np.nan),
    "before_time": Field(np.float64, fill=np.nan),
    "points": Field(np.float32, POINTS, np.nan),
}


class Detector(Protocol):
    """engine.Engine, zscore.ZScore."""

    table: Table

    def step(self, slots: Slots, time: Array, value: Array) -> Judgement: ...


@dataclass
class _Rows:
    """The numbers of a snapshot, series by series."""

    slots: list[int]
    values: list[float]
    counted: list[int]  # positions in `slots` whose values are cumulative
    means: list[int]  # positions whose values are a histogram's count, with its sum in `sums`
    sums: list[float]


class Watch:
    """The series that are watched.

    Gauges are watched as they are, counters as their rate per second, histograms as the rate of observations and their
    mean since the last snapshot; infos are not. A counter that fell began anew: it has no rate at that moment. Of more
    than `limit` numbers, those that come later are left out and counted. What has no value for `forget_after` seconds
    is forgotten.
    """

    def __init__(
        self,
        detector: Detector,
        alarms: Alarms,
        ignore: tuple[str, ...],
        limit: int,
        forget: float,
        host: HostWatch | None = None,
    ) -> None:
        """`host`: what looks at the host's numbers together; None: nobody does."""
        self.detector, self.alarms, self.host = detector, alarms, host
        self._of_host: dict[Watched, int] = {}
        self._ignore, self._limit, self._forget = ignore, limit, forget
        detector.table.add(HOST_FIELDS)
        self.slots: dict[Watched, int] = {}
        self.keys: dict[int, Watched] = {}
        self.labels: dict[str, tuple[str, ...]] = {}
        self._ignored: dict[str, bool] = {}
        self._vanished: dict[str, int] = {}
        self.absent: dict[int, float] = {}  # slot: since when
        self.look = 0
        self.tests = 0
        self.left_out = 0
        self._time, self._interval = np.nan, np.nan
        self._times = np.full(POINTS, np.nan)

    def take(self, snapshot: Snapshot) -> None:
        """One snapshot. The clock may have jumped."""
        self.look += 1
        time = snapshot.time
        elapsed = time - self._time
        if elapsed > 0:
            known = elapsed if np.isnan(self._interval) else self._interval
            # A day without the agent is a gap, and not how often it looks.
            self._interval = known + 0.1 * (min(elapsed, LONGEST_STEP * known) - known)
        self._time = time
        rows = self._rows(snapshot)
        slots = np.array(rows.slots, np.intp)
        values = np.array(rows.values, float)
        arrays = self.detector.table.arrays
        if len(slots):
            self._differentiate(rows, slots, values, time)
            steady = arrays["seen"][slots] == self.look - 1
            arrays["steady"][slots] = np.where(steady, arrays["steady"][slots] + 1, 1)
            arrays["seen"][slots] = self.look
        self._times = np.append(self._times[1:], time)
        place = self.look % POINTS
        arrays["points"][:, place] = np.nan
        with np.errstate(over="ignore"):
            arrays["points"][slots, place] = values
        judged = self.detector.step(slots, np.full(len(slots), time), values)
        self.tests += int(judged.usable.sum())
        interval = self.interval
        self.alarms.update(slots, time, values, judged, len(slots) * DAY / interval)
        self._look_for_absent(time, interval)
        if self.host is not None and elapsed > 0:
            self.host.take(
                {key: float(arrays["points"][slot, place]) for key, slot in self._of_host.items()}, time, interval
            )

    @property
    def interval(self) -> float:
        """Seconds between snapshots."""
        return self._interval if self._interval > 0 else 10.0

    def anomalies(self) -> Iterator[Anomaly]:
        """Those that last."""
        for slot, alarm in self.alarms.open.items():
            yield self._anomaly(slot, alarm)
        for slot, since in self.absent.items():
            rows = float(self.detector.table.arrays["steady"][slot])
            rare = 1 / (rows + 2)  # the rule of succession: how often a row was missing so far
            last = self._history(slot)[-1:] or ((since, np.nan),)
            alarm = Alarm("absence", since, float("nan"), last[0][1], last[0][1], 1 - rare**0.25, rare)
            yield self._anomaly(slot, alarm)
        together = None if self.host is None else self.host.anomaly(self._time, self.labels)
        if together is not None and self.host is not None and self.host.open is not None:
            slot_of = self.slots.get(self.host.open.key)
            yield together if slot_of is None else replace(together, history=self._history(slot_of))

    def _anomaly(self, slot: int, alarm: Alarm) -> Anomaly:
        name, values, part = self.keys[slot]
        return Anomaly(
            series=(name, values),
            labels=self.labels.get(name, ()),
            since=alarm.since,
            time=self._time,
            channel=alarm.channel + part,
            value=alarm.value,
            low=alarm.low,
            high=alarm.high,
            score=alarm.score,
            p_value=alarm.p_value,
            history=self._history(slot),
        )

    def _history(self, slot: int) -> tuple[tuple[float, float], ...]:
        points = np.roll(self.detector.table.arrays["points"][slot], -(self.look % POINTS) - 1)
        known = np.isfinite(points) & np.isfinite(self._times)
        return tuple(zip(self._times[known].tolist(), points[known].tolist(), strict=True))

    def _rows(self, snapshot: Snapshot) -> _Rows:
        rows = _Rows([], [], [], [], [])
        kinds: dict[str, Kind | None] = {}
        for name, spec in snapshot.specs.items():
            self.labels[name] = spec.labels
            kinds[name] = None if spec.kind == Kind.info or self.ignores(name) else spec.kind
        fresh: list[tuple[Watched, Sample, Kind]] = []
        find = self.slots.get
        for (name, labels), sample in snapshot.samples.items():
            kind = kinds.get(name)
            if kind is None:
                continue
            part = WHOLE if kind != Kind.histogram else RATE
            slot = find((name, labels, part))
            if slot is None:
                fresh.append(((name, labels, part), sample, kind))
            else:
                self._add(rows, slot, (name, labels, part), sample, kind)
        self._admit(rows, fresh)
        return rows

    def _admit(self, rows: _Rows, fresh: list[tuple[Watched, Sample, Kind]]) -> None:
        """New series get their place, as far as there is room."""
        wanted = [
            key
            for (name, labels, part), _, kind in fresh
            for key in (
                ((name, labels, part), (name, labels, MEAN)) if kind == Kind.histogram else ((name, labels, part),)
            )
        ]
        room = max(self._limit - len(self.slots), 0)
        self.left_out = max(len(wanted) - room, 0)
        admitted = wanted[:room]
        for key, slot in zip(admitted, self.detector.table.take(len(admitted)).tolist(), strict=True):
            self.slots[key], self.keys[slot] = slot, key
            if HostWatch.wants(key):
                self._of_host[key] = slot
        for key, sample, kind in fresh:
            if key in self.slots:
                self._add(rows, self.slots[key], key, sample, kind)

    def _add(self, rows: _Rows, slot: int, key: Watched, sample: Sample, kind: Kind) -> None:
        value = sample.value
        if isinstance(value, Histogram):
            rows.counted.append(len(rows.slots))
            rows.slots.append(slot)
            rows.values.append(value.count)
            mean = self.slots.get((key[0], key[1], MEAN))
            if mean is not None:
                rows.means.append(len(rows.slots))
                rows.slots.append(mean)
                rows.values.append(value.count)
                rows.sums.append(value.sum)
            return
        if kind == Kind.counter:
            rows.counted.append(len(rows.slots))
        rows.slots.append(slot)
        rows.values.append(value)

    def _differentiate(self, rows: _Rows, slots: Slots, values: Array, time: float) -> None:
        """Turns what is cumulative into rates and means, in `values`; NaN where there is none."""
        arrays = self.detector.table.arrays
        for positions, sums in ((rows.counted, None), (rows.means, rows.sums)):
            if not positions:
                continue
            where = np.array(positions)
            which, now = slots[where], values[where]
            with np.errstate(over="ignore", invalid="ignore"):  # what is no number is no rate either, below
                grown = now - arrays["before"][which]
            if sums is None:
                per = time - arrays["before_time"][which]
                top = grown
            else:
                total = np.array(sums, float)
                top, per = total - arrays["before_sum"][which], grown
                arrays["before_sum"][which] = total
            good = (grown >= 0) & (per > 0) & np.isfinite(top)
            values[where] = np.where(good, top / np.where(good, per, 1.0), np.nan)
            arrays["before"][which], arrays["before_time"][which] = now, time

    def ignores(self, name: str) -> bool:
        """Whether a metric is left alone."""
        found = self._ignored.get(name)
        if found is None:
            found = self._ignored[name] = any(fnmatchcase(name, pattern) for pattern in self._ignore)
        return found

    def _look_for_absent(self, time: float, interval: float) -> None:
        for slot in [
            slot for slot in self.absent if self._missed(slot) == 0 or not 0 <= time - self.absent[slot] <= HOUR
        ]:
            del self.absent[slot]
        used = np.fromiter(self.keys, np.intp, len(self.keys))
        arrays = self.detector.table.arrays
        missed = self.look - arrays["seen"][used]
        newly = used[missed == ABSENT_AFTER]
        if len(newly):
            per_metric: dict[str, int] = {}
            for name, _, _ in self.slots:
                per_metric[name] = per_metric.get(name, 0) + 1
            for slot in newly.tolist():
                name = self.keys[slot][0]
                # Measured before it counts as vanished itself, so that the first to go is remarkable.
                comes_and_goes = self._vanished.get(name, 0) > CHURN * per_metric[name] + 1
                self._vanished[name] = self._vanished.get(name, 0) + 1
                if arrays["steady"][slot] >= ABSENT_ROWS and not comes_and_goes:
                    self.absent[slot] = time - (ABSENT_AFTER - 1) * interval
        old = used[missed * interval > self._forget]
        if len(old):
            self._drop(old)

    def _missed(self, slot: int) -> int:
        return self.look - int(self.detector.table.arrays["seen"][slot])

    def _drop(self, slots: Slots) -> None:
        gone = {self.keys.pop(slot) for slot in slots.tolist()}
        for key in gone:
            self.absent.pop(self.slots.pop(key), None)
        if self.host is not None:
            self.host.forget(gone)
        self.alarms.forget(iter(slots.tolist()))
        self.detector.table.give_back(slots.tolist())
        used = np.fromiter(self.keys, np.intp, len(self.keys))
        fresh = self.detector.table.compact(used)
        if fresh is not None:
            moved = dict(zip(used.tolist(), fresh.tolist(), strict=True))
            self.keys = {moved[slot]: key for slot, key in self.keys.items()}
            self.slots = {key: slot for slot, key in self.keys.items()}
            self.absent = {moved[slot]: since for slot, since in self.absent.items()}
            self.alarms.open = {moved[slot]: alarm for slot, alarm in self.alarms.open.items()}
        self._find_host()

    def _find_host(self) -> None:
        self._of_host = {key: slot for key, slot in self.slots.items() if HostWatch.wants(key)}

    def dump(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """What `restore` takes: JSON values and arrays with one row to each watched number."""
        used = np.fromiter(self.keys, np.intp, len(self.keys))
        about = {
            "keys": [[name, list(labels), part] for name, labels, part in self.keys.values()],
            "look": self.look,
            "time": None if np.isnan(self._time) else self._time,
            "interval": None if np.isnan(self._interval) else self._interval,
            "times": [None if np.isnan(time) else time for time in self._times.tolist()],
            "tests": self.tests,
            "vanished": self._vanished,
            "open": [
                [position, _fields(self.alarms.open[slot])]
                for position, slot in enumerate(self.keys)
                if slot in self.alarms.open
            ],
        }
        arrays = {name: array[used] for name, array in self.detector.table.arrays.items()}
        if self.host is not None:
            about["host"], of_host = self.host.dump()
            arrays |= of_host
        return about, arrays

    def restore(self, about: dict[str, Any], arrays: dict[str, Array]) -> None:
        """Takes up what `dump` gave, on a new Watch. Raises ValueError or KeyError where it does not fit."""
        keys = [(name, tuple(labels), part) for name, labels, part in about["keys"]]
        table = self.detector.table
        for name, field in table.fields.items():
            if name in SINCE_LATER and name not in arrays:
                continue
            array = arrays[name]
            shape = (len(keys),) if field.width == 1 else (len(keys), field.width)
            if array.shape != shape or array.dtype != field.dtype:
                raise ValueError(f"its array {name} is {array.dtype}{array.shape}, not {field.dtype}{shape}")
        slots = table.take(len(keys))
        for name in table.fields.keys() & arrays.keys():
            table.arrays[name][slots] = arrays[name]
        self.slots = dict(zip(keys, slots.tolist(), strict=True))
        self.keys = {slot: key for key, slot in self.slots.items()}
        self.look, self.tests = int(about["look"]), int(about["tests"])
        # While nobody looked nothing was absent: all that was there at the end counts as seen just now.
        self._time = np.nan if about["time"] is None else about["time"]
        self._interval = np.nan if about["interval"] is None else about["interval"]
        self._times = np.array([np.nan if time is None else time for time in about["times"]])
        self._vanished = dict(about["vanished"])
        self._find_host()
        if self.host is not None and "host" in about:
            self.host.restore(about["host"], arrays)
        self.alarms.open = {int(slots[position]): Alarm(**fields) for position, fields in about["open"]}


def _fields(alarm: Alarm) -> dict[str, Any]:
    return {name: getattr(alarm, name) for name in Alarm.__slots__}
