"""One request over HTTP, sent once: what every exporter that speaks HTTP uses.

Connections are kept and used again. There are no retries and no redirects, since the pipe does the one and the other
would take data and keys elsewhere. What is said of a failure names neither keys nor headers.
"""

from __future__ import annotations

import email.utils
import http.client
import io
import math
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import urllib3
from urllib3 import connection, exceptions

from agent.config.show import MASK, mask
from agent.errors import PredisError
from agent.export.model import Answer, Verdict

RETRIED = frozenset({408, 425, 429})  # and all from 500 on
_MOST_READ = 64 << 10  # bytes of an answer, unless a sender is made for longer ones; the rest is not read
_LONGEST = 300  # characters of an answer that are shown
_SHORTEST_SECRET = 4  # anything shorter would mask half of every sentence
_HARMLESS = frozenset(
    {"accept", "accept-encoding", "content-encoding", "content-length", "content-type", "host", "user-agent"}
)


def answer_of(
    status: int, headers: Mapping[str, str], body: bytes, *, verdicts: Mapping[int, Verdict] | None = None
) -> Answer:
    """What a status means for every vendor, unless `verdicts` says otherwise of it: 2xx accepted; 408, 425, 429 and 5xx
    retry; 413 too large; the others refused. Retry-After counts wherever it stands."""
    verdict = (verdicts or {}).get(status) or _usual(status)
    if verdict is Verdict.accepted:
        return Answer(verdict)
    said = " ".join(body[: 4 * _LONGEST].decode(errors="replace").split())
    said = said if len(said) <= _LONGEST else said[: _LONGEST - 1] + "…"
    detail = f"HTTP status {status}" + (f": {said}" if said else "")
    retry_after = seconds_of(_header(headers, "retry-after"))
    # 502 and 504 come from something in between that got no answer.
    return Answer(verdict, f"http_{status}", detail, retry_after, maybe_taken=status in (502, 504))


def seconds_of(retry_after: str | None) -> float | None:
    """A Retry-After header, given in seconds or as a date, in seconds from now; None for none that makes sense."""
    text = (retry_after or "").strip()
    if re.fullmatch(r"\d+(\.\d*)?", text):
        return float(text) if math.isfinite(float(text)) else None
    try:
        then = email.utils.parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    return max(0.0, then.timestamp() - time.time())


