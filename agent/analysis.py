"""The parts that look at what is collected: history, and what is built on it.

They come after collecting and hosting: whatever goes wrong here is counted and shown, and stops nothing else.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from agent.collection import Collection
from agent.config.load import LoadedConfig
from agent.errors import PredisError
from agent.export.model import Event
from agent.forecast.keeper import ForecastKeeper
from agent.forecast.model import Forecast, Wanted
from agent.forecast.worker import ForecastWorker
from agent.history import settings
from agent.history.document import history_document
from agent.history.store import HistoryStore
from agent.incidents.audit import log_path
from agent.incidents.document import incident_document
from agent.incidents.evidence import Evidence
from agent.incidents.manager import Incidents
from agent.incidents.model import Incident
from agent.incidents.remedied import remedied, starts_in
from agent.metrics.catalogue import Catalogue
from agent.metrics.model import Sample, SeriesKey, Snapshot
from agent.metrics.self_metrics import PLUGIN_NAME
from agent.own_specs import SPECS
from agent.plugin.host import Host
from agent.plugin.loaded import LoadedPlugin
from agent.rules.service import Parts, PreparedRules, Rules


class Analysis:
    """May be used from any thread. `start` begins, `use` takes a new configuration, `stop` keeps what is to be kept."""

    def __init__(
        self,
        catalogue: Catalogue,
        emit: Callable[[Event], None],
        host: Callable[[LoadedConfig], Host],
        learn: Callable[[Iterable[str]], None] = lambda secrets: None,
        scrub: Callable[[str], str] = str,
    ) -> None:
        """learn: told of secrets that are to be masked from then on, as `scrub` does."""
        self._catalogue, self._emit, self._host = catalogue, emit, host
        self._collection: Collection | None = None
        self._loaded: LoadedConfig | None = None
        self.history = HistoryStore()
        self.incidents = Incidents(emit, self._explain, self._detectors)
        self._evidence = Evidence(self.history, catalogue.get)
        self.forecasts = ForecastKeeper(self.history, catalogue.get, self._forecaster)
        self.rules = Rules(
            Parts(
                self._snapshot,
                self.history,
                self.incidents.open_ones,
                self._host_of_rules,
                self._catalogue,
                self._forecasts_of_rules,
                learn,
                scrub,
            )
        )

    def start(self, loaded: LoadedConfig, collection: Collection) -> None:
        """Begin to keep what this collects, and to look at it."""
        self._collection = collection
        self._loaded = loaded
        settings.use(self.history, loaded.config, self._catalogue.get)
        self.history.start()
        self.incidents.start(loaded.config.agent.data_dir)
        self.forecasts.start()

    def use(self, loaded: LoadedConfig, rules: PreparedRules) -> None:
        """A new configuration is in force, with these rules, which `prepare` gave."""
        self._loaded = loaded
        settings.use(self.history, loaded.config, self._catalogue.get)
        self.rules.use(rules)

    def stop(self) -> None:
        """Begin no action any more, and write what is in memory."""
        self.rules.stop()
        self.forecasts.stop()
        self.incidents.stop()
        self.history.stop()

    def collect(self) -> Iterator[Sample]:
        """What these parts say of themselves."""
        yield from self.history.collect()
        yield from self.incidents.collect()
        yield from self.rules.collect()

    def status(self) -> dict[str, Any]:
        """For the status document."""
        return {
            "history": self.history.status(),
            "incidents": self.incidents.status(),
            "rules": self.rules.status(),
        }

    def prepare(self, loaded: LoadedConfig, plugins: Iterable[LoadedPlugin]) -> PreparedRules:
        """The rules of a new configuration, with what these plugins add and measure. Raises ConfigError."""
        catalogue = Catalogue()
        catalogue.add(PLUGIN_NAME, SPECS)
        plugins = list(plugins)
        for plugin in plugins:
            with suppress(PredisError):  # told elsewhere
                catalogue.add(plugin.name, plugin.specs)
        return self.rules.prepare(loaded, plugins, catalogue)

    def incident_document(self, identifier: str) -> dict[str, Any] | None:
        """The answer of /api/v1/incidents/ID; None where there is no such incident."""
        incident = self.incidents.get(identifier)
        if incident is None:
            return None
        records: list[dict[str, Any]] = []
        if self._loaded is not None:
            with suppress(OSError):  # what happened is told all the same
                records = remedied(log_path(self._loaded.config.agent.data_dir), incident)
        return incident_document(
            incident, self._evidence.of, records, starts_in(self.history, incident) if records else ()
        )

    def _explain(self, incident: Incident) -> None:
        if self._collection is not None:
            self._collection.explain(incident, self.history)

    def _forecaster(self) -> ForecastWorker | None:
        """A worker for the first plugin by name that can forecast."""
        if self._collection is None or self._loaded is None:
            return None
        for plugin in self._collection.manager.active:
            if plugin.implements("predis_forecast"):
                return ForecastWorker(plugin, self._loaded, self._host(self._loaded))
        return None

    def _snapshot(self) -> Snapshot:
        return Snapshot(time.time()) if self._collection is None else self._collection.pipeline.snapshot()

    def _host_of_rules(self, loaded: LoadedConfig) -> Host:
        return replace(self._host(loaded), logger=logging.getLogger("predis.rules"), emit=self._emit)

    def _forecasts_of_rules(self, wanted: Mapping[str, float]) -> Mapping[SeriesKey, Forecast]:
        self.forecasts.want("rules", [Wanted(metric, horizon) for metric, horizon in wanted.items()])
        return self.forecasts.newest()

    def _detectors(self) -> set[str]:
        return set() if self._collection is None else self._collection.detectors()

    def history_document(self, query: Iterable[tuple[str, str]]) -> dict[str, Any]:
        """The answer of /api/v1/history. Raises PredisError."""
        query = list(query)
        return history_document(self.history, self._catalogue.get(dict(query).get("metric", "")), query)
