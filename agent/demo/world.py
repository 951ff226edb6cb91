"""What the demonstration runs in: a folder of its own, an agent, applications that use its cache, and their origin."""

from __future__ import annotations

import contextlib
import functools
import http.client
import json
import os
import queue
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import redis

from agent.config.load import LoadedConfig, load_config
from agent.errors import PredisError

START_TIMEOUT = 60.0
STOP_TIMEOUT = 25.0
TENANT = "reports"
TRACE = Path(__file__).with_name("trace.npz")
RULES = Path(__file__).with_name("rules.toml")
CONFIG = """\
[agent]
data_dir = "data"
interval = "1s"

[cache]
port = {cache_port}
memory = "64MiB"

[cache.tenants.{tenant}]
prefix = "{tenant}:"
memory = "1MiB"

[http]
port = {http_port}

[rules]
packs = false
folder = "rules.d"

[plugins.prometheus]
enabled = false

# The machine has other users: what it does besides is no anomaly of the demonstration's.
[plugins.anomaly]
ignore = ["predis_host_*", "predis_gpu_*"]

[plugins.origin_metrics.origins]
shop = {{ url = "http://127.0.0.1:{balancer_port}/health" }}
standby = {{ url = "http://127.0.0.1:{standby_port}/health" }}

[plugins.remediation.webhooks.balancer]
url = "http://127.0.0.1:{control_port}/origin"
secret = "${{file:balancer.secret}}"
"""
PORTS = ("cache", "http", "main", "standby", "balancer", "control")


@dataclass(frozen=True, slots=True)
class Second:
    """How the application fared in one second. `at` is Unix time; `p99` of the cache's answers and the mean `fetch`
    from the origin are in seconds; `tenant`: commands of the other one's newest second."""

    at: float
    reads: int
    hits: int
    errors: int
    wrong: int
    p99: float
    fetch: float
    tenant: int

    @property
    def hit_ratio(self) -> float | None:
        """Hits by reads; None where nothing was read."""
        return self.hits / self.reads if self.reads else None


@functools.cache
def limit() -> int:
    """The commands a second that a rule leaves to a tenant that floods."""
    read = tomllib.loads(RULES.read_text())
    steps = (step for rule in read["rule"] for step in rule["then"] if step["action"] == "cache.tenant_limit")
    return int(next(steps)["ops_per_second"])


