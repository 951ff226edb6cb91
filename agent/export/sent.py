"""How many points left the memory since the counters' baseline was kept, in a file that is written over in place.

After SIGKILL, the first increases are counted from that baseline, so they hold once more what was sent or spooled after
it: these points are counted as possible duplicates.
"""

from __future__ import annotations

import contextlib
import os
import struct
import zlib
from pathlib import Path

_FORM = struct.Struct("<4sQ")
_MAGIC = b"PXN1"


class Sent:
    """The number, on the disk and here. Not thread-safe. A disk that takes no more makes it too small."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None
        self.points = self._read()

    def add(self, points: int) -> None:
        """So many are about to be sent, or spooled."""
        self.points += points
        with contextlib.suppress(OSError):
            self._write()

    def forget(self, points: int) -> None:
        """A baseline was kept that holds so many of them."""
        if points:
            self.points -= points
            with contextlib.suppress(OSError):
                self._write()

    def close(self) -> None:
        """Closes the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _read(self) -> int:
        try:
            data = self._path.read_bytes()
            magic, points = _FORM.unpack_from(data)
            (checksum,) = struct.unpack_from("<I", data, _FORM.size)
        except (OSError, struct.error):
            return 0
        return int(points) if magic == _MAGIC and checksum == zlib.crc32(data[: _FORM.size]) else 0

    def _write(self) -> None:
        data = _FORM.pack(_MAGIC, self.points)
        if self._descriptor is None:
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.pwrite(self._descriptor, data + struct.pack("<I", zlib.crc32(data)), 0)
