"""The engine's time: seconds that only grow, however the wall clock is set, and go on over a restart."""

from __future__ import annotations

import time
from collections.abc import Callable

_JUMP = 2.0  # seconds by which wall and monotonic clock may differ without a jump


class EngineClock:
    """Monotonic within a process. From one process to the next, as much passes as the wall clock says, and never less
    than nothing: cooldowns then last longer rather than shorter."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._offset = -monotonic()
        self._wall: float | None = None
        self._at = 0.0

    def now(self) -> float:
        """Seconds. From any thread."""
        return self._monotonic() + self._offset

    def resume(self, kept: tuple[float, float] | None, wall: float) -> None:
        """Go on from what was kept: (engine time, Unix time)."""
        if kept is not None:
            self._offset = kept[0] + max(0.0, wall - kept[1]) - self._monotonic()
        self._wall, self._at = wall, self.now()

    def jumped(self, wall: float) -> bool:
        """Whether the wall clock was set since it was asked last."""
        now = self.now()
        before, self._wall = self._wall, wall
        elapsed, self._at = now - self._at, now
        return before is not None and abs((wall - before) - elapsed) > _JUMP
