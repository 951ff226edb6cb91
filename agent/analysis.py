"""The parts that look at what is collected: history, and what is built on it.

They come after collecting and hosting: whatever goes wrong here is counted and shown, and stops nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from agent.config.load import LoadedConfig
from agent.history import settings
from agent.history.document import history_document
from agent.history.store import HistoryStore
from agent.metrics.catalogue import Catalogue
from agent.metrics.model import Sample


class Analysis:
    """May be used from any thread. `start` begins, `use` takes a new configuration, `stop` keeps what is to be kept."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self.history = HistoryStore()

    def start(self, loaded: LoadedConfig) -> None:
        """Begin to keep."""
        self.use(loaded)
        self.history.start()

    def use(self, loaded: LoadedConfig) -> None:
        """A new configuration is in force."""
        settings.use(self.history, loaded.config, self._catalogue.get)

    def stop(self) -> None:
        """Write what is in memory."""
        self.history.stop()

    def collect(self) -> Iterator[Sample]:
        """What these parts say of themselves."""
        yield from self.history.collect()

    def status(self) -> dict[str, Any]:
        """For the status document."""
        return {"history": self.history.status()}

    def history_document(self, query: Iterable[tuple[str, str]]) -> dict[str, Any]:
        """The answer of /api/v1/history. Raises PredisError."""
        query = list(query)
        return history_document(self.history, self._catalogue.get(dict(query).get("metric", "")), query)
