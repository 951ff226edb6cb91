"""Reading the cache's values from another process on the same machine, at memory speed.

    import core_cache

    reader = core_cache.attach("/var/lib/predis")
    reader.get("user:17")                       # bytes or None
    reader.mget_into(keys, rows, found)         # straight into a numpy array

No request is sent and no lock is taken: a read looks into the arena that the cache process writes, and is correct while
that process overwrites, deletes, evicts, or is restarted. Who may read is who may read the arena file.
"""

from __future__ import annotations

import os
from pathlib import Path

from core_cache._native import Reader

ARENA_LINK = "cache.arena"


def attach(data_dir: str | os.PathLike[str]) -> Reader:
    """A reader of the cache that works on data_dir. Raises ArenaError where there is none, or it may not be read."""
    return Reader(Path(data_dir) / ARENA_LINK)
