"""The audit log: what was decided and done, in a file that shows when somebody changed it afterwards.

One JSON record a line, each with the SHA-256 of the line before it (`prev`): to change, delete, insert or reorder
records breaks the chain. That the end was cut off, or all of it written anew, shows in the head: a second file with the
number and the hash of the newest record, and an HMAC over them with a key that only the agent's user can read. Who can
read the key can forge the head as well; against such a one, keep copies of what `predis-agent audit head` prints
elsewhere. (Schneier and Kelsey, "Secure Audit Logs to Support Computer Forensics", 1999, is the classic text on this.)

The head is written before the record and holds it, so that a crash between the two loses nothing: the next `open`
completes the log from the head, and says so in a record of its own. How the head is kept is in audit_head.py. The log
goes on in another file when one is full: see audit_files.py.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.errors import PredisError
from agent.incidents.audit_files import (
    REMOVED,
    Limits,
    all_of,
    beginning_of,
    full_ones,
    last_line_of,
    lines_of,
    name_of,
    tail_of,
)
from agent.incidents.audit_head import Head, hash_of, head_path, key_path, load_key, read_head, sync_folder, write_head

FIRST = "0" * 64  # `prev` of the first record
BEGUN = "audit_begun"
BROKEN = "audit_broken"
REPAIRED = "audit_repaired"


def log_path(data_dir: Path) -> Path:
    """Where the agent's audit log lies."""
    return data_dir / "audit.jsonl"


@dataclass
class Verified:
    """What a check of a log found: `problems` is empty when it is whole. `newest`: the number that the last record has.
    `pending`: one record stands only in the head, where the next start of the agent takes it from. `removed`: the first
    so many records are gone, since only so many files are kept, as the log itself says."""

    records: int = 0
    newest: int = 0
    hash: str = FIRST
    problems: list[str] = field(default_factory=list)
    pending: bool = False
    removed: int = 0


class AuditLog:
    """Appends records; from any thread. `append` returns once a record is on the disk. `limits` may be set anew."""

    def __init__(
        self, path: Path, clock: Callable[[], float] = time.time, *, sync: bool = True, limits: Limits | None = None
    ) -> None:
        """Opens or makes the log. `sync` False leaves it to the kernel when to write (for tests that crash no machine).

        Raises PredisError when it cannot be written.
        """
        self.path, self.limits = path, limits or Limits()
        self._clock, self._sync = clock, sync
        self._lock = threading.Lock()
        try:
            self._key = load_key(path)
            self._file = self._open()
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
        line = self._record(kind, fields)
        size = os.fstat(self._file).st_size
        if size and size + len(line) + 1 > self.limits.file_size:
            self._begin_another()
            line = self._record(kind, fields)
        self._put(line)

    def _record(self, kind: str, fields: Mapping[str, Any]) -> str:
        record = {**fields, "n": self._count + 1, "time": self._clock(), "kind": kind, "prev": self._hash}
        return json.dumps(record, sort_keys=True, ensure_ascii=True, allow_nan=False, separators=(",", ":"))

    def _put(self, line: str) -> None:
        write_head(self.path, Head(self._count + 1, hash_of(line), line), self._key, sync=self._sync)
        self._write(line + "\n")
        self._count, self._hash = self._count + 1, hash_of(line)

    def _open(self) -> int:
        return os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def _begin_another(self) -> None:
        """The file is full: go on in a new one, and keep only so many of the full ones."""
        if self.path.exists():  # unless a new one could not be opened the last time
            begins = beginning_of(self.path)
            first = self._count if begins is None else begins[0]
            while (full := name_of(self.path, first)).exists():
                first += 1  # somebody laid hands on it: what is there stays, for verify to see
            os.rename(self.path, full)
        old, self._file = self._file, self._open()
        os.close(old)
        if self._sync:
            sync_folder(self.path.parent)
        files = full_ones(self.path)
        gone, kept = files[: -self.limits.files], files[-self.limits.files :]
        begins = beginning_of(kept[0]) if gone else None
        if begins is not None:
            # Said before it is done: after a crash between the two there is only more than was promised.
            names = [file.name for file in gone]
            self._put(self._record(REMOVED, {"through": begins[0] - 1, "hash": begins[1], "files": names}))
            for file in gone:
                file.unlink(missing_ok=True)

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

    def _take_up(self) -> None:
        """Continue where the log ends: complete what a crash left half written, note what is not as it was left."""
        head, trouble = read_head(self.path, self._key)
        end, last, rest = tail_of(self._file)
        before = full_ones(self.path) if not last else []
        if before:  # it died just after a file was full
            last = last_line_of(before[-1])
        if head is None:
            if not last and not rest and not trouble:
                return  # a new log
            self._count, self._hash = _number_of(last, self.path), hash_of(last) if last else FIRST
            self._cut(end)
            self._append(BROKEN, {"what": trouble or "the log has records and no head"})
            return
        self._count, self._hash = head.count, head.hash
        if last == head.line and not rest:
            return
        previous = json.loads(head.line)["prev"]
        if (hash_of(last) if last else FIRST) == previous and head.line.encode().startswith(rest):
            self._cut(end)
            self._write(head.line + "\n")
            what = f"a line of {len(rest)} bytes was torn" if rest else "the newest record was missing"
            self._append(REPAIRED, {"what": f"{what}, as after a crash: it was written again from the head"})
        elif last == head.line:
            self._cut(end)
            self._append(REPAIRED, {"what": f"{len(rest)} bytes after the newest record were removed"})
        else:
            self._cut(end)
            self._hash = hash_of(last) if last else FIRST
            self._append(BROKEN, {"what": f"the log does not end with record {head.count}, as its head says"})

    def _cut(self, end: int) -> None:
        os.ftruncate(self._file, end)


