"""What New Relic bills: bytes that it takes in, by the month."""

from __future__ import annotations

import json
from collections.abc import Iterable

from agent.api import MONTH, Batch, Charge, Series, Snapshot
from plugins.newrelic.encode import Encoder

PRICE = 0.40
FREE = 100
SOURCE = f"https://newrelic.com/pricing (original data option; the first {FREE} GB are free), May 2026"


def bill(snapshot: Snapshot, interval: float, encoder: Encoder) -> Iterable[Charge]:
    """One interval is written down as it would be sent; New Relic's own count, of what it stores, may be larger."""
    series = [Series(snapshot.specs[name], labels) for name, labels in snapshot.samples]
    values = [sample.value for sample in snapshot.samples.values()]
    data = encoder.metrics(Batch("metrics", snapshot.time, interval, series, values))
    times = MONTH / interval
    points = sum(len(block["metrics"]) for block in json.loads(data or b"[]"))
    gigabytes = len(data) * times / 1e9
    formula = f"{len(data):,} bytes each {interval:g} s; {PRICE:.2f} USD for a GB"
    counted = f"{points:,} each {interval:g} s; they are billed by their bytes"
    return [
        Charge("data points", points * times, "data points", 0.0, counted, SOURCE),
        Charge("data ingest", gigabytes, "GB", gigabytes * PRICE, formula, SOURCE),
    ]
