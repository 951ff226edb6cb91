"""The cache process: opens the arena, listens, and hands every connection to the native engine.

Nothing in here runs per command: a connection's bytes go from the event loop straight into the engine. What is left is
starting up with clear errors, the timer for upkeep, and stopping without losing what clients were promised.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import logging
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Coroutine
from pathlib import Path

import uvloop

from core_cache import __version__, _native, password
from core_cache.doors import Doors, Tls, drain
from core_cache.estate import Estate
from core_cache.handoff import Handoff, Legacy, Request, take_over
from core_cache.listeners import Listeners, addresses
from core_cache.options import Options
from core_cache.places import POLICY_MODEL, StartError, arena_path, data_folder, lock, pid_file, reason
from core_cache.readers_group import open_to_group
from core_cache.saving import Saving
from core_cache.tenants import Tenant, TenantsError, read_tenants

CRON_INTERVAL = 0.1  # seconds
CRON_BUSY_INTERVAL = 0.004  # while upkeep is behind
CRON_BUDGET_US = 1000
SPARE_FILES = 64
LOCK_PATIENCE = 1.0  # seconds in which a process that has handed over is gone for good
_LOG_LEVELS = {"debug": "debug", "verbose": "debug", "notice": "info", "warning": "warning"}  # Redis' names to Python's

log = logging.getLogger("core_cache")


def run(options: Options) -> int:
    """Runs the cache until SIGTERM or SIGINT. Gives the exit status: 0, or 1 when it cannot start."""
    logging.basicConfig(
        stream=sys.stderr, level=options.log_level.upper(), format="%(asctime)s %(levelname)-7s %(message)s"
    )
    try:
        with data_folder(options) as data_dir:
            tls = Tls(options.tls) if options.tls.port else None
            legacy = _take_over(options, data_dir) if options.take_over else None
            with lock(data_dir, LOCK_PATIENCE if legacy is not None else 0.0):
                successor = _run_loop(_serve(options, data_dir, tls, legacy))
            if successor is not None:
                successor.close()  # its sign that nothing is in use any more
    except (StartError, _native.ArenaError, _native.AclFileError) as error:
        text = str(error)
        sys.stderr.write(f"core_cache: {text[:1].upper()}{text[1:]}\n")
        return 1
    return 0


def _run_loop(main: Coroutine[None, None, socket.socket | None]) -> socket.socket | None:
    loop = uvloop.new_event_loop()
    try:
        return loop.run_until_complete(main)
    finally:
        loop.close()


def _take_over(options: Options, data_dir: Path) -> Legacy:
    """The sockets of the process before, which has ended by then. What may be wrong is found before it is asked."""
    _raise_file_limit(options.max_clients)
    layout = _native.LAYOUT_VERSION
    wanted = addresses(options, options.unix_socket or data_dir / "cache.sock")
    legacy = take_over(data_dir, Request(os.getpid(), __version__, layout, wanted))
    log.info("taking over from process %d, version %s, with %d keys", legacy.pid, legacy.version, legacy.keys)
    legacy.wait_for_the_end()
    if legacy.layout != layout:  # and no keys, or it would not have let go
        (data_dir / "cache.arena").resolve().unlink(missing_ok=True)
    return legacy


async def _serve(options: Options, data_dir: Path, tls: Tls | None, legacy: Legacy | None) -> socket.socket | None:
    """Until the end. Gives the connection to the process that has taken over, if one has."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    max_clients = _raise_file_limit(options.max_clients)
    socket_path = options.unix_socket or data_dir / "cache.sock"
    with contextlib.ExitStack() as stack:
        # The listening sockets come first: a port in use is found out before the arena is touched.
        if legacy is not None:
            listeners = Listeners(legacy.sockets, socket_path)
        else:
            listeners = Listeners.open(options, socket_path)
        stack.callback(listeners.close)
        arena = arena_path(options, data_dir, stack)
        engine = _native.Engine(
            str(arena),
            options.memory,
            options.policy,
            password=_password(data_dir) if options.auth else "",  # no name of ours keeps it
            max_clients=max_clients,
            readers_group=open_to_group(data_dir, options.readers_group),
            host=options.host if options.port else "",
            port=options.port,
            unix_socket=str(socket_path),
            data_dir=str(data_dir),
            arena_file=str(data_dir / "cache.arena"),
            version=__version__,
            log_level={value: name for name, value in _LOG_LEVELS.items()}.get(options.log_level, "warning"),
            acl_file=str(options.acl_file.absolute()) if options.acl_file is not None else "",
            tenants=_tenants(options, data_dir),
        )
        stack.callback(engine.close)
        if options.access_log:
            engine.start_access_log(str(arena), options.access_log, options.access_log_keys == "plain")
        if options.huge_pages == "auto":
            engine.use_huge_pages()
        _load_policy_model(engine, data_dir / POLICY_MODEL)
        engine.on_stop = functools.partial(_stop_asked, stop)
        turns = Turns(engine, loop)
        if tls is not None:
            engine.use_tls(options.tls, tls.renew)
        saving = Saving(options.snapshot, data_dir, arena, engine)
        if engine.fresh and legacy is None:
            saving.load()
        saving.begin()
        stack.callback(saving.stop)
        doors = Doors(listeners, engine, tls)
        await doors.open()
        if legacy is not None:
            pause = time.monotonic() - legacy.shut_at
            engine.note("upgrades", 1)
            engine.note("upgrade_pause_us", int(pause * 1e6))
            log.info("took over from process %d after a pause of %.3f s", legacy.pid, pause)
        loop.add_signal_handler(signal.SIGHUP, doors.read_certificates_again)
        stack.enter_context(pid_file(data_dir))
        cron = Cron(engine, loop)
        estate = Estate(options, engine, listeners, doors, saving, stop)
        handoff = Handoff(data_dir, estate)
        handoff.open()
        stack.callback(handoff.close)
        where = [f"{options.host} port {options.port}"] if options.port else []
        if tls is not None:
            where.append(f"{options.host} port {options.tls.port} (TLS)")
        log.info("ready on %s, %d keys in the arena", " and ".join([*where, str(socket_path)]), engine.keys)
        gc.collect()
        gc.freeze()
        await stop.wait()
        if handoff.connection is not None:
            listeners.hand_on()
        else:
            log.info("stopping: answering what has arrived from %d clients", engine.clients)
            doors.shut()
            await drain(engine)
            saving.stop()
            saving.at_the_end()
        cron.stop()
        turns.stop()
    log.info("stopped" if handoff.connection is None else "handed over")
    return handoff.connection


