"""The cache process: starting, refusing to start, limits, bad clients, stopping."""

import asyncio
import contextlib
import os
import resource
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvloop

from core_cache._native import Engine, StatsReader
from core_cache.doors import Protocol
from core_cache.options import parse_options
from core_cache.places import StartError, arena_path, pid_file
from core_cache.resp_client import RespClient
from tests import servers
from tests.core_cache.raw_resp import RawClient, encode
from tests.waiting import wait_until

MIB = 1024 * 1024


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[servers.Server]:
    """A cache process without a password."""
    server = servers.start_cache(tmp_path, "--no-auth", memory="64MiB")
    yield server
    server.stop()


@pytest.fixture
def raw(cache: servers.Server) -> Iterator[RawClient]:
    client = RawClient(cache.port)
    yield client
    client.close()


def start_and_fail(*options: str) -> tuple[int, str]:
    """Runs a cache process that is not expected to start; gives its exit status and what it said."""
    done = subprocess.run(
        [sys.executable, "-m", "core_cache", *options], cwd=servers.ROOT, capture_output=True, text=True, timeout=20
    )
    return done.returncode, done.stderr


def connect(server: servers.Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=20)


def read_all(connection: socket.socket) -> bytes:
    """Everything until the server closes."""
    received = []
    with contextlib.suppress(ConnectionResetError):
        while data := connection.recv(1 << 20):
            received.append(data)
    return b"".join(received)


def resident(pid: int) -> int:
    """Resident memory of a process in bytes, without what it shares with the arena."""
    fields = Path(f"/proc/{pid}/statm").read_text().split()
    return (int(fields[1]) - int(fields[2])) * resource.getpagesize()


# --- starting


def test_it_is_ready_soon_and_keeps_its_files_to_itself(tmp_path: Path) -> None:
    started = time.monotonic()
    server = servers.start_cache(tmp_path)
    took = time.monotonic() - started
    try:
        assert took < 2.0
        assert stat.S_IMODE(server.data_dir.stat().st_mode) == 0o700
        for name in ["cache.sock", "cache.password", "cache.lock", "cache.arena"]:
            assert stat.S_IMODE((server.data_dir / name).stat().st_mode) == 0o600, name
        assert int((server.data_dir / "cache.pid").read_text()) == server.pid
        assert os.readlink(server.data_dir / "cache.arena").startswith("/dev/shm/predis-")
        assert server.password is not None
        assert len(server.password) >= 32
        assert server.log_text().count(server.password) == 1  # printed once
        with server.client() as client:
            information = str(client.command("INFO", "server"))
        assert f"process_id:{server.pid}" in information
        assert f"arena_file:{server.data_dir}/cache.arena" in information
    finally:
        assert server.stop() == 0
    assert not (server.data_dir / "cache.pid").exists()
    assert not (server.data_dir / "cache.sock").exists()


def test_the_password_stays_and_is_printed_once(tmp_path: Path) -> None:
    first = servers.start_cache(tmp_path)
    first.stop()
    second = servers.start_cache(tmp_path)
    second.stop()
    assert first.password == second.password
    assert first.password is not None
    assert second.log.read_text().count(first.password) == 1


def test_a_temporary_data_directory_goes_with_the_process(tmp_path: Path, free_port: int) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(servers.ROOT)}
    arguments = ["--port", str(free_port), "--no-auth", "--memory", "16MiB"]
    process = subprocess.Popen([sys.executable, "-m", "core_cache", *arguments], env=environment)
    try:
        wait_until(lambda: list(tmp_path.glob("predis-*/cache.pid")), what="the pid file")
        folder = next(tmp_path.glob("predis-*"))
        arena = Path(os.readlink(folder / "cache.arena"))
        assert arena.exists()
    finally:
        process.terminate()
        assert process.wait(20) == 0
    assert list(tmp_path.iterdir()) == []
    assert not arena.exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--port", "70000"], "'70000' is not a whole number from 0 to 65535"),
        (["--memory", "lots"], "'lots' is not a size"),
        (["--memory", "1MiB"], "1MiB is too little: the cache needs at least 8MiB"),
        (["--policy", "best"], "invalid choice: 'best'"),
        (["--max-clients", "0"], "not a whole number from 1"),
        (["--frobnicate"], "unrecognized arguments: --frobnicate"),
        (["--no-auth", "--host", "0.0.0.0"], "--no-auth would open the cache to everybody who can reach 0.0.0.0"),
    ],
)
def test_a_wrong_option_is_one_sentence_and_status_78(options: list[str], said: str) -> None:
    status, text = start_and_fail(*options)
    assert status == 78
    assert said in text
    assert text.count("\n") == 1


