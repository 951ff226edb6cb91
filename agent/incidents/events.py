"""The events of this run of the agent: the newest of them, and who is told of each."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from agent.export.model import Event

KEPT = 1000

log = logging.getLogger(__name__)


class EventLog:
    """May be used from any thread. `emit` never raises and waits for nobody: what is subscribed returns at once."""

    def __init__(self, kept: int = KEPT, scrub: Callable[[str], str] = str) -> None:
        """`scrub` takes secrets out of what events say: they leave the machine."""
        self._scrub = scrub
        self._lock = threading.Lock()
        self._kept: deque[tuple[int, Event]] = deque(maxlen=kept)
        self._number = 0  # of the newest
        self._receivers: dict[str, Callable[[Event], None]] = {}
        self._told: dict[str, int] = {}  # the number of the last event that a receiver of this name was told of

    def emit(self, event: Event) -> None:
        """Something happened."""
        scrub = self._scrub
        attributes = {name: scrub(value) for name, value in event.attributes.items()}
        event = replace(event, title=scrub(event.title), text=scrub(event.text), attributes=attributes)
        with self._lock:
            self._number += 1
            self._kept.append((self._number, event))
            for name in self._receivers:
                self._tell(name, self._number, event)

    def subscribe(self, name: str, receive: Callable[[Event], None]) -> None:
        """Tells `receive` of all events from now on, and of those that nobody of this name was told of yet."""
        with self._lock:
            self._receivers[name] = receive
            told = self._told.get(name, 0)
            for number, event in self._kept:
                if number > told:
                    self._tell(name, number, event)

    def unsubscribe(self, name: str) -> None:
        """Tells it no more."""
        with self._lock:
            self._receivers.pop(name, None)

    def newest(self) -> list[Event]:
        """The events that are kept, oldest first."""
        with self._lock:
            return [event for _, event in self._kept]

    def _tell(self, name: str, number: int, event: Event) -> None:
        self._told[name] = number
        try:
            self._receivers[name](event)
        except Exception:
            log.exception("telling %s of an event failed", name)