def _stop_asked(stop: asyncio.Event) -> None:
    log.info("a client asks for the end (SHUTDOWN)")
    stop.set()


def _load_policy_model(engine: _native.Engine, path: Path) -> None:
    """What the policy `learned` scores with; a file that is no good leaves it without a model, which is S3-FIFO."""
    if not path.exists():
        return
    try:
        engine.load_policy_model(str(path), path.name)
    except ValueError as error:
        log.warning("%s; the policy learned works without a model", error)


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


class Turns:
    """Gives tenants who wait their turns, one between two looks at the sockets."""

    def __init__(self, engine: _native.Engine, loop: asyncio.AbstractEventLoop) -> None:
        self._engine = engine
        self._loop = loop
        self._next: asyncio.Handle | None = None
        engine.on_work = self._wake

    def _wake(self) -> None:
        self.stop()  # a later turn of another
        self._next = self._loop.call_soon(self._run)

    def _run(self) -> None:
        pause = 0.0
        try:
            pause = self._engine.work()
        except Exception:
            log.exception("a tenant's turn failed")
        if pause == 0:
            self._next = self._loop.call_soon(self._run)
        elif pause > 0:
            self._next = self._loop.call_later(pause, self._run)

    def stop(self) -> None:
        """No more turns."""
        if self._next is not None:
            self._next.cancel()


def _tenants(options: Options, data_dir: Path) -> list[Tenant]:
    if options.tenants_file is None:
        return []
    try:
        return read_tenants(options.tenants_file, options.memory, options.policy, options.auth, data_dir)
    except TenantsError as error:
        raise StartError(str(error)) from None


def _password(data_dir: Path) -> str:
    try:
        secret, made = password.load_or_create(data_dir)
    except OSError as error:
        raise StartError(
            f"the password file {data_dir / password.FILE_NAME} cannot be used ({reason(error)})"
        ) from None
    except ValueError as error:
        raise StartError(str(error)) from None
    if made:
        sys.stderr.write(f"The password of this cache is {secret} (kept in {data_dir / password.FILE_NAME})\n")
    return secret


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
