"""How far a spool has been delivered, in a file that is written over in place, before and after each request."""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

_FORM = struct.Struct("<4sQQII")
_MAGIC = b"PXC1"


@dataclass(frozen=True, slots=True)
class Position:
    """In segment `segment`, the frame at `offset`, of which `done` points are done and `sending` more under way."""

    segment: int
    offset: int
    done: int = 0
    sending: int = 0


class Cursor:
    """The file; a write is one call of the system, so that SIGKILL leaves the old position or the new one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def read(self) -> Position | None:
        """What was written last; None for nothing that can be used."""
        try:
            data = self._path.read_bytes()
            magic, *numbers = _FORM.unpack_from(data)
            (checksum,) = struct.unpack_from("<I", data, _FORM.size)
        except (OSError, struct.error):
            return None
        if magic != _MAGIC or checksum != zlib.crc32(data[: _FORM.size]):
            return None
        return Position(*numbers)

    def write(self, position: Position) -> None:
        """Raises OSError."""
        data = _FORM.pack(_MAGIC, position.segment, position.offset, position.done, position.sending)
        if self._descriptor is None:
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.pwrite(self._descriptor, data + struct.pack("<I", zlib.crc32(data)), 0)

    def close(self) -> None:
        """Closes the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
