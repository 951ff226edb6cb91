"""A new cache process takes over from the old one: sockets, keys, and clients that see no error."""

import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from core_cache import _native
from core_cache.resp_client import RespClient, encode_command
from tests import servers
from tests.certificates import Authority
from tests.core_cache.test_server import start_and_fail
from tests.core_cache.upgrading import Clients, retrying
from tests.waiting import wait_until


class Generations:
    """A cache process, and those that take over from it, one after the other."""

    def __init__(self, folder: Path, *options: str, memory: str = "64MiB") -> None:
        self.folder, self.options, self.memory = folder, options, memory
        self.server = servers.start_cache(folder, *options, memory=memory)
        self.extinct: list[subprocess.Popen[bytes]] = []

    def start_successor(self, *more: str, program: list[str] | None = None) -> subprocess.Popen[bytes]:
        arguments = ["--port", str(self.server.port), "--data-dir", str(self.server.data_dir), "--memory", self.memory]
        command = program or [sys.executable, "-m", "core_cache"]
        return servers._spawn([*command, *arguments, *self.options, *more, "--take-over"], self.server.log, self.folder)

    def upgrade(self) -> None:
        """To the end; the old process must end well."""
        old, new = self.server.process, self.start_successor()
        assert old.wait(30) == 0, self.server.log_text()
        self.extinct.append(old)
        self.server.process = new
        wait_until(self.server.answers, 30, "the new process's answer")

    def client(self) -> RespClient:
        return self.server.client()

    def information(self, section: str) -> dict[str, str]:
        with self.client() as client:
            text = client.command("INFO", section)
        assert isinstance(text, bytes)
        return dict(line.split(":", 1) for line in text.decode().splitlines() if ":" in line)


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Generations]:
    """A cache with a password."""
    generations = Generations(tmp_path)
    yield generations
    generations.server.stop()


def ask(data_dir: Path, message: bytes) -> dict[str, object]:
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)) as connection:
        connection.settimeout(20)
        connection.connect(str(data_dir / "cache.handoff"))
        connection.send(message)
        answer = connection.recv(65536)
    return dict(json.loads(answer)) if answer else {}


def test_keys_and_sockets_pass_on(cache: Generations) -> None:
    with cache.client() as client:
        client.command("SET", "key", "value")
        client.command("SET", "soon", "x", "PX", "100000")
        client.command("HSET", "hash", "field", "1")
    inode = (cache.server.data_dir / "cache.sock").stat().st_ino
    old = cache.server.pid

    cache.upgrade()

    assert cache.server.pid != old
    with cache.client() as client:
        assert client.command("GET", "key") == b"value"
        assert 0 < int(str(client.command("PTTL", "soon"))) <= 100000
        assert client.command("HGET", "hash", "field") == b"1"
    assert (cache.server.data_dir / "cache.sock").stat().st_ino == inode
    assert int((cache.server.data_dir / "cache.pid").read_text()) == cache.server.pid
    assert stat.S_IMODE((cache.server.data_dir / "cache.handoff").stat().st_mode) == 0o600
    persistence = cache.information("persistence")
    assert persistence["upgrades"] == "1"
    assert 0 < int(persistence["upgrade_pause_usec"]) < 5_000_000


def test_clients_see_no_error_in_ten_upgrades(cache: Generations) -> None:
    clients = Clients(lambda: retrying(cache.server.port, cache.server.password), cache.server.data_dir)
    try:
        clients.start()
        wait_until(lambda: clients.counts["writes"] > 500 and clients.counts["reads"] > 100, 60, "traffic")
        pauses = []
        for _ in range(10):
            before = clients.counts["writes"]
            cache.upgrade()
            pauses.append(int(cache.information("persistence")["upgrade_pause_usec"]) / 1e6)
            wait_until(lambda before=before: clients.counts["writes"] > before + 200, 60, "writes after the upgrade")
        wait_until(lambda: clients.errors or clients.counts["visits"] > 50, 60, "clients that connected anew")
    finally:
        clients.stop()
    assert max(pauses) < 5, pauses
    assert clients.errors == []
    # What redis-py's own retry mends is not seen here: the connection was made anew, and that was that.
    assert clients.counts["visits cut off"] == 0
    assert clients.counts["reconnects"] == 0
    with contextlib.closing(retrying(cache.server.port, cache.server.password)) as client:
        assert clients.lost(client) == []
        assert client.info("persistence")["upgrades"] == 10


