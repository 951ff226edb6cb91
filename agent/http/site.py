"""Where the agent's HTTP server is, and how it moves elsewhere without being gone when that fails.

The socket is bound before anything else is started, so that a port in use is one clear sentence and not a traceback.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING

from agent.config.load import LoadedConfig
from agent.config.models import is_loopback
from agent.errors import PredisError

if TYPE_CHECKING:
    from agent.http.app import AgentView
    from agent.http.server import HttpServer


class HttpSite:
    """The HTTP server at the address of a configuration. The constructor binds; raises PredisError when it cannot."""

    def __init__(self, loaded: LoadedConfig) -> None:
        self._listener = _listen(loaded)
        self._loaded = loaded
        self._view: AgentView | None = None
        self._token: str | None = None
        self._server: HttpServer | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that it listens on; the port is a real one even where the configuration says 0."""
        host, port = self._listener.getsockname()[:2]
        return str(host), int(port)

    def serve(self, view: AgentView) -> None:
        """Begins to answer. Raises PredisError when the token cannot be used."""
        self._view, self._token = view, _token(self._loaded)
        self._serve()

    def move(self, loaded: LoadedConfig) -> None:
        """Listens where this configuration says; raises PredisError when it cannot, and then stays where it was."""
        before = (self._loaded, self._token)
        where, (host, port) = self._loaded.locate("http.port"), self.address
        token = _token(loaded)
        # 0.0.0.0 and 127.0.0.1 are in each other's way on one port, so the old one has to go first there.
        listener = None if loaded.config.http.port == port else _listen(loaded)
        self.stop()
        try:
            self._listener = listener or _listen(loaded)
            self._loaded, self._token = loaded, token
            self._serve()
        except Exception:
            self.stop()
            self._listener = listen(host, port, where)
            self._loaded, self._token = before
            self._serve()
            raise

    def _serve(self) -> None:
        # Imported here: it takes a tenth of a second, in which the cache process starts already.
        from agent.http.app import build_app
        from agent.http.server import HttpServer

        assert self._view is not None
        self._server = HttpServer(build_app(self._view, self._token, _load_token(self._loaded)), self._listener)
        self._server.start()

    def stop(self) -> None:
        """Answers what was asked already and closes."""
        if self._server is not None:
            self._server.stop()
            self._server = None
        self._listener.close()


def _token(loaded: LoadedConfig) -> str | None:
    return None if is_loopback(loaded.config.http.host) else _load_token(loaded)


def _load_token(loaded: LoadedConfig) -> str:
    from agent.http.auth import load_token

    return load_token(loaded.config.agent.data_dir / "http.token")


def _listen(loaded: LoadedConfig) -> socket.socket:
    http = loaded.config.http
    return listen(http.host, http.port, loaded.locate("http.port"))


def listen(host: str, port: int, where: str) -> socket.socket:
    """A listening socket; port 0 takes a free one. `where` says where http.port was set. Raises PredisError."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(128)
        except OSError:
            listener.close()
            raise
        return listener
    except socket.gaierror as error:
        raise PredisError(f"http.host {host!r} ({where}) has no address: {error.strerror}") from None
    except OSError as error:
        raise PredisError(_explain(error, host, port, where)) from None


def _explain(error: OSError, host: str, port: int, where: str) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            mend = "stop that one, or set http.port to a free port"
            return f"port {port} on {host} (http.port, {where}) is in use by another process: {mend}"
        case errno.EACCES | errno.EPERM:
            mend = "ports below 1024 need privileges; set http.port to a higher one"
            return f"port {port} on {host} (http.port, {where}) may not be opened: {mend}"
        case errno.EADDRNOTAVAIL:
            return f"{host} (http.host, {where}) is not an address of this machine: set http.host to one, or 127.0.0.1"
    return f"cannot listen on port {port} of {host} (http.port, {where}): {os.strerror(error.errno or 0)}"
