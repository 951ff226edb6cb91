"""Where points wait, and in which order: what had to be put back (`front`), the spool, the queue in memory.

While the vendor takes what comes, points wait in memory. When they are too many, or the vendor does not answer, all
that waits goes to the spool, and so does what comes after it, until the spool is empty again. When the disk takes
nothing, the memory holds what it may, and then the oldest are dropped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from agent.export.account import Account, Place
from agent.export.batch import cut
from agent.export.model import Batch, Event
from agent.export.spool import Spool, SpoolError

EVENTS_TOGETHER = 100


@dataclass(slots=True)
class Work:
    """A batch that is being sent: where its points count as waiting, how many are done, and how many under way."""

    batch: Batch
    place: Place
    done: int = 0
    sending: int = 0

    @property
    def left(self) -> int:
        """Points that are not done."""
        return len(self.batch) - self.done


class Waiting:
    """Not thread-safe: the pipe holds its lock. `most` points wait in memory, with the `others` that share it.

    `failing` says whether the vendor does not answer at the moment. `leaving` is told of a batch that is about to be
    spooled, and of how many points; a negative number when the disk did not take them. `note` is told what goes wrong.
    """

    def __init__(
        self,
        account: Account,
        spool: Spool,
        most: int,
        failing: Callable[[], bool],
        *,
        others: Callable[[], int] = lambda: 0,
        leaving: Callable[[Batch, int], None],
        note: Callable[[str], None],
    ) -> None:
        self._account, self._spool, self._most = account, spool, most
        self._failing, self._others, self._leaving, self._note = failing, others, leaving, note
        self._queue: deque[Batch] = deque()
        self.queued = 0  # points in it; may be read without the lock
        self._front: Batch | None = None

    @property
    def in_memory(self) -> bool:
        """Whether anything waits in memory."""
        return bool(self._queue) or self._front is not None

    @property
    def oldest(self) -> float | None:
        """Unix time of the oldest that waits in memory. May be read without the lock."""
        front = self._front
        if front is not None:
            return front.time
        try:
            return self._queue[0].time
        except IndexError:
            return None

    def add(self, batch: Batch) -> None:
        """New points wait behind all others."""
        self._account.produce(len(batch))
        self._queue.append(batch)
        self.queued += len(batch)
        if self.queued + self._others() > self._most or self._spool or self._failing():
            self.spill()

    def add_event(self, lane: str, event: Event) -> None:
        """An event waits behind all others, in a batch with events just before it."""
        last = self._queue[-1] if self._queue else None
        if last is None or not last.events or last.lane != lane or len(last) >= EVENTS_TOGETHER:
            self.add(Batch(lane, event.time, events=(event,)))
            return
        self._queue[-1] = Batch(lane, last.time, events=(*last.events, event))
        self.queued += 1
        self._account.produce(1)

    def next(self) -> Work | None:
        """What is oldest; it waits no longer."""
        if self._front is not None:
            batch, self._front = self._front, None
            return Work(batch, "queued")
        spooled = self._spool.peek()
        if spooled is not None:
            return Work(spooled[0], "spooled", spooled[1])
        return Work(self._unqueue(), "queued") if self._queue else None

    def put_back(self, work: Work | None) -> None:
        """What could not be delivered waits again, before all else, and everything goes to the disk."""
        if work is not None and work.place == "spooled":
            self._spool.release()
        elif work is not None and work.left:
            self._front = cut(work.batch, work.done, len(work.batch))
        if self._front is not None and not self._spool:  # then nothing is between it and the queue
            self._queue.appendleft(self._front)
            self.queued += len(self._front)
            self._front = None
        if self._front is not None:
            # It was taken when the spool was empty, so that nothing of the spool can have been delivered before it.
            front, points = self._front, len(self._front)
            self._leaving(front, points)
            try:
                self._spool.prepend([front])
                self._account.move(points, "queued", "spooled")
                self._front = None
            except SpoolError as error:
                self._leaving(front, -points)
                self._note(f"points cannot be spooled: {error}")
        self.spill()

    def spill(self) -> None:
        """Moves what waits in memory to the spool, in order, as far as the disk takes it."""
        reason = "queue_full"
        while self._queue:
            batch = self._queue[0]
            self._leaving(batch, len(batch))
            try:
                self._spool.append(batch)
            except SpoolError as error:
                self._leaving(batch, -len(batch))
                self._note(f"points cannot be spooled: {error}")
                reason = error.reason
                if reason != "spool_full":
                    break
                self._account.drop(len(self._unqueue()), "queued", reason)  # that one will never fit
                continue
            self._account.move(len(self._unqueue()), "queued", "spooled")
        while self._queue and self.queued + self._others() > self._most:
            self._account.drop(len(self._unqueue()), "queued", reason)

    def give_up(self, reason: str) -> None:
        """Drops what waits in memory."""
        if self._front is not None:
            self._account.drop(len(self._front), "queued", reason)
            self._front = None
        while self._queue:
            self._account.drop(len(self._unqueue()), "queued", reason)

    def _unqueue(self) -> Batch:
        batch = self._queue.popleft()
        self.queued -= len(batch)
        return batch
