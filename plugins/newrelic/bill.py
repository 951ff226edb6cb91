"""What New Relic bills: bytes that it takes in, by the month."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from itertools import islice

from agent.api import MONTH, Batch, Charge, Series, Snapshot
from plugins.newrelic.encode import Encoder

PRICE = 0.40
FREE = 100
_AT_ONCE = 1000
"""Series that are written down together: so many that the head of a request is nothing, and few for the memory."""
SOURCE = f"https://newrelic.com/pricing (original data option; the first {FREE} GB are free), May 2026"


def bill(snapshot: Snapshot, interval: float, encoder: Callable[[], Encoder]) -> Iterable[Charge]:
    """One interval is written down as it would be sent; New Relic's own count, of what it stores, may be larger."""
    size = points = 0
    samples = iter(snapshot.samples.values())
    while some := list(islice(samples, _AT_ONCE)):
        series = [Series(snapshot.specs[sample.name], sample.labels) for sample in some]
        values = [sample.value for sample in some]
        # One that has written them already keeps what it prepared for each series.
        data = encoder().metrics(Batch("metrics", snapshot.time, interval, series, values))
        size += len(data)
        points += sum(len(block["metrics"]) for block in json.loads(data or b"[]"))
    times = MONTH / interval
    gigabytes = size * times / 1e9
    formula = f"{size:,} bytes each {interval:g} s; {PRICE:.2f} USD for a GB"
    counted = f"{points:,} each {interval:g} s; they are billed by their bytes"
    return [
        Charge("data points", points * times, "data points", 0.0, counted, SOURCE),
        Charge("data ingest", gigabytes, "GB", gigabytes * PRICE, formula, SOURCE),
    ]
