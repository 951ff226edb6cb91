"""uvicorn on a thread of its own, with as few wake-ups as can be."""

from __future__ import annotations

import asyncio
import socket
import threading

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_PATIENCE = 10.0  # seconds that a client has to send a request's header


class _PatientProtocol(H11Protocol):
    """Ends connections whose request header does not come in time: uvicorn alone would wait for it without end.

    Without it, whoever opens connections and says nothing keeps everybody else out (limit_concurrency).
    """

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_watching()
        super().connection_lost(exc)

    def _watch(self) -> None:
        """Starts the clock where a header is awaited; a byte now and then does not set it back."""
        if self.conn.their_state is not h11.IDLE:
            self._stop_watching()
        elif self._deadline is None and not self.transport.is_closing():
            self._deadline = self.loop.call_later(HEADER_PATIENCE, self.transport.abort)

    def _stop_watching(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class _Server(uvicorn.Server):
    """Sleeps until it is to stop, where uvicorn's own loop wakes ten times a second."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end = asyncio.Event()

    async def main_loop(self) -> None:
        self._loop = asyncio.get_running_loop()
        if not self.should_exit:
            await self._end.wait()

    def end(self) -> None:
        """Stops it, from another thread."""
        self.should_exit = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._end.set)


class HttpServer:
    """Serves an ASGI application on a listening socket until stopped."""

    def __init__(self, app: ASGIApp, listener: socket.socket) -> None:
        self.address: tuple[str, int] = listener.getsockname()[:2]
        self._listener = listener
        config = uvicorn.Config(
            app,
            loop="asyncio",
            http=_PatientProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,  # it would need a wake-up every second to stay true
            limit_concurrency=512,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=2,
            h11_max_incomplete_event_size=16 * 1024,
        )
        self._server = _Server(config)
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)

    def start(self) -> None:
        """Begins to serve."""
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Answers what was asked already, then closes; takes at most `timeout` seconds."""
        self._server.end()
        if self._thread.is_alive():
            self._thread.join(timeout)
        self._listener.close()

    def _run(self) -> None:
        self._server.run(sockets=[self._listener])
