"""From rarities to anomalies: which of them are told, under the rate of false ones that was asked for, and how long."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from plugins.anomaly.engine.channels import FLATLINE, HOUR, KINDS
from plugins.anomaly.engine.engine import Judgement
from plugins.anomaly.engine.table import Array, Slots

CALM_ROWS: Final = 3  # so many rows within the band end an anomaly
LONGEST: Final = 6 * HOUR  # seconds; what lasts longer is how things are now
LARGEST_RATE: Final = 1e-3  # of alarms to tests, however few tests there are and however many alarms are asked for
MARGIN: Final = 0.1  # of the band's width: so far inside its edges a value must be to count as back


@dataclass(slots=True)
class Alarm:
    """An anomaly that lasts. low, high: the band as it was when the anomaly began, in the series' unit."""

    channel: str
    since: float
    value: float
    low: float
    high: float
    score: float
    p_value: float
    calm: int = 0


def discoveries(p_values: Array, rate: float) -> Array:
    """Which of the tests of one moment to believe: the largest k with the k-th smallest p ≤ k · rate.

    That is the procedure of Benjamini & Hochberg (1995) for a false-discovery rate of len(p) · rate; where nothing is
    wrong, `rate` is how often a test is believed. In an outage, when many are rare at once, smaller ones count.
    """
    order = np.argsort(p_values, kind="stable")
    good = np.flatnonzero(p_values[order] <= rate * np.arange(1, len(order) + 1))
    believed = np.zeros(len(p_values), bool)
    if len(good):
        believed[order[: good[-1] + 1]] = True
    return believed


class Alarms:
    """The anomalies that last, by slot. An anomaly begins when its probability is believed, and ends after CALM_ROWS
    rows well within the band that it broke out of (a flatline: with a new value each), or after LONGEST seconds."""

    def __init__(self, false_alerts_per_day: float) -> None:
        self._per_day = false_alerts_per_day
        self.open: dict[int, Alarm] = {}
        self.opened = 0

    def update(self, slots: Slots, time: float, value: Array, judged: Judgement, tests_per_day: float) -> None:
        """Takes the judgement of one moment in."""
        position = {slot: index for index, slot in enumerate(slots.tolist())} if self.open else {}
        for slot, alarm in list(self.open.items()):
            index = position.get(slot)
            if index is not None and judged.usable[index]:
                self._go_on(slot, alarm, time, float(value[index]), judged, index)
            elif not 0 <= time - alarm.since <= LONGEST:
                del self.open[slot]
        rate = min(self._per_day / max(tests_per_day, 1.0), LARGEST_RATE)
        # Most rows are nothing, so only what could be believed at the best is looked at more closely.
        likely = np.flatnonzero(judged.usable & (judged.p_value <= min(rate * len(slots), 0.1)))
        if not len(likely):
            return
        for index in likely[discoveries(judged.p_value[likely], rate)].tolist():
            slot = int(slots[index])
            if slot not in self.open:
                self.opened += 1
                self.open[slot] = Alarm(
                    KINDS[judged.channel[index]],
                    time,
                    float(value[index]),
                    float(judged.low[index]),
                    float(judged.high[index]),
                    _score(judged, index),
                    float(judged.p_value[index]),
                )

    def _go_on(self, slot: int, alarm: Alarm, time: float, value: float, judged: Judgement, index: int) -> None:
        if alarm.channel == KINDS[FLATLINE]:
            calm = value != alarm.value
        else:
            inside = MARGIN * (alarm.high - alarm.low)
            calm = alarm.low + inside <= value <= alarm.high - inside
        alarm.value = value
        alarm.calm = alarm.calm + 1 if calm else 0
        if judged.p_value[index] < alarm.p_value:
            alarm.p_value, alarm.score = float(judged.p_value[index]), _score(judged, index)
        if alarm.calm >= CALM_ROWS or not 0 <= time - alarm.since <= LONGEST:
            del self.open[slot]

    def forget(self, slots: Iterator[int]) -> None:
        """The series in these slots are gone."""
        for slot in slots:
            self.open.pop(slot, None)


def _score(judged: Judgement, index: int) -> float:
    """That of the row; a flatline, which has one at its beginning only, has that of its probability at any time."""
    if judged.channel[index] == FLATLINE:
        return 1 - math.sqrt(math.sqrt(judged.p_value[index]))
    return float(judged.score[index])
