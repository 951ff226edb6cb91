"""What a plugin's own process says of bills and dashboards, as JSON and back."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

from agent.dashboards.model import Asset
from agent.metrics.bill import Charge
from agent.plugin.wire import checked


def load_charges(given: Any) -> list[Charge]:
    """Lines of a bill from JSON. Raises WireError."""
    return checked(lambda: [_charge(*row) for row in given], "a bill")


def dump_asset(asset: Asset) -> dict[str, Any]:
    """An asset as JSON has it, whose body is that already."""
    return {**dataclasses.asdict(asset), "file": str(asset.file)}


def load_asset(given: Any) -> Asset:
    """An asset from JSON. Raises WireError."""

    def made() -> Asset:
        asset = Asset(**{**given, "file": Path(given["file"])})
        if not all(isinstance(text, str) for text in (asset.kind, asset.key, asset.title, asset.by_hand)):
            raise TypeError
        return asset

    return checked(made, "an asset")


def _charge(what: Any, amount: Any, unit: Any, dollars: Any, formula: Any, source: Any) -> Charge:
    if not all(isinstance(text, str) for text in (what, unit, formula, source)):
        raise TypeError
    if not all(type(number) in (int, float) and math.isfinite(number) for number in (amount, dollars or 0.0)):
        raise TypeError
    return Charge(what, amount, unit, dollars, formula, source)