def verify(path: Path) -> Verified:
    """Check a log against its chain and, where it is there, its head. Raises PredisError when it cannot be read."""
    found = Verified()
    head: Head | None = None
    if not all_of(path):
        raise PredisError(f"there is no audit log {path}")
    try:
        key = key_path(path).read_bytes()
    except FileNotFoundError:
        found.problems.append(f"the key {key_path(path)} is missing: nobody can tell whether the end was cut off")
    except OSError as error:
        raise PredisError(f"the key {key_path(path)} cannot be read: {error.strerror}; run this as its owner") from None
    else:
        head, trouble = read_head(path, key)
        if head is None:
            found.problems.append(trouble or f"the head {head_path(path)} is missing")
    last = _check_chain(path, found)
    if head is not None:
        _check_end(head, last, found)
    elif last:
        found.problems.append(f"the last {len(last)} bytes are no whole record")
    return found


def records(path: Path) -> Iterator[dict[str, Any]]:
    """The records, oldest first; lines that are none are left out. Raises PredisError when there is no log."""
    for file in all_of(path) or [path]:
        try:
            for line in lines_of(file):
                try:
                    record = json.loads(line)
                except ValueError:
                    continue
                if isinstance(record, dict):
                    yield record
        except OSError as error:
            raise PredisError(f"the audit log {file} cannot be read: {error.strerror}") from None


def head_of(path: Path) -> Head:
    """The newest record as the head has it. Raises PredisError when there is none that can be trusted."""
    try:
        head, trouble = read_head(path, key_path(path).read_bytes())
    except OSError as error:
        raise PredisError(f"the key {key_path(path)} cannot be read: {error.strerror}") from None
    if head is None:
        raise PredisError(trouble or f"there is no head {head_path(path)}")
    return head


def _check_chain(path: Path, found: Verified) -> bytes:
    """Checks all whole lines of all files; gives what stands after the last of them."""
    rest, removed = b"", {0: FIRST}
    files = all_of(path)
    begins = beginning_of(files[0])
    if begins is not None and files[0] != path:
        found.newest, found.hash = begins[0] - 1, begins[1]  # what the log itself has to confirm
    start = found.newest, found.hash
    for file in files:
        if rest:
            found.problems.append(f"before {file.name} there are {len(rest)} bytes that are no whole record")
        rest = _check_file(file, "" if file == path else f"{file.name}, ", found, removed)
    if removed.get(start[0]) == start[1]:
        found.removed = start[0]
    else:
        found.problems.insert(0, f"records 1 to {start[0]} are missing, and no record says that they were removed")
    return rest


def _check_file(file: Path, where: str, found: Verified, removed: dict[int, str]) -> bytes:
    """Checks the whole lines of a file; gives what stands after them. removed: what the log says it has removed."""
    try:
        for number, line in enumerate(lines_of(file), 1):
            if not line.endswith(b"\n"):
                return line
            _check_record(line[:-1], f"{where}line {number}", found, removed)
    except OSError as error:
        raise PredisError(f"the audit log {file} cannot be read: {error.strerror}") from None
    return b""


def _check_record(line: bytes, where: str, found: Verified, removed: dict[int, str]) -> None:
    found.records += 1
    try:
        record = json.loads(line)
        prev, count, kind = record["prev"], int(record["n"]), record["kind"]
    except (ValueError, KeyError, TypeError):
        found.problems.append(f"{where} is not a record")
        found.hash, found.newest = hash_of(line), found.newest + 1
        return
    if prev != found.hash and count > found.newest + 1:
        missing = f"records {found.newest + 1} to {count - 1} are missing"
        found.problems.append(f"{missing}: {where} (record {count}, {kind}) follows record {found.newest}")
    elif prev != found.hash:
        found.problems.append(f"{where} (record {count}, {kind}) does not follow the line before it")
    elif count != found.newest + 1:
        found.problems.append(f"{where} is record {count} and follows record {found.newest}")
    if kind == BROKEN:
        found.problems.append(f"{where} says that the log was found broken: {record.get('what')}")
    if kind == REMOVED and prev == found.hash:
        removed[int(record["through"])] = str(record["hash"])
    found.hash, found.newest = hash_of(line), count


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


def _number_of(line: str, path: Path) -> int:
    """The number of a log's last record; of one that cannot be read, how many lines there are."""
    try:
        return int(json.loads(line)["n"])
    except (ValueError, KeyError, TypeError):
        return sum(1 for file in all_of(path) for line in lines_of(file) if line.endswith(b"\n"))
