"""How the agent opens its SQLite files: made private before anything is in them."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path


def connect(path: Path) -> sqlite3.Connection:
    """A connection for any thread, without transactions of its own, to a file that only its owner may read; it is made
    if need be. Raises sqlite3.Error."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise sqlite3.OperationalError(f"cannot be opened: {error.strerror or error}") from None
    return sqlite3.connect(path, timeout=2.0, isolation_level=None, check_same_thread=False)
