"""Who may ask. On loopback everyone who is on this machine; elsewhere who has the token in DATA_DIR/http.token.

A web page in a browser on this machine can point its own name at 127.0.0.1 and read what a loopback server answers (DNS
rebinding); the Host header it sends is then its own name, and such requests are refused. Any page may also send a POST
to 127.0.0.1 without reading the answer: what changes something needs the token everywhere.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from agent.config.models import is_loopback
from agent.errors import PredisError

PUBLIC = ("/livez", "/readyz")
TRUSTED = "predis.trusted"
"""Key of the request's scope: whether the caller may see details."""


class Guard:
    """ASGI middleware. With a `token`, requests need it, but for the health checks, which then tell no details."""

    def __init__(self, app: ASGIApp, token: str | None) -> None:
        self._app = app
        self._token = None if token is None else token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            trusted = self._local(headers) if self._token is None else bears(headers, self._token)
            scope[TRUSTED] = trusted
            if not trusted and (self._token is None or scope["path"] not in PUBLIC):
                await self._refusal()(scope, receive, send)
                return
        await self._app(scope, receive, send)

    @staticmethod
    def _local(headers: Headers) -> bool:
        return is_loopback(host_name(headers.get("host", "")))

    def _refusal(self) -> JSONResponse:
        if self._token is None:
            what = "this server answers only requests for localhost: the Host header names another host"
            return JSONResponse({"error": what}, 421)
        return needs_token()


def bears(headers: Headers, token: bytes | None) -> bool:
    """Whether a request brings the token, where there is one."""
    scheme, _, given = headers.get("authorization", "").partition(" ")
    # The token is ASCII; what is not cannot be encoded to something equal by accident.
    presented = given.strip().encode("utf-8", "surrogatepass")
    return token is not None and scheme.lower() == "bearer" and secrets.compare_digest(presented, token)


def needs_token() -> JSONResponse:
    """The answer to who does not bring it."""
    what = "needs the token in http.token of the agent's data folder: Authorization: Bearer TOKEN"
    return JSONResponse({"error": what}, 401, {"WWW-Authenticate": 'Bearer realm="predis-agent"'})


def host_name(header: str) -> str:
    """The host in a Host header, without port and brackets: `[::1]:8889` gives `::1`."""
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.rpartition(":")[0] if header.count(":") == 1 else header


def load_token(path: Path) -> str:
    """The token in the file, which is made (mode 0600) when there is none. Raises PredisError."""
    try:
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            token = path.read_text(encoding="ascii").strip()
        else:
            token = secrets.token_urlsafe(32)
            with os.fdopen(handle, "w") as file:
                file.write(token + "\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise PredisError(f"cannot use the HTTP token in {path}: {reason}; remove it to have a new one made") from None
    if len(token) < 16:
        raise PredisError(f"the HTTP token in {path} is too short to be safe; remove it to have a new one made")
    return token
