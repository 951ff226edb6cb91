"""So many a second, and no longer than somebody waits for it."""

from __future__ import annotations

import time
from collections.abc import Callable

_NAP = 0.05  # seconds between two looks at whether somebody still waits


class Pace:
    """Holds work to a rate. What was not used of it is not saved up."""

    def __init__(self, per_second: float, cancelled: Callable[[], bool]) -> None:
        self._seconds, self._cancelled = 1 / per_second, cancelled
        self._next = time.monotonic()

    def wait(self, count: int) -> bool:
        """Until `count` more may be done; False when it is cancelled first."""
        while (left := self._next - time.monotonic()) > 0:
            if self._cancelled():
                return False
            time.sleep(min(left, _NAP))
        self._next = max(self._next, time.monotonic()) + count * self._seconds
        return not self._cancelled()
