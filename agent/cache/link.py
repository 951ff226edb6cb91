"""The agent's own connection to the cache: is it there, is it the right one, change its settings."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from agent.cache.settings import LIVE, CacheFiles, CacheSettings
from core_cache.options import MAXMEMORY_POLICIES
from core_cache.resp_client import ConnectionFailed, RespClient, RespError, ServerError, information_of

__all__ = ["CacheLink", "RespError", "ServerError", "arena_heartbeat", "link_to"]


class CacheLink:
    """One connection that is opened when it is needed and kept; any failure closes it.

    `read_password` gives the password of the moment, or None for none. `timeout` is in seconds and counts for each
    wait. Used from one thread. All methods raise RespError when there is no answer, ServerError when it is an error.
    """

    def __init__(self, unix_socket: str, read_password: Callable[[], str | None], timeout: float = 1.0) -> None:
        self.unix_socket = unix_socket
        self._read_password = read_password
        self._timeout = timeout
        self._client: RespClient | None = None

    def ping(self) -> float:
        """Seconds until the answer."""
        start = time.monotonic()
        self._command("PING")
        return time.monotonic() - start

    def information(self, section: str = "server") -> dict[str, str]:
        """The fields of a section of INFO."""
        return information_of(self._command("INFO", section))

    def change(self, settings: Mapping[str, object]) -> None:
        """CONFIG SET of settings that a running cache can take."""
        pairs = [part for name, value in settings.items() for part in (LIVE[name], _value(value))]
        self._command("CONFIG", "SET", *pairs)

    def save(self) -> None:
        """BGSAVE: a snapshot is begun."""
        self._command("BGSAVE")

    def close(self) -> None:
        """Closes the connection; the next use opens a new one."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _command(self, *arguments: str) -> object:
        try:
            if self._client is None:
                self._client = self._connect()
            return self._client.command(*arguments)
        except ServerError:
            raise
        except RespError:
            self.close()
            raise

    def _connect(self) -> RespClient:
        try:
            password = self._read_password()
        except OSError as error:
            raise ConnectionFailed(f"cannot read the cache's password: {error}") from error
        client = RespClient(self.unix_socket, password, timeout=self._timeout)
        try:
            client.command("CLIENT", "SETNAME", "predis-agent")
        except RespError:
            client.close()
            raise
        return client


def link_to(settings: CacheSettings, files: CacheFiles, timeout: float) -> CacheLink:
    """A link to the cache that runs with these settings."""
    return CacheLink(settings.unix_socket, files.read_password if settings.auth else lambda: None, timeout)


_REDIS_WORDS = {**MAXMEMORY_POLICIES, "info": "notice", "error": "warning"}
_REDIS_WORDS |= {"required": "yes", "1.2": "TLSv1.2 TLSv1.3", "1.3": "TLSv1.3"}  # of tls-auth-clients, tls-protocols


def _value(value: object) -> str:
    """As CONFIG SET has it, in Redis' words. It has no level "error"; the nearest that says more is "warning"."""
    return _REDIS_WORDS.get(str(value), str(value))


def arena_heartbeat(arena: Path) -> Callable[[], float | None]:
    """A function that gives the Unix time of the cache's last heartbeat from its shared counters, None without one."""
    from core_cache import _native

    reader: _native.StatsReader | None = None
    seen: tuple[int, int] | None = None

    def read() -> float | None:
        nonlocal reader, seen
        try:
            status = os.stat(arena)
            if reader is None or (status.st_dev, status.st_ino) != seen:
                reader = None
                reader = _native.StatsReader(str(arena))
                seen = (status.st_dev, status.st_ino)
            beat = int(reader.read()["gauges"]["heartbeat_unix_ms"])
        except (OSError, _native.ArenaError):
            reader = None
            return None
        return beat / 1000 if beat else None

    return read