class World:
    """What was started, and where it is. `close` ends all of it, and removes the folder unless told to keep it."""

    def __init__(self, *, trace: Path = TRACE, rate: float = 1000.0, keep: bool = False) -> None:
        """`rate`: reads a second."""
        self.folder = Path(tempfile.mkdtemp(prefix="predis-demo-"))
        self._keep, self._trace, self._rate = keep, trace, rate
        self._agent: subprocess.Popen[bytes] | None = None
        self._others: dict[str, subprocess.Popen[str]] = {}
        self._seconds: queue.SimpleQueue[Second] = queue.SimpleQueue()
        self._tenant = 0
        self._ports = dict(zip(PORTS, _free_ports(len(PORTS)), strict=True))
        self.loaded: LoadedConfig | None = None
        self.slowing = threading.Event()  # set: nobody makes the origin slow any more

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

    @property
    def origin_pid(self) -> int:
        """The process that has the values, and that is not the standby."""
        return self._others["main"].pid

    def connect(self) -> redis.Redis:
        """A client of the cache that may do everything."""
        password = (self.data_dir / "cache.password").read_text().strip()
        return redis.Redis(
            unix_socket_path=str(self.data_dir / "cache.sock"),
            password=password,
            socket_timeout=5.0,
            decode_responses=True,
        )

    def settings(self) -> dict[str, str]:
        """All that an action could have changed, as it is now. Raises PredisError."""
        try:
            with self.connect() as client:
                found = dict(client.config_get("*"))
        except redis.RedisError as error:
            raise PredisError(f"the cache of the demonstration does not answer: {error}") from None
        for name, tenant in json.loads((self.data_dir / "cache.tenants.json").read_text()).items():
            found |= {f"{name}.{key}": str(tenant.get(key, 0)) for key in ("prefix", "quota", "ops_per_second")}
        return {**found, "origin": self._active_origin()}

    def start_origin(self) -> None:
        """Starts the origin, its standby, and the balancer in front of them; waits until they answer."""
        secret = self.folder / "balancer.secret"
        secret.touch(0o600)
        secret.write_text(secrets.token_urlsafe(32))
        for name in ("main", "standby"):
            self._start(name, "agent.demo.origin", str(self._ports[name]))
        servers = [f"{name}={self._ports[name]}" for name in ("main", "standby")]
        own = [str(self._ports["balancer"]), str(self._ports["control"])]
        self._start("balancer", "agent.demo.balancer", *own, str(secret), *servers)
        deadline = time.monotonic() + START_TIMEOUT
        for name in ("main", "standby", "control", "balancer"):
            while not _is_open(self._ports[name]):
                if time.monotonic() > deadline:
                    raise PredisError(f"{name} of the demonstration's origin does not start")
                time.sleep(0.05)

    def start_agent(self, rules: str) -> None:
        """Starts the agent with these rules, and waits until it is ready. Raises PredisError with its log's end."""
        ports = {f"{name}_port": port for name, port in self._ports.items()}
        self.config_file.write_text(CONFIG.format(tenant=TENANT, **ports))
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
        """Starts the application, and the one of the tenant."""
        unix_socket, data = str(self.data_dir / "cache.sock"), self.data_dir
        password = str(data / "tenants" / f"{TENANT}.password")
        self._start("tenant", "agent.demo.tenant", unix_socket, TENANT, password, told=self._take_tenant)
        origin = str(self._ports["balancer"])
        arguments = [unix_socket, str(data / "cache.password"), origin, str(self._trace), str(self._rate)]
        self._start("application", "agent.demo.load", *arguments, told=self._take_second)

    def tell_tenant(self, word: str) -> None:
        """What the tenant's application is to do; see agent/demo/tenant.py."""
        pipe = self._others["tenant"].stdin
        assert pipe is not None
        pipe.write(f"{word}\n")
        pipe.flush()

    def seconds(self) -> Iterator[Second]:
        """What the application told since the last call."""
        for name, process in self._others.items():
            if process.poll() is not None:
                raise PredisError(f"{name} of the demonstration ended with status {process.returncode}")
        with contextlib.suppress(queue.Empty):
            while True:
                yield self._seconds.get_nowait()

    def close(self) -> None:
        """End everything that was started."""
        self.slowing.set()
        started: list[subprocess.Popen[str] | subprocess.Popen[bytes]] = [*self._others.values()]
        if self._agent is not None:
            started.append(self._agent)
        for process in started:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.send_signal(signal.SIGCONT)  # it may be stopped, to be slow
        for process in started:
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

    def _active_origin(self) -> str:
        """To which server the balancer sends clients."""
        connection = http.client.HTTPConnection("127.0.0.1", self._ports["control"], timeout=5.0)
        try:
            connection.request("GET", "/origin")
            return str(json.load(connection.getresponse())["origin"])
        except (OSError, http.client.HTTPException) as error:
            raise PredisError(f"the balancer of the demonstration does not answer: {error}") from None
        finally:
            connection.close()

    def _start(
        self, name: str, module: str, *arguments: str, told: Callable[[dict[str, float]], None] | None = None
    ) -> None:
        """Starts a process that ends with its standard input; `told` gets each line of JSON that it writes."""
        out = subprocess.DEVNULL if told is None else subprocess.PIPE
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=out,
            text=True,
            start_new_session=True,
        )
        self._others[name] = process
        if told is not None:
            threading.Thread(target=_read, args=(process, told), name=name, daemon=True).start()

    def _take_second(self, told: dict[str, float]) -> None:
        reads, hits, errors, wrong = (int(told[name]) for name in ("reads", "hits", "errors", "wrong"))
        self._seconds.put(Second(time.time(), reads, hits, errors, wrong, told["p99"], told["fetch"], self._tenant))

    def _take_tenant(self, told: dict[str, float]) -> None:
        self._tenant = int(told["commands"])


def _read(process: subprocess.Popen[str], told: Callable[[dict[str, float]], None]) -> None:
    for line in process.stdout or ():
        told(json.loads(line))


def _is_open(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
        return True
    return False


def _free_ports(count: int) -> list[int]:
    """Ports that are free now; all are taken before one is given back, so that they differ."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [taken.getsockname()[1] for taken in sockets]
    finally:
        for taken in sockets:
            taken.close()
