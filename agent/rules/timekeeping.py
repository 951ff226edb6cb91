"""The engine's time: seconds that only grow, however the wall clock is set, and go on over a restart.

They are seconds of a machine that is up. From one agent to the next on the same boot exactly so many pass as did; what
passes while the machine is off or boots does not count, since only the wall clock could tell, and that may be years
ahead or behind until somebody sets it. So a cooldown never ends early, and lasts at most longer by the time that the
machine was off. What must not last longer than people think, such as an approval, looks at the wall clock as well.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def since_boot() -> float:
    """Seconds since the machine was started, suspended ones included (CLOCK_BOOTTIME)."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    """What tells this boot of the machine from others; "" where the system does not say."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


class EngineClock:
    """Begins at 0, or where `resume` says. clock: seconds since the boot."""

    def __init__(self, clock: Callable[[], float], boot: str) -> None:
        self._clock, self._boot = clock, boot
        self._offset = -clock()

    def now(self) -> float:
        """Seconds. From any thread."""
        return self._clock() + self._offset

    def kept(self) -> tuple[float, float, str]:
        """What `resume` takes."""
        reading = self._clock()
        return reading + self._offset, reading, self._boot

    def resume(self, kept: object) -> None:
        """Go on from what was kept, if anything was; an older agent kept the engine's time and the wall clock's."""
        if not isinstance(kept, (list, tuple)) or not kept:
            return
        reading, since = self._clock(), 0.0
        if len(kept) == 3 and kept[2] == self._boot != "":
            since = max(0.0, reading - float(kept[1]))
        self._offset = float(kept[0]) + since - reading
