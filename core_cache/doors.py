"""How connections come in, with and without TLS, and how they end without losing what clients were promised."""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from typing import TYPE_CHECKING

from core_cache import _native
from core_cache.listeners import BACKLOG, Listeners
from core_cache.options import TlsOptions
from core_cache.places import StartError

if TYPE_CHECKING:
    import ssl

HANDSHAKE_TIMEOUT = 10.0  # seconds that a TLS client has for its handshake, and for its farewell
DRAIN_PATIENCE = 3.0  # seconds that clients have to read their last replies
ARRIVAL_PATIENCE = 1.0  # seconds that clients who never stop sending have, where that is not known from the socket
HANDSHAKE_PATIENCE = 0.5  # seconds that handshakes under way have when the doors are shut

log = logging.getLogger("core_cache")


class Protocol(_native.Connection, asyncio.BufferedProtocol):
    """A client's connection: native all through, and known to asyncio as a BufferedProtocol."""

    __slots__ = ()


class Tls:
    """The TLS settings in force, and what follows from them. A setting that cannot be used leaves all as it was."""

    def __init__(self, options: TlsOptions) -> None:
        """Raises StartError."""
        from core_cache.tls import TlsError, make_context  # OpenSSL is loaded where it is used

        self._error, self._make = TlsError, make_context
        try:
            self.context, self.certificate = make_context(options)
        except TlsError as error:
            raise StartError(str(error)) from None
        self.options = options
        self.doors: Doors | None = None
        self._warn()

    def renew(self, settings: _native.TlsSettings) -> str | None:
        """Reads the files anew and takes the settings; gives why that cannot be."""
        options = TlsOptions(*settings)
        try:
            self.context, self.certificate = self._make(options)
        except self._error as error:
            log.error("the TLS settings stay as they were: %s", error)
            return str(error)
        self.options = options
        self._warn()
        if self.doors is not None:
            self.doors.change_context(self)
        log.info("TLS certificate and settings were read again")
        return None

    def _warn(self) -> None:
        for warning in self.certificate.warnings(time.time()):
            log.warning("%s", warning)


class Doors:
    """The servers that accept from the listening sockets.

    They work on duplicates of the sockets: shut, the connections that are made wait until the doors open again.
    """

    def __init__(self, listeners: Listeners, engine: _native.Engine, tls: Tls | None) -> None:
        self._listeners, self._engine, self._tls = listeners, engine, tls
        self._servers: dict[str, asyncio.AbstractServer] = {}
        self._changing = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Accepts connections from now on."""
        async with self._changing:
            for name in self._listeners.sockets:
                self._servers[name] = await self._server(name)
        if self._tls is not None:
            self._tls.doors = self
            self._note_certificate(self._tls)

    def shut(self) -> None:
        """Accepts no more connections; those that stand go on."""
        servers, self._servers = self._servers, {}
        for server in servers.values():
            server.close()

    def change_context(self, tls: Tls) -> None:
        """TLS connections from now on shake hands with the new context."""
        self._note_certificate(tls)
        task = asyncio.get_running_loop().create_task(self._change_server("tls"))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def read_certificates_again(self) -> None:
        """For SIGHUP."""
        if self._tls is None:
            log.info("SIGHUP: there are no certificates to read again")
        else:
            self._tls.renew(self._tls.options)

    async def _change_server(self, name: str) -> None:
        async with self._changing:
            if name not in self._servers:  # shut by now
                return
            old, self._servers[name] = self._servers[name], await self._server(name)
            old.close()

    async def _server(self, name: str) -> asyncio.AbstractServer:
        loop = asyncio.get_running_loop()
        listener = self._listeners.sockets[name].dup()
        if name == "unix":
            return await loop.create_unix_server(self._plain, sock=listener, backlog=BACKLOG)
        if name == "tcp":
            return await loop.create_server(self._plain, sock=listener, backlog=BACKLOG)
        assert self._tls is not None, "who listens for TLS has settings for it"
        context: ssl.SSLContext = self._tls.context
        return await loop.create_server(
            functools.partial(Protocol, self._engine, tls=True),
            sock=listener,
            backlog=BACKLOG,
            ssl=context,
            ssl_handshake_timeout=HANDSHAKE_TIMEOUT,
            ssl_shutdown_timeout=HANDSHAKE_TIMEOUT,
        )

    def _plain(self) -> Protocol:
        return Protocol(self._engine)

    def _note_certificate(self, tls: Tls) -> None:
        self._engine.note("tls_certificate_ends_unix_ms", int(tls.certificate.not_after * 1000))


async def drain(engine: _native.Engine) -> None:
    """Answers what has arrived from every client and ends all connections; who does not read in time loses the rest."""
    began = time.monotonic()
    while engine.handshakes and time.monotonic() < began + HANDSHAKE_PATIENCE:
        await asyncio.sleep(0.002)
    began = time.monotonic()
    engine.drain(False)
    while engine.clients and (passed := time.monotonic() - began) < DRAIN_PATIENCE:
        await asyncio.sleep(0.001)
        engine.drain(passed > ARRIVAL_PATIENCE)
    if engine.clients:
        log.warning("%d clients did not read their last replies within %g s", engine.clients, DRAIN_PATIENCE)
        engine.abort_all()
        while engine.clients:
            await asyncio.sleep(0)
