"""`python -m agent.demo.balancer PORT CONTROL_PORT SECRET_FILE NAME=PORT …`: where clients find the origin.

It passes connections on to one of several servers, the first to begin with. POST to CONTROL_PORT with {"origin": NAME}
has it take another; connections to the one before are ended, so that clients connect anew. The post must be signed as
the agent's call.webhook signs. GET /origin says which one it is. It ends with its standard input.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from agent.demo.ending import end_with_input

OLDEST = 60.0  # seconds since a post was signed
_PIECE = 65536
_LARGEST = 65536  # bytes of a post


class Balancer:
    """Passes connections on. To be used on one event loop."""

    def __init__(self, servers: dict[str, int]) -> None:
        """`servers`: ports on this machine, by name."""
        self._servers = servers
        self.active = next(iter(servers))
        self._open: set[asyncio.StreamWriter] = set()

    def switch(self, name: str) -> None:
        """Connections go to this server from now on. Raises KeyError where there is none of this name."""
        self._servers[name]
        self.active = name
        for writer in self._open:
            writer.transport.abort()

    async def serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        """One connection, until either side ends it."""
        try:
            server, to_server = await asyncio.open_connection("127.0.0.1", self._servers[self.active])
        except OSError:
            to_client.transport.abort()
            return
        both = {to_client, to_server}
        self._open |= both
        try:
            tasks = [asyncio.create_task(_pass(client, to_server)), asyncio.create_task(_pass(server, to_client))]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
        finally:
            self._open -= both
            for writer in both:
                writer.transport.abort()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while piece := await reader.read(_PIECE):
            writer.write(piece)
            await writer.drain()


def is_signed(header: str, body: bytes, secret: bytes, now: float) -> bool:
    """Whether X-Predis-Signature is that of this body, and not an old one."""
    fields = dict(part.partition("=")[::2] for part in header.split(","))
    at, given = fields.get("t", ""), fields.get("v1", "")
    if not at.isdecimal() or abs(now - int(at)) > OLDEST:
        return False
    return hmac.compare_digest(hmac.new(secret, at.encode() + b"." + body, hashlib.sha256).hexdigest(), given)


class Control(BaseHTTPRequestHandler):
    """Has the balancer switch."""

    def __init__(
        self, active: Callable[[], str], switch: Callable[[str], None], secret: bytes, *args: object, **more: object
    ) -> None:
        self._active, self._switch, self._secret = active, switch, secret
        super().__init__(*args, **more)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        self._answer(200, {"origin": self._active()})

    def do_POST(self) -> None:
        body = self.rfile.read(min(int(self.headers.get("Content-Length", 0)), _LARGEST))
        if not is_signed(self.headers.get("X-Predis-Signature", ""), body, self._secret, time.time()):
            return self._answer(403, {"error": "the signature is not right"})
        try:
            self._switch(str(json.loads(body)["origin"]))
        except (ValueError, KeyError, TypeError):
            return self._answer(422, {"error": "there is no such origin"})
        return self._answer(200, {"origin": self._active()})

    def _answer(self, status: int, document: dict[str, str]) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""


async def run(port: int, control_port: int, secret: bytes, servers: dict[str, int]) -> None:
    """Serve without end."""
    balancer, loop = Balancer(servers), asyncio.get_running_loop()

    async def switched(name: str) -> None:
        balancer.switch(name)

    def switch(name: str) -> None:
        asyncio.run_coroutine_threadsafe(switched(name), loop).result()

    handler = partial(Control, lambda: balancer.active, switch, secret)
    control = ThreadingHTTPServer(("127.0.0.1", control_port), handler)
    threading.Thread(target=control.serve_forever, daemon=True).start()
    server = await asyncio.start_server(balancer.serve, "127.0.0.1", port, backlog=128)
    await server.serve_forever()


def main() -> None:
    """Run until the standard input ends."""
    port, control_port, secret_file, *servers = sys.argv[1:]
    threading.Thread(target=end_with_input, daemon=True).start()
    ports = {name: int(at) for name, at in (server.split("=") for server in servers)}
    asyncio.run(run(int(port), int(control_port), Path(secret_file).read_bytes().strip(), ports))


if __name__ == "__main__":
    main()
