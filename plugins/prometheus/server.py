"""The exporter's HTTP server: an application of WSGI, on threads that end."""

from __future__ import annotations

import logging
import socket
import socketserver
import threading
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler
from wsgiref.types import WSGIApplication

from prometheus_client.exposition import ThreadingWSGIServer

REQUEST_TIMEOUT = 10.0  # seconds; a client that says nothing for longer is sent away
STOP_POLL = 0.1  # seconds within which a stop is noticed

log = logging.getLogger(__name__)


class _Handler(WSGIRequestHandler):
    timeout = REQUEST_TIMEOUT

    def log_message(self, format: str, *args: Any) -> None:
        """A line per scrape is of no use to anybody."""


class _Server(ThreadingWSGIServer):
    def server_bind(self) -> None:
        """As the base class does, but without asking DNS for this machine's name, which can take long."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away or stays silent is no reason for a traceback."""
        log.debug("a scrape by %s was not finished", client_address, exc_info=True)


class MetricsServer:
    """Serves an application on http://HOST:PORT/ from when it is made until `close`. OSError if it cannot listen."""

    def __init__(self, host: str, port: int, application: WSGIApplication) -> None:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]

        class Server(_Server):
            address_family = family

        self._server = Server(address[:2], _Handler)  # type: ignore[arg-type]
        self._server.set_app(application)
        self.port: int = self._server.server_port
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(STOP_POLL,), name="prometheus exporter", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop listening; scrapes under way are finished by their own threads."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
