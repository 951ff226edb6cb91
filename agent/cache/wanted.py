"""What the cache is to run with, and who waits to hear whether it does."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future

from agent.cache.settings import CacheSettings
from agent.errors import EX_FAILURE, PredisError


class CacheRefused(PredisError):
    """The cache does not run with these settings; ``str()`` says why, where it can in the cache's own sentence."""

    def __init__(self, sentence: str, exit_status: int = EX_FAILURE) -> None:
        self.exit_status = exit_status
        super().__init__(sentence)


class WantedSettings:
    """`now` is what the cache is started with, `anew` whether that was asked for even where nothing is different.

    `request` and `newest` are for any thread, the rest for one alone.

    Every request is answered: with how it was done, or with CacheRefused. One that comes before the one before it was
    answered replaces that.
    """

    def __init__(self, settings: CacheSettings) -> None:
        self.now = settings
        self.anew = False
        self._proven = settings  # the last ones that the cache ran with; until it has run, the first ones
        self._lock = threading.Lock()
        self._next: tuple[CacheSettings, Future[str], bool] | None = None
        self._answering: Future[str] | None = None

    def request(
        self, change: CacheSettings | Callable[[CacheSettings], CacheSettings], *, anew: bool = False
    ) -> Future[str]:
        """Asks for other settings, or for those that `change` makes of the newest. The result says how they were put in
        force. With `anew` the cache is restarted in any case."""
        answer: Future[str] = Future()
        with self._lock:
            settings = change if isinstance(change, CacheSettings) else change(self._newest())
            if self._next is not None:
                self._next[1].cancel()
            self._next = (settings, answer, anew)
        return answer

    @property
    def newest(self) -> CacheSettings:
        """What was asked for last, or what was there before if that was refused."""
        with self._lock:
            return self._newest()

    def _newest(self) -> CacheSettings:
        return self.now if self._next is None else self._next[0]

    @property
    def requested(self) -> bool:
        """Whether a request waits to be taken."""
        return self._next is not None

    def take(self, *, same: bool = False) -> bool:
        """Makes what was requested what the cache is to run with; False when nothing was, or with `same` another."""
        with self._lock:
            if self._next is None or (same and self._next[0] != self.now):
                return False
            self._answer(CacheRefused("another change came before this one was done"))
            (self.now, self._answering, self.anew), self._next = self._next, None
            return True

    def proved(self, how: str) -> None:
        """The cache runs with them."""
        self._proven = self.now
        self._answer(how)

    def take_back(self, refusal: CacheRefused) -> bool:
        """The cache did not start. Whether that is for settings that were requested: then those before are back."""
        if self._answering is None:
            return False
        with self._lock:
            self.now = self._proven
        self._answer(refusal)
        return True

    def give_up(self, refusal: CacheRefused) -> None:
        """Nothing is done any more."""
        self.take()
        self._answer(refusal)

    def _answer(self, outcome: str | CacheRefused) -> None:
        answer, self._answering = self._answering, None
        if answer is None or not answer.set_running_or_notify_cancel():
            return
        if isinstance(outcome, CacheRefused):
            answer.set_exception(outcome)
        else:
            answer.set_result(outcome)
