"""An upgrade of the cache: a new process, of the version that is installed now, takes the old one's place.

The new process does the work (core_cache/handoff.py tells how); here it is started and watched. Until it has got the
old one's sockets, whatever goes wrong leaves the old one serving.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import Enum, auto
from typing import Any

from agent.cache import process as cache_process
from agent.cache.link import RespError, link_to
from agent.cache.process import CacheProcess
from agent.cache.settings import CacheFiles, CacheSettings
from agent.cache.timings import Timings
from agent.cache.waker import Waker
from agent.errors import PredisError

log = logging.getLogger(__name__)

GIVEN_AWAY = 1.0  # seconds in which an old process that has given its sockets away is gone
END_PATIENCE = 5.0  # seconds for a new process that is not wanted any more


@dataclass(slots=True)
class Upgrade:
    """One of them, for people and programs. pause_seconds: nobody was served for so long."""

    number: int
    state: str = "waiting"  # then running, then done or failed
    error: str | None = None
    old_pid: int | None = None
    old_version: str | None = None
    pid: int | None = None
    version: str | None = None
    pause_seconds: float | None = None
    keys: int | None = None


class Upgrades:
    """What was asked for and what became of it. `request` and `status` are for any thread, the rest for one alone."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: Upgrade | None = None
        self.done, self.failed = 0, 0

    def request(self) -> int:
        """Asks for an upgrade; gives its number, by which `status` tells of it. PredisError: one goes on already."""
        with self._lock:
            if self._last is not None and self._last.state in ("waiting", "running"):
                raise PredisError("an upgrade of the cache is under way already")
            self._last = Upgrade(1 if self._last is None else self._last.number + 1)
            return self._last.number

    @property
    def requested(self) -> bool:
        """Whether one waits to be begun."""
        return self._last is not None and self._last.state == "waiting"

    @property
    def pause_seconds(self) -> float | None:
        """Of the last one that came to an end."""
        return self._last.pause_seconds if self._last is not None else None

    def status(self) -> dict[str, Any] | None:
        """The last one."""
        with self._lock:
            return None if self._last is None else asdict(self._last)

    def begin(self, pid: int, version: str | None) -> None:
        """The one that was requested begins; the process of this pid is the old one."""
        self._change(state="running", old_pid=pid, old_version=version)

    def succeed(self, pid: int, facts: dict[str, Any]) -> None:
        """The process of this pid serves."""
        self.done += 1
        self._change(state="done", pid=pid, **facts)

    def fail(self, sentence: str) -> None:
        """It came to nothing, or to a restart; nothing happens when none is under way."""
        if self._last is None or self._last.state not in ("waiting", "running"):
            return
        self.failed += 1
        log.error("the cache was not upgraded: %s", sentence)
        self._change(state="failed", error=sentence)

    def _change(self, **fields: Any) -> None:
        with self._lock:
            assert self._last is not None, "there is one that was requested"
            for name, value in fields.items():
                setattr(self._last, name, value)


class Outcome(Enum):
    """How the wait for a new process ended."""

    handed_over = auto()  # the old one has ended
    refused = auto()  # the new one has ended, the old one goes on
    interrupted = auto()  # neither; the new one is not wanted any more


def wait_for_take_over(
    old: CacheProcess, new: CacheProcess, waker: Waker, timings: Timings, stop: Callable[[], bool]
) -> Outcome:
    """Until one of the two has ended, or there is no use in waiting."""
    deadline = time.monotonic() + timings.take_over
    while old.alive() and new.alive():
        left = deadline - time.monotonic()
        if stop() or left <= 0:
            return Outcome.interrupted
        waker.wait(left, old.pidfd, new.pidfd)
    # A new one that ends with the sockets in its hands leaves an old one that is about to end, too.
    deadline = time.monotonic() + GIVEN_AWAY
    while old.alive() and (left := deadline - time.monotonic()) > 0 and not stop():
        waker.wait(left, old.pidfd)
    return Outcome.refused if old.alive() else Outcome.handed_over


def discard(new: CacheProcess) -> None:
    """Ends a new process that has not taken over."""
    if not cache_process.end(new, signal.SIGTERM, END_PATIENCE):
        cache_process.end(new, signal.SIGKILL, END_PATIENCE)
    new.reap()


def facts_of(settings: CacheSettings, files: CacheFiles, timeout: float) -> dict[str, Any]:
    """What the new process says of its taking over: version, pause_seconds and keys, as far as it answers."""
    link = link_to(settings, files, timeout)
    try:
        server, persistence = link.information(), link.information("persistence")
        return {
            "version": server.get("predis_version"),
            "pause_seconds": int(persistence["upgrade_pause_usec"]) / 1e6,
            "keys": int(persistence["warm_restart_keys"]),
        }
    except (RespError, KeyError, ValueError) as error:
        log.warning("the new cache process does not tell of its taking over: %s", error)
        return {}
    finally:
        link.close()


def why(files: CacheFiles, new: CacheProcess, status: int | None) -> str:
    """What a new process that has ended said last."""
    words = cache_process.last_words(files.log, new.log_start, 20)
    own = [line for line in words if line.startswith("core_cache: ")] or words[-1:]
    what = f"the new cache process {new.pid} {cache_process.describe_exit(status)}"
    return f"{what}: {own[-1].removeprefix('core_cache: ')}" if own else what
