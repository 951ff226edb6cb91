"""Where actions run: on threads of their own, which may hang without anything else waiting."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol


class Runner(Protocol):
    """Runs what the engine hands it; `work` never raises."""

    def start(self, name: str, work: Callable[[], None]) -> None:
        """Begin it, under a name."""

    def runs(self, name: str) -> bool:
        """Whether work of this name has not come to its end."""


class ThreadRunner:
    """A daemon thread for each: nobody can end a thread, so a hanging one must not keep the agent from stopping."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[str] = set()

    def start(self, name: str, work: Callable[[], None]) -> None:
        def run() -> None:
            try:
                work()
            finally:
                with self._lock:
                    self._running.discard(name)

        with self._lock:
            self._running.add(name)
        threading.Thread(target=run, name=f"action {name}", daemon=True).start()

    def runs(self, name: str) -> bool:
        with self._lock:
            return name in self._running


class InlineRunner:
    """Runs it at once, where it is asked: for rehearsals, in which time is only a number."""

    def start(self, name: str, work: Callable[[], None]) -> None:
        work()

    def runs(self, name: str) -> bool:
        return False
