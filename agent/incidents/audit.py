"""The audit log: what was decided and done, in a file that shows when somebody changed it afterwards.

One JSON record a line, each with the SHA-256 of the line before it (`prev`): to change, delete, insert or reorder
records breaks the chain. That the end was cut off, or all of it written anew, shows in the head: a second file with the
number and the hash of the newest record, and an HMAC over them with a key that only the agent's user can read. Who can
read the key can forge the head as well; against such a one, keep copies of what `predis-agent audit head` prints
elsewhere. (Schneier and Kelsey, "Secure Audit Logs to Support Computer Forensics", 1999, is the classic text on this.)

The head is written before the record and holds it, so that a crash between the two loses nothing: the next `open`
completes the log from the head, and says so in a record of its own.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.errors import PredisError

FIRST = "0" * 64  # `prev` of the first record
BEGUN = "audit_begun"
BROKEN = "audit_broken"
REPAIRED = "audit_repaired"


def log_path(data_dir: Path) -> Path:
    """Where the agent's audit log lies."""
    return data_dir / "audit.jsonl"


@dataclass(frozen=True, slots=True)
class Head:
    """The newest record: how many there are, its hash, and the record itself."""

    count: int
    hash: str
    line: str


@dataclass
class Verified:
    """What a check of a log found: `problems` is empty when it is whole. `newest`: the number that the last record has.
    `pending`: one record stands only in the head, where the next start of the agent takes it from."""

    records: int = 0
    newest: int = 0
    hash: str = FIRST
    problems: list[str] = field(default_factory=list)
    pending: bool = False