def test_a_port_in_use(tmp_path: Path, cache: servers.Server) -> None:
    status, text = start_and_fail("--port", str(cache.port), "--no-auth", "--data-dir", str(tmp_path / "other"))
    assert status == 1
    assert text == (
        f"core_cache: The cache cannot listen on 127.0.0.1 port {cache.port}: "
        "another program uses it: choose another --port, or stop that program\n"
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--arena-dir", "/nonexistent"], "folder /nonexistent does not exist"),
        (["--arena-dir", "/etc/passwd"], "/etc/passwd is no folder"),
        (["--memory", "100TiB"], "left: lower memory or set another arena_dir"),
        (["--host", "192.0.2.1"], "this machine has no such address"),
        (["--unix-socket", "/tmp/" + "x" * 120], "is longer than 107 bytes"),
        (["--unix-socket", "/nonexistent/cache.sock"], "cannot listen on the unix socket /nonexistent/cache.sock"),
        (["--data-dir", "/dev/null/data"], "the data directory /dev/null/data cannot be used"),
    ],
)
def test_what_the_machine_does_not_allow_is_one_sentence(
    tmp_path: Path, free_port: int, options: list[str], said: str
) -> None:
    status, text = start_and_fail("--port", str(free_port), "--data-dir", str(tmp_path / "data"), *options)
    assert status == 1
    assert said.lower() in text.lower()
    assert "Traceback" not in text
    assert len([line for line in text.splitlines() if line.startswith("core_cache: ")]) == 1


def test_a_data_directory_that_others_may_write_to(tmp_path: Path, free_port: int) -> None:
    tmp_path.chmod(0o777)
    status, text = start_and_fail("--port", str(free_port), "--data-dir", str(tmp_path))
    assert status == 1
    assert "Others may write to the data directory" in text
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o777


def test_temporary_arenas_of_killed_processes_are_removed(tmp_path: Path) -> None:
    arenas = tmp_path / "arenas"
    arenas.mkdir()
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(servers.ROOT)}
    command = [sys.executable, "-m", "core_cache", "--port", "0", "--memory", "16MiB", "--arena-dir", str(arenas)]

    def start(known: set[Path]) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(command, env=environment)
        wait_until(lambda: set(tmp_path.glob("predis-*/cache.pid")) - known, what="the pid file")
        return process

    killed = start(set())
    alive = start(set(tmp_path.glob("predis-*/cache.pid")))
    killed.kill()
    killed.wait()
    assert len(list(arenas.glob("*.arena"))) == 2
    for arena in arenas.iterdir():
        os.utime(arena, (0, 0))
    third = start(set(tmp_path.glob("predis-*/cache.pid")))
    left = sorted(path.stem for path in arenas.iterdir())  # each with its access log and its file for readers
    assert len(left) == 2 * 3
    assert len(set(left)) == 2  # the two that are alive
    for process in (alive, third):
        process.terminate()
        assert process.wait(20) == 0
    assert list(arenas.iterdir()) == []


def test_there_are_never_two_on_the_same_data(cache: servers.Server, free_port: int) -> None:
    status, text = start_and_fail("--port", str(free_port), "--data-dir", str(cache.data_dir))
    assert status == 1
    assert text == (
        f"core_cache: Another cache process (process {cache.pid}) works on {cache.data_dir}: stop that one first\n"
    )


def test_a_stale_socket_is_replaced_and_a_live_one_refused(tmp_path: Path, free_port: int) -> None:
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(data_dir / "cache.sock"))
    stale.close()
    server = servers.start_cache(tmp_path, "--no-auth")
    try:
        options = ["--port", str(free_port), "--no-auth", "--data-dir", str(tmp_path / "other")]
        status, text = start_and_fail(*options, "--unix-socket", str(server.unix_socket))
        assert status == 1
        assert f"another server listens on the unix socket {server.unix_socket}" in text.lower()
        assert server.answers()
    finally:
        server.stop()


