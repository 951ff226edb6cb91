"""From the configuration to the history that it asks for."""

from __future__ import annotations

from collections.abc import Callable

from agent.config.models import Config
from agent.history.disk import Bounds
from agent.history.prometheus import PrometheusHistory
from agent.history.store import HistoryStore
from agent.metrics.model import MetricSpec


def use(history: HistoryStore, config: Config, spec_of: Callable[[str], MetricSpec | None]) -> None:
    """Have the history kept as this configuration says, from now on. Never raises: what fails is in its status."""
    section = config.history
    bounds = Bounds(section.raw_retention, section.retention, section.max_size)
    cold = None
    if section.backend == "prometheus":
        cold = PrometheusHistory(section.url, section.selector, spec_of, section.retention)
    here = section.enabled and cold is None
    history.use(config.agent.data_dir if here else None, bounds, cold if section.enabled else None)