def test_clients_with_tls_see_no_error(tmp_path: Path) -> None:
    ca, tls_port = Authority(tmp_path), servers.free_port()
    cache = Generations(tmp_path, *ca.issue("server").options(tls_port))

    def connect() -> redis.Redis:
        return retrying(tls_port, cache.server.password, ssl=True, ssl_ca_certs=str(ca.cert))

    clients = Clients(connect, cache.server.data_dir, writers=2)
    try:
        clients.start()
        wait_until(lambda: clients.counts["writes"] > 300, 60, "traffic")
        for _ in range(3):
            before = clients.counts["writes"]
            cache.upgrade()
            wait_until(lambda before=before: clients.counts["writes"] > before + 100, 60, "writes after the upgrade")
    finally:
        clients.stop()
    try:
        assert clients.errors == []
        assert clients.counts["reconnects"] == 0
        assert clients.lost(connect()) == []
    finally:
        cache.server.stop()


def test_a_pipeline_that_has_arrived_is_answered_to_the_end(cache: Generations) -> None:
    with socket.create_connection(("127.0.0.1", cache.server.port), timeout=30) as connection:
        connection.sendall(encode_command(["AUTH", cache.server.password or ""]))
        assert connection.recv(100) == b"+OK\r\n"
        os.kill(cache.server.pid, signal.SIGSTOP)
        count = 5000
        connection.sendall(b"".join(encode_command(["INCR", "counter"]) for _ in range(count)))
        new = cache.start_successor()
        wait_until(lambda: b"--take-over" in Path(f"/proc/{new.pid}/cmdline").read_bytes(), 20, "the new process")
        os.kill(cache.server.pid, signal.SIGCONT)
        received = b""
        while data := connection.recv(1 << 20):
            received += data
    assert received == b"".join(b":%d\r\n" % (i + 1) for i in range(count))
    assert cache.server.process.wait(30) == 0
    cache.server.process = new
    wait_until(cache.server.answers, 30, "the new process's answer")
    with cache.client() as client:
        assert client.command("GET", "counter") == str(count).encode()


def refused(cache: Generations, *more: str, program: list[str] | None = None) -> str:
    """What a successor says that must not take over; the old process goes on, its clients see nothing."""
    with cache.client() as client:
        client.command("SET", "key", "value")
        start = len(cache.server.log.read_bytes())
        new = cache.start_successor(*more, program=program)
        assert new.wait(30) != 0
        assert client.command("GET", "key") == b"value"  # the same connection
    return cache.server.log.read_bytes()[start:].decode()


def test_a_successor_that_is_to_listen_elsewhere_is_refused(cache: Generations) -> None:
    assert "it listens elsewhere" in refused(cache, f"--port={servers.free_port()}")


def test_a_successor_whose_settings_are_wrong_asks_for_nothing(cache: Generations, tmp_path: Path) -> None:
    said = refused(cache, f"--tls-port={servers.free_port()}", "--tls-cert=none", "--tls-key=none")
    assert "does not exist" in said
    assert "wants to take over" not in said


OTHER_LAYOUT = """
import sys
from core_cache import _native
class Other:
    LAYOUT_VERSION = _native.LAYOUT_VERSION + 1
    def __getattr__(self, name):
        return getattr(_native, name)
import core_cache.server, core_cache.__main__
core_cache.server._native = Other()
sys.argv[0] = "core_cache"
raise SystemExit(core_cache.__main__.main())
"""


def test_another_layout_is_told_before_anything_is_touched(cache: Generations) -> None:
    said = refused(cache, program=[sys.executable, "-c", OTHER_LAYOUT])
    mine = _native.LAYOUT_VERSION
    assert f"reads arenas of layout {mine + 1}, the 1 keys here are in one of layout {mine}" in said


def test_another_layout_is_fine_when_there_is_nothing_to_lose(cache: Generations) -> None:
    old, new = cache.server.process, cache.start_successor(program=[sys.executable, "-c", OTHER_LAYOUT])
    assert old.wait(30) == 0, cache.server.log_text()
    cache.server.process = new
    wait_until(cache.server.answers, 30, "the new process's answer")
    with cache.client() as client:
        assert client.command("DBSIZE") == 0