def test_port_0_means_no_tcp(tmp_path: Path) -> None:
    server = servers.start_cache(tmp_path, "--no-auth", port=0)
    try:
        listening = subprocess.run(["ss", "-ltnp"], capture_output=True, text=True).stdout if shutil.which("ss") else ""
        assert f"pid={server.pid}," not in listening
        with server.client() as client:
            assert client.command("CONFIG", "GET", "port") == [b"port", b"0"]
    finally:
        server.stop()


# --- limits and bad clients


def test_one_client_too_many(tmp_path: Path) -> None:
    server = servers.start_cache(tmp_path, "--no-auth", "--max-clients", "3")
    try:
        clients = [RawClient(server.port) for _ in range(3)]
        assert [client.command(b"PING") for client in clients] == [b"+PONG\r\n"] * 3
        with connect(server) as refused:
            assert read_all(refused) == b"-ERR max number of clients reached\r\n"
        clients.pop().close()
        wait_until(server.answers, what="room for another client")
    finally:
        server.stop()


def test_many_clients_at_once(cache: servers.Server, raw: RawClient) -> None:
    clients = [connect(cache) for _ in range(400)]
    for number, client in enumerate(clients):
        client.sendall(encode([b"SET", b"k%d" % number, b"v"]) + b"*2\r\n$3\r\nGE")  # and half a command
    assert [client.recv(5) for client in clients] == [b"+OK\r\n"] * 400
    wait_until(lambda: b"connected_clients:401\r\n" in raw.command(b"INFO", b"clients"), what="all clients")
    for number, client in enumerate(clients):
        client.sendall(b"T\r\n$%d\r\nk%d\r\n" % (len(b"k%d" % number), number))
    assert [client.recv(7) for client in clients] == [b"$1\r\nv\r\n"] * 400
    for client in clients:
        client.close()
    wait_until(lambda: b"connected_clients:1\r\n" in raw.command(b"INFO", b"clients"), what="the clients' end")


def test_a_client_that_never_reads_costs_little_and_harms_nobody(cache: servers.Server, raw: RawClient) -> None:
    value = b"x" * MIB
    raw.command(b"SET", b"big", value)
    before = resident(cache.pid)
    with connect(cache) as greedy:
        greedy.sendall(encode([b"GET", b"big"]) * 2000)  # asks for 2 GB
        wait_until(lambda: b" events=w " in raw.command(b"CLIENT", b"LIST"), what="the pause")
        for _ in range(50):
            assert raw.command(b"PING") == b"+PONG\r\n"
        assert resident(cache.pid) - before < 32 * MIB
        # Once it reads, it gets everything it asked for, in order.
        with greedy.makefile("rb") as replies:
            for _ in range(40):
                assert replies.readline() == b"$1048576\r\n"
                assert replies.read(MIB + 2) == value + b"\r\n"
    wait_until(lambda: b"connected_clients:1\r\n" in raw.command(b"INFO", b"clients"), what="the greedy client's end")


def test_a_slow_reader_gets_every_reply(cache: servers.Server) -> None:
    value = b"y" * 200_000
    client = RawClient(cache.port)
    client.command(b"SET", b"k", value)
    client.send(b"".join(encode([b"GET", b"k"]) + encode([b"ECHO", b"%d" % number]) for number in range(64)))
    for number in range(64):
        assert client.reply() == b"$200000\r\n" + value + b"\r\n"
        assert client.reply() == b"$%d\r\n%d\r\n" % (len(str(number)), number)
    client.close()


def test_announced_gigabytes_take_no_memory(cache: servers.Server, raw: RawClient) -> None:
    before = resident(cache.pid)
    liars = [connect(cache) for _ in range(100)]
    for liar in liars:
        liar.sendall(b"*1000000\r\n$3\r\nSET\r\n$536870912\r\nabc")
    assert raw.command(b"PING") == b"+PONG\r\n"
    # all are accepted, and each query buffer holds what its client has sent
    wait_until(lambda: raw.command(b"CLIENT", b"LIST").count(b" qbuf=34 ") == 100, what="the liars' input")
    assert b"connected_clients:101\r\n" in raw.command(b"INFO", b"clients")
    assert resident(cache.pid) - before < 16 * MIB
    for liar in liars:
        liar.close()


