"""Where a cache process keeps its things: data directory, lock, pid file, arena."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from core_cache.options import Options

ORPHAN_AGE = 60.0  # seconds until a temporary arena that nobody has locked counts as left behind
POLICY_MODEL = "policy.model"  # in the data directory: loaded at start where it is there
_TEMPORARY_ARENA = "predis-temporary-*.arena"

log = logging.getLogger("core_cache")


class StartError(Exception):
    """The cache cannot start; the message is a sentence for people."""


@contextlib.contextmanager
def data_folder(options: Options) -> Iterator[Path]:
    """The data directory, made with mode 0700 when it is missing; a temporary one is removed at the end."""
    if options.data_dir is None:
        folder = Path(tempfile.mkdtemp(prefix="predis-"))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return
    folder = options.data_dir.absolute()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
        if status.st_uid != os.geteuid():
            raise StartError(f"the data directory {folder} belongs to another user: choose another with --data-dir")
        if status.st_mode & 0o022:
            raise StartError(f"others may write to the data directory {folder}: `chmod 700` it, or choose another")
    except OSError as error:
        raise StartError(f"the data directory {folder} cannot be used ({reason(error)})") from None
    yield folder


@contextlib.contextmanager
def lock(data_dir: Path, patience: float = 0.0) -> Iterator[None]:
    """Holds DATA_DIR/cache.lock, so that there is never a second cache process on the same data.

    patience: seconds that who holds it has to end.
    """
    path = data_dir / "cache.lock"
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StartError(f"the lock {path} cannot be opened ({reason(error)})") from None
    deadline = time.monotonic() + patience
    while not (held := _try_lock(handle)) and time.monotonic() < deadline:
        time.sleep(0.001)
    if not held:
        os.close(handle)
        pid = ""
        with contextlib.suppress(OSError):
            pid = (data_dir / "cache.pid").read_text().strip()
        named = f" (process {pid})" if pid else ""
        raise StartError(f"another cache process{named} works on {data_dir}: stop that one first") from None
    try:
        yield
    finally:
        os.close(handle)


def _try_lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def pid_file(data_dir: Path) -> Iterator[None]:
    """DATA_DIR/cache.pid names this process for as long as it serves."""
    path = data_dir / "cache.pid"
    fresh = data_dir / ".cache.pid.new"
    try:
        fresh.write_text(f"{os.getpid()}\n")
        fresh.replace(path)
    except OSError as error:  # a full disk is no reason to keep away from the data, which are in memory
        log.warning("the pid file %s cannot be written (%s)", path, reason(error))
        path.unlink(missing_ok=True)  # it would name another process
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def arena_path(options: Options, data_dir: Path, stack: contextlib.ExitStack) -> Path:
    """Where the arena file lies, with a link to it in the data directory."""
    try:
        present = options.arena_dir.is_dir()
        if not present and options.arena_dir.exists():
            raise StartError(f"the arena's folder {options.arena_dir} is no folder: set another --arena-dir")
    except OSError as error:
        raise StartError(
            f"the arena's folder {options.arena_dir} cannot be used ({reason(error)}): set another --arena-dir"
        ) from None
    if not present:
        raise StartError(f"the arena's folder {options.arena_dir} does not exist: create it or set another --arena-dir")
    name = hashlib.sha256(str(data_dir.resolve()).encode()).hexdigest()[:12]
    arena = options.arena_dir.absolute() / f"predis-{name}.arena"
    if options.data_dir is None:
        _remove_orphans(options.arena_dir)
        arena = arena.with_name(_TEMPORARY_ARENA.replace("*", name))
        stack.callback(remove_arena, arena)
    link, fresh = data_dir / "cache.arena", data_dir / ".cache.arena.new"
    with contextlib.suppress(OSError):
        if os.readlink(link) == str(arena):
            return arena
    try:
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(arena)
        fresh.replace(link)
    except OSError as error:
        raise StartError(f"the link {link} to the arena cannot be made ({reason(error)})") from None
    return arena


def remove_arena(arena: Path) -> None:
    """Removes an arena file and what lies beside it."""
    for suffix in (".arena", ".readers", ".accesses"):
        arena.with_suffix(suffix).unlink(missing_ok=True)


def _remove_orphans(arena_dir: Path) -> None:
    """Removes the temporary arenas of cache processes that were killed: nothing would ever use them again."""
    for path in arena_dir.glob(_TEMPORARY_ARENA):
        with contextlib.suppress(OSError):
            status = path.lstat()
            if status.st_uid != os.geteuid() or time.time() - status.st_mtime < ORPHAN_AGE:
                continue
            handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # a living cache process holds it
                remove_arena(path)
            finally:
                os.close(handle)


def reason(error: OSError) -> str:
    """Why a call to the system failed, in lower case."""
    return (error.strerror or str(error)).lower()
