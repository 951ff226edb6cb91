"""The cache process: opens the arena, listens, and hands every connection to the native engine.

Nothing in here runs per command: a connection's bytes go from the event loop straight into the engine. What is left is
starting up with clear errors, the timer for upkeep, and stopping without losing what clients were promised.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import functools
import gc
import hashlib
import logging
import os
import resource
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import uvloop

from core_cache import __version__, _native, password
from core_cache.options import Options

BACKLOG = 511
CRON_INTERVAL = 0.1  # seconds
CRON_BUSY_INTERVAL = 0.004  # while upkeep is behind
CRON_BUDGET_US = 1000
DRAIN_PATIENCE = 3.0  # seconds that clients have to read their last replies
SPARE_FILES = 64
ORPHAN_AGE = 60.0  # seconds until a temporary arena that nobody has locked counts as left behind
_TEMPORARY_ARENA = "predis-temporary-*.arena"
_LOG_LEVELS = {"debug": "debug", "verbose": "debug", "notice": "info", "warning": "warning"}  # Redis' names to Python's

log = logging.getLogger("core_cache")


class StartError(Exception):
    """The cache cannot start; the message is a sentence for people."""


class Protocol(_native.Connection, asyncio.BufferedProtocol):
    """A client's connection: native all through, and known to asyncio as a BufferedProtocol."""

    __slots__ = ()


def run(options: Options) -> int:
    """Runs the cache until SIGTERM or SIGINT. Gives the exit status: 0, or 1 when it cannot start."""
    logging.basicConfig(
        stream=sys.stderr, level=options.log_level.upper(), format="%(asctime)s %(levelname)-7s %(message)s"
    )
    try:
        with _data_folder(options) as data_dir, _lock(data_dir):
            loop = uvloop.new_event_loop()
            try:
                loop.run_until_complete(_serve(options, data_dir))
            finally:
                loop.close()
    except (StartError, _native.ArenaError, _native.AclFileError) as error:
        text = str(error)
        sys.stderr.write(f"core_cache: {text[:1].upper()}{text[1:]}\n")
        return 1
    return 0


async def _serve(options: Options, data_dir: Path) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    max_clients = _raise_file_limit(options.max_clients)
    socket_path = options.unix_socket or data_dir / "cache.sock"
    with contextlib.ExitStack() as stack:
        # The listening sockets come first: a port in use is found out before the arena is touched.
        tcp = stack.enter_context(_listen_tcp(options)) if options.port else None
        unix = stack.enter_context(_listen_unix(socket_path))
        arena = _arena_path(options, data_dir, stack)
        engine = _native.Engine(
            str(arena),
            options.memory,
            options.policy,
            password=_password(data_dir) if options.auth else "",  # no name of ours keeps it
            max_clients=max_clients,
            host=options.host if options.port else "",
            port=options.port,
            unix_socket=str(socket_path),
            data_dir=str(data_dir),
            arena_file=str(data_dir / "cache.arena"),
            version=__version__,
            log_level={value: name for name, value in _LOG_LEVELS.items()}.get(options.log_level, "warning"),
            acl_file=str(options.acl_file.absolute()) if options.acl_file is not None else "",
        )
        stack.callback(engine.close)
        engine.on_stop = functools.partial(_stop_asked, stop)
        make = functools.partial(Protocol, engine)
        servers = [await loop.create_unix_server(make, sock=unix, backlog=BACKLOG)]
        if tcp is not None:
            servers.append(await loop.create_server(make, sock=tcp, backlog=BACKLOG))
        stack.enter_context(_pid_file(data_dir))
        cron = Cron(engine, loop)
        where = [f"{options.host} port {options.port}"] if options.port else []
        log.info("ready on %s, %d keys in the arena", " and ".join([*where, str(socket_path)]), engine.keys)
        gc.collect()
        gc.freeze()
        await stop.wait()
        log.info("stopping: answering what has arrived from %d clients", engine.clients)
        for server in servers:
            server.close()
        await _drain(engine)
        cron.stop()
    log.info("stopped")


def _stop_asked(stop: asyncio.Event) -> None:
    log.info("a client asks for the end (SHUTDOWN)")
    stop.set()


async def _drain(engine: _native.Engine) -> None:
    engine.drain()
    deadline = time.monotonic() + DRAIN_PATIENCE
    while engine.clients and time.monotonic() < deadline:
        await asyncio.sleep(0.005)
    if engine.clients:
        log.warning("%d clients did not read their last replies within %g s", engine.clients, DRAIN_PATIENCE)
        engine.abort_all()
        while engine.clients:
            await asyncio.sleep(0)


class Cron:
    """Calls the engine's upkeep ten times a second, and more often while it is behind."""

    def __init__(self, engine: _native.Engine, loop: asyncio.AbstractEventLoop) -> None:
        self._engine = engine
        self._loop = loop
        self._level = engine.log_level
        self._timer = loop.call_soon(self._run)

    def _run(self) -> None:
        more = False
        try:
            more = self._engine.cron(CRON_BUDGET_US)
            for warning in self._engine.take_warnings():
                log.warning("%s", warning)
            level = self._engine.log_level
            if level != self._level:
                self._level = level
                logging.getLogger().setLevel(_LOG_LEVELS[level].upper())
        except Exception:
            log.exception("upkeep failed")
        self._timer = self._loop.call_later(CRON_BUSY_INTERVAL if more else CRON_INTERVAL, self._run)

    def stop(self) -> None:
        """No more upkeep."""
        self._timer.cancel()


