"""The files of an audit log: the one that is written, and those before it.

`audit.jsonl` is written until it is full; then it is renamed to `audit-N.jsonl`, N being the number of its first
record, and begun anew. The chain of hashes goes on from file to file. Of the older files so many are kept; what the log
says, in a record of its own, before the oldest are removed, tells that from somebody's having taken them away.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

REMOVED = "audit_removed"
_BLOCK = 1 << 16  # bytes


@dataclass(frozen=True, slots=True)
class Limits:
    """file_size: bytes after which a file is full. files: how many full ones are kept."""

    file_size: int = 16 << 20
    files: int = 32


def name_of(path: Path, first: int) -> Path:
    """What a full file is renamed to, whose first record has this number."""
    return path.with_name(f"{path.stem}-{first:012d}{path.suffix}")


def full_ones(path: Path) -> list[Path]:
    """The full files of a log, oldest first."""
    shape = re.compile(rf"{re.escape(path.stem)}-\d{{12,}}{re.escape(path.suffix)}")
    found = [file for file in path.parent.glob(f"{path.stem}-*{path.suffix}") if shape.fullmatch(file.name)]
    return sorted(found, key=lambda file: int(file.stem.rpartition("-")[2]))


def all_of(path: Path) -> list[Path]:
    """All files of a log that are there, oldest first."""
    return [*full_ones(path), *([path] if path.exists() else [])]


def beginning_of(file: Path) -> tuple[int, str] | None:
    """The number of a file's first record, and the hash of the one before it; None when there is none to read."""
    try:
        with open(file, "rb") as opened:
            record = json.loads(opened.readline())
        return int(record["n"]), str(record["prev"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def lines_of(file: Path) -> Iterator[bytes]:
    """Its lines, with their ends. Raises OSError."""
    with open(file, "rb") as opened:
        yield from opened


def lines_since(path: Path, start: float) -> Iterator[bytes]:
    """The lines of a log from a time on (Unix seconds), by bisection, since logs are long; a few from before may be
    among them. A clock that was set back may hide what it wrote twice. Raises OSError."""
    files = all_of(path)
    while len(files) > 1 and _time_of_first(files[1]) <= start:
        files.pop(0)
    for number, file in enumerate(files):
        with open(file, "rb") as opened:
            if number == 0:
                _go_to(opened, start)
            yield from opened


def _go_to(opened: BinaryIO, start: float) -> None:
    """Put a file where a line begins that is not after a time, and less than _BLOCK bytes before those that are."""
    low, high = 0, opened.seek(0, os.SEEK_END)
    while high - low > _BLOCK:
        middle = (low + high) // 2
        opened.seek(middle)
        opened.readline()
        if _time_of(opened.readline()) <= start:
            low = middle
        else:
            high = middle
    opened.seek(low)
    if low:
        opened.readline()


def _time_of_first(file: Path) -> float:
    with open(file, "rb") as opened:
        return _time_of(opened.readline())


def _time_of(line: bytes) -> float:
    """When a line was written; of one that is no record: later than all, so that nothing before it is passed over."""
    try:
        return float(json.loads(line)["time"])
    except (ValueError, KeyError, TypeError):
        return float("inf")


def tail_of(handle: int) -> tuple[int, str, bytes]:
    """Where the last whole line ends, that line without its end, and the bytes after it."""
    size = os.fstat(handle).st_size
    length = 1 << 16
    while True:
        start = max(0, size - length)
        data = os.pread(handle, size - start, start)
        end = data.rfind(b"\n")
        begin = data.rfind(b"\n", 0, end) if end >= 0 else -1
        if start == 0 or (end >= 0 and begin >= 0):
            break
        length *= 4
    last = data[begin + 1 : end].decode("utf-8", "replace") if end >= 0 else ""
    return start + end + 1, last, data[end + 1 :]


def last_line_of(file: Path) -> str:
    """The last whole line of a file. Raises OSError."""
    handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return tail_of(handle)[1]
    finally:
        os.close(handle)
