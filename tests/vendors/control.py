"""How a test speaks to a fake: a second port with plain JSON, and the command line that every fake shares."""

import argparse
import json
import sys
import threading
import traceback
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.vendors.book import Book, Clock
from tests.vendors.faults import Step
from tests.vendors.server import Certificate, Front, Site


class Control(ThreadingHTTPServer):
    """`GET /_control/WHAT` reads the book, `POST /_control/WHAT` with JSON changes how the fake behaves."""

    daemon_threads = True

    def __init__(self, front: Front) -> None:
        super().__init__(("127.0.0.1", 0), _Exchange)
        self.front = front

    def get(self, what: str, query: dict[str, str]) -> Any:
        """What a GET answers."""
        book = self.front.book
        if what == "state":
            return {**book.state(), "script": self.front.script.left(), "now": self.front.clock.now()}
        if what == "received":
            return [point._asdict() for point in book.received(query.get("lane", ""), query.get("name", ""))]
        if what == "violations":
            return book.violations()
        if what == "requests":
            return book.requests()
        if what == "assets":
            return getattr(self.front.site, "assets", {})
        raise KeyError(what)

    def post(self, what: str, value: dict[str, Any]) -> Any:
        """What a POST does."""
        front = self.front
        if what == "script":
            front.script.set([Step(**step) for step in value["steps"]])
            front.release()
        elif what == "reset":
            front.script.set([])
            front.release()
            front.book.reset()
        elif what == "outage":
            front.refuse()
        elif what == "stall":
            front.stall()
        elif what == "back":
            front.recover()
        elif what == "clock":
            front.clock.set(value["offset"], value["speed"])
        elif what == "certificate":
            front.present(value["which"])
        else:
            raise KeyError(what)
        return {}


class _Exchange(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:
        """A test's own requests are not logged."""

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        what = parts.path.removeprefix("/_control/")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        control: Control = self.server  # type: ignore[assignment]
        try:
            if self.command == "GET":
                answer = control.get(what, dict(parse_qsl(parts.query)))
            else:
                answer = control.post(what, json.loads(body or b"{}"))
            status = 200
        except Exception:  # noqa: BLE001 - whatever it is, the test that asked shows it
            answer, status = traceback.format_exc(), 500
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = _serve


def run(make: Callable[[argparse.Namespace], Site], description: str | None) -> None:
    """The main program of a fake: prints its two ports as one line of JSON and serves until it is ended."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--port", type=int, default=0, help="of the vendor's interface; 0 for a free one")
    parser.add_argument("--api-key", default="", help="the only key that is right; any that is well-formed if empty")
    parser.add_argument("--certificates", type=Path, help="a folder with right.crt, right.key, wrong.crt, ...: HTTPS")
    parser.add_argument("--keep", type=int, default=1_000_000, help="how many points can be listed")
    parser.add_argument("--with-stdin", action="store_true", help="end when standard input does, as a test's child")
    options = parser.parse_args()
    certificates = {}
    if options.certificates:
        found = sorted(options.certificates.glob("*.key"))
        certificates = {key.stem: Certificate(key.with_suffix(".crt"), key) for key in found}
    front = Front(make(options), Book(options.keep), Clock(), certificates, options.port)
    control = Control(front)
    front.listen()
    threading.Thread(target=control.serve_forever, name="control", daemon=True).start()
    sys.stdout.write(json.dumps({"port": front.port, "control": control.server_address[1]}) + "\n")
    sys.stdout.flush()
    try:
        if options.with_stdin:
            sys.stdin.read()
        else:
            threading.Event().wait()
    except KeyboardInterrupt:
        pass
    finally:
        front.close()