def test_without_a_process_to_take_over_from(tmp_path: Path) -> None:
    options = ["--port=0", f"--data-dir={tmp_path}", f"--arena-dir={tmp_path}", "--take-over"]
    status, said = start_and_fail(*options)
    assert status == 1
    assert "o cache process" in said
    done = subprocess.run(
        [sys.executable, "-m", "core_cache", "--take-over"],
        cwd=servers.ROOT,
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert done.returncode == 78


def test_nonsense_on_the_socket_is_answered_with_nothing(cache: Generations) -> None:
    for message in (b"", b"{", b"[]", b'{"pid": 1}', b"x" * 60000):
        with contextlib.suppress(ConnectionResetError):
            assert ask(cache.server.data_dir, message or b" ") == {}
    assert cache.server.answers()


def test_who_asks_and_goes_away_changes_nothing(cache: Generations) -> None:
    request = {
        "pid": 1,
        "version": "x",
        "layout": _native.LAYOUT_VERSION,
        "addresses": {
            "unix": str(cache.server.data_dir / "cache.sock"),
            "tcp": f"127.0.0.1 port {cache.server.port}",
        },
    }
    os.kill(cache.server.pid, signal.SIGSTOP)
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)) as connection:
        connection.connect(str(cache.server.data_dir / "cache.handoff"))
        connection.send(json.dumps(request).encode())
    os.kill(cache.server.pid, signal.SIGCONT)
    wait_until(lambda: "the new process has gone, the cache goes on" in cache.server.log_text(), 20, "what it says")
    assert cache.server.answers()
    with cache.client() as client:
        assert client.command("SET", "key", "value") == "OK"
    cache.upgrade()


def test_a_successor_that_is_killed_with_the_sockets_leaves_a_warm_start(cache: Generations) -> None:
    with cache.client() as client:
        client.command("SET", "key", "value")
    program = OTHER_LAYOUT.replace(" + 1", "").replace(
        "import core_cache.server, core_cache.__main__",
        "import core_cache.server, core_cache.__main__, os, signal\n"
        "take = core_cache.server.take_over\n"
        "def taken(*given):\n    take(*given)\n    os.kill(os.getpid(), signal.SIGKILL)\n"
        "core_cache.server.take_over = taken",
    )
    old, new = cache.server.process, cache.start_successor(program=[sys.executable, "-c", program])
    assert new.wait(30) == -signal.SIGKILL
    assert old.wait(30) == 0
    again = servers.start_cache(cache.folder, port=cache.server.port)
    cache.server.process = again.process
    with cache.client() as client:
        assert client.command("GET", "key") == b"value"


def test_a_long_path_of_the_data_folder_is_no_obstacle(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    unix = tmp_path / "c.sock"
    options = ["--no-auth", f"--unix-socket={unix}", f"--arena-dir={folder}"]
    server = servers.start_cache(folder, *options, wait=False)
    server.unix_socket = unix
    wait_until(server.answers, 30, "the cache's answer")
    command = [sys.executable, "-m", "core_cache", "--port", str(server.port), "--data-dir", str(server.data_dir)]
    new = servers._spawn([*command, "--memory=64MiB", *options, "--take-over"], server.log, folder)
    assert server.process.wait(30) == 0
    server.process = new
    wait_until(server.answers, 30, "the new process's answer")
    server.stop()


def test_two_at_once_one_wins(cache: Generations) -> None:
    old = cache.server.process
    pair = [cache.start_successor(), cache.start_successor()]
    assert old.wait(30) == 0
    wait_until(lambda: any(process.poll() is not None for process in pair), 30, "one to give up")
    (winner,) = [process for process in pair if process.poll() is None]
    cache.server.process = winner
    wait_until(cache.server.answers, 30, "the new process's answer")


def test_the_pause_is_short(cache: Generations) -> None:
    with cache.client() as client:
        client.pipeline([("SET", f"key:{i}", "x" * 100) for i in range(5000)])
    idle = [cache.client() for _ in range(20)]  # they do not read their farewell
    began = time.monotonic()
    cache.upgrade()
    assert time.monotonic() - began < 10
    assert int(cache.information("persistence")["upgrade_pause_usec"]) < 1_500_000
    for client in idle:
        client.close()