def test_clients_memory_is_bounded(cache: servers.Server, raw: RawClient) -> None:
    assert raw.command(b"CONFIG", b"SET", b"maxmemory-clients", b"4mb") == b"+OK\r\n"
    with connect(cache) as hog:
        hog.sendall(b"*2\r\n$4\r\nECHO\r\n$100000000\r\n")
        with contextlib.suppress(OSError):
            for _ in range(64):
                hog.sendall(b"x" * MIB)
        assert read_all(hog) == b""
    assert b"evicted_clients:1\r\n" in raw.command(b"INFO", b"stats")


def test_an_idle_client_is_closed_when_asked_for(cache: servers.Server) -> None:
    with connect(cache) as idle:
        idle.sendall(encode([b"CONFIG", b"SET", b"timeout", b"1"]))
        assert idle.recv(100) == b"+OK\r\n"
        assert read_all(idle) == b""


def test_client_kill_reaches_the_connection(cache: servers.Server, raw: RawClient) -> None:
    with connect(cache) as victim:
        victim.sendall(b"CLIENT ID\r\n")
        number = victim.recv(100)[1:-2]
        assert raw.command(b"CLIENT", b"KILL", b"ID", number) == b":1\r\n"
        assert read_all(victim) == b""


def test_a_protocol_error_closes_that_connection_only(cache: servers.Server, raw: RawClient) -> None:
    with connect(cache) as broken:
        broken.sendall(encode([b"PING"]) + b"*1\r\n!\r\n")
        assert read_all(broken) == b"+PONG\r\n-ERR Protocol error: expected '$', got '!'\r\n"
    assert raw.command(b"PING") == b"+PONG\r\n"


def test_a_reset_in_the_middle_of_a_command(cache: servers.Server, raw: RawClient) -> None:
    for _ in range(20):
        client = connect(cache)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.sendall(encode([b"MGET", *[b"k"] * 1000]) * 20 + b"*3\r\n$3\r\nSET\r\n$9999\r\nabc")
        client.close()
    wait_until(lambda: b"connected_clients:1\r\n" in raw.command(b"INFO", b"clients"), what="the clients' end")


def test_config_set_loglevel_takes_effect(cache: servers.Server, raw: RawClient) -> None:
    assert raw.command(b"CONFIG", b"SET", b"loglevel", b"warning") == b"+OK\r\n"
    heartbeat = StatsReader(cache.data_dir / "cache.arena")
    for _ in range(2):  # the timer has run since
        beat = heartbeat.read()["gauges"]["heartbeat_unix_ms"]
        wait_until(lambda beat=beat: heartbeat.read()["gauges"]["heartbeat_unix_ms"] > beat, what="upkeep")
    raw.close()
    assert cache.stop() == 0
    assert "ready on" in cache.log_text()
    assert "stopping" not in cache.log_text()


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_connection_works_on_any_event_loop(
    tmp_path: Path, free_port: int, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    engine = Engine(str(tmp_path / "x.arena"), 64 * MIB, "lru")
    value, count = b"x" * (3 * MIB), 20

    async def work() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Protocol(engine), "127.0.0.1", free_port)
        reader, writer = await asyncio.open_connection("127.0.0.1", free_port, limit=4 * MIB)
        writer.write(encode([b"SET", b"k", value]))
        assert await reader.readexactly(5) == b"+OK\r\n"
        writer.write(b"GET k\r\nECHO x\r\n" * count)
        wanted = b"$%d\r\n%s\r\n$1\r\nx\r\n" % (len(value), value)
        for _ in range(count):
            assert await reader.readexactly(len(wanted)) == wanted
        writer.write(b"QUIT\r\n")
        assert await reader.read() == b"+OK\r\n"
        writer.close()
        server.close()
        while engine.clients:
            await asyncio.sleep(0)

    loop = new_loop()
    try:
        loop.run_until_complete(asyncio.wait_for(work(), 20))
    finally:
        loop.close()
        engine.close()


