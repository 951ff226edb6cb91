"""What a vendor bills for the series that it gets: estimates, by the price lists that vendors publish."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MONTH = 730 * 3600.0
"""Seconds of a month, as vendors count: a twelfth of a year of 8,760 hours."""


@dataclass(frozen=True, slots=True)
class Charge:
    """One line of a vendor's bill for a month.

    `amount` is how much of `unit` this agent alone sends; what is included in a contract or is free is not taken off.
    `dollars` is its list price, None where the vendor publishes none. `formula` says how both came about, `source`
    where the price stands and when it was read.
    """

    what: str
    amount: float
    unit: str
    dollars: float | None
    formula: str
    source: str


def tiered(amount: float, tiers: Sequence[tuple[float, float]]) -> float:
    """The price of an amount: `tiers` are (up to so many, each costs), the last without end (infinity)."""
    price = below = 0.0
    for most, each in tiers:
        price += max(0.0, min(amount, most) - below) * each
        below = most
    return price
