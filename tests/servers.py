"""Starts and stops the real processes that tests talk to: the cache, the agent and Debian's redis-server."""

import atexit
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from core_cache.places import remove_arena
from core_cache.resp_client import RespClient, RespError
from tests.waiting import PATIENCE, wait_until

ROOT = Path(__file__).resolve().parent.parent
START_TIMEOUT = 30.0

_data_dirs: set[Path] = set()
"""Of every cache started here; their arenas lie in shared memory and outlive the process by design."""


def free_port() -> int:
    """A TCP port of the loopback address that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Server:
    """A running server process with everything a test needs to reach it."""

    name: str
    process: subprocess.Popen[bytes]
    port: int
    unix_socket: Path
    data_dir: Path
    log: Path
    password: str | None = None
    extra: dict[str, int] = field(default_factory=dict)

    @property
    def pid(self) -> int:
        return self.process.pid

    def client(self, timeout: float = 10.0) -> RespClient:
        """A new authenticated connection over the unix socket."""
        return RespClient(self.unix_socket, self.password, timeout=timeout * PATIENCE)

    def stop(self, how: signal.Signals = signal.SIGTERM, timeout: float = 20.0) -> int:
        """Sends the signal, waits for the end, and returns the exit status; a server that stays is killed and named."""
        timeout *= PATIENCE
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"{self.name} did not stop within {timeout:g} s\n{self.log_text()}") from None

    def log_text(self) -> str:
        """What the process wrote so far, for failure messages."""
        return self.log.read_text(errors="replace")[-4000:]

    def answers(self) -> bool:
        """Whether it answers PING; a process that has ended instead fails the test with its log."""
        if self.process.poll() is not None:
            raise AssertionError(f"{self.name} ended with status {self.process.returncode}:\n{self.log_text()}")
        try:
            with self.client(timeout=2.0) as client:
                return client.command("PING") == "PONG"
        except (RespError, OSError):
            return False


def _spawn(command: Sequence[str], log: Path, cwd: Path, packages: Path | None = None) -> subprocess.Popen[bytes]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREDIS__")}
    environment["PYTHONPATH"] = os.pathsep.join(map(str, [ROOT, *([packages] if packages is not None else [])]))
    with log.open("ab") as output:
        return subprocess.Popen(
            command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, cwd=cwd, env=environment
        )


def _read_password(data_dir: Path) -> str | None:
    path = data_dir / "cache.password"
    return path.read_text().strip() if path.exists() else None


def remove_arenas() -> None:
    """Deletes the arenas of all caches started here that run no more; a restart after this begins empty."""
    for data_dir in list(_data_dirs):
        if _running(data_dir / "cache.pid"):
            continue
        _data_dirs.discard(data_dir)
        link = data_dir / "cache.arena"
        if link.is_symlink():
            remove_arena(link.resolve())


atexit.register(remove_arenas)


def _running(pid_file: Path) -> bool:
    """Whether the cache process that wrote this file still runs."""
    try:
        return b"core_cache" in Path(f"/proc/{int(pid_file.read_text())}/cmdline").read_bytes()
    except (OSError, ValueError):
        return False


def start_cache(
    folder: Path, *options: str, memory: str = "64MiB", port: int | None = None, wait: bool = True
) -> Server:
    """Starts `python -m core_cache` with its data in folder/data and, unless told otherwise, waits for its answer."""
    data_dir, log = folder / "data", folder / "cache.log"
    port = free_port() if port is None else port
    command = [sys.executable, "-m", "core_cache", "--port", str(port), "--data-dir", str(data_dir), "--memory", memory]
    _data_dirs.add(data_dir)
    process = _spawn([*command, *options], log, folder)
    server = Server("the cache", process, port, data_dir / "cache.sock", data_dir, log)

    def ready() -> bool:
        server.password = _read_password(data_dir)
        return server.answers()

    if wait:
        with _killed_on_failure(process):
            wait_until(ready, START_TIMEOUT, "the cache's answer to PING")
    return server


def start_redis(folder: Path, *options: str, password: str | None = None) -> Server:
    """Starts Debian's redis-server without persistence and waits until it answers; needs redis-server installed."""
    program = shutil.which("redis-server")
    if program is None:
        raise FileNotFoundError("redis-server is not installed; `make peers` installs it")
    port, socket_path, log = free_port(), folder / "redis.sock", folder / "redis.log"
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--unixsocket", str(socket_path), "--save", ""]
    command += ["--appendonly", "no", "--dir", str(folder), *(["--requirepass", password] if password else [])]
    process = _spawn([*command, *options], log, folder)
    server = Server("redis-server", process, port, socket_path, folder, log, password)
    with _killed_on_failure(process):
        wait_until(server.answers, START_TIMEOUT, "redis-server's answer to PING")
    return server


def start_agent(folder: Path, *overrides: str, wait: bool = True, packages: Path | None = None) -> Server:
    """Starts `predis-agent run` on free ports with its data in folder/data and waits until /readyz says so.

    overrides: like "cache.memory=64MiB", later ones win. packages: a folder with more of them. The HTTP
    and the exporter's port are in `.extra`.
    """
    data_dir, log = folder / "data", folder / "agent.log"
    ports = {"cache": free_port(), "http": free_port(), "prometheus": free_port()}
    settings = [
        f"agent.data_dir={data_dir}",
        f"cache.port={ports['cache']}",
        f"http.port={ports['http']}",
        f"plugins.prometheus.port={ports['prometheus']}",
        "cache.memory=64MiB",
        # A sanitizer reserves terabytes of addresses, more than any limit of a process of its own allows.
        *(["plugins.anomaly.isolation=thread"] if PATIENCE > 1 else []),
        *overrides,
    ]
    # Not by the script beside the interpreter: `make sanitize` runs with an interpreter that has none.
    program = [sys.executable, "-P", "-m", "agent", "run"]
    command = [*program, *(part for setting in settings for part in ("--set", setting))]
    _data_dirs.add(data_dir)
    process = _spawn(command, log, folder, packages)
    server = Server("the agent", process, ports["cache"], data_dir / "cache.sock", data_dir, log, extra=ports)

    def ready() -> bool:
        if process.poll() is not None:
            raise AssertionError(f"the agent ended with status {process.returncode}:\n{server.log_text()}")
        server.password = _read_password(data_dir)
        return http_status(f"http://127.0.0.1:{ports['http']}/readyz") == 200

    if wait:
        with _killed_on_failure(process):
            wait_until(ready, START_TIMEOUT, "the agent's readiness")
    return server


def http_status(url: str) -> int:
    """The status code of a GET, or 0 when nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def stop_cache_of(agent: Server) -> None:
    """Ends a cache process that outlived its agent, found by DATA_DIR/cache.pid."""
    pid_file = agent.data_dir / "cache.pid"
    if not _running(pid_file):
        return
    pid = int(pid_file.read_text())
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not _running(pid_file), what=f"the end of the cache process {pid}")


@contextlib.contextmanager
def _killed_on_failure(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    except BaseException:
        if process.poll() is None:
            process.kill()
            process.wait()
        raise
