"""Batches as bodies of PutMetricData, in AWS' JSON protocol.

boto3 checks and writes a metric in about 100 µs, which at 10,000 series is a tenth of a core. So what is constant of a
series is written once, and a point is that, its value, and the time. A test compares the result with what boto3 sends.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from agent.api import Batch, Histogram, Kind, MetricSpec, Prepared, Series
from plugins.cloudwatch.values import SMALLEST, values_and_counts

MOST_DIMENSIONS = 30
LONGEST_VALUE = 1024
UNITS = {
    "seconds": "Seconds",
    "bytes": "Bytes",
    "bytes_per_second": "Bytes/Second",
}
"""CloudWatch has a fixed list of units: https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_MetricDatum.html
A ratio of 0 to 1 is no Percent, and there is none for the others."""


def unit_of(spec: MetricSpec) -> str:
    """CloudWatch's name of the metric's unit."""
    if spec.unit:
        return UNITS.get(spec.unit, "None")
    return "Count" if spec.kind is Kind.counter else "None"


def dimension(value: str) -> str:
    """A value as CloudWatch accepts it: in printable ASCII, with something to see in it, of at most 1,024 characters.

    What is not is escaped as in Python, so that different values stay different; what is too long ends in its hash.
    """
    text = value
    if not (value.isascii() and value.isprintable()):
        text = value.encode("unicode_escape").decode("ascii")
    if not text.strip():
        text = text.replace(" ", "\\x20")
    if len(text) > LONGEST_VALUE:
        digest = hashlib.sha256(value.encode(errors="surrogatepass")).hexdigest()[:16]
        text = f"{text[: LONGEST_VALUE - 17]}~{digest}"
    return text


class Encoder:
    """Bodies for one namespace; `constant` dimensions come before the labels of every series. For one thread."""

    def __init__(self, namespace: str, constant: Mapping[str, str], resolution: int) -> None:
        self._constant = {name: dimension(value) for name, value in constant.items() if value}
        self._resolution = resolution
        self._start = f'{{"Namespace":{json.dumps(namespace)},"MetricData":['
        self._prepared = Prepared(self._beginning)

    def fits(self, spec: MetricSpec) -> bool:
        """Whether the metric's series can have all their dimensions."""
        return len(self._constant.keys() | set(spec.labels)) <= MOST_DIMENSIONS

    def encode(self, batch: Batch) -> bytes:
        """The body of a request; empty if the batch holds nothing but histograms without observations."""
        self._prepared.turn()
        fresh, of = self._prepared.fresh, self._prepared.of
        end = f',"Timestamp":{round(batch.time, 3)}}}'
        points: list[str] = []
        for series, value in zip(batch.series, batch.values, strict=True):
            beginning = fresh.get(series) or of(series)
            if isinstance(value, Histogram):
                values, counts = values_and_counts(value)
                if values:
                    numbers = ",".join([f"{number:.12g}" for number in values])
                    points.append(f'{beginning}"Values":[{numbers}],"Counts":[{",".join(map(str, counts))}]{end}')
            else:
                if -SMALLEST < value < SMALLEST:
                    value = 0
                # + 0: a plugin may have given True, which is a number to Python and none to JSON.
                points.append(f'{beginning}"Value":{value + 0!r}{end}')
        if not points:
            return b""
        return f"{self._start}{','.join(points)}]}}".encode("ascii")

    def _beginning(self, series: Series) -> str:
        """A metric up to its value: what is the same each time."""
        labels = {name: dimension(value) for name, value in series.tags().items()}
        metric: dict[str, object] = {"MetricName": series.spec.name, "Unit": unit_of(series.spec)}
        if dimensions := {**self._constant, **labels}:
            metric["Dimensions"] = [{"Name": name, "Value": value} for name, value in dimensions.items()]
        if self._resolution != 60:  # which is what CloudWatch takes it for
            metric["StorageResolution"] = self._resolution
        return json.dumps(metric, separators=(",", ":"))[:-1] + ","
