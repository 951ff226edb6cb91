"""Runs one plugin's work on a thread of its own: within a deadline, backing off after failures, never two at once.

Triggers come from the scheduler and never block. A run over its deadline cannot be stopped, since Python threads
cannot; it is counted and named once, and no second run starts until it has ended. With each failure the wait doubles;
after ``QUARANTINE_AFTER`` in a row the plugin is in quarantine, which is a longer wait and a louder word in ``status``.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from agent.plugin.guard import describe, origin

QUARANTINE_AFTER = 5
QUARANTINE_WAIT = 60.0  # seconds at least, before a quarantined plugin is tried again
LONGEST_WAIT = 900.0

log = logging.getLogger("predis.plugins")

OnRun = Callable[[str, float, str], None]
"""Called after each run with the plugin's name, seconds, and "ok", "exception" or "overdue"."""

OnChange = Callable[[str, str, str], None]
"""Called with the plugin's name, "quarantined" or "recovered" (from a quarantine), and what is wrong or was."""


class PluginRunner:
    """Runs ``work`` whenever triggered.

    ``work`` gets what was given to the trigger and returns how many series it accepted, or None. ``interval`` (seconds)
    is the unit of the waits after failures. With ``keep_newest`` a trigger during a run is not dropped: the argument of
    the last such trigger is worked on next (exporters: newest snapshot wins).
    """

    def __init__(
        self,
        name: str,
        work: Callable[[Any], int | None],
        *,
        deadline: float,
        interval: float = 10.0,
        keep_newest: bool = False,
        on_run: OnRun | None = None,
        on_change: OnChange | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._work = work
        self._deadline = deadline
        self._interval = interval
        self._keep_newest = keep_newest
        self._on_run = on_run or (lambda name, seconds, outcome: None)
        self._on_change = on_change or (lambda name, change, what: None)
        self._clock = clock
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._due = False
        self._argument: Any = None
        self._began: float | None = None  # clock at the start of the run in progress
        self._named_overdue = False  # the run in progress has been counted as overdue
        self._retry_at = 0.0
        self._in_a_row = 0
        self._runs = self._failures = self._overdue = self._skipped = 0
        self._series: int | None = None
        self._duration: float | None = None
        self._succeeded: tuple[float, float] | None = None  # (Unix time, clock)
        self._error: str | None = None
        self._error_time: float | None = None
        self._outcomes: list[tuple[float, str]] = []  # not yet told to on_run
        self._news: list[tuple[str, str]] = []  # not yet told to on_change

    def trigger(self, argument: Any = None) -> bool:
        """Ask for a run. Never blocks on plugin code. False if none will start for it: busy, backing off or stopped."""
        with self._changed:
            asked = self._ask(argument)
        self._report()
        return asked

    def _ask(self, argument: Any) -> bool:
        if self._stopping:
            return False
        self._name_overdue()
        busy = self._began is not None or self._due
        if self._clock() < self._retry_at or (busy and not self._keep_newest):
            self._skipped += 1
            return False
        if self._thread is None:
            thread = threading.Thread(target=self._loop, name=f"plugin {self.name}", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # the machine has no thread left for us
                self._fail(describe(error))
                return False
            self._thread = thread
        self._skipped += self._due  # the older argument is never worked on
        self._argument, self._due = argument, True
        self._changed.notify_all()
        return True

    def stop(self, timeout: float) -> bool:
        """Let a run in progress end, for ``timeout`` seconds at most. False if it still goes on."""
        with self._changed:
            self._stopping, self._due, self._argument = True, False, None
            self._changed.notify_all()
            thread = self._thread
        if thread is None or thread is threading.current_thread():
            return True
        thread.join(timeout)
        return not thread.is_alive()

    @property
    def state(self) -> str:
        """One of "idle", "running", "hung", "backing off", "quarantined" and "stopped"."""
        with self._changed:
            return self._state()

    def status(self) -> dict[str, Any]:
        """Counts and times for people and machines; times are Unix seconds, durations seconds."""
        with self._changed:
            self._name_overdue()
            told = self._told()
        self._report()
        return told

    def _told(self) -> dict[str, Any]:
        now = self._clock()
        state = self._state()
        succeeded = self._succeeded
        return {
            "state": state,
            "runs": self._runs,
            "failures": self._failures,
            "failures_in_a_row": self._in_a_row,
            "overdue": self._overdue,
            "skipped": self._skipped,
            "duration": self._duration,
            "running_for": now - self._began if self._began is not None else None,
            "series": self._series,
            "last_success": succeeded[0] if succeeded else None,
            "last_success_seconds_ago": now - succeeded[1] if succeeded else None,
            "last_error": self._error,
            "last_error_time": self._error_time,
            "retry_in": max(0.0, self._retry_at - now) if state in ("backing off", "quarantined") else None,
        }

    def _state(self) -> str:
        if self._began is not None:
            return "hung" if self._named_overdue or self._clock() - self._began > self._deadline else "running"
        if self._stopping:
            return "stopped"
        if self._in_a_row >= QUARANTINE_AFTER:
            return "quarantined"
        return "backing off" if self._clock() < self._retry_at else "idle"

    def _loop(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._due or self._stopping)
                if self._stopping:
                    return
                argument, self._argument, self._due = self._argument, None, False
                self._began, self._named_overdue = self._clock(), False
            self._run(argument)
            del argument  # a snapshot is big, and the next one may be long in coming

    def _run(self, argument: Any) -> None:
        try:
            series = self._work(argument)
        except BaseException as error:  # noqa: BLE001  # sys.exit() in a plugin ends neither thread nor agent
            file, line = origin(error)
            self._ended(None, describe(error) + (f" ({file}:{line})" if file else ""))
        else:
            self._ended(series, None)

    def _ended(self, series: int | None, error: str | None) -> None:
        with self._changed:
            began = self._began
            assert began is not None
            self._name_overdue()
            seconds = self._clock() - began
            self._began = None
            self._duration = seconds
            overdue = self._named_overdue
            if error is not None:
                self._fail(error)
            elif overdue:
                self._wait_longer()  # counted when it was noticed
            else:
                if self._in_a_row:
                    log.info("plugin %s works again, after %d failures in a row", self.name, self._in_a_row)
                    if self._in_a_row >= QUARANTINE_AFTER:
                        self._news.append(("recovered", self._error or ""))
                self._in_a_row, self._retry_at = 0, 0.0
            if error is None:
                self._series = series
                self._succeeded = (time.time(), self._clock())
            if not overdue:
                self._runs += 1
                self._outcomes.append((seconds, "ok" if error is None else "exception"))
        self._report()

    def _name_overdue(self) -> None:
        """Count a run that is over its deadline, once. The lock is held."""
        if self._began is None or self._named_overdue:
            return
        seconds = self._clock() - self._began
        if seconds <= self._deadline:
            return
        self._named_overdue = True
        self._runs += 1
        self._overdue += 1
        self._fail(f"a run takes longer than its deadline of {self._deadline:g} s", wait=False)
        self._outcomes.append((seconds, "overdue"))

    def _report(self) -> None:
        """Tell on_run what has ended, and on_change what is different now.

        Without the lock: they may trigger other runners, and those this one.
        """
        with self._changed:
            outcomes, self._outcomes = self._outcomes, []
            news, self._news = self._news, []
        calls = [partial(self._on_run, self.name, seconds, outcome) for seconds, outcome in outcomes]
        calls += [partial(self._on_change, self.name, change, what) for change, what in news]
        for call in calls:
            try:
                call()
            except Exception:  # this thread must live: it is the plugin's
                log.exception("counting a run of plugin %s failed", self.name)

    def _fail(self, what: str, wait: bool = True) -> None:
        if not (self._named_overdue and wait):  # an overdue run that then raises is one failure
            self._failures += 1
            self._in_a_row += 1
        self._error, self._error_time = what, time.time()
        if wait:
            self._wait_longer()
        if self._in_a_row == 1:
            log.warning("plugin %s: %s", self.name, what)
        elif self._in_a_row == QUARANTINE_AFTER:
            log.error("plugin %s is in quarantine after %d failures in a row: %s", self.name, self._in_a_row, what)
            self._news.append(("quarantined", what))

    def _wait_longer(self) -> None:
        # One failure alone does not skip a turn; then 1, 3, 7, … turns are skipped.
        wait = min(LONGEST_WAIT, self._interval * (2.0 ** min(self._in_a_row - 1, 20) - 1))
        if self._in_a_row >= QUARANTINE_AFTER:
            wait = max(wait, QUARANTINE_WAIT)
        self._retry_at = self._clock() + wait
