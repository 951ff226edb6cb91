"""What CloudWatch bills: metrics by the month, and requests."""

from __future__ import annotations

import math
from collections.abc import Iterable

from agent.api import MONTH, Charge, Snapshot, tiered

_METRICS_IN_REQUEST = 1_000
METRIC_PRICES = ((10_000, 0.30), (250_000, 0.10), (1_000_000, 0.05), (math.inf, 0.02))
REQUEST_PRICE = 0.01 / 1_000
SOURCE = "https://aws.amazon.com/cloudwatch/pricing/ (US East; the first 10 metrics and 10^6 requests are free), 2025"


def bill(snapshot: Snapshot, interval: float) -> Iterable[Charge]:
    """Each combination of a name and dimensions is a metric; a request holds at most 1,000 of them."""
    series = len(snapshot.samples)
    requests = math.ceil(series / _METRICS_IN_REQUEST) * MONTH / interval
    yield Charge(
        *("custom metrics", series, "metrics", tiered(series, METRIC_PRICES)),
        f"{series} series; 0.30 USD each to 10,000, 0.10 to 250,000, 0.05 to 1,000,000, then 0.02",
        SOURCE,
    )
    yield Charge(
        *("PutMetricData", requests, "requests", requests * REQUEST_PRICE),
        f"{math.ceil(series / _METRICS_IN_REQUEST)} each {interval:g} s; 0.01 USD for 1,000",
        SOURCE,
    )
