"""Asks Redis-compatible servers for INFO, so that the agent is useful beside a server that is already there."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from agent.api import Host, MetricSpec, PluginConfig, Sample, hookimpl
from plugins.redis_metrics.config import RedisMetricsConfig, server_name
from plugins.redis_metrics.info import ANSWER, SPECS, UP, samples

if TYPE_CHECKING:
    from redis import Redis

MAX_WORKERS = 8


class RedisMetrics:
    """Metrics of the servers in `urls`. `note` says what `status` should show besides the state."""

    api_version = 1
    Config: type[PluginConfig] = RedisMetricsConfig

    def __init__(self, config: RedisMetricsConfig) -> None:
        self._config = config
        self._clients: dict[str, Redis] = {}
        self._down: dict[str, str] = {}
        self._pool: ThreadPoolExecutor | None = None
        self._log: logging.Logger | logging.LoggerAdapter[Any] = logging.getLogger(__name__)

    @property
    def note(self) -> str:
        if not self._config.urls:
            return "no servers in urls"
        down = ", ".join(f"{server}: {why}" for server, why in sorted(dict(self._down).items()))
        count = len(self._config.urls)
        return f"{count} server{'s' if count > 1 else ''}" + (f"; not answering: {down}" if down else "")

    @hookimpl
    def predis_metric_specs(self) -> Sequence[MetricSpec]:
        return SPECS

    @hookimpl
    def predis_start(self, host: Host) -> None:
        self._log = host.logger
        if not self._config.urls:
            return  # redis-py costs 9 MB of memory: only who asks servers pays for it
        urls = [url.get_secret_value() for url in self._config.urls]
        self._clients = {name: self._client(url) for url in urls if (name := server_name(url)) is not None}
        if len(self._clients) > 1:
            # Side by side, so that up to MAX_WORKERS - 1 servers that do not answer delay none that does.
            self._pool = ThreadPoolExecutor(min(MAX_WORKERS, len(self._clients)), "redis-metrics")

    def _client(self, url: str) -> Redis:
        from redis import Redis
        from redis.backoff import NoBackoff
        from redis.exceptions import ConnectionError as LostConnection
        from redis.retry import Retry

        options: dict[str, Any] = {
            "socket_timeout": self._config.timeout,
            "socket_connect_timeout": self._config.timeout,
            "protocol": 2,  # which every server speaks
            "client_name": "predis-agent",
            "decode_responses": True,
            "encoding_errors": "replace",
            # A connection that the server closed while it was idle is made anew; nothing else is tried twice.
            "retry": Retry(NoBackoff(), 1, supported_errors=(LostConnection,)),
        }
        parts = urlsplit(url)
        if not parts.username and self._config.username:
            options["username"] = self._config.username
        if not parts.password and self._config.password.get_secret_value():
            options["password"] = self._config.password.get_secret_value()
        return Redis.from_url(url, **options)

    @hookimpl
    def predis_stop(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None
        for client in self._clients.values():
            client.close()
        self._clients = {}

    @hookimpl
    def predis_collect(self) -> Iterable[Sample]:
        if self._pool is None:
            answers: Iterable[list[Sample]] = map(self._ask, self._clients)
        else:
            answers = self._pool.map(self._ask, self._clients)
        for answer in answers:
            yield from answer

    def _ask(self, server: str) -> list[Sample]:
        from redis.exceptions import RedisError

        start = time.perf_counter()
        try:
            info: Any = self._clients[server].info("all")
            if not isinstance(info, dict) or not info:
                raise ValueError("its answer to INFO is empty")
            took = time.perf_counter() - start
            found = list(samples(server, info))
        except (RedisError, OSError, ValueError, KeyError, TypeError) as error:
            self._changed(server, f"{type(error).__name__}: {error}")
            return [Sample(UP.name, 0, (server,))]
        self._changed(server, None)
        return [Sample(UP.name, 1, (server,)), Sample(ANSWER.name, took, (server,)), *found]

    def _changed(self, server: str, why: str | None) -> None:
        """Log when a server goes and when it comes back, not every interval. redis-py's errors hold no passwords."""
        if why is not None:
            if server not in self._down:
                self._log.warning("%s does not answer INFO: %s", server, why)
            self._down[server] = why
        elif self._down.pop(server, None) is not None:
            self._log.info("%s answers INFO again", server)
