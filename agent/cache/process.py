"""The cache as a process of the operating system: started apart from the agent, found again, signalled, awaited.

It has its own session and no pipe to the agent, so nothing that happens to the agent reaches it. A pidfd stands for
it: unlike a number it cannot come to mean another process.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

LOG_LIMIT = 4 * 1024 * 1024
_KEPT_VARIABLES = ("PATH", "HOME", "USER", "LANG", "TZ", "TMPDIR", "VIRTUAL_ENV", "LD_LIBRARY_PATH")
_KEPT_PREFIXES = ("LC_", "PYTHON", "MALLOC_", "ASAN_", "UBSAN_")


class CacheProcess:
    """A living process. `popen` is there when this agent started it; else it outlived the agent that did."""

    def __init__(self, pid: int, popen: subprocess.Popen[bytes] | None = None, log_start: int = 0) -> None:
        """Raises ProcessLookupError when there is no such process. `log_start` is where its part of the log begins."""
        self.pid = pid
        self.pidfd = os.pidfd_open(pid)
        self.adopted = popen is None
        self.log_start = log_start
        self._popen = popen

    def alive(self) -> bool:
        """Whether it has not ended yet."""
        return self.pidfd >= 0 and not _readable(self.pidfd, 0)

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal; to a process that has ended, nothing."""
        with contextlib.suppress(ProcessLookupError):
            if self.pidfd >= 0:
                signal.pidfd_send_signal(self.pidfd, number)

    def reap(self) -> int | None:
        """After the end: the exit status, negative for a signal's number; None when only its parent was told."""
        status = None if self._popen is None else self._popen.wait()
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1
        return status


def spawn(command: Sequence[str], log: Path) -> CacheProcess:
    """Starts the command in a session of its own, with its output at the end of `log`. Raises OSError."""
    limit_log(log)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    output = os.open(log, flags, 0o600)
    try:
        log_start = os.fstat(output).st_size
        popen = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env=environment(os.environ),
        )
    finally:
        os.close(output)
    return CacheProcess(popen.pid, popen, log_start)


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What of the agent's environment the cache gets: not the secrets that the agent's configuration may refer to."""
    return {
        name: value for name, value in environ.items() if name in _KEPT_VARIABLES or name.startswith(_KEPT_PREFIXES)
    }


def find(lock: Path) -> CacheProcess | None:
    """The process that holds the lock."""
    for pid in lock_holders(lock):
        try:
            process = CacheProcess(pid)
        except OSError:
            continue
        # With the pidfd open first, the number still means the same process when the lock is looked at again.
        if process.alive() and pid in lock_holders(lock):
            return process
        os.close(process.pidfd)
    return None


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock. A lock file that does not exist yet is not locked."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(handle)


def lock_holders(path: Path, locks: Path = Path("/proc/locks")) -> set[int]:
    """The pids that hold a lock of the file, as the kernel says."""
    try:
        status = path.stat()
        lines = locks.read_text().splitlines()
    except OSError:
        return set()
    # "1: FLOCK  ADVISORY  WRITE 8444 fe:00:2146671 0 EOF"; the device's number is not always the file's own (btrfs).
    fields = (line.split() for line in lines if "->" not in line)
    return {int(row[4]) for row in fields if row[1] == "FLOCK" and row[5].rpartition(":")[2] == str(status.st_ino)}


def limit_log(log: Path, limit: int = LOG_LIMIT) -> None:
    """Moves the text of a log of more than `limit` bytes to LOG.1 and empties it; who appends to it can go on."""
    try:
        if log.stat().st_size <= limit:
            return
        text = log.read_bytes()
        old = log.with_name(log.name + ".1")
        old.unlink(missing_ok=True)
        with open(os.open(old, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(text[-limit * 4 :])
        os.truncate(log, 0)
    except FileNotFoundError:
        return


def last_words(log: Path, start: int = 0, lines: int = 5) -> list[str]:
    """The last lines of the log that were written from byte `start` on."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(start if start <= size else 0, size - 16384))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    return [line.rstrip() for line in text.splitlines() if line.strip()][-lines:]


def end(process: CacheProcess, number: signal.Signals, patience: float) -> bool:
    """Sends the signal and waits at most `patience` seconds for the end; whether it has come."""
    process.signal(number)
    return process.pidfd < 0 or _readable(process.pidfd, patience)


def describe_exit(status: int | None) -> str:
    """An exit status as people say it."""
    if status is None:
        return "ended"
    if status >= 0:
        return f"exited with status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"


def _readable(fd: int, timeout: float) -> bool:
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    deadline = time.monotonic() + timeout
    return bool(poller.poll(max(0, round((deadline - time.monotonic()) * 1000))))
