"""What the vendors of all exporters bill for the series that there are: asked of the plugins, which know the prices."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from agent.errors import PluginError
from agent.export.config import ExportConfig
from agent.export.deltas import chosen
from agent.metrics.bill import Charge
from agent.metrics.model import Snapshot
from agent.plugin.guard import describe
from agent.plugin.loaded import LoadedPlugin
from agent.plugin.manager import PluginManager

log = logging.getLogger(__name__)

FIRST, AGAIN = 60.0, 600.0  # seconds


@dataclass(frozen=True, slots=True)
class Bill:
    """What one exporter sends, and what that costs by the month; `charges` is None where its plugin knows no prices."""

    exporter: str
    series: int
    interval: float
    charges: list[Charge] | None

    @property
    def dollars(self) -> float | None:
        """The list price of all of it; None when a part has none."""
        prices = [charge.dollars for charge in self.charges or ()]
        return None if self.charges is None or None in prices else sum(price or 0.0 for price in prices)


def bill_of(plugin: LoadedPlugin, snapshot: Snapshot, interval: float) -> Bill:
    """For the metrics that an exporter is to send every `interval` seconds. Raises PluginError for its mistakes."""
    config = plugin.config if isinstance(plugin.config, ExportConfig) else ExportConfig()
    wanted = chosen(config.metrics, config.exclude)
    samples = {key: sample for key, sample in snapshot.samples.items() if wanted(key[0])}
    sent = Snapshot(snapshot.time, samples, snapshot.specs)
    try:
        charges = plugin.bill(sent, interval) if plugin.implements("predis_bill") else None
        return Bill(plugin.name, len(samples), interval, charges)
    except Exception as error:  # noqa: BLE001  # a plugin's mistake
        raise PluginError(plugin.name, f"predis_bill failed: {describe(error)}") from None


def bills(manager: PluginManager, snapshot: Snapshot) -> Iterator[Bill]:
    """One for each active exporter to a vendor. Raises PluginError."""
    for plugin in manager.active:
        if plugin.implements("predis_destination"):
            yield bill_of(plugin, snapshot, plugin.config.interval or manager.config.config.agent.interval)


class Estimate:
    """The newest bill of a running exporter, for the status. `renew` is for the exporter's own thread."""

    def __init__(self, first: float = FIRST, again: float = AGAIN) -> None:
        """After so many seconds the series are there, and so often they are looked at again."""
        self._due, self._again = time.monotonic() + first, again
        self._bill: Bill | None = None

    def renew(self, plugin: LoadedPlugin, snapshot: Snapshot, interval: float) -> None:
        """Asks the plugin if it is time to; what goes wrong is logged, since points go out all the same."""
        if time.monotonic() < self._due or not plugin.implements("predis_bill"):
            return
        self._due = time.monotonic() + self._again
        try:
            self._bill = bill_of(plugin, snapshot, interval)
        except PluginError as error:
            log.warning("%s", error)

    def status(self) -> dict[str, Any] | None:
        """List price by the month, in US dollars, and its parts; None as long as there is none."""
        bill = self._bill
        if bill is None:
            return None
        parts = [
            {"what": one.what, "amount": round(one.amount, 3), "unit": one.unit, "dollars": _cents(one.dollars)}
            for one in bill.charges or ()
        ]
        return {"dollars_a_month": _cents(bill.dollars), "series": bill.series, "charges": parts}


def _cents(dollars: float | None) -> float | None:
    return None if dollars is None else round(dollars, 2)
