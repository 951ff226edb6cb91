"""The points that cannot be delivered now, on the disk: appended at one end, delivered from the other, in order.

What `append` has taken survives the end of the process, SIGKILL too: it has been handed to the kernel. A power cut may
cost what the kernel had not written yet; a segment that is full, and all at a stop, is waited for until it is.

The folder holds segments of a part of the cap each, and a cursor. Whole segments are dropped, oldest first, when the
cap on bytes is reached or all in one is too old. What cannot be read is left out, counted and named.
"""

from __future__ import annotations

import errno
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from agent.export.account import Account
from agent.export.cursor import Cursor, Position
from agent.export.frames import Find, Reader
from agent.export.model import Batch
from agent.export.segment import Segment, SegmentReader

LARGEST_SEGMENT = 4 << 20
PARTS = 8  # of the cap, at least, are segments of their own: what is dropped at once
_FIRST = 1_000_000_000  # the number of a first segment; lower ones are for what is put before it
_LOST = (errno.ENOENT, errno.EIO)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def make_private(folder: Path) -> None:
    """Makes a folder, and those around it that are missing, for nobody else. Raises OSError."""
    if not folder.parent.exists():
        make_private(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)


class SpoolError(Exception):
    """The disk did not take what was to be spooled; `reason` is one word for the books."""

    def __init__(self, reason: str, what: str) -> None:
        super().__init__(what)
        self.reason = reason


