"""One file of a spool: written at its end, read from its beginning, deleted when all of it is done."""

from __future__ import annotations

import errno
import os
import zlib
from pathlib import Path

from agent.export.frames import HEAD, FrameKind, Reader, Writer, read_head, scan
from agent.export.model import Batch

_DATA = (FrameKind.points, FrameKind.events)


class Segment:
    """`left` counts the points that are not done; `size` the bytes that are whole; `newest` and `oldest` are Unix times
    of points in it."""

    def __init__(self, path: Path, number: int) -> None:
        self.path, self.number = path, number
        self.size = self.left = 0
        self.newest, self.oldest = 0.0, float("inf")
        self._writer: Writer | None = None
        self._descriptor: int | None = None

    def create(self) -> None:
        """Begins a file that did not exist. Raises OSError."""
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._writer = Writer()

    @property
    def writable(self) -> bool:
        """Whether more can be appended."""
        return self._descriptor is not None

    def frames(self, batch: Batch) -> bytes:
        """What `append` would write; either that or `forget` comes next."""
        assert self._writer is not None, "it is writable"
        return self._writer.frames(batch)

    def forget(self) -> None:
        """The frames made last are not written."""
        if self._writer is not None:
            self._writer.forget()

    def append(self, frames: bytes, batch: Batch) -> None:
        """Writes a batch's frames at the end. Raises OSError, and is then not writable any more."""
        assert self._writer is not None, "it is writable"
        assert self._descriptor is not None
        try:
            written = os.write(self._descriptor, frames)
            if written < len(frames):  # the disk is full, or a limit is reached: the next call says which
                written += os.write(self._descriptor, frames[written:])
            if written < len(frames):
                raise OSError(errno.ENOSPC, "the disk took a part of a frame only")
        except OSError:
            self.seal()  # behind `size` there may be a part of a frame: nothing may follow it
            raise
        self._writer.keep()
        self.size += len(frames)
        self.left += len(batch)
        self.newest, self.oldest = max(self.newest, batch.time), min(self.oldest, batch.time)

    def seal(self) -> None:
        """Ends writing, and cuts off what is not whole."""
        if self._descriptor is not None:
            descriptor, self._descriptor, self._writer = self._descriptor, None, None
            try:
                os.ftruncate(descriptor, self.size)
                os.fdatasync(descriptor)
            except OSError:
                pass  # a reader stops at `size`, and one after a restart at the first frame that is not whole
            finally:
                os.close(descriptor)

    def look_through(self, begin: int, done: int) -> list[str]:
        """Counts what an earlier run left from `begin` on, where `done` points of the first frame are done.

        Says what cannot be read, if anything, in sentences. Raises OSError.
        """
        data = self.path.read_bytes()
        self.size = len(data)
        said = []
        for found in scan(data):
            if isinstance(found, tuple):
                if found[1] == len(data):
                    self.size = found[0]  # torn off: it was being written when the agent ended
                else:
                    said.append(f"{self.path}: {found[1] - found[0]} bytes from byte {found[0]} on cannot be read")
            elif found.kind in _DATA and found.begin >= begin:
                self.left += found.points - (done if found.begin == begin else 0)
                self.newest, self.oldest = max(self.newest, found.time), min(self.oldest, found.time)
        return said

    def remove(self) -> None:
        """Deletes the file."""
        self.seal()
        self.path.unlink(missing_ok=True)


class SegmentReader:
    """Reads a segment frame by frame, also while it grows. `frame` is where the batch read last begins."""

    def __init__(self, segment: Segment, reader: Reader) -> None:
        self.segment = segment
        self.frame = self.next = 0
        self.batch: Batch | None = None
        self._reader = reader
        self._descriptor: int | None = None

    def skip_to(self, offset: int) -> None:
        """Leaves out points before `offset`, but learns their names."""
        while self.next < min(offset, self.segment.size):
            self._step(skip=self.next < offset)

    def read(self) -> Batch | None:
        """The next batch, which stays `batch`; None at the end. Raises ValueError for a frame that cannot be read,
        and is left out; OSError."""
        self.batch = None
        while self.next < self.segment.size and self.batch is None:
            self._step()
        return self.batch

    def close(self) -> None:
        """Closes the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _step(self, skip: bool = False) -> None:
        if self._descriptor is None:
            self._descriptor = os.open(self.segment.path, os.O_RDONLY | os.O_CLOEXEC)
        begin = self.next
        head = read_head(os.pread(self._descriptor, HEAD.size, begin), 0, begin)
        whole = head is not None and head.end <= self.segment.size
        payload = os.pread(self._descriptor, head.size, begin + HEAD.size) if head is not None and whole else b""
        if head is None or not whole or zlib.crc32(payload) != head.checksum:
            rest = os.pread(self._descriptor, self.segment.size - begin, begin)
            bad = next(iter(scan(rest)), None)
            self.next = begin + bad[1] if isinstance(bad, tuple) else self.segment.size
            raise ValueError(f"{self.segment.path}: {self.next - begin} bytes from byte {begin} on cannot be read")
        self.frame, self.next = begin, head.end
        if head.kind not in _DATA:
            self._reader.learn(head.kind, payload)
        elif not skip:
            self.batch = self._reader.batch(head, payload)
