"""When to try again: exponential backoff with full jitter, Retry-After, and a circuit breaker.

Full jitter (Brooker, "Exponential Backoff And Jitter", 2015) spreads the agents of a fleet, whose vendor failed for all
of them at the same time. With the circuit open, one request at a time finds out whether the vendor is back.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from enum import StrEnum

FIRST_WAIT = 1.0  # seconds at most, after the first failure
LONGEST_WAIT = 60.0  # of our own; what a vendor asks for may be longer
LONGEST_ASKED = 3600.0  # what a vendor may ask for
OPENS_AFTER = 5  # failures in a row


class Circuit(StrEnum):
    """Closed: requests go out. Open: none does before the wait is over. Half open: one does, to find out."""

    closed = "closed"
    open = "open"
    half_open = "half open"


class Retry:
    """One destination's failures in a row. Used by one thread; others may read."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, uniform: Callable[[float, float], float] = random.uniform
    ) -> None:
        self._clock, self._uniform = clock, uniform
        self.failures = 0  # in a row
        self._again_at = self._held_until = 0.0

    @property
    def circuit(self) -> Circuit:
        """Its state now."""
        if self.failures < OPENS_AFTER:
            return Circuit.closed
        return Circuit.open if self.wait > 0 else Circuit.half_open

    @property
    def wait(self) -> float:
        """Seconds until the next request may go out; 0 when it may now."""
        until = max(self._again_at, self._held_until) if self.failures else self._held_until
        return max(0.0, until - self._clock())

    def hold(self, seconds: float) -> None:
        """Nothing failed here, but the vendor asked for so many seconds without requests."""
        self._held_until = max(self._held_until, self._clock() + min(seconds, LONGEST_ASKED))

    def succeeded(self) -> None:
        """The vendor answered in a way that is no reason to wait."""
        self.failures, self._again_at = 0, 0.0

    def failed(self, retry_after: float | None = None) -> None:
        """It did not answer, or asked to wait so many seconds, which is never cut short below LONGEST_ASKED."""
        self.failures += 1
        ceiling = min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(self.failures - 1, 30))
        # An open circuit waits for half of the time at least: jitter alone would now and then ask at once.
        wait = self._uniform(ceiling / 2 if self.failures >= OPENS_AFTER else 0.0, ceiling)
        if retry_after is not None and retry_after > 0:
            # A little later than asked, and not all at once: so everybody else was asked, too.
            wait = max(wait, min(retry_after, LONGEST_ASKED) + self._uniform(0.0, FIRST_WAIT))
        self._again_at = self._clock() + wait
