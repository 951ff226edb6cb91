"""What the agent tells a plugin when it starts it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

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
class CacheTenant:
    """A tenant of the hosted cache: its keys begin with `prefix`; `quota` is in bytes; `ops_per_second` 0: no limit."""

    prefix: str
    quota: int
    ops_per_second: int = 0


@dataclass(frozen=True, slots=True)
class CacheFacts:
    """What the agent runs the cache with; sizes in bytes.

    state: "running", or what else it is at. memory: may be changed while it runs, up to `capacity`, with which the
    process was started (0: it has not started yet). policy: as in agent.toml. tenants: by name.
    """

    state: str
    pid: int | None
    memory: int
    capacity: int
    policy: str
    tenants: Mapping[str, CacheTenant] = field(default_factory=dict)


class CacheControl(Protocol):
    """What the agent does with the cache process for an action.

    What is changed stays when the cache process is started again, until the configuration is reloaded or the agent
    starts anew: agent.toml has the last word. Methods wait until it is done or `cancelled` says that nobody waits any
    more; they may be called from any thread and raise PredisError, whose text says what became of it.
    """

    def facts(self) -> CacheFacts:
        """As of now; returns at once."""

    def check(
        self,
        *,
        memory: int | None = None,
        policy: str | None = None,
        quotas: Mapping[str, int] | None = None,
        limits: Mapping[str, int] | None = None,
    ) -> bool:
        """Whether `change` would have to restart the cache, warm, for this; PredisError where it cannot be at all."""

    def change(
        self,
        *,
        memory: int | None = None,
        policy: str | None = None,
        quotas: Mapping[str, int] | None = None,
        limits: Mapping[str, int] | None = None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> str:
        """Runs it with another memory, policy, tenants' quotas and their commands per second (both by tenant; 0 for no
        limit), as far as given; says how it was done: "unchanged", "changed while running" or "restarted"."""

    def restart(self, cancelled: Callable[[], bool] = lambda: False) -> None:
        """Ends the cache process, once it has answered what it received, and starts it again. Its keys stay."""

    def upgrade(self, cancelled: Callable[[], bool] = lambda: False) -> str:
        """Has a process of the version that is installed now take the cache over; says from what to what."""


@dataclass(frozen=True, slots=True)
class Host:
    """The agent as a plugin sees it: its folder, its version, the hosted cache, and a logger of the plugin's own.

    `emit` tells all exporters of an event; it returns at once and may be called from any thread. `cache_control` is
    None where there is no supervisor to ask, as in a plugin's process of its own. `forecasts`: what is forecast for
    rules, dashboards and plugins.
    """

    data_dir: Path
    cache: CacheAddress
    version: str
    logger: logging.Logger
    emit: Callable[[Event], None] = _to_nobody
    cache_control: CacheControl | None = None
    forecasts: Forecasts = field(default_factory=NoForecasts)
