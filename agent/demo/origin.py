"""`python -m agent.demo.origin PORT`: an origin, which has every value, over HTTP. It ends with its standard input.

GET /value/KEY gives the value of a key, GET /health says that it is there.
"""

from __future__ import annotations

import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from agent.demo.ending import end_with_input


def value_of(key: int) -> bytes:
    """What the origin has for a key: 512 to 2,559 bytes, always the same."""
    size = 512 + key * 2_654_435_761 % 2048
    return (b"%d:" % key + b"\x2a" * size)[:size]


class Origin(BaseHTTPRequestHandler):
    """Answers one connection; clients keep theirs."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body leave together

    def do_GET(self) -> None:
        place, _, key = self.path.removeprefix("/").partition("/")
        if place == "value" and key.isdecimal():
            self._answer(200, value_of(int(key)))
        elif place == "health":
            self._answer(200, b"well\n")
        else:
            self._answer(404, b"there is /value/KEY and /health\n")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""


class Server(ThreadingHTTPServer):
    """Threads end with the process."""

    daemon_threads = True
    request_queue_size = 128


def main() -> None:
    """Run until the standard input ends."""
    threading.Thread(target=end_with_input, daemon=True).start()
    Server(("127.0.0.1", int(sys.argv[1])), Origin).serve_forever()


if __name__ == "__main__":
    main()
