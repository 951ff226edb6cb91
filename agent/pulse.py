"""Which of the agent's loops made progress lately: what liveness and the watchdog are derived from."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping


class Pulse:
    """The time of each loop's last beat. `limits` has, by name, after how many seconds without one a loop is late.

    A loop beats once per round, after its work, so one that hangs in the work or has ended stops beating.
    """

    def __init__(self, limits: Mapping[str, float], clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = dict(limits)
        self._clock = clock
        self._beats = dict.fromkeys(limits, clock())

    def beat(self, name: str) -> None:
        """The loop of this name made progress now."""
        self._beats[name] = self._clock()

    def late(self) -> dict[str, float]:
        """The loops that are late, with the seconds since their last beat."""
        now = self._clock()
        ages = {name: now - beat for name, beat in self._beats.items()}
        return {name: age for name, age in ages.items() if age > self._limits[name]}