class AuditLog:
    """Appends records; from any thread. `append` returns once a record is on the disk."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time, *, sync: bool = True) -> None:
        """Opens or makes the log. `sync` False leaves it to the kernel when to write (for tests that crash no machine).

        Raises PredisError when it cannot be written.
        """
        self.path = path
        self._clock, self._sync = clock, sync
        self._lock = threading.Lock()
        try:
            self._key = _load_key(path)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            self._count, self._hash = 0, FIRST
            self._take_up()
        except OSError as error:
            raise PredisError(f"the audit log {path} cannot be used: {error.strerror or error}") from None

    def begin(self, fields: Mapping[str, Any]) -> None:
        """Say that a log begins here, if it has no record yet: where records were and nothing else is known, this one
        shows that all of them were taken away."""
        with self._lock:
            if self._count == 0:
                self._append(BEGUN, fields)

    def append(self, kind: str, fields: Mapping[str, Any]) -> None:
        """Add a record; the values of `fields` are JSON's. Raises OSError when the disk does not take it."""
        with self._lock:
            self._append(kind, fields)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._file >= 0:
                os.close(self._file)
                self._file = -1

    def _append(self, kind: str, fields: Mapping[str, Any]) -> None:
        record = {**fields, "n": self._count + 1, "time": self._clock(), "kind": kind, "prev": self._hash}
        line = json.dumps(record, sort_keys=True, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
        self._write_head(Head(self._count + 1, _hash(line), line))
        self._write(line + "\n")
        self._count, self._hash = self._count + 1, _hash(line)

    def _write(self, text: str) -> None:
        data = text.encode()
        end = os.lseek(self._file, 0, os.SEEK_END)
        try:
            while data:
                data = data[os.write(self._file, data) :]
            if self._sync:
                os.fsync(self._file)
        except OSError:
            with suppress(OSError):  # a full disk: without half a line the next record is readable
                os.ftruncate(self._file, end)
            raise

    def _write_head(self, head: Head) -> None:
        path = _head_path(self.path)
        body = json.dumps({"count": head.count, "hash": head.hash, "line": head.line, "mac": _mac(self._key, head)})
        temporary = path.with_suffix(".new")
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(body)
            file.flush()
            if self._sync:
                os.fsync(file.fileno())
        os.replace(temporary, path)
        if self._sync:
            _sync_folder(path.parent)

    def _take_up(self) -> None:
        """Continue where the log ends: complete what a crash left half written, note what is not as it was left."""
        head, trouble = _read_head(self.path, self._key)
        end, last, rest = _tail(self._file)
        if head is None:
            if end == 0 and not rest and not trouble:
                return  # a new log
            self._count, self._hash = _count_lines(self.path), _hash(last) if last else FIRST
            self._cut(end)
            self._append(BROKEN, {"what": trouble or "the log has records and no head"})
            return
        self._count, self._hash = head.count, head.hash
        if last == head.line and not rest:
            return
        previous = json.loads(head.line)["prev"]
        if (_hash(last) if last else FIRST) == previous and head.line.encode().startswith(rest):
            self._cut(end)
            self._write(head.line + "\n")
            what = f"a line of {len(rest)} bytes was torn" if rest else "the newest record was missing"
            self._append(REPAIRED, {"what": f"{what}, as after a crash: it was written again from the head"})
        elif last == head.line:
            self._cut(end)
            self._append(REPAIRED, {"what": f"{len(rest)} bytes after the newest record were removed"})
        else:
            self._cut(end)
            self._hash = _hash(last) if last else FIRST
            self._append(BROKEN, {"what": f"the log does not end with record {head.count}, as its head says"})

    def _cut(self, end: int) -> None:
        os.ftruncate(self._file, end)


def verify(path: Path) -> Verified:
    """Check a log against its chain and, where it is there, its head. Raises PredisError when it cannot be read."""
    found = Verified()
    head: Head | None = None
    if not path.exists():
        raise PredisError(f"there is no audit log {path}")
    try:
        key = _key_path(path).read_bytes()
    except FileNotFoundError:
        found.problems.append(f"the key {_key_path(path)} is missing: nobody can tell whether the end was cut off")
    except OSError as error:
        raise PredisError(
            f"the key {_key_path(path)} cannot be read: {error.strerror}; run this as its owner"
        ) from None
    else:
        head, trouble = _read_head(path, key)
        if head is None:
            found.problems.append(trouble or f"the head {_head_path(path)} is missing")
    last = _check_chain(path, found)
    if head is not None:
        _check_end(head, last, found)
    elif last:
        found.problems.append(f"the last {len(last)} bytes are no whole record")
    return found


def records(path: Path) -> Iterator[dict[str, Any]]:
    """The records, oldest first; lines that are none are left out. Raises PredisError when there is no log."""
    try:
        with open(path, "rb") as file:
            for line in file:
                try:
                    record = json.loads(line)
                except ValueError:
                    continue
                if isinstance(record, dict):
                    yield record
    except OSError as error:
        raise PredisError(f"the audit log {path} cannot be read: {error.strerror}") from None


def head_of(path: Path) -> Head:
    """The newest record as the head has it. Raises PredisError when there is none that can be trusted."""
    try:
        head, trouble = _read_head(path, _key_path(path).read_bytes())
    except OSError as error:
        raise PredisError(f"the key {_key_path(path)} cannot be read: {error.strerror}") from None
    if head is None:
        raise PredisError(trouble or f"there is no head {_head_path(path)}")
    return head


def _check_chain(path: Path, found: Verified) -> bytes:
    """Checks all whole lines; gives what stands after the last of them."""
    try:
        with open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    return line
                _check_record(line[:-1], number, found)
    except OSError as error:
        raise PredisError(f"the audit log {path} cannot be read: {error.strerror}") from None
    return b""


def _check_record(line: bytes, number: int, found: Verified) -> None:
    try:
        record = json.loads(line)
        prev, count, kind = record["prev"], int(record["n"]), record["kind"]
    except (ValueError, KeyError, TypeError):
        found.problems.append(f"line {number} is not a record")
        found.hash, found.records, found.newest = _hash(line), number, found.newest + 1
        return
    if prev != found.hash:
        found.problems.append(f"line {number} (record {count}, {kind}) does not follow the line before it")
    elif count != found.newest + 1:
        found.problems.append(f"line {number} is record {count} and follows record {found.newest}")
    if kind == BROKEN:
        found.problems.append(f"line {number} says that the log was found broken: {record.get('what')}")
    found.hash, found.records, found.newest = _hash(line), number, count


def _check_end(head: Head, rest: bytes, found: Verified) -> None:
    if head.count == found.newest and head.hash == found.hash and not rest:
        return
    found.pending = (
        head.count == found.newest + 1
        and json.loads(head.line)["prev"] == found.hash
        and head.line.encode().startswith(rest)
    )
    if found.pending:
        return
    if head.count > found.newest:
        found.problems.append(
            f"the log ends at record {found.newest} and its head is {head.count}: the end was cut off"
        )
    elif rest and head.hash == found.hash:
        found.problems.append(f"after the newest record there are {len(rest)} bytes that are no record")
    else:
        found.problems.append(f"the log does not end with record {head.count} as the head has it")


def _tail(file: int) -> tuple[int, str, bytes]:
    """Where the last whole line ends, that line without its end, and the bytes after it."""
    size = os.fstat(file).st_size
    length = 1 << 16
    while True:
        start = max(0, size - length)
        data = os.pread(file, size - start, start)
        end = data.rfind(b"\n")
        begin = data.rfind(b"\n", 0, end) if end >= 0 else -1
        if start == 0 or (end >= 0 and begin >= 0):
            break
        length *= 4
    last = data[begin + 1 : end].decode("utf-8", "replace") if end >= 0 else ""
    return start + end + 1, last, data[end + 1 :]


def _count_lines(path: Path) -> int:
    with open(path, "rb") as file:
        return sum(1 for line in file if line.endswith(b"\n"))


def _read_head(path: Path, key: bytes) -> tuple[Head | None, str]:
    """The head, or None and why there is none that can be trusted ("" when there is none at all)."""
    try:
        document = json.loads(_head_path(path).read_bytes())
        head = Head(int(document["count"]), str(document["hash"]), str(document["line"]))
        mac = str(document["mac"])
    except FileNotFoundError:
        return None, ""
    except (OSError, ValueError, KeyError, TypeError):
        return None, f"the head {_head_path(path)} cannot be read"
    if not hmac.compare_digest(mac, _mac(key, head)) or _hash(head.line) != head.hash:
        return None, f"the head {_head_path(path)} was not written with the key {_key_path(path)}"
    return head, ""


def _load_key(path: Path) -> bytes:
    try:
        handle = os.open(_key_path(path), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        key = _key_path(path).read_bytes()
        if len(key) >= 32:
            return key
        handle = os.open(_key_path(path), os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)  # a crash while it was made
    key = secrets.token_bytes(32)
    with os.fdopen(handle, "wb") as file:
        file.write(key)
        file.flush()
        os.fsync(file.fileno())
    _sync_folder(path.parent)
    return key


def _mac(key: bytes, head: Head) -> str:
    return hmac.new(key, f"{head.count}:{head.hash}".encode(), hashlib.sha256).hexdigest()


def _hash(line: str | bytes) -> str:
    return hashlib.sha256(line if isinstance(line, bytes) else line.encode()).hexdigest()


def _key_path(path: Path) -> Path:
    return path.with_suffix(".key")


def _head_path(path: Path) -> Path:
    return path.with_suffix(".head")


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