@contextlib.contextmanager
def _data_folder(options: Options) -> Iterator[Path]:
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
        raise StartError(f"the data directory {folder} cannot be used ({_reason(error)})") from None
    yield folder


@contextlib.contextmanager
def _lock(data_dir: Path) -> Iterator[None]:
    """Holds DATA_DIR/cache.lock, so that there is never a second cache process on the same data."""
    path = data_dir / "cache.lock"
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StartError(f"the lock {path} cannot be opened ({_reason(error)})") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
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


@contextlib.contextmanager
def _pid_file(data_dir: Path) -> Iterator[None]:
    path = data_dir / "cache.pid"
    fresh = data_dir / ".cache.pid.new"
    try:
        fresh.write_text(f"{os.getpid()}\n")
        fresh.replace(path)
    except OSError as error:  # a full disk is no reason to keep away from the data, which are in memory
        log.warning("the pid file %s cannot be written (%s)", path, _reason(error))
        path.unlink(missing_ok=True)  # it would name another process
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def _password(data_dir: Path) -> str:
    try:
        secret, made = password.load_or_create(data_dir)
    except OSError as error:
        raise StartError(
            f"the password file {data_dir / password.FILE_NAME} cannot be used ({_reason(error)})"
        ) from None
    except ValueError as error:
        raise StartError(str(error)) from None
    if made:
        sys.stderr.write(f"The password of this cache is {secret} (kept in {data_dir / password.FILE_NAME})\n")
    return secret


def _arena_path(options: Options, data_dir: Path, stack: contextlib.ExitStack) -> Path:
    """Where the arena file lies, with a link to it in the data directory."""
    try:
        present = options.arena_dir.is_dir()
        if not present and options.arena_dir.exists():
            raise StartError(f"the arena's folder {options.arena_dir} is no folder: set another --arena-dir")
    except OSError as error:
        raise StartError(
            f"the arena's folder {options.arena_dir} cannot be used ({_reason(error)}): set another --arena-dir"
        ) from None
    if not present:
        raise StartError(f"the arena's folder {options.arena_dir} does not exist: create it or set another --arena-dir")
    name = hashlib.sha256(str(data_dir.resolve()).encode()).hexdigest()[:12]
    arena = options.arena_dir.absolute() / f"predis-{name}.arena"
    if options.data_dir is None:
        _remove_orphans(options.arena_dir)
        arena = arena.with_name(_TEMPORARY_ARENA.replace("*", name))
        stack.callback(arena.unlink, missing_ok=True)
    link, fresh = data_dir / "cache.arena", data_dir / ".cache.arena.new"
    with contextlib.suppress(OSError):
        if os.readlink(link) == str(arena):
            return arena
    try:
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(arena)
        fresh.replace(link)
    except OSError as error:
        raise StartError(f"the link {link} to the arena cannot be made ({_reason(error)})") from None
    return arena


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
                path.unlink()
            finally:
                os.close(handle)


@contextlib.contextmanager
def _listen_tcp(options: Options) -> Iterator[socket.socket]:
    where = f"{options.host} port {options.port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            options.host, options.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise StartError(f"the address {options.host} is not known ({error.strerror})") from None
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        remedy = {
            errno.EADDRINUSE: "another program uses it: choose another --port, or stop that program",
            errno.EACCES: "this user may not use it: choose a port from 1024 on",
            errno.EADDRNOTAVAIL: "this machine has no such address: choose another --host",
        }.get(error.errno or 0, _reason(error))
        raise StartError(f"the cache cannot listen on {where}: {remedy}") from None
    with listener:
        yield listener


@contextlib.contextmanager
def _listen_unix(path: Path) -> Iterator[socket.socket]:
    """A listening unix socket of mode 0600. A stale one is replaced, a live one is refused."""
    if len(os.fsencode(path)) > 107:
        raise StartError(f"the unix socket's path {path} is longer than 107 bytes: choose another --unix-socket")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.is_socket():
            if _somebody_listens(path):
                raise StartError(f"another server listens on the unix socket {path}: choose another --unix-socket")
            path.unlink()
        mask = os.umask(0o177)
        try:
            listener.bind(str(path))
        finally:
            os.umask(mask)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        what = "something that is no socket is there" if error.errno == errno.EADDRINUSE else _reason(error)
        raise StartError(f"the cache cannot listen on the unix socket {path}: {what}") from None
    except StartError:
        listener.close()
        raise
    inode = path.stat().st_ino
    try:
        with listener:
            yield listener
    finally:
        with contextlib.suppress(OSError):
            if path.stat().st_ino == inode:
                path.unlink()


def _somebody_listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return False
    return True


def _raise_file_limit(max_clients: int) -> int:
    """Allows as many open files as the clients need; gives how many clients that makes possible."""
    need = max_clients + SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= need:
        return max_clients
    allowed = need if hard == resource.RLIM_INFINITY else min(need, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < need:
        log.warning(
            "at most %d clients, not %d: the limit on open files is %d", allowed - SPARE_FILES, max_clients, hard
        )
    return max(1, min(max_clients, allowed - SPARE_FILES))


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
