"""What the plugins' tests share: an agent to start in, and a pipeline that refuses what is not as declared."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.api import CacheAddress, Histogram, Host
from agent.metrics.catalogue import Catalogue
from agent.metrics.model import SeriesKey
from agent.metrics.pipeline import Pipeline

Values = dict[SeriesKey, float | Histogram]
Collect = Callable[[Any], Values]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """An agent whose cache has not started yet."""
    data_dir = tmp_path / "agent-data"
    data_dir.mkdir()
    cache = CacheAddress(data_dir / "cache.sock", "127.0.0.1", 0, None, data_dir / "cache.arena")
    return Host(data_dir, cache, "1.2.3", logging.getLogger("tests.plugins"))


@pytest.fixture
def collect() -> Collect:
    """Runs a plugin once and gives its series; whatever the plugin did not declare is an error."""

    def run(plugin: Any) -> Values:
        catalogue = Catalogue()
        catalogue.add("plugin", plugin.predis_metric_specs())
        pipeline = Pipeline(catalogue, strict=True)
        pipeline.accept("plugin", plugin.predis_collect())
        return {key: sample.value for key, sample in pipeline.snapshot().samples.items()}

    return run
