"""The vendor's side of the wire: a listener that serves well, or badly as the script says."""

import contextlib
import os
import socket
import ssl
import struct
import threading
import traceback
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlsplit

from tests.vendors.book import Book, Clock, Entry, Violation, describe
from tests.vendors.faults import Script, Step
from tests.vendors.wire import Refusal, Reply, Request

PIECE = 0.02
"""Seconds between the pieces of a body that is read slowly."""
MAX_BODY = 64 << 20
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""SO_LINGER with no time: closing sends RST."""


class Site(Protocol):
    """What is special about one vendor."""

    def answer(self, request: Request) -> Reply:
        """Serve a request; raises Refusal for what the vendor takes nothing of."""

    def error(self, request: Request, status: int, text: str, code: str = "") -> Reply:
        """The vendor's answer to a request that fails with this status, and with this code where it has codes."""

    def partial(self, reply: Reply, rejected: int) -> Reply:
        """An accepting reply that leaves out the last points, where the vendor has such a thing."""

    def close(self) -> None:
        """Stop what it started."""


@dataclass
class Certificate:
    """Files of a certificate and its key."""

    cert: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.cert, self.key)
        return context


class Cut(Exception):
    """This connection ends here, by reset."""


class Front:
    """The port that clients send to."""

    def __init__(self, site: Site, book: Book, clock: Clock, certificates: dict[str, Certificate], port: int) -> None:
        self.site, self.book, self.clock, self.script = site, book, clock, Script()
        self._contexts = {name: certificate.context() for name, certificate in certificates.items()}
        self._which = "right"
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._released = threading.Event()
        self._stalled = threading.Event()
        self._listener = _bound(port)
        self.port = int(self._listener.getsockname()[1])
        self.listening = False

    def listen(self) -> None:
        """Accept connections from now on."""
        with self._lock:
            if self.listening:
                return
            self._listener.listen(128)
            self.listening = True
            threading.Thread(target=self._accept, args=(self._listener,), name="accept", daemon=True).start()

    def refuse(self) -> None:
        """An outage: the open connections are reset and new ones refused. The port stays ours: bound, not listening."""
        with self._lock:
            if not self.listening:
                return
            self.listening = False
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = _bound(self.port)
        self.release()
        self.cut_all()

    def release(self) -> None:
        """Reset the connections whose requests hang, and end every slow step that is under way."""
        with self._lock:
            self._released.set()
            self._released = threading.Event()

    def cut_all(self) -> None:
        """Reset all open connections."""
        with self._lock:
            connections, self._open = self._open, set()
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
                connection.shutdown(socket.SHUT_RDWR)

    def present(self, which: str) -> None:
        """Present this certificate to those who connect from now on; those who are connected are cut off."""
        if which not in self._contexts:
            raise ValueError(f"no certificate {which!r}: this fake has {sorted(self._contexts)}")
        self._which = which
        self.cut_all()

    def tls(self) -> ssl.SSLContext | None:
        """What a new connection is wrapped in."""
        return self._contexts.get(self._which)

    def stall(self) -> None:
        """Connections are accepted from now on, and nothing is said on them, not even TLS; those open are reset."""
        self._stalled.set()
        self.cut_all()

    def recover(self) -> None:
        """The end of an outage of either kind."""
        self._stalled.clear()
        self.release()
        self.listen()

    def stalled(self) -> bool:
        """Whether new connections meet silence."""
        return self._stalled.is_set()

    def released(self) -> threading.Event:
        """Set when what hangs or is slow now is to end; to be asked for before the script is."""
        with self._lock:
            return self._released

    def close(self) -> None:
        """End the fake."""
        self.refuse()
        self._listener.close()
        self.site.close()

    def joined(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.add(connection)

    def left(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.discard(connection)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, address = listener.accept()
            except OSError:
                return
            self.book.connected()
            threading.Thread(target=self._serve, args=(connection, address), name="client", daemon=True).start()

    def _serve(self, connection: socket.socket, address: Any) -> None:
        self.joined(connection)
        try:
            with contextlib.suppress(OSError, Cut):
                _Conversation(connection, address, self)  # type: ignore[arg-type]
        finally:
            self.left(connection)
            with contextlib.suppress(OSError):
                connection.close()


def _bound(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    return listener


class _Conversation(BaseHTTPRequestHandler):
    """One connection, for as long as the client keeps it."""

    protocol_version = "HTTP/1.1"
    server_version = "vendor"
    disable_nagle_algorithm = True
    front: Front

    def setup(self) -> None:
        self.front = self.server  # type: ignore[assignment]
        released = self.front.released()
        if self.front.stalled():
            released.wait()
            raise Cut("it said nothing")
        context = self.front.tls()
        if context is not None:
            self.front.left(self.request)
            self.request.settimeout(10)
            self.request = context.wrap_socket(self.request, server_side=True)
            self.request.settimeout(None)
            self.front.joined(self.request)
        super().setup()

    def finish(self) -> None:
        with contextlib.suppress(OSError):
            super().finish()
        self.front.left(self.request)
        with contextlib.suppress(OSError):
            self.request.close()

    def log_message(self, format: str, *args: Any) -> None:
        """The log of requests is in the book."""

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        released = self.front.released()
        entry = self.front.book.begin(self.command, parts.path)
        step = self.front.script.next(parts.path)
        entry.fault = describe(step)
        if step is not None and step.fault == "reset_before":
            self._reset()
        body = self._body(entry, step, released)
        if body is None:
            return
        entry.wire_bytes, entry.encoding = len(body), self.headers.get("Content-Encoding") or ""
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        request = Request(self.command, parts.path, query, self.headers, body, self.front.clock.now())
        if step is not None and step.fault == "reset_after":
            self._reset()
        if step is not None and step.fault == "hang":
            released.wait()
            self._reset()
        if step is not None and step.fault == "garbled":
            self.wfile.write(b"\x15\x03\x01 this is no HTTP\r\n\r\n")
            self._reset()
        if step is not None and step.fault == "status":
            reply = self.front.site.error(request, step.status, "scripted", step.code)
            reply.headers.update(step.answer_headers())
        else:
            reply = self._answer(request)
            if step is not None and step.fault == "partial":
                reply = self.front.site.partial(reply, step.rejected)
        self._settle(entry, reply)
        if step is not None and step.fault == "lost_answer":
            self._reset()
        if step is not None and step.fault == "slow_answer":
            released.wait(step.delay)
        if step is not None and step.fault == "drip":
            self._drip(reply, step.delay, released)
        else:
            self._send(reply)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_PATCH = _serve

    def _answer(self, request: Request) -> Reply:
        try:
            return self.front.site.answer(request)
        except Refusal as refusal:
            reply = self.front.site.error(request, refusal.status, str(refusal))
            reply.violations.append(refusal.violation)
            return reply
        except Exception:  # noqa: BLE001 - a fault of the fake must fail the test, not vanish in a thread
            reply = self.front.site.error(request, 500, "the fake failed")
            reply.violations.append(Violation("fake_failed", traceback.format_exc()))
            return reply

    def _settle(self, entry: Entry, reply: Reply) -> None:
        """Write into the book what this request brought, before the client can know the answer."""
        entry.status, entry.points = reply.status, len(reply.points)
        self.front.book.take(reply.points)
        self.front.book.violate(reply.violations, entry)

    def _body(self, entry: Entry, step: Step | None, released: threading.Event) -> bytes | None:
        """The body as it came; None when its length cannot be told, which is answered with 411."""
        length = self.headers.get("Content-Length")
        if length is None and self.command in ("POST", "PUT"):
            refusal = Refusal(411, "content_length", "the request has no Content-Length")
            request = Request(self.command, entry.path, {}, self.headers, b"", self.front.clock.now())
            reply = self.front.site.error(request, 411, str(refusal))
            reply.violations.append(refusal.violation)
            self._settle(entry, reply)
            self.close_connection = True
            self._send(reply)
            return None
        left = int(length or 0)
        if left > MAX_BODY:
            self._reset()
        pieces = []
        while left:
            size = left
            if step is not None and step.fault == "slow_read":
                size = min(left, max(1, int(step.rate * PIECE)))
                released.wait(size / step.rate)
            piece = self.rfile.read(size)
            if len(piece) < size:
                raise Cut("the client went away within the body")
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces)

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        headers = {"Content-Type": reply.content_type, "Content-Length": str(len(reply.body)), **reply.headers}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body)

    def _drip(self, reply: Reply, delay: float, released: threading.Event) -> None:
        """The answer byte by byte, so that each single read of the client ends in time."""
        head = f"HTTP/1.1 {reply.status} scripted\r\nContent-Length: {len(reply.body)}\r\n"
        head += f"Content-Type: {reply.content_type}\r\n\r\n"
        for byte in head.encode() + reply.body:
            self.wfile.write(bytes((byte,)))
            released.wait(delay)

    def _reset(self) -> None:
        """End the connection with RST, so that the client sees a reset and not an end."""
        self.front.left(self.request)
        with contextlib.suppress(OSError):
            self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            os.close(self.request.detach())
        raise Cut("scripted")
