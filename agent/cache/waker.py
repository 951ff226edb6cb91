"""Waits for the end of a process, for a call from another thread, or for some time, whichever comes first."""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Callable


class Waker:
    """`wait` is for one thread, `wake` for all others. beat: called at least every second while `wait` goes on."""

    def __init__(self, beat: Callable[[], None] = lambda: None) -> None:
        self._beat = beat
        self._event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def wake(self) -> None:
        """Ends the wait under way, or the next one."""
        with contextlib.suppress(OSError):
            os.eventfd_write(self._event, 1)

    def wait(self, seconds: float, *pidfds: int) -> bool:
        """Waits so many seconds at most. True when a process of one of the pidfds has ended; -1 stands for none."""
        poller = select.poll()
        poller.register(self._event, select.POLLIN)
        for pidfd in pidfds:
            if pidfd >= 0:
                poller.register(pidfd, select.POLLIN)
        deadline = time.monotonic() + seconds
        while True:
            self._beat()
            left = deadline - time.monotonic()
            ready = {fd for fd, _ in poller.poll(max(0.0, min(left, 1.0)) * 1000)}
            if self._event in ready:
                with contextlib.suppress(BlockingIOError):
                    os.eventfd_read(self._event)
            if not ready.isdisjoint(pidfds):
                return True
            if ready or left <= 0:
                return False