class Spool:
    """Not thread-safe: the pipe holds its lock. Moves its points in `account` when it drops some by itself.

    `most_bytes` caps the segments together, with those of the `others` that share the disk; `oldest` is in seconds.
    `find` gives the object that a series has already.
    """

    def __init__(
        self,
        folder: Path,
        account: Account,
        find: Find,
        *,
        most_bytes: int,
        oldest: float,
        others: Callable[[], Sequence[Spool]] = tuple,
        clock: Callable[[], float] = time.time,
        log: logging.Logger | None = None,
    ) -> None:
        self.folder = folder
        self.corrupt = 0  # frames or stretches that could not be read
        self._account, self._find, self._clock = account, find, clock
        self._most, self._oldest, self._others = most_bytes, oldest, others
        self._segment_size = min(LARGEST_SEGMENT, max(4096, most_bytes // PARTS))
        self._log = log or logging.getLogger(__name__)
        self._segments: deque[Segment] = deque()
        self._reader: SegmentReader | None = None
        self._cursor = Cursor(folder / "cursor")
        self._done = self._start = 0  # points of the head batch; where in the segment reading begins
        self._held = False
        self._next = _FIRST
        self._from: Position | None = None  # where an earlier run ended

    # --- for status: single values, to be read without the lock

    @property
    def size(self) -> int:
        """Bytes of all segments."""
        return sum(segment.size for segment in list(self._segments))

    @property
    def age(self) -> float | None:
        """Seconds since the oldest point in it; None when it is empty."""
        oldest = min((segment.oldest for segment in list(self._segments)), default=float("inf"))
        return max(0.0, self._clock() - oldest) if oldest < float("inf") else None

    def __bool__(self) -> bool:
        return bool(self._segments)

    # --- the life of it

    def open(self) -> None:
        """Finds what an earlier run left, and counts it. What the folder does not allow is logged, and tried later."""
        try:
            make_private(self.folder)
            paths = sorted(self.folder.glob("*.segment"))
        except OSError as error:
            self._log.warning("the spool %s cannot be used: %s", self.folder, error.strerror or error)
            return
        position = self._cursor.read()
        if position is not None:
            self._next = max(self._next, position.segment + 1)  # a number is never used again: the cursor names it
        for path in paths:
            if not path.stem.isdigit():
                continue
            self._next = max(self._next, int(path.stem) + 1)
            segment = Segment(path, int(path.stem))
            here = position if position is not None and position.segment == segment.number else None
            try:
                said = segment.look_through(here.offset if here else 0, here.done if here else 0)
                if segment.left <= 0:
                    segment.remove()
            except OSError as error:  # it stays where it is, for the next start
                self._say(f"{path}: {error.strerror or error}")
                continue
            for what in said:
                self._say(what)
            if segment.left <= 0:
                continue
            self._account.produce(segment.left, "spooled")
            self._segments.append(segment)
            if here is not None:
                self._from = here
                self._account.duplicate(here.sending)

    def close(self) -> None:
        """Ends writing; what is there stays for the next run."""
        self._close_reader()
        for segment in self._segments:
            segment.seal()
        self._cursor.close()

    # --- writing

    def append(self, batch: Batch) -> None:
        """Keeps a batch behind all others. Raises SpoolError."""
        try:
            segment = self._segments[-1] if self._segments else None
            if segment is None or not segment.writable or segment.size >= self._segment_size:
                if segment is not None:
                    segment.seal()
                segment = self._create(self._next)
                self._next += 1
                self._segments.append(segment)
            self._write(segment, batch)
        except OSError as error:
            raise _refused(error, self.folder) from None
        finally:
            if self._segments and not self._segments[-1].size:
                self._segments.pop().remove()

    def prepend(self, batches: Iterable[Batch]) -> None:
        """Keeps batches before all others: all of them, or none and it raises SpoolError.

        None of the others may have been delivered in part.
        """
        if not self._segments:
            number, self._next = self._next, self._next + 1
        else:
            number = self._segments[0].number - 1
        segment = None
        try:
            segment = self._create(number)
            self._cursor.write(Position(number, 0))  # it may name a segment of this number that is no more
            for batch in batches:
                self._write(segment, batch)
        except (OSError, SpoolError) as error:
            if segment is not None:
                segment.remove()
            raise error if isinstance(error, SpoolError) else _refused(error, self.folder) from None
        segment.seal()
        self._close_reader()
        self._segments.appendleft(segment)

    def _create(self, number: int) -> Segment:
        segment = Segment(self.folder / f"{number:012d}.segment", number)
        try:
            segment.create()
        except FileNotFoundError:
            make_private(self.folder)
            segment.create()
        return segment

    def _write(self, segment: Segment, batch: Batch) -> None:
        frames = segment.frames(batch)
        self._make_room(len(frames))
        if self._together + len(frames) > self._most:
            segment.forget()
            raise SpoolError("spool_full", f"{len(batch)} points take {len(frames)} bytes, for which there is no room")
        segment.append(frames, batch)

    def _make_room(self, wanted: int) -> None:
        """Drops segments, oldest first, but neither the one that is being sent from nor the one being written."""
        too_old = self._clock() - self._oldest
        while len(self._segments) - 1 > (first := int(self._held)):
            segment = self._segments[first]
            if segment.newest < too_old:
                reason = "too_old"
            else:
                break
            self._drop(first, reason)
        while self._together + wanted > self._most:
            spools = [spool for spool in (self, *self._others()) if spool._droppable(spool is self)]
            if not spools:
                return
            oldest = min(spools, key=lambda spool: spool._segments[int(spool._held)].newest)
            oldest._drop(int(oldest._held), "spool_full")

    @property
    def _together(self) -> int:
        return self.size + sum(spool.size for spool in self._others())

    def _droppable(self, writing: bool) -> bool:
        """Whether there is a segment besides the one that is being sent from, and the one being written."""
        return len(self._segments) > int(self._held) + int(writing)

    def _drop(self, index: int, reason: str) -> None:
        """Gives up a segment."""
        segment = self._segments[index]
        if index == 0:
            self._close_reader()
        del self._segments[index]
        self._account.drop(segment.left, "spooled", reason)
        segment.remove()

    # --- reading

    def peek(self) -> tuple[Batch, int] | None:
        """The oldest batch, and how many of its points are done; None when there is none.

        It is not dropped before `release`, or before all of it is `done`.
        """
        while self._segments:
            try:
                batch = self._head(self._segments[0])
            except (ValueError, OSError) as error:
                if isinstance(error, OSError) and error.errno not in _LOST:
                    raise  # no file descriptors, no memory: later there may be some
                self._say(str(error))
                if isinstance(error, OSError):
                    self._drop(0, "spool_unreadable")
                continue
            if batch is not None:
                self._held = True
                self._segments[0].oldest = batch.time  # what was before it is done
                return batch, self._done
            self._drop(0, "spool_corrupt")  # what is left of it lay where nothing could be read
        return None

    def sending(self, points: int) -> None:
        """So many points of that batch are about to be sent: after SIGKILL, they may have been."""
        assert self._reader is not None
        self._mark(self._reader.frame, self._done, points)

    def done(self, points: int) -> None:
        """So many points of that batch are delivered, or given up: whoever calls it keeps the books."""
        reader = self._reader
        assert reader is not None
        assert reader.batch is not None
        self._done += points
        reader.segment.left -= points
        if self._done < len(reader.batch):
            self._mark(reader.frame, self._done)
            return
        reader.batch, self._done, self._held = None, 0, False
        if reader.next < reader.segment.size or reader.segment.left > 0:
            self._mark(reader.next, 0)
        else:
            self._drop(0, "spool_corrupt")  # of none: it is finished

    def release(self) -> None:
        """That batch is not being sent any more."""
        self._held = False

    def _head(self, segment: Segment) -> Batch | None:
        reader = self._reader
        if reader is None:
            reader = self._reader = SegmentReader(segment, Reader(self._find))
            start = self._from
            if start is not None and start.segment == segment.number:
                self._done, self._start, self._from = start.done, start.offset, None
        if reader.batch is not None:
            return reader.batch
        reader.skip_to(self._start)
        batch = reader.read()
        if reader.frame != self._start:
            self._done = 0
        return batch

    def _close_reader(self) -> None:
        if self._reader is not None:
            self._reader.close()
        self._reader, self._done, self._start, self._held = None, 0, 0, False

    def _mark(self, offset: int, done: int, sending: int = 0) -> None:
        assert self._reader is not None
        try:
            self._cursor.write(Position(self._reader.segment.number, offset, done, sending))
        except OSError as error:  # then a restart sends again what was delivered
            self._say(f"{self.folder / 'cursor'}: {error.strerror or error}")

    def _say(self, what: str) -> None:
        self.corrupt += 1
        self._log.warning("the spool: %s", what)


def _refused(error: OSError, folder: Path) -> SpoolError:
    reason = "disk_full" if error.errno in _FULL else "disk_error"
    return SpoolError(reason, f"{folder}: {error.strerror or error}")
