"""Whether a path leads, now and later, to what root or the agent's user has put there (as sshd's StrictModes asks)."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from agent.api import PredisError

_MOST_LINKS = 40  # as Linux follows


def check_program(program: Path) -> None:
    """Raises PredisError unless it is a program that the agent may run, and that nobody else can change or replace: not
    the file, no folder on the way to it, and no link on that way."""
    try:
        for place in _way(program):
            _check_place(program, place, place.lstat())
        status = program.stat()
    except OSError as error:
        raise PredisError(f"{program} cannot be run: {(error.strerror or str(error)).lower()}") from None
    if not stat.S_ISREG(status.st_mode) or not os.access(program, os.X_OK):
        raise PredisError(f"{program} is no program that the agent may run")


def _check_place(program: Path, place: Path, status: os.stat_result) -> None:
    mode = status.st_mode
    writable = mode & 0o022 and not stat.S_ISLNK(mode)
    if stat.S_ISDIR(mode) and mode & stat.S_ISVTX:
        writable = False  # as /tmp: others add to it, and cannot rename or remove what is not theirs
    if writable or status.st_uid not in (0, os.geteuid()):
        what = "it" if place == program else f"{place}, on the way to it,"
        raise PredisError(f"{program} is not run, since {what} can be changed by others: chmod go-w, and chown it")


def _way(path: Path) -> Iterator[Path]:
    """Everything that decides what a path leads to: each folder from the root on, each link and where that leads."""
    at, todo, links = Path("/"), list(path.parts[1:]), 0
    yield at
    while todo:
        part = todo.pop(0)
        if part == "..":
            at = at.parent
            continue
        place = at / part
        yield place
        if not place.is_symlink():
            at = place
            continue
        links += 1
        if links > _MOST_LINKS:
            raise OSError(40, "Too many levels of symbolic links")
        target = place.readlink()
        if target.is_absolute():
            at = Path("/")
        todo = [*target.parts[target.is_absolute() :], *todo]
