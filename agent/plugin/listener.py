"""What a plugin's own process says in one call besides its answer: samples, anomalies, lines of its log."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from agent.dashboards.model import Asset
from agent.export.model import Event
from agent.forecast.model import Forecast
from agent.incidents.model import Anomaly, Cause
from agent.metrics.bill import Charge
from agent.metrics.history import History
from agent.metrics.model import Sample
from agent.plugin import far_history, wire, wire_analysis, wire_offers
from agent.plugin.process import ChildProcess

MOST_LINES = 100  # of the log, in one call


@dataclass
class Said:
    """What a process may give in one call, and what it may ask for."""

    history: History | None = None
    samples: list[Sample] = field(default_factory=list)
    data: bytearray = field(default_factory=bytearray)
    anomalies: list[Anomaly] = field(default_factory=list)
    causes: list[Cause] = field(default_factory=list)
    charges: list[Charge] = field(default_factory=list)
    assets: list[Asset] = field(default_factory=list)
    forecast: Forecast | None = None


class Listener:
    """Sorts messages into what was `said`, None where nothing may be. Raises WireError for what is no message."""

    def __init__(self, name: str, child: ChildProcess, emit: Callable[[Event], None], said: Said | None) -> None:
        self._child, self._emit, self._said = child, emit, said
        self._logger = logging.getLogger(f"predis.plugins.{name}")
        self._lines = 0

    def __call__(self, message: Mapping[str, Any]) -> None:
        said = self._said
        if "event" in message:
            self._emit(wire.load_event(message["event"]))
        elif "log" in message:
            self._log(message["log"])
        elif said is None or not self._took(message, said):
            raise wire.WireError("it sent something that is no message")

    def _took(self, message: Mapping[str, Any], said: Said) -> bool:
        if "samples" in message:
            said.samples += wire.load_samples(message["samples"])
        elif "data" in message:
            said.data += wire.load_data(message["data"])
        elif "anomalies" in message:
            said.anomalies += wire_analysis.load_anomalies(message["anomalies"])
        elif "causes" in message:
            said.causes += wire_analysis.load_causes(message["causes"])
        elif "charges" in message:
            said.charges += wire_offers.load_charges(message["charges"])
        elif "asset" in message:
            said.assets.append(wire_offers.load_asset(message["asset"]))
        elif "forecast" in message:
            said.forecast = wire_analysis.load_forecast(message["forecast"])
        elif "question" in message and said.history is not None:
            self._child.reply({"answer": far_history.answer(said.history, message["question"])})
        else:
            return False
        return True

    def end(self) -> None:
        """Say what was left out."""
        if self._lines > MOST_LINES:
            self._logger.warning("%d more lines of its log were left out", self._lines - MOST_LINES)

    def _log(self, line: Any) -> None:
        if not isinstance(line, list) or list(map(type, line)) != [int, str]:
            raise wire.WireError("it sent a line of its log that cannot be read")
        self._lines += 1
        if self._lines <= MOST_LINES:
            self._logger.log(line[0], "%s", line[1])
