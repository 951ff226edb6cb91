"""Who may read the arena directly: its owner, and the members of one group if the configuration names one."""

from __future__ import annotations

import grp
import os
from pathlib import Path

from core_cache._native import ArenaError


def open_to_group(data_dir: Path, name: str) -> int:
    """The group's number, -1 where no name is given; lets its members through data_dir, where they find the arena.

    They may pass through the directory, not list it, and its other files stay as closed as they are. Raises ArenaError.
    """
    if not name:
        return -1
    try:
        number = grp.getgrnam(name).gr_gid
    except KeyError:
        raise ArenaError(f"there is no group {name}: create it, or set another --readers-group") from None
    try:
        os.chown(data_dir, -1, number)
        os.chmod(data_dir, data_dir.stat().st_mode & 0o7707 | 0o010)
    except OSError as error:
        raise ArenaError(
            f"the data directory {data_dir} cannot be opened to the group {name} ({(error.strerror or '').lower()}): "
            "the cache's user must be a member of it, or set another --readers-group"
        ) from None
    return number
