"""When a cache process makes snapshots, and what it does with one at its start."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from core_cache import _native
from core_cache.options import SnapshotOptions
from core_cache.places import StartError, reason

RETRY = 60.0  # seconds after a failure, or the interval where that is shorter
FIRST = 5.0  # seconds after the start, at the least: what waits for the cache comes first
END_PATIENCE = 2.0
_ID_FILE = "cache.id"
_MAGIC, _ID = slice(0, 8), slice(24, 40)  # in the head of a snapshot
_SNAPSHOT = b"REDSSN01"

log = logging.getLogger("core_cache")


class Saving:
    """The snapshots of one cache. All happens in the event loop but for the writing: that is another process."""

    def __init__(self, options: SnapshotOptions, data_dir: Path, arena: Path, engine: _native.Engine) -> None:
        """Raises StartError."""
        self._options, self._arena, self._engine = options, arena, engine
        self.path = Path(os.path.abspath(options.path or data_dir / "cache.snapshot"))
        self._id = _cache_id(data_dir)
        self._writer: subprocess.Popen[bytes] | None = None
        self._pidfd = -1
        self._began = 0.0
        self._timer: asyncio.TimerHandle | None = None
        if options.enabled and not self.path.parent.is_dir():
            raise StartError(f"the snapshot's folder {self.path.parent} does not exist: make it, or name another")

    def load(self) -> None:
        """Into an arena that was made just now, what the last snapshot holds. One that is no good is left alone."""
        if not self._options.enabled or not self.path.exists():
            return
        began = time.monotonic()
        try:
            entries, size, skipped = self._engine.load_snapshot(str(self.path), self._id)
            saved = self.path.stat().st_mtime
        except (_native.SnapshotError, OSError) as error:
            self._engine.note("snapshots_refused", 1)
            log.error("the cache starts empty: %s", error)
            return
        took = time.monotonic() - began
        self._engine.note("snapshots_loaded", 1)
        self._engine.note("snapshot_loaded_entries", entries)
        self._note(saved, 0.0, size, entries)
        log.info("loaded %d keys from the snapshot %s in %.1f s, %d left out", entries, self.path, took, skipped)

    def begin(self) -> None:
        """From now on snapshots are made: when they are due, and when somebody asks."""
        self._engine.use_snapshots(self._save)
        if self._options.enabled:
            age = time.time() - self.path.stat().st_mtime if self.path.exists() else self._options.interval
            self._plan(max(FIRST, self._options.interval - max(0.0, age)))

    def stop(self) -> None:
        """No more of them; one in the making is given up."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        writer = self._writer
        if writer is None:
            return
        self._forget_writer()
        writer.terminate()
        try:
            writer.wait(END_PATIENCE)
        except subprocess.TimeoutExpired:
            writer.kill()
            writer.wait()
        self._engine.note_saving(False, True)
        with contextlib.suppress(OSError):
            Path(f"{self.path}.new").unlink()

    def at_the_end(self) -> None:
        """The last one, where that is wanted: nobody changes the data any more."""
        if self._options.enabled and self._options.on_shutdown:
            log.info("writing a snapshot to %s before the end", self.path)
            self._save_now()

    def _save(self, background: bool) -> str | None:
        """For SAVE and BGSAVE: why it cannot be."""
        return self._save_in_background() if background else self._save_now()

    def _save_now(self) -> str | None:
        if (foreign := self._foreign()) is not None:
            return self._failed(foreign)
        began, now = time.monotonic(), time.time()
        self._engine.note_saving(True, False)
        try:
            entries, size, _ = _native.write_snapshot(str(self._arena), str(self.path), self._id, 0)
        except (_native.SnapshotError, _native.ArenaError) as error:
            return self._failed(str(error))
        self._saved(now, time.monotonic() - began, size, entries)
        return None

    def _save_in_background(self) -> str | None:
        if (foreign := self._foreign()) is not None:
            return self._failed(foreign)
        arguments = ["--arena", str(self._arena), "--to", str(self.path), "--id", self._id.hex()]
        # -P keeps the working directory out, unless this process was itself started from there.
        command = [sys.executable, *(["-P"] if sys.flags.safe_path else []), "-m", "core_cache.snapshot", *arguments]
        try:
            self._writer = subprocess.Popen(
                [*command, "--max-rate", str(self._options.max_rate), "--parent", str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                start_new_session=True,
            )
            self._pidfd = os.pidfd_open(self._writer.pid)
        except OSError as error:
            return self._failed(f"the process that writes the snapshot cannot be started ({reason(error)})")
        asyncio.get_running_loop().add_reader(self._pidfd, self._writer_ended)
        self._began = time.time()
        self._engine.note_saving(True, False)
        log.info("snapshot begun, by process %d", self._writer.pid)
        return None

    def _writer_ended(self) -> None:
        writer = self._writer
        assert writer is not None, "its end is heard of once"
        self._forget_writer()
        assert writer.stdout is not None, "it was started with one"
        with writer.stdout:
            said = writer.stdout.read()
        status = writer.wait()
        try:
            result: dict[str, Any] = json.loads(said)
        except ValueError:
            name = f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
            result = {"error": f"the process that writes the snapshot was ended {name}"}
        if "error" in result:
            self._failed(result["error"])
        else:
            self._saved(self._began, result["seconds"], result["bytes"], result["entries"])

    def _forget_writer(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._writer, self._pidfd = None, -1

    def _saved(self, began: float, seconds: float, size: int, entries: int) -> None:
        self._engine.note_saving(False, False)
        self._engine.note("snapshots_saved", 1)
        self._note(began, seconds, size, entries)
        log.info("snapshot written: %d keys, %d bytes in %.1f s", entries, size, seconds)
        self._plan(self._options.interval)

    def _failed(self, sentence: str) -> str:
        self._engine.note_saving(False, True)
        self._engine.note("snapshot_failures", 1)
        log.error("no snapshot: %s", sentence)
        self._plan(min(RETRY, self._options.interval))
        return sentence

    def _plan(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._options.enabled:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._due)

    def _due(self) -> None:
        self._timer = None
        if self._writer is None:
            self._save_in_background()

    def _note(self, unix: float, seconds: float, size: int, entries: int) -> None:
        self._engine.note("snapshot_unix_ms", int(unix * 1000))
        self._engine.note("snapshot_duration_us", int(seconds * 1e6))
        self._engine.note("snapshot_bytes", size)
        self._engine.note("snapshot_entries", entries)

    def _foreign(self) -> str | None:
        """Another cache's snapshot is not written over."""
        try:
            with self.path.open("rb") as file:
                head = file.read(64)
        except FileNotFoundError:
            return None
        except OSError as error:
            return f"{self.path} cannot be looked at ({reason(error)})"
        if head[_MAGIC] == _SNAPSHOT and head[_ID] != self._id:
            return f"{self.path} is a snapshot of another cache: name another file, or remove that one"
        return None


def _cache_id(data_dir: Path) -> bytes:
    """16 bytes that tell this cache from others, made at its first start."""
    path = data_dir / _ID_FILE
    try:
        with contextlib.suppress(FileExistsError):
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(handle, "w") as file:
                file.write(secrets.token_hex(16) + "\n")
        known = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except (OSError, ValueError) as error:
        what = reason(error) if isinstance(error, OSError) else "it holds no id"
        raise StartError(f"{path} cannot be used ({what}): remove it, and the snapshots made with it") from None
    if len(known) != 16:
        raise StartError(f"{path} cannot be used (it holds no id): remove it, and the snapshots made with it")
    return known
