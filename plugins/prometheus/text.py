"""A snapshot as text for a scrape, in OpenMetrics or in Prometheus' text format.

What prometheus_client writes for the same families, to the byte, which a test compares; only that all which is constant
of a series, its name and labels, is written once. A scrape of 10,000 series costs a fifteenth of what it did.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from prometheus_client.utils import floatToGoString

from agent.api import Histogram, Kind, MetricSpec, Snapshot

Key = tuple[str, tuple[str, ...]]
_EXPONENT_FROM = 1e6  # from here on Go writes exponents, and Python does not


@dataclass(slots=True)
class _Histogram:
    """What stands before the numbers of a histogram: cumulative counts, the count, the sum."""

    bounds: tuple[float, ...]
    buckets: list[str]
    count: str
    sum: str


@dataclass(slots=True)
class _Family:
    """The head of a family in each format, and where its samples are in a snapshot."""

    openmetrics: str
    text: str
    places: list[int] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    histograms: list[_Histogram | None] = field(default_factory=list)


class Exposition:
    """Writes snapshots. To be used by one thread at a time."""

    def __init__(self) -> None:
        self._keys: list[Key] = []
        self._specs: Mapping[str, MetricSpec] = {}
        self._families: list[_Family] = []
        self._labels: dict[Key, str] = {}

    def openmetrics(self, snapshot: Snapshot) -> bytes:
        return self._write(snapshot, lambda family: family.openmetrics, "# EOF\n")

    def text(self, snapshot: Snapshot) -> bytes:
        return self._write(snapshot, lambda family: family.text, "")

    def _write(self, snapshot: Snapshot, head: Callable[[_Family], str], end: str) -> bytes:
        keys = list(snapshot.samples)
        if keys != self._keys or snapshot.specs != self._specs:
            self._lay_out(keys, snapshot)
        values = [sample.value for sample in snapshot.samples.values()]
        out: list[str] = []
        for family in self._families:
            out.append(head(family))
            if family.histograms:
                for index, place in enumerate(family.places):
                    self._histogram(family, index, values[place], snapshot, out)
                continue
            numbers: list[float] = [values[place] for place in family.places]  # type: ignore[misc]
            out += [f"{name} {_number(value)}\n" for name, value in zip(family.heads, numbers, strict=True)]
        out.append(end)
        return "".join(out).encode()

    def _histogram(
        self, family: _Family, index: int, value: float | Histogram, snapshot: Snapshot, out: list[str]
    ) -> None:
        assert isinstance(value, Histogram)
        known = family.histograms[index]
        if known is None or (value.bounds is not known.bounds and value.bounds != known.bounds):
            key = self._keys[family.places[index]]
            known = family.histograms[index] = _of_histogram(snapshot.specs[key[0]], key[1], value.bounds)
        total = 0
        for name, total in zip(known.buckets, accumulate(value.counts), strict=True):
            out.append(f"{name} {_number(total)}\n")
        out.append(f"{known.count} {_number(total)}\n{known.sum} {_number(value.sum)}\n")

    def _lay_out(self, keys: list[Key], snapshot: Snapshot) -> None:
        """Where which series stands, from now on; what is known of a series' labels is kept."""
        old = self._labels if snapshot.specs == self._specs else {}
        by_name: dict[str, list[int]] = {}
        for place, key in enumerate(keys):
            by_name.setdefault(key[0], []).append(place)
        self._families, self._labels = [], {}
        for name in sorted(by_name):
            spec = snapshot.specs[name]
            family = _Family(_head_of_openmetrics(spec), _head_of_text(spec), by_name[name])
            if spec.kind is Kind.histogram:
                family.histograms = [None] * len(family.places)
            else:
                for place in family.places:
                    key = keys[place]
                    head = self._labels[key] = old.get(key) or name + _braces(zip(spec.labels, key[1], strict=True))
                    family.heads.append(head)
            self._families.append(family)
        self._keys, self._specs = keys, snapshot.specs


def _number(value: float) -> str:
    return repr(float(value)) if value < _EXPONENT_FROM else str(floatToGoString(value))  # type: ignore[no-untyped-call]


def _of_histogram(spec: MetricSpec, values: Sequence[str], bounds: tuple[float, ...]) -> _Histogram:
    labels = dict(zip(spec.labels, values, strict=True))
    edges = (*(str(floatToGoString(bound)) for bound in bounds), "+Inf")  # type: ignore[no-untyped-call]
    buckets = [f"{spec.name}_bucket{_braces({**labels, 'le': le}.items())}" for le in edges]
    braces = _braces(labels.items())
    return _Histogram(bounds, buckets, f"{spec.name}_count{braces}", f"{spec.name}_sum{braces}")


def _braces(labels: Iterable[tuple[str, str]]) -> str:
    inner = ",".join([f'{name}="{_escaped(value)}"' for name, value in sorted(labels)])
    return f"{{{inner}}}" if inner else ""


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _head_of_openmetrics(spec: MetricSpec) -> str:
    unit = f"# UNIT {spec.family} {spec.unit}\n" if spec.unit else ""
    return f"# HELP {spec.family} {_escaped(spec.help)}\n# TYPE {spec.family} {spec.kind.value}\n{unit}"


def _head_of_text(spec: MetricSpec) -> str:
    said = spec.help.replace("\\", r"\\").replace("\n", r"\n")
    kind = Kind.gauge if spec.kind is Kind.info else spec.kind
    return f"# HELP {spec.name} {said}\n# TYPE {spec.name} {kind.value}\n"
