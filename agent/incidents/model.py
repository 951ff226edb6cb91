"""What detectors find and what becomes of it: anomalies, incidents and their probable causes."""

from __future__ import annotations

from dataclasses import dataclass, field

from agent.metrics.model import SeriesKey


@dataclass(frozen=True, slots=True)
class Anomaly:
    """A series that is not as it should be, with the evidence.

    A detector gives it as long as it lasts, with the same `series`, `channel` and `since`; that it is over is told by
    its absence.

    series: name and label values; `labels` has the label names to them.
    since, time: Unix seconds of the first row that stood out, and of the newest.
    channel: which evidence: "deviation", "difference", "shift", "variance", "flatline", "absence", "host", …; of a
    histogram with ".rate" behind it where the numbers are observations a second, and ".mean" where they are their mean.
    value: the newest value; `low` and `high`: the band in which it was expected, in the metric's unit.
    score: from 0 to 1; the higher, the rarer. `p_value`: the tail probability behind it, after what was learnt so far.
    history: the last points before and at `time` as (Unix seconds, value), oldest first: enough for a picture.
    component: the part of the system that the series tells of, named as causes name it; "" where the detector knows
    of none, and the series' name and labels must tell.
    """

    series: SeriesKey
    labels: tuple[str, ...]
    since: float
    time: float
    channel: str
    value: float
    low: float
    high: float
    score: float
    p_value: float
    history: tuple[tuple[float, float], ...] = ()
    component: str = ""

    @property
    def key(self) -> tuple[SeriesKey, str, float]:
        """What tells this anomaly from every other."""
        return (self.series, self.channel, self.since)


@dataclass(frozen=True, slots=True)
class Cause:
    """A component that may be behind an incident. `score` orders causes of one incident, higher first; `why` is one
    sentence with the numbers in it; `series` are those that speak for it; `signature` names a known pattern, if any."""

    component: str
    score: float
    why: str
    series: tuple[SeriesKey, ...] = ()
    signature: str = ""


@dataclass(frozen=True, slots=True)
class Incident:
    """Anomalies that belong together. `closed` is None while it lasts; times are Unix seconds."""

    id: str
    opened: float
    title: str
    anomalies: tuple[Anomaly, ...]
    causes: tuple[Cause, ...] = ()
    closed: float | None = None
    severity: str = "warning"
    attributes: dict[str, str] = field(default_factory=dict)
