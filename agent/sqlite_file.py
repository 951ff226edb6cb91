"""How the agent opens its SQLite files, made private before anything is in them, and closes and replaces them."""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from pathlib import Path


def connect(path: Path) -> sqlite3.Connection:
    """A connection for any thread, without transactions of its own, to a file that only its owner may read; it is made
    if need be. Raises sqlite3.Error."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise sqlite3.OperationalError(f"cannot be opened: {error.strerror or error}") from None
    return sqlite3.connect(path, timeout=2.0, isolation_level=None, check_same_thread=False)


class WrongFile(sqlite3.DatabaseError):
    """The file was written by another agent than this one."""


def is_broken(error: sqlite3.Error) -> bool:
    """Whether the file is of no use any more."""
    code = getattr(error, "sqlite_errorcode", None)
    return isinstance(error, WrongFile) or (
        code is not None and code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
    )


class SqliteFile:
    """One file, open or not: whoever derives from it opens it into `_connection`. One thread at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection: sqlite3.Connection | None = None

    @property
    def is_open(self) -> bool:
        """Whether there is a file to write to."""
        return self._connection is not None

    def close(self) -> None:
        """Close the file."""
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def move_aside(self) -> Path:
        """Put a file that cannot be used out of the way, for people to look at; gives where it is. Raises OSError."""
        self.close()
        aside = self.path.with_name(self.path.name + ".broken")
        os.replace(self.path, aside)
        for suffix in ("-wal", "-shm"):
            with suppress(OSError):
                os.unlink(f"{self.path}{suffix}")
        return aside

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            raise sqlite3.OperationalError("it is not open")
        return self._connection
