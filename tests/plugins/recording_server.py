"""An HTTP server in the place of a vendor's: it keeps what it is sent, and answers as it is told."""

import gzip
import os
import ssl
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import zstandard

from tests.certificates import Pair
from tests.servers import ROOT

UNPACK = {
    "": lambda data: data,
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
    "zstd1": zstandard.decompress,
}


@dataclass
class Received:
    """One request; `body` is not compressed any more."""

    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Recorder:
    """What came, and what is answered."""

    url: str = ""
    status: int = 202
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b"{}"
    requests: list[Received] = field(default_factory=list)


@contextmanager
def recording(pair: Pair | None = None) -> Iterator[Recorder]:
    """A server on the loopback address, with TLS if there is a certificate."""
    recorder = Recorder()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            data = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = UNPACK[headers.get("content-encoding", "")](data)
            recorder.requests.append(Received(self.path, headers, body))
            self.send_response(recorder.status)
            for name, value in recorder.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(recorder.body)))
            self.end_headers()
            self.wfile.write(recorder.body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if pair is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.cert, pair.key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    recorder.url = f"{'http' if pair is None else 'https'}://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, name="recorder", daemon=True)
    thread.start()
    try:
        yield recorder
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def load_without(folder: Path, plugin: str, absent: str, *overrides: str) -> list[str]:
    """What loading the plugins says in an environment without a library: the problems, and the modules of `plugin` that
    were imported."""
    code = (
        "import sys; from agent.config import load_config; from agent.plugin.manager import PluginManager\n"
        "manager = PluginManager(load_config(None, sys.argv[1:], {})); manager.load()\n"
        "print([problem.what for problem in manager.problems])\n"
        f"print([name for name in sys.modules if 'plugins.{plugin}' in name])"
    )
    environ = {**os.environ, "PYTHONPATH": str(_without(absent, folder))}
    command = [sys.executable, "-c", code, *overrides]
    return subprocess.run(
        command, cwd=ROOT, env=environ, capture_output=True, text=True, check=True
    ).stdout.splitlines()


def _without(module: str, folder: Path) -> Path:
    """A folder that, on PYTHONPATH, makes as if a library were not installed."""
    code = f"""
import sys

class _Blind:
    def __init__(self, finder):
        self._finder = finder

    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] == {module!r} else self._finder.find_spec(name, path, target)

    def __getattr__(self, name):
        return getattr(self._finder, name)

sys.meta_path[:] = map(_Blind, sys.meta_path)
"""
    (folder / "sitecustomize.py").write_text(code)
    return folder
