"""What the vendors of all exporters bill for the series that there are: asked of the plugins, which know the prices."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from agent.errors import PluginError
from agent.export.config import ExportConfig
from agent.export.deltas import chosen
from agent.metrics.bill import Charge
from agent.metrics.model import Snapshot
from agent.plugin.guard import describe
from agent.plugin.manager import PluginManager


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


def bills(manager: PluginManager, snapshot: Snapshot) -> Iterator[Bill]:
    """One for each active exporter to a vendor, for the metrics that it is to send. Raises PluginError."""
    for plugin in manager.active:
        config = plugin.config
        if not plugin.implements("predis_destination") or not isinstance(config, ExportConfig):
            continue
        interval = config.interval or manager.config.config.agent.interval
        wanted = chosen(config.metrics, config.exclude)
        samples = {key: sample for key, sample in snapshot.samples.items() if wanted(key[0])}
        sent = Snapshot(snapshot.time, samples, snapshot.specs)
        try:
            charges = plugin.bill(sent, interval) if plugin.implements("predis_bill") else None
        except Exception as error:  # noqa: BLE001  # a plugin's mistake
            raise PluginError(plugin.name, f"predis_bill failed: {describe(error)}") from None
        yield Bill(plugin.name, len(samples), interval, charges)
