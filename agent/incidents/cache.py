"""Incidents of the cache process as events: each is a span from the moment when it was noticed to the next answer, and
what was done about it, the restart, is a span within."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Literal

from agent.export.model import Event


def new_id(size: int) -> str:
    """A random identifier of so many bytes, in hex digits."""
    return os.urandom(size).hex()


class CacheIncidents:
    """Told by the supervisor, on its one thread, what happens; emits events."""

    def __init__(self, emit: Callable[[Event], None], clock: Callable[[], float] = time.time) -> None:
        self._emit, self._clock = emit, clock
        self._since: float | None = None
        self._reason = self._what = self._trace = self._span = ""
        self._restart_since: float | None = None
        self._attempts = 0

    def down(self, reason: str, what: str) -> None:
        """The cache does not answer, for a reason in one word; more of the same incident if there is one."""
        if self._since is not None:
            self._reason = reason
            return
        self._since, self._reason, self._what = self._clock(), reason, what
        self._trace, self._span = new_id(16), new_id(8)
        self._attempts, self._restart_since = 0, None
        if reason != "requested":
            self._emit(
                Event(
                    self._since,
                    "cache_down",
                    "The cache does not answer",
                    what,
                    "error",
                    {"reason": reason},
                    trace_id=self._trace,
                    parent_id=self._span,
                )
            )

    def restarting(self) -> None:
        """A process is started in its place."""
        if self._since is not None:
            self._attempts += 1
            if self._restart_since is None:
                self._restart_since = self._clock()

    def answers(self) -> None:
        """The cache answers: the end of an incident, if there is one."""
        if self._since is None:
            return
        since, now = self._since, self._clock()
        self._since = None
        asked = self._reason == "requested"
        attributes = {"reason": self._reason, "attempts": str(self._attempts)}
        if self._restart_since is None:
            kind, title = "cache_unresponsive", "The cache did not answer for a while"
        else:
            kind, title = "cache_restarted", "The cache was restarted"
            self._emit(
                Event(
                    self._restart_since,
                    "cache_restart",
                    "The agent started the cache again",
                    f"{self._attempts} attempts" if self._attempts > 1 else "",
                    "info",
                    attributes,
                    max(0.0, now - self._restart_since),
                    self._trace,
                    new_id(8),
                    self._span,
                )
            )
        severity: Literal["info", "error"] = "info" if asked else "error"
        self._emit(
            Event(since, kind, title, self._what, severity, attributes, max(0.0, now - since), self._trace, self._span)
        )

    def upgraded(self, what: str) -> None:
        """A new process has taken over from one that ran."""
        self._emit(Event(self._clock(), "cache_upgraded", "The cache was upgraded", what))
