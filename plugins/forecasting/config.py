"""The table [plugins.forecasting]."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from agent.api import Duration, PluginConfig, duration_between


class ForecastingConfig(PluginConfig):
    """What is forecast besides what rules ask for."""

    metrics: list[str] = Field(
        default=["predis_memory_used_bytes", "predis_keys", "predis_host_filesystem_bytes"],
        description="the metrics, all series of each; what rules ask for comes on top",
    )
    horizon: Annotated[Duration, duration_between("5m", "90d")] = Field(default=7 * 86_400.0, description="how far")
    refresh: Annotated[Duration, duration_between("10s", "1d")] = Field(default=900.0, description="how often anew")
    limits: dict[str, float | str] = Field(
        default={"predis_memory_used_bytes": "predis_memory_max_bytes", "predis_host_filesystem_bytes": 0.0},
        description="where a metric is full, or empty: a number, or the metric that says it",
    )
