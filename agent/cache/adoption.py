"""Finds a cache process that outlived the agent before, and waits until it answers.

It is the one that holds the lock of the data folder. Somebody else may hold that lock; nobody is signalled who is not
known as the cache.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from agent.cache import process as cache_process
from agent.cache.health import CacheHealth
from agent.cache.process import CacheProcess
from agent.cache.settings import CacheFiles, CacheSettings
from agent.cache.timings import Timings
from agent.cache.waker import Waker


class Found(Enum):
    """What came of the wait for the holder of the lock."""

    answers = auto()
    gone = auto()  # nobody holds the lock any more
    silent = auto()  # it has had its time to answer
    interrupted = auto()


@dataclass(slots=True)
class Holder:
    """Who holds the lock: the process, if it is known as the cache, and what it was started with, if that was noted."""

    found: Found
    process: CacheProcess | None
    noted: tuple[CacheSettings, int] | None


class Adoption:
    """Waits for the process that holds the lock of `files`; leaves `health` looking where that process listens.

    seen: told the process as soon as it is known.
    """

    def __init__(
        self,
        files: CacheFiles,
        health: CacheHealth,
        waker: Waker,
        timings: Timings,
        seen: Callable[[CacheProcess], None],
    ) -> None:
        self._files, self._health, self._waker, self._t, self._seen = files, health, waker, timings, seen

    def wait(self, wanted: CacheSettings, interrupted: Callable[[], bool]) -> Holder:
        """Until it answers, is gone, or was silent for too long. `wanted`: what it runs with if that was not noted."""
        began, pause = time.monotonic(), 0.01
        holder = Holder(Found.gone, None, None)
        while cache_process.is_locked(self._files.lock):
            if interrupted():
                holder.found = Found.interrupted
                return holder
            if holder.process is None and (process := self._find()) is not None:
                holder.process, holder.noted = process, self._files.read_arguments(process.pid)
                self._seen(process)
                self._health.use(holder.noted[0] if holder.noted is not None else wanted)
            process = holder.process
            if process is not None and self._health.look(process.pid, identify=True):
                holder.found = Found.answers
                return holder
            # One that has not noted its pid is not done with its start: it may have a large arena to recover.
            starting = process is not None and not self._files.notes_pid(process.pid)
            if time.monotonic() - began > (self._t.start if starting else self._t.restart_after):
                holder.found = Found.silent
                return holder
            if self._waker.wait(pause, -1 if process is None else process.pidfd):
                break
            pause = min(pause * 1.3, 0.2)
        return holder

    def _find(self) -> CacheProcess | None:
        process = cache_process.find(self._files.lock)
        if process is None or self._files.knows(process.pid):
            return process
        process.reap()
        return None
