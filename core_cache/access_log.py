"""Reading the access log: a sample of the accesses to keys, out of the ring that the cache process writes.

    log = AccessLog("/var/lib/predis")
    events = log.read()          # a numpy structured array, oldest first; empty when nothing is new
    log.lost                     # events that were overwritten before they were read

All accesses to a sampled key are there, none to the others: distances between two uses of a key are true. Keys appear
as hashes, keyed with a secret of the cache, unless the log holds them in plain text (field `key`).
"""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core_cache.reader import ARENA_LINK

MAGIC = 0x31636341736964
OPERATIONS = ("read", "write", "delete", "other")
_HEADER = struct.Struct("<QIId")
_WRITTEN_AT, _HEADER_BYTES = 64, 4096
_FIELDS: list[tuple[str, Any]] = [
    ("key_hash", "<u8"),
    ("unix_ms", "<u8"),
    ("value_bytes", "<u4"),
    ("ttl_seconds", "<u4"),
    ("command", "<u2"),
    ("tenant", "<u2"),
    ("op", "u1"),
    ("found", "?"),
    ("key_bytes", "<u2"),
]
_EVENT = np.dtype(_FIELDS)


class AccessLogError(RuntimeError):
    """There is no access log, or it cannot be read; the message is a sentence for people."""


class AccessLog:
    """A place in the ring of the cache that works on data_dir. It begins with the oldest event that is still there.

    Raises AccessLogError.
    """

    def __init__(self, data_dir: str | os.PathLike[str]) -> None:
        arena = Path(data_dir) / ARENA_LINK
        try:
            path = Path(os.readlink(arena)).with_suffix(".accesses")
            with path.open("rb") as file:
                self._memory = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise AccessLogError(
                f"the cache of {data_dir} has no access log that can be read ({reason}): is it switched on?"
            ) from None
        magic, self.capacity, event_bytes, self.rate = _HEADER.unpack_from(self._memory)
        extra = event_bytes - _EVENT.itemsize
        whole = len(self._memory) == _HEADER_BYTES + self.capacity * event_bytes
        if magic != MAGIC or extra < 0 or not whole:
            raise AccessLogError(f"{path} is not an access log that this version reads")
        self.dtype = np.dtype([*_FIELDS, ("key", f"S{extra}")]) if extra else _EVENT
        self._events = np.frombuffer(self._memory, dtype=self.dtype, offset=_HEADER_BYTES)
        self.lost = 0
        self._next = max(0, self.written - self.capacity)

    @property
    def written(self) -> int:
        """Events since the ring was made."""
        return int(struct.unpack_from("<Q", self._memory, _WRITTEN_AT)[0])

    def read(self, most: int = 1 << 16) -> NDArray[Any]:
        """At most `most` of the events since the last call, oldest first."""
        written = self.written
        if written < self._next:  # another ring has taken this one's place
            self._next = 0
        start = max(self._next, written - self.capacity)
        stop = min(written, start + most)
        events: NDArray[Any] = self._events[np.arange(start, stop) % self.capacity]  # a copy
        # What the writer has come to meanwhile, or is at now, may be half one event and half another.
        overtaken = min(stop, max(start, self.written - self.capacity + 1))
        self.lost += overtaken - self._next
        self._next = stop
        return events[overtaken - start :]
