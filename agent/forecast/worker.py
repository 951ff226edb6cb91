"""The analysis worker: a plugin's predis_forecast in a process of its own, spawned when asked, killed when overdue.

It is a plugin's own process (agent/plugin/isolated.py): limited in memory, ended with the agent, restarted after a
death. Libraries of a hundred megabytes live there and go with it.
"""

from __future__ import annotations

from types import TracebackType

from agent.config.load import LoadedConfig
from agent.config.models import PluginConfig
from agent.errors import PluginError
from agent.forecast.model import Forecast, ForecastRequest
from agent.plugin.guard import Told
from agent.plugin.host import Host
from agent.plugin.isolated import IsolatedPlugin
from agent.plugin.loaded import LoadedPlugin

DEADLINE = 60.0  # seconds for one series
MEMORY_LIMIT = 1 << 30
_LOAD_DEADLINE = 30.0


class ForecastWorker:
    """Forecasts one series after the other. `close`, or leave its `with`, to end its process."""

    def __init__(
        self,
        plugin: LoadedPlugin,
        config: LoadedConfig,
        host: Host,
        *,
        deadline: float = DEADLINE,
        memory_limit: int = MEMORY_LIMIT,
    ) -> None:
        keys = PluginConfig(deadline=deadline, isolation="process", memory_limit=memory_limit)
        self._process = IsolatedPlugin.of(plugin, keys, config, _LOAD_DEADLINE)
        self._host = host
        self._begun = False

    def forecast(self, request: ForecastRequest) -> Forecast:
        """The forecast, or why there is none: what the plugin says, or what became of its process."""
        try:
            if not self._begun:
                self._process.start(self._host)
                self._begun = True
            return self._process.forecast(request)
        except (Told, PluginError) as error:
            return Forecast(problem=f"the forecast failed: {error}")

    @property
    def pid(self) -> int | None:
        """Of its process, while there is one."""
        pid = self._process.details()["process"]["pid"]
        return pid if isinstance(pid, int) else None

    def close(self) -> None:
        """End its process, whatever that does; from any thread."""
        self._process.abandon()

    def __enter__(self) -> ForecastWorker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
