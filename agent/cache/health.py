"""Whether the cache process is alive, by two signs: it answers over its socket, and its heartbeat goes on.

The heartbeat lies in shared memory, so it tells a cache that hangs from one that the agent cannot reach: all clients
taken, the socket's file removed. The latter is trouble, but no reason to end a process that serves its clients.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from agent.cache.link import CacheLink, RespError, ServerError, link_to
from agent.cache.settings import CacheFiles, CacheSettings


class CacheHealth:
    """Looks at one cache process after the other. `look` is for the supervisor's thread, the rest for any.

    heartbeat: gives a number that grows while the cache's own loop runs, or None. timeout: seconds for one answer.
    """

    def __init__(
        self, settings: CacheSettings, files: CacheFiles, heartbeat: Callable[[], float | None], timeout: float
    ) -> None:
        self._files, self._heartbeat, self._timeout = files, heartbeat, timeout
        self._link: CacheLink = link_to(settings, files, timeout)
        self._answered: float | None = None
        self._sign = time.monotonic()
        self._beat: float | None = None
        self.error: str | None = None  # why the last look brought no answer
        self.version: str | None = None
        self.ping_seconds: float | None = None

    @property
    def unix_socket(self) -> str:
        """Where it looks."""
        return self._link.unix_socket

    @property
    def answered_ago(self) -> float | None:
        """Seconds since the last answer; None when there was none."""
        return None if self._answered is None else time.monotonic() - self._answered

    @property
    def silent_for(self) -> float:
        """Seconds since the last sign of life, answer or heartbeat."""
        return time.monotonic() - self._sign

    def answered_within(self, seconds: float) -> bool:
        """Whether it answered in the last so many seconds."""
        ago = self.answered_ago
        return ago is not None and ago <= seconds

    def look(self, pid: int, *, identify: bool = False) -> bool:
        """Whether it answers now. With `identify`, only an answer of the process of this pid counts."""
        beat = self._heartbeat()
        if beat is not None and beat != self._beat:
            self._beat, self._sign = beat, time.monotonic()
        try:
            if identify:
                information = self._link.information()
                if information.get("process_id") != str(pid):
                    self.error = f"{self.unix_socket} is served by another process than {pid}"
                    return False
                self.version = information.get("predis_version")
            self.ping_seconds = self._link.ping()
        except ServerError as error:  # an answer, though not the one we want: too many clients, another password
            self.error = f"the cache refuses the agent's connection: {error}"
            self._sign = time.monotonic()
            return False
        except RespError as error:
            self.error = f"the cache process {pid} does not answer: {error}"
            return False
        self._answered = self._sign = time.monotonic()
        self.error = None
        return True

    def use(self, settings: CacheSettings) -> None:
        """Looks where these settings say from now on."""
        self._link.close()
        self._link = link_to(settings, self._files, self._timeout)

    def forget(self) -> None:
        """The process is gone: what was seen of it counts no more."""
        self._link.close()
        self._answered = self._beat = self.ping_seconds = None
        self._sign = time.monotonic()

    def close(self) -> None:
        """Closes the connection; the next look opens another."""
        self._link.close()
