"""The head of an audit log: a file beside it with the number and the hash of the newest record, and the record itself.

An HMAC over them, with a key in a third file that only the agent's user can read, tells whether the agent wrote the
head. A path is always that of the log.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Head:
    """The newest record: how many there are, its hash, and the record itself."""

    count: int
    hash: str
    line: str


def read_head(path: Path, key: bytes) -> tuple[Head | None, str]:
    """The head, or None and why there is none that can be trusted ("" when there is none at all)."""
    try:
        document = json.loads(head_path(path).read_bytes())
        head = Head(int(document["count"]), str(document["hash"]), str(document["line"]))
        mac = str(document["mac"])
    except FileNotFoundError:
        return None, ""
    except (OSError, ValueError, KeyError, TypeError):
        return None, f"the head {head_path(path)} cannot be read"
    if not hmac.compare_digest(mac, _mac(key, head)) or hash_of(head.line) != head.hash:
        return None, f"the head {head_path(path)} was not written with the key {key_path(path)}"
    return head, ""


def write_head(path: Path, head: Head, key: bytes, *, sync: bool) -> None:
    """Put a head in the place of the one before it, whole or not at all. sync: not before it is on the disk. Raises
    OSError."""
    place = head_path(path)
    body = json.dumps({"count": head.count, "hash": head.hash, "line": head.line, "mac": _mac(key, head)})
    temporary = place.with_suffix(".new")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(body)
        file.flush()
        if sync:
            os.fsync(file.fileno())
    os.replace(temporary, place)
    if sync:
        sync_folder(place.parent)


def load_key(path: Path) -> bytes:
    """The key, made where there is none. Raises OSError."""
    try:
        handle = os.open(key_path(path), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        key = key_path(path).read_bytes()
        if len(key) >= 32:
            return key
        handle = os.open(key_path(path), os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)  # a crash while it was made
    key = secrets.token_bytes(32)
    with os.fdopen(handle, "wb") as file:
        file.write(key)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(path.parent)
    return key


def _mac(key: bytes, head: Head) -> str:
    return hmac.new(key, f"{head.count}:{head.hash}".encode(), hashlib.sha256).hexdigest()


def hash_of(line: str | bytes) -> str:
    """A record's, for the one after it."""
    return hashlib.sha256(line if isinstance(line, bytes) else line.encode()).hexdigest()


def key_path(path: Path) -> Path:
    """Where the key lies."""
    return path.with_suffix(".key")


def head_path(path: Path) -> Path:
    """Where the head lies."""
    return path.with_suffix(".head")


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
