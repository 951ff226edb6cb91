"""What the agent tells a plugin when it starts it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from agent.export.model import Event
from agent.forecast.model import Forecasts, NoForecasts


def _to_nobody(event: Event) -> None:
    """Where nobody listens."""


@dataclass(frozen=True, slots=True)
class CacheAddress:
    """Where the hosted cache is. ``port`` 0 means no TCP; ``password_file`` is None when it asks for no password."""

    unix_socket: Path
    host: str
    port: int
    password_file: Path | None
    arena: Path


@dataclass(frozen=True, slots=True)
class Host:
    """The agent as a plugin sees it: its folder, its version, the hosted cache, and a logger of the plugin's own.

    `emit` tells all exporters of an event; it returns at once and may be called from any thread. `forecasts`: what is
    forecast for rules, dashboards and plugins.
    """

    data_dir: Path
    cache: CacheAddress
    version: str
    logger: logging.Logger
    emit: Callable[[Event], None] = _to_nobody
    forecasts: Forecasts = field(default_factory=NoForecasts)
