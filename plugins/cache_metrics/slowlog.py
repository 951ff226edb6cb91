"""Exemplars of slow commands: the newest entry of the cache's slow log for each bucket of a command's latencies.

They carry the entry's number and nothing that a client sent: keys may name people. With the number, who may read the
slow log finds the rest there (SLOWLOG GET).
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from agent.api import CacheAddress, Exemplar
from core_cache.resp_client import RespClient, RespError

LABEL = "slowlog_id"
ENTRIES = 128  # that are asked for, as many as the log has room for by default
TIMEOUT = 0.5  # seconds of each wait for the cache

Exemplars = Mapping[str, tuple[Exemplar, ...]]


class SlowLog:
    """Reads the slow log when the counters say that it has something new, and never else.

    `ask` gives the reply to SLOWLOG GET; it may raise RespError and OSError, upon which the next call asks again.
    """

    def __init__(self, ask: Callable[[], Any], log: logging.Logger) -> None:
        self._ask, self._log = ask, log
        self._seen: tuple[int, int] | None = None
        self._exemplars: Exemplars = {}
        self._told = False

    def exemplars(self, stats: Mapping[str, Any], bounds: Sequence[float]) -> Exemplars:
        """By command, of what the log held when a command was slow last; `stats` are the counters in the arena."""
        slow = stats["counters"].get("slow_commands", 0)
        state = (stats["gauges"].get("started_unix_ms", 0), slow)  # a process begins with an empty log
        if not slow or state == self._seen:
            return self._exemplars if slow else {}
        try:
            reply = self._ask()
        except (RespError, OSError) as error:
            if not self._told:
                self._log.warning("histograms are without exemplars: the slow log cannot be read: %s", error)
            self._told = True
            return {}
        self._seen, self._told = state, False
        self._exemplars = exemplars_of(reply, stats["commands"].keys(), bounds)
        return self._exemplars


def exemplars_of(reply: Any, commands: Collection[str], bounds: Sequence[float]) -> Exemplars:
    """By command, of a reply to SLOWLOG GET, newest first; `commands` are the names by which latencies are counted."""
    found: dict[str, dict[int, Exemplar]] = {}
    for number, seconds, microseconds, arguments, *_ in reply:
        words = [word.decode(errors="replace").lower() for word in arguments[:2]]
        names = ("|".join(words), words[0])
        name = next((name for name in names if name in commands), None)
        if name is not None:
            exemplar = Exemplar(((LABEL, str(number)),), microseconds / 1e6, float(seconds))
            found.setdefault(name, {}).setdefault(bisect_left(bounds, exemplar.value), exemplar)
    return {name: tuple(by_bucket.values()) for name, by_bucket in found.items()}


def asking(cache: CacheAddress) -> Callable[[], Any]:
    """Asks this cache, over a connection that is closed again."""

    def ask() -> Any:
        password = None if cache.password_file is None else cache.password_file.read_text(encoding="ascii").strip()
        client = RespClient(cache.unix_socket, password, timeout=TIMEOUT)
        try:
            return client.command("SLOWLOG", "GET", ENTRIES)
        finally:
            client.close()

    return ask
