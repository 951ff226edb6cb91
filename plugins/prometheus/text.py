"""A snapshot as text for a scrape, in OpenMetrics or in Prometheus' text format.

What prometheus_client writes for the same families, to the byte, which a test compares; only that all which is constant
of a series, its name and labels, is written once. A scrape of 10,000 series costs a fifteenth of what it did.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from prometheus_client.utils import floatToGoString

from agent.api import Exemplar, Histogram, Kind, MetricSpec, Snapshot
from plugins.prometheus.exemplars import by_bucket
from plugins.prometheus.layout import Layout

_EXPONENT_FROM = 1e6  # from here on Go writes exponents, and Python does not


@dataclass(slots=True)
class _Histogram:
    """What stands before the numbers of a histogram: cumulative counts, the count, the sum."""

    spec: MetricSpec
    labels: dict[str, str]
    count: str
    sum: str
    bounds: tuple[float, ...] | None = None  # for which the next are
    buckets: list[str] = field(default_factory=list)

    def lines(self, value: Histogram, with_exemplars: bool) -> Iterable[str]:
        if value.bounds is not self.bounds:
            self._lay_out(value.bounds)
        exemplars = by_bucket(value) if with_exemplars and value.exemplars else {}
        total = 0
        for number, (name, total) in enumerate(zip(self.buckets, accumulate(value.counts), strict=True)):
            exemplar = f" # {_exemplar(exemplars[number])}" if number in exemplars else ""
            yield f"{name} {_number(total)}{exemplar}\n"
        yield f"{self.count} {_number(total)}\n{self.sum} {_number(value.sum)}\n"

    def _lay_out(self, bounds: tuple[float, ...]) -> None:
        edges = (*(str(floatToGoString(bound)) for bound in bounds), "+Inf")  # type: ignore[no-untyped-call]
        self.buckets = [f"{self.spec.name}_bucket{_braces({**self.labels, 'le': le}.items())}" for le in edges]
        self.bounds = bounds


class Exposition:
    """Writes snapshots. To be used by one thread at a time."""

    def __init__(self) -> None:
        self._layout = Layout(_tops, _head)

    def openmetrics(self, snapshot: Snapshot) -> bytes:
        return self._write(snapshot, True, "# EOF\n")

    def text(self, snapshot: Snapshot) -> bytes:
        return self._write(snapshot, False, "")

    def _write(self, snapshot: Snapshot, openmetrics: bool, end: str) -> bytes:
        values = [sample.value for sample in snapshot.samples.values()]
        out: list[str] = []
        for family in self._layout.of(snapshot):
            out.append(family.top[openmetrics])
            if family.spec.kind is Kind.histogram:
                for head, place in zip(family.heads, family.places, strict=True):
                    value = values[place]
                    assert isinstance(head, _Histogram)
                    assert isinstance(value, Histogram)
                    out += head.lines(value, openmetrics)
                continue
            numbers: list[float] = [values[place] for place in family.places]  # type: ignore[misc]
            out += [f"{name} {_number(value)}\n" for name, value in zip(family.heads, numbers, strict=True)]
        out.append(end)
        return "".join(out).encode()


def _number(value: float) -> str:
    return repr(float(value)) if value < _EXPONENT_FROM else str(floatToGoString(value))  # type: ignore[no-untyped-call]


def _exemplar(exemplar: Exemplar) -> str:
    value = str(floatToGoString(exemplar.value))  # type: ignore[no-untyped-call]
    return f"{_braces(exemplar.labels) or '{}'} {value} {exemplar.time}"


def _head(spec: MetricSpec, values: Sequence[str]) -> str | _Histogram:
    """What stands before a series' number."""
    labels = dict(zip(spec.labels, values, strict=True))
    braces = _braces(labels.items())
    if spec.kind is Kind.histogram:
        return _Histogram(spec, labels, f"{spec.name}_count{braces}", f"{spec.name}_sum{braces}")
    return spec.name + braces


def _braces(labels: Iterable[tuple[str, str]]) -> str:
    inner = ",".join([f'{name}="{_escaped(value)}"' for name, value in sorted(labels)])
    return f"{{{inner}}}" if inner else ""


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _tops(spec: MetricSpec) -> tuple[str, str]:
    """The head of a family in the text format and in OpenMetrics."""
    return _head_of_text(spec), _head_of_openmetrics(spec)


def _head_of_openmetrics(spec: MetricSpec) -> str:
    unit = f"# UNIT {spec.family} {spec.unit}\n" if spec.unit else ""
    return f"# HELP {spec.family} {_escaped(spec.help)}\n# TYPE {spec.family} {spec.kind.value}\n{unit}"


def _head_of_text(spec: MetricSpec) -> str:
    said = spec.help.replace("\\", r"\\").replace("\n", r"\n")
    kind = Kind.gauge if spec.kind is Kind.info else spec.kind
    return f"# HELP {spec.name} {said}\n# TYPE {spec.name} {kind.value}\n"
