"""What a ranking of causes looks at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from agent.api import Cause as Cause

SeriesKey = tuple[str, tuple[str, ...]]
Point = tuple[float, float]


def shown(value: float) -> str:
    """A number for people: three digits, and k, M, G or T for what is large."""
    for limit, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.3g}{letter}"
    return f"{value:.3g}"


class Meaning(StrEnum):
    """What a series tells of its component: what can be added up over components, and what cannot."""

    latency = "latency"  # mean time per request, in seconds
    tail = "tail latency"  # a quantile of it
    requests = "requests"  # requests per row, or per second
    errors = "errors"  # failed requests, likewise
    availability = "availability"  # share of requests that did not fail, 0 to 100
    state = "state"  # anything else: memory, CPU, temperature, hit ratio, …


@dataclass(frozen=True, slots=True)
class Observed:
    """One series of a component, before and during an incident.

    before, during: (Unix seconds, value), oldest first; NaN and missing rows are gaps. `before` is the more worth the
    longer it is; its last rows may reach to the incident. The time between rows is the same for all series of a call.
    Counters come as rates per second, histograms as the mean of a row, or as how often a second something was observed:
    `counts` says which. labels: label names to the values in `key`.
    """

    key: SeriesKey
    component: str
    meaning: Meaning
    before: Sequence[Point]
    during: Sequence[Point]
    unit: str = ""
    labels: tuple[str, ...] = ()
    counts: bool = False

    @property
    def name(self) -> str:
        """The series as people write it, with what of it the values are."""
        name, labels = self.key
        return self.named(f"{name}{{{','.join(labels)}}}" if labels else name)

    def named(self, text: str) -> str:
        """A text that names the series, with what of it the values are: a rate beside a name in seconds is no time."""
        return f"observations of {text}" if self.counts else text
