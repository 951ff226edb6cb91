"""What Datadog bills: custom metrics, by the month."""

from __future__ import annotations

from collections.abc import Iterable

from agent.api import Charge, Kind, Snapshot

DISTRIBUTION = 5
"""Custom metrics for one combination of tags: count, sum, min, max, avg. Percentiles, once switched on, are 5 more."""
SENT_WITH_IT = 2  # NAME_count and NAME_sum
PRICE = 0.05
SOURCE = (
    "https://docs.datadoghq.com/account_management/billing/custom_metrics/ (how they are counted) and "
    "https://www.datadoghq.com/pricing/ (5 USD for 100), 2025"
)


def bill(snapshot: Snapshot) -> Iterable[Charge]:
    """Each combination of a name and tags, of which the host is one, is a custom metric; a distribution is five."""
    kinds = [snapshot.specs[name].kind for name, _ in snapshot.samples]
    histograms = sum(kind is Kind.histogram for kind in kinds)
    amount = len(kinds) - histograms + histograms * (DISTRIBUTION + SENT_WITH_IT)
    formula = (
        f"{len(kinds) - histograms} series x 1 + {histograms} histograms x ({DISTRIBUTION} of the distribution + "
        f"{SENT_WITH_IT} counts); {PRICE} USD each, {DISTRIBUTION} more for each histogram with percentiles"
    )
    return [Charge("custom metrics", amount, "custom metrics", amount * PRICE, formula, SOURCE)]