class HttpSender:
    """Sends requests, each of at most `timeout` seconds, whatever the other side does. To be used by one thread.

    `ca_file` replaces the system's certificates of authorities. `secrets` are masked in all that is said of a failure,
    as are the values of all headers but the usual ones. `answer` judges an answer (status, headers, body); it may be
    `answer_of`, or a vendor's own that reads the body. `most_read` bytes of an answer are read, and the rest is not.
    Raises PredisError for a ca_file that cannot be used.
    """

    def __init__(
        self,
        timeout: float,
        ca_file: Path | None = None,
        *,
        secrets: Iterable[str] = (),
        answer: Callable[[int, Mapping[str, str], bytes], Answer] = answer_of,
        most_read: int = _MOST_READ,
    ) -> None:
        self._timeout, self._most_read = timeout, most_read
        self._secrets = [secret for secret in secrets if len(secret) >= _SHORTEST_SECRET]
        self._answer = answer
        try:
            context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise PredisError(
                f"ca_file {ca_file} cannot be used: {reason}; name a file with certificates in PEM form"
            ) from None
        self._pool = urllib3.PoolManager(num_pools=4, maxsize=1, retries=False, ssl_context=context)
        self._pool.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Sends `body`, and says what came of it. Never raises for what the other side or the network does."""
        return self.request("POST", url, body, headers)

    def request(self, method: str, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """As `post`, with another method."""
        deadline = time.monotonic() + self._timeout
        outgoing = _Outgoing(body, deadline)
        try:
            response = self._pool.urlopen(
                method,
                url,
                body=outgoing,
                headers={**headers, "Content-Length": str(len(body))},
                timeout=urllib3.Timeout(total=self._timeout),
                redirect=False,
                preload_content=False,
            )
            received = _read(response, deadline, self._most_read)
        except (exceptions.HTTPError, OSError, ValueError) as error:
            reason, what = _failure(error)
            place = urlsplit(url)
            detail = f"{place.hostname}:{place.port or (443 if place.scheme == 'https' else 80)}: {what}"
            return self._masked(Answer(Verdict.retry, reason, detail, maybe_taken=outgoing.complete), headers)
        return self._masked(self._answer(response.status, response.headers, received), headers)

    def close(self) -> None:
        """Closes the connections."""
        self._pool.clear()

    def _masked(self, answer: Answer, headers: Mapping[str, str]) -> Answer:
        """The same without secrets: an answer may repeat what was sent."""
        detail = str(mask("", answer.detail))
        secrets = [*self._secrets]
        for name, value in headers.items():
            if name.lower() not in _HARMLESS:  # "Authorization: Bearer KEY" hides the key alone, too
                secrets += [part for part in (value, *value.split()) if len(part) >= _SHORTEST_SECRET]
        for secret in sorted(secrets, key=len, reverse=True):
            detail = detail.replace(secret, MASK)
        return Answer(
            answer.verdict, answer.reason, detail, answer.retry_after, answer.rejected, maybe_taken=answer.maybe_taken
        )


class _Outgoing:
    """A body that knows whether the last of it has been handed to the network, and ends when time is up."""

    def __init__(self, data: bytes, deadline: float) -> None:
        self._data, self._deadline = memoryview(data), deadline
        self._at = 0
        self.complete = False

    def read(self, size: int = -1) -> bytes:
        if time.monotonic() > self._deadline:
            raise TimeoutError("the request was not taken in time")
        piece = self._data[self._at :] if size < 0 else self._data[self._at : self._at + size]
        self._at += len(piece)
        self.complete = self._at >= len(self._data)
        return bytes(piece)


class _InTime(io.RawIOBase):
    """What is read of a socket within its timeout, which counts from now on and not anew for each byte."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket, self._raw = connected, connected.makefile("rb", buffering=0)
        timeout = connected.gettimeout()
        self._deadline = math.inf if timeout is None else time.monotonic() + timeout

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer did not come in time")
        self._socket.settimeout(None if left == math.inf else left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Answer(http.client.HTTPResponse):
    """An answer whose head comes in time as well: urllib3 and http.client wait anew for each piece of it."""

    def __init__(self, sock: socket.socket, *args: Any, **more: Any) -> None:
        super().__init__(sock, *args, **more)
        self.fp.close()
        self.fp = io.BufferedReader(_InTime(sock))


class _Connection(connection.HTTPConnection):
    response_class = _Answer


class _SecureConnection(connection.HTTPSConnection):
    response_class = _Answer


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


def _read(response: urllib3.BaseHTTPResponse, deadline: float, most: int) -> bytes:
    """What an answer says, as far as it comes in time: its status, which is known by now, says the most."""
    received = bytearray()
    try:
        while len(received) < most and time.monotonic() < deadline:
            piece = response.read1(min(_MOST_READ, most - len(received)))
            if not piece:
                response.release_conn()
                return bytes(received)
            received += piece
    except (exceptions.HTTPError, OSError):
        pass
    response.close()  # what is left of the answer would be taken for the next one's
    return bytes(received)


def _usual(status: int) -> Verdict:
    if 200 <= status < 300:
        return Verdict.accepted
    if status == 413:
        return Verdict.too_large
    return Verdict.retry if status in RETRIED or status >= 500 else Verdict.refused


def _header(headers: Mapping[str, str], name: str) -> str | None:
    return next((value for key, value in headers.items() if key.lower() == name), None)


def _failure(error: Exception) -> tuple[str, str]:
    """A word and a sentence for a request without an answer."""
    if isinstance(error, exceptions.NameResolutionError):
        return "dns", "the name cannot be resolved"
    if isinstance(error, exceptions.SSLError):
        return "tls", f"TLS failed: {_text(error)}"
    if isinstance(error, exceptions.NewConnectionError):
        return "connect", _text(error)
    if isinstance(error, (exceptions.TimeoutError, TimeoutError)):
        waited_for = "connection" if isinstance(error, exceptions.ConnectTimeoutError) else "answer"
        return "timeout", f"no {waited_for} in time"
    if isinstance(error, (exceptions.ProtocolError, OSError)):
        return "connection_lost", f"the connection broke: {_text(error)}"
    return "request", _text(error)


def _text(error: BaseException) -> str:
    """Its innermost cause: urllib3 wraps messages in messages."""
    while (inner := error.__cause__ or next((a for a in error.args if isinstance(a, BaseException)), None)) is not None:
        error = inner
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
