"""Other Redis-compatible servers, by the names they have in [plugins.remediation] servers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from agent.api import PredisError, WrongKey
from plugins.remediation.action import must_have, pick
from plugins.remediation.config import Server


class Servers:
    """Opens connections to them. Nothing is tried twice: after a timeout nobody knows whether the server did it."""

    def __init__(self, servers: Mapping[str, Server]) -> None:
        self._servers = servers

    def find(self, name: str) -> Server:
        """Its entry. Raises PredisError."""
        return pick("server", "servers", self._servers, name)

    def check(self, key: str | tuple[str | int, ...], name: str, *, followed: bool = False) -> None:
        """Raises WrongKey, for the key that has this name, unless there is such a server, and one that others can
        follow if it is to be followed."""
        must_have(key, "server", "servers", self._servers, name)
        if followed:
            try:
                self.address(name)
            except PredisError as error:
                raise WrongKey(key, str(error)) from None

    def place(self, name: str) -> str:
        """Where it is, without what is secret: what a plan is bound to, since the configuration may change."""
        parts = urlsplit(self.find(name).url.get_secret_value())
        return parts.path if parts.scheme == "unix" else f"{parts.hostname}:{parts.port or 6379}"

    def address(self, name: str) -> tuple[str, int]:
        """Host and port, as another server would be told. Raises PredisError."""
        parts = urlsplit(self.find(name).url.get_secret_value())
        if parts.scheme == "unix" or not parts.hostname:
            raise PredisError(
                f"the server {name} has a unix socket, which no other can follow: write redis://HOST:PORT"
            )
        return parts.hostname, parts.port or 6379

    @contextmanager
    def connected(self, name: str) -> Iterator[Any]:
        """A connection (redis.Redis) for as long as it is needed; what goes wrong with it is a PredisError."""
        from redis.exceptions import RedisError

        server = self.find(name)
        try:
            with self._client(server) as client:
                yield client
        except (RedisError, OSError) as error:  # redis-py's errors hold no passwords
            raise PredisError(f"the server {name}: {error}") from None

    @staticmethod
    def _client(server: Server) -> Any:
        from redis import Redis  # 9 MB of memory: only for who has such servers
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        url = server.url.get_secret_value()
        parts = urlsplit(url)
        options: dict[str, Any] = {
            "socket_timeout": server.timeout,
            "socket_connect_timeout": server.timeout,
            "protocol": 2,
            "client_name": "predis-agent",
            "retry": Retry(NoBackoff(), 0),
            "single_connection_client": True,  # a transaction belongs to one
        }
        if server.username and not parts.username:
            options["username"] = server.username
        if server.password.get_secret_value() and not parts.password:
            options["password"] = server.password.get_secret_value()
        if server.ca_file is not None and parts.scheme == "rediss":
            options["ssl_ca_certs"] = str(server.ca_file)
        return Redis.from_url(url, **options)
