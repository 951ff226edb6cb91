"""What the demonstration runs in: a folder of its own, an agent, and an application that uses its cache."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from agent.config.load import LoadedConfig, load_config
from agent.errors import PredisError

START_TIMEOUT = 60.0
STOP_TIMEOUT = 25.0
TRACE = Path(__file__).with_name("trace.npz")
CONFIG = """\
[agent]
data_dir = "data"
interval = "1s"

[cache]
port = {cache_port}
memory = "64MiB"

[http]
port = {http_port}

[rules]
packs = false
folder = "rules.d"

[plugins.prometheus]
enabled = false
"""


@dataclass(frozen=True, slots=True)
class Second:
    """How the application fared in one second. `at` is Unix time; `p99` of its reads, in seconds."""

    at: float
    reads: int
    hits: int
    errors: int
    wrong: int
    p99: float

    @property
    def hit_ratio(self) -> float | None:
        """Hits by reads; None where nothing was read."""
        return self.hits / self.reads if self.reads else None


class World:
    """What was started, and where it is. `close` ends all of it, and removes the folder unless told to keep it."""

    def __init__(self, *, trace: Path = TRACE, rate: float = 1000.0, keep: bool = False) -> None:
        """`rate`: reads a second."""
        self.folder = Path(tempfile.mkdtemp(prefix="predis-demo-"))
        self._keep, self._trace, self._rate = keep, trace, rate
        self._agent: subprocess.Popen[bytes] | None = None
        self._load: subprocess.Popen[str] | None = None
        self._seconds: queue.SimpleQueue[Second] = queue.SimpleQueue()
        self.loaded: LoadedConfig | None = None

    @property
    def config_file(self) -> Path:
        """The agent's configuration."""
        return self.folder / "agent.toml"

    @property
    def data_dir(self) -> Path:
        """The agent's data."""
        return self.folder / "data"

    @property
    def page(self) -> str:
        """The address of the status page."""
        assert self.loaded is not None
        return f"http://127.0.0.1:{self.loaded.config.http.port}/status"

    def start_agent(self, rules: str) -> None:
        """Starts the agent with these rules, and waits until it is ready. Raises PredisError with its log's end."""
        cache_port, http_port = _free_ports(2)
        self.config_file.write_text(CONFIG.format(cache_port=cache_port, http_port=http_port))
        (self.folder / "rules.d").mkdir()
        (self.folder / "rules.d" / "demo.toml").write_text(rules)
        self.loaded = load_config(self.config_file)
        log = self.folder / "agent.log"
        command = [sys.executable, "-m", "agent", "run", "--config", str(self.config_file)]
        with log.open("wb") as out:
            self._agent = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, start_new_session=True)
        deadline = time.monotonic() + START_TIMEOUT
        while not self._ready():
            if self._agent.poll() is not None or time.monotonic() > deadline:
                end = "\n".join(log.read_text(errors="replace").splitlines()[-8:])
                raise PredisError(f"the agent of the demonstration does not start:\n{end}")
            time.sleep(0.2)

    def start_load(self) -> None:
        """Starts the application."""
        where = [str(self.data_dir / "cache.sock"), str(self.data_dir / "cache.password"), str(self._trace)]
        command = [sys.executable, "-m", "agent.demo.load", *where, str(self._rate)]
        self._load = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        threading.Thread(target=self._read_load, name="application", daemon=True).start()

    def seconds(self) -> Iterator[Second]:
        """What the application told since the last call."""
        if self._load is not None and self._load.poll() is not None:
            raise PredisError(f"the application of the demonstration ended with status {self._load.returncode}")
        with contextlib.suppress(queue.Empty):
            while True:
                yield self._seconds.get_nowait()

    def close(self) -> None:
        """End everything that was started."""
        for process in (self._load, self._agent):
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in (self._load, self._agent):
            if process is None:
                continue
            try:
                process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if not self._keep:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _ready(self) -> bool:
        from agent.cli.client import get_json

        assert self.loaded is not None
        try:
            return bool(get_json(self.loaded.config, "/api/v1/status")["health"]["ready"])
        except (PredisError, KeyError):
            return False

    def _read_load(self) -> None:
        assert self._load is not None
        for line in self._load.stdout or ():
            told = json.loads(line)
            names = ("reads", "hits", "errors", "wrong", "p99")
            self._seconds.put(Second(time.time(), *(told[name] for name in names)))


def _free_ports(count: int) -> list[int]:
    """Ports that are free now; all are taken before one is given back, so that they differ."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [taken.getsockname()[1] for taken in sockets]
    finally:
        for taken in sockets:
            taken.close()