# --- stopping


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_it_answers_what_it_received_before_it_stops(tmp_path: Path, how: signal.Signals) -> None:
    server = servers.start_cache(tmp_path, "--no-auth")
    count = 20_000
    with connect(server) as client:
        client.sendall(encode([b"PING"]))
        assert client.recv(7) == b"+PONG\r\n"
        os.kill(server.pid, signal.SIGSTOP)
        client.sendall(b"".join(encode([b"SET", b"k%d" % i, b"v"]) for i in range(count)))
        os.kill(server.pid, how)
        os.kill(server.pid, signal.SIGCONT)
        assert read_all(client) == b"+OK\r\n" * count
    assert server.stop(how) == 0
    again = servers.start_cache(tmp_path, "--no-auth")
    try:
        with again.client() as reader:
            assert reader.command("DBSIZE") == count
    finally:
        again.stop()


def test_it_stops_although_a_client_does_not_read(tmp_path: Path) -> None:
    server = servers.start_cache(tmp_path, "--no-auth")
    with connect(server) as deaf, server.client() as client:
        client.command("SET", "big", "x" * MIB)
        deaf.sendall(encode([b"GET", b"big"]) * 100)
        wait_until(lambda: b" events=w " in _bytes(client.command("CLIENT", "LIST")), what="the pause")
        assert server.stop() == 0


def test_counters_can_be_read_from_outside(cache: servers.Server, raw: RawClient) -> None:
    raw.pipeline([(b"SET", b"k", b"v")] * 10 + [(b"GET", b"k")] * 5 + [(b"GET", b"none")] + [(b"INCR", b"k")])
    reader = StatsReader(cache.data_dir / "cache.arena")
    numbers = reader.read()
    assert numbers["counters"]["keyspace_hits"] >= 5
    assert numbers["counters"]["keyspace_misses"] == 1
    assert numbers["commands"]["set"]["calls"] == 10
    assert sum(numbers["commands"]["set"]["latency"]) == 10
    assert numbers["commands"]["set"]["nanoseconds"] > 0
    assert numbers["commands"]["incr"]["failed"] == 1
    assert numbers["gauges"]["pid"] == cache.pid
    assert numbers["gauges"]["connected_clients"] == 1
    beat = numbers["gauges"]["heartbeat_unix_ms"]
    wait_until(lambda: reader.read()["gauges"]["heartbeat_unix_ms"] > beat, what="the heartbeat")
    wait_until(lambda: reader.read()["gauges"]["keys"] == 1, what="the gauge of keys")


def _bytes(value: object) -> bytes:
    assert isinstance(value, bytes)
    return value


def test_a_client_over_the_unix_socket_is_told_apart(cache: servers.Server, raw: RawClient) -> None:
    with RespClient(cache.unix_socket, None) as client:
        line = _bytes(client.command("CLIENT", "INFO"))
    assert f"addr={cache.unix_socket}:0 ".encode() in line
    assert b" flags=U " in line
    assert b" addr=127.0.0.1:" in raw.command(b"CLIENT", b"INFO")


def test_a_folder_that_this_user_may_not_enter_is_one_clear_sentence(tmp_path: Path) -> None:
    # Given an arena folder within a folder that is closed to the user (root may enter everything, so root steps down)
    closed, data_dir = tmp_path / "closed", tmp_path / "data"
    (closed / "arenas").mkdir(parents=True)
    closed.chmod(0)
    options = parse_options(["--data-dir", str(data_dir), "--arena-dir", str(closed / "arenas")])
    child = os.fork()
    if child == 0:
        if os.geteuid() == 0:
            os.seteuid(65534)
        with contextlib.ExitStack() as stack:
            try:
                arena_path(options, data_dir, stack)
            except StartError as error:
                os._exit(0 if "permission denied" in str(error) and "--arena-dir" in str(error) else 3)
            finally:
                os._exit(4)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    closed.chmod(0o700)


def test_a_full_disk_under_the_data_directory_keeps_nobody_from_the_data(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a data directory where the pid file of a killed process is left and no new one can be written
    (tmp_path / ".cache.pid.new").mkdir()
    (tmp_path / "cache.pid").write_text("1\n")
    with pid_file(tmp_path):
        assert not (tmp_path / "cache.pid").exists()
    assert "cannot be written" in caplog.text
