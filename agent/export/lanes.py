"""The lanes of an exporter: each of the vendor's interfaces has its own queue, spool and waits after failures.

So one that fails holds none of the others up. What they may take of the memory and of the disk, they share.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote

from agent.export.account import Account
from agent.export.config import ExportConfig
from agent.export.frames import Find
from agent.export.model import Batch
from agent.export.retry import Retry
from agent.export.spool import Spool
from agent.export.waiting import Waiting, Work

_PREFIX = "lane-"  # of the folders of their spools


@dataclass(eq=False)
class Lane:
    """One interface of the vendor. `told` is what the log has said of it since it delivered last."""

    name: str
    retry: Retry
    spool: Spool
    waiting: Waiting
    told: set[str] = field(default_factory=set)

    @property
    def idle(self) -> bool:
        """Whether nothing waits to be sent."""
        return not (self.waiting.in_memory or self.spool)


class Lanes:
    """The lanes by name, made when they are first asked for. Not thread-safe: the pipe holds its lock.

    `folder` gets a spool for each of them; `retry` makes what says when to try again. `leaving` and `note` are as
    Waiting has them, `note` with the lane before it.
    """

    def __init__(
        self,
        folder: Path,
        account: Account,
        find: Find,
        config: ExportConfig,
        *,
        retry: Callable[[], Retry],
        leaving: Callable[[Batch, int], None],
        note: Callable[[Lane, str], None],
        clock: Callable[[], float],
        log: logging.Logger,
    ) -> None:
        self._folder, self._account, self._find, self._config = folder, account, find, config
        self._retry, self._leaving, self._note, self._clock, self._log = retry, leaving, note, clock, log
        self._lanes: dict[str, Lane] = {}
        self._turns: deque[Lane] = deque()

    def __iter__(self) -> Iterator[Lane]:
        return iter(list(self._lanes.values()))

    def __getitem__(self, name: str) -> Lane:
        lane = self._lanes.get(name)
        if lane is None:
            lane = self._lanes[name] = self._make(name)
            self._turns.append(lane)
            lane.spool.open()
        return lane

    def open(self) -> None:
        """Finds the spools that an earlier run left."""
        try:
            names = sorted(unquote(path.name[len(_PREFIX) :]) for path in self._folder.glob(f"{_PREFIX}*"))
        except OSError:  # there is none; what is wrong with the disk is said when it is written to
            names = []
        for name in names:
            self[name]

    def spill(self) -> None:
        """Moves all that waits in memory to the disk."""
        for lane in self:
            lane.waiting.spill()

    def close(self) -> None:
        """Ends writing."""
        for lane in self:
            lane.spool.close()

    def next(self) -> Work | None:
        """The oldest of the next lane that has something to send and need not wait; they take turns."""
        for _ in range(len(self._turns)):
            lane = self._turns[0]
            self._turns.rotate(-1)
            if not lane.idle and lane.retry.wait == 0 and (work := lane.waiting.next()) is not None:
                return work
        return None

    # --- of all together; single values, to be read without the lock

    @property
    def wait(self) -> float | None:
        """Seconds until the first of those that wait for the vendor tries again; None when none does."""
        return min((lane.retry.wait for lane in self if not lane.idle), default=None)

    @property
    def in_memory(self) -> bool:
        """Whether anything waits in memory."""
        return any(lane.waiting.in_memory for lane in self)

    @property
    def idle(self) -> bool:
        """Whether nothing waits at all."""
        return all(lane.idle for lane in self)

    @property
    def oldest(self) -> float | None:
        """Unix time of the oldest that waits in memory."""
        return min((time for lane in self if (time := lane.waiting.oldest) is not None), default=None)

    @property
    def retry(self) -> Retry:
        """Of the lane with most failures in a row."""
        worst = max((lane.retry for lane in self), key=lambda retry: retry.failures, default=None)
        return worst or self._retry()

    @property
    def failing(self) -> list[str]:
        """The lanes whose last request failed."""
        return sorted(lane.name for lane in self if lane.retry.failures)

    @property
    def size(self) -> int:
        """Bytes of all spools."""
        return sum(lane.spool.size for lane in self)

    @property
    def age(self) -> float | None:
        """Seconds since the oldest spooled point; None when there is none."""
        return max((age for lane in self if (age := lane.spool.age) is not None), default=None)

    @property
    def corrupt(self) -> int:
        """Parts of the spools that could not be read."""
        return sum(lane.spool.corrupt for lane in self)

    def _make(self, name: str) -> Lane:
        retry = self._retry()
        spool = Spool(
            self._folder / f"{_PREFIX}{quote(name, safe='')}",
            self._account,
            self._find,
            most_bytes=self._config.spool,
            oldest=self._config.spool_age or float("inf"),
            others=lambda: [lane.spool for lane in self if lane.name != name],
            clock=self._clock,
            log=self._log,
        )
        waiting = Waiting(
            self._account,
            spool,
            self._config.queue,
            lambda: retry.failures > 0,
            others=lambda: sum(lane.waiting.queued for lane in self if lane.name != name),
            leaving=self._leaving,
            note=lambda what: self._note(self._lanes[name], what),
        )
        return Lane(name, retry, spool, waiting)
