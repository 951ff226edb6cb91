"""What one client can take from the others: connections, memory, time. And who may connect at all."""

import contextlib
import socket
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests import servers
from tests.core_cache.raw_resp import RawClient, encode
from tests.servers import Server
from tests.waiting import wait_until

MIB = 1 << 20


@pytest.fixture
def open_cache(tmp_path: Path) -> Iterator[Server]:
    server = servers.start_cache(tmp_path, "--no-auth", "--max-clients", "1000", memory="256MiB")
    yield server
    server.stop()


def ended(client: RawClient) -> bool:
    """Whether the server has ended the connection; what it still had to say is read and dropped."""
    client.socket.settimeout(0.05)
    try:
        while client.socket.recv(1 << 16):
            pass
    except TimeoutError:
        return False
    except ConnectionError:
        pass
    return True


def outside_address() -> str:
    """An address of this machine that is not the loopback's."""
    for addresses in psutil.net_if_addrs().values():
        for address in addresses:
            if address.family == socket.AF_INET and not address.address.startswith("127."):
                return address.address
    warnings.warn("this machine has no address but the loopback's: protected mode is not tested", stacklevel=1)
    pytest.skip("needs an address beside the loopback's")


def test_protected_mode_refuses_other_machines_while_there_is_no_password(tmp_path: Path) -> None:
    """With redis-server's words; a connection from this machine, a password or CONFIG SET lets in again."""
    address = outside_address()
    (tmp_path / "redis").mkdir()
    redis = servers.start_redis(tmp_path / "redis", "--bind", "0.0.0.0")
    ours = servers.start_cache(tmp_path, "--host", "0.0.0.0")

    def greeting(server: Server) -> bytes:
        """What a connection from outside gets that says PING."""
        with socket.create_connection((address, server.port), timeout=10) as connection:
            connection.sendall(b"PING\r\n")
            with connection.makefile("rb") as file, contextlib.suppress(ConnectionResetError):
                return file.readline()
        return b""

    try:
        assert ours.password is not None
        admin = RawClient(ours.port)
        assert greeting(ours) == b"-NOAUTH Authentication required.\r\n"
        assert admin.value(b"AUTH", ours.password.encode()) == b"OK"
        assert admin.value(b"CONFIG", b"SET", b"requirepass", b"") == b"OK"
        assert greeting(ours) == greeting(redis)
        assert greeting(ours).startswith(b"-DENIED Redis is running in protected mode")
        assert RawClient(ours.port).value(b"PING") == b"PONG"
        ours.password = None
        with ours.client() as client:  # over the unix socket
            assert client.command("PING") == "PONG"
        rejected = admin.value(b"INFO", b"stats").partition(b"rejected_connections:")[2].split()[0]
        assert int(rejected) == 2
        assert admin.value(b"CONFIG", b"SET", b"protected-mode", b"no") == b"OK"
        assert greeting(ours) == b"+PONG\r\n"
        assert admin.value(b"CONFIG", b"SET", b"protected-mode", b"yes") == b"OK"
        assert admin.value(b"ACL", b"SETUSER", b"default", b">secret") == b"OK"
        assert greeting(ours) == b"-NOAUTH Authentication required.\r\n"
    finally:
        redis.stop()
        ours.stop()


def test_connections_beyond_maxclients_are_refused(open_cache: Server) -> None:
    admin = RawClient(open_cache.port)
    assert admin.value(b"CONFIG", b"SET", b"maxclients", b"3") == b"OK"
    second, third = RawClient(open_cache.port), RawClient(open_cache.port)
    assert second.value(b"PING") == third.value(b"PING") == b"PONG"
    assert RawClient(open_cache.port).read_to_end() == b"-ERR max number of clients reached\r\n"
    second.close()
    wait_until(lambda: says_pong(RawClient(open_cache.port)), 5, "a place to be free")


def says_pong(client: RawClient) -> bool:
    """Whether the server answers PING as the first thing that it says."""
    client.send(b"PING\r\n")
    with contextlib.closing(client):
        return client.reply() == b"+PONG\r\n"


def test_clients_that_do_not_log_in_go_when_it_gets_crowded(tmp_path: Path) -> None:
    """Only then: while fewer than half of the places are taken, they may stay."""
    server = servers.start_cache(tmp_path, "--max-clients", "20")
    try:
        assert server.password is not None
        admin = RawClient(server.port)
        assert admin.value(b"AUTH", server.password.encode()) == b"OK"
        assert admin.value(b"CONFIG", b"GET", b"unauthenticated-timeout") == [b"unauthenticated-timeout", b"60"]
        assert admin.value(b"CONFIG", b"SET", b"unauthenticated-timeout", b"1") == b"OK"
        silent = [RawClient(server.port) for _ in range(8)]
        created = time.monotonic()
        assert silent[0].value(b"GET", b"x") == "-NOAUTH Authentication required."
        wait_until(lambda: time.monotonic() > created + 1.5, 5, "the deadline to be over")
        assert not any(ended(client) for client in silent)
        known = [RawClient(server.port) for _ in range(3)]
        for client in known:
            assert client.value(b"AUTH", server.password.encode()) == b"OK"
        wait_until(lambda: all(ended(client) for client in silent[:1]), 5, "those who do not log in to go")
        wait_until(lambda: sum(ended(client) for client in silent) >= 3, 5, "places to be free")
        assert all(client.value(b"PING") == b"PONG" for client in [admin, *known])
        stats = admin.value(b"INFO", b"stats")
        assert int(stats.partition(b"login_timeouts:")[2].split()[0]) >= 3
    finally:
        server.stop()


def test_a_command_that_never_ends_ends_at_the_query_buffer_limit(open_cache: Server) -> None:
    admin, greedy = RawClient(open_cache.port), RawClient(open_cache.port)
    assert admin.value(b"CONFIG", b"SET", b"client-query-buffer-limit", b"1mb") == b"OK"
    greedy.send(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n" % (8 * MIB))
    with pytest.raises(ConnectionError):
        greedy.send(b"x" * (8 * MIB - 1))
    assert ended(greedy)
    assert admin.value(b"EXISTS", b"k") == 0
    assert admin.value(b"PING") == b"PONG"


def test_bulks_beyond_proto_max_bulk_len_are_refused(open_cache: Server) -> None:
    admin, client = RawClient(open_cache.port), RawClient(open_cache.port)
    assert admin.value(b"CONFIG", b"SET", b"proto-max-bulk-len", b"1mb") == b"OK"
    assert client.value(b"SET", b"k", b"x" * MIB) == b"OK"
    client.send(b"*2\r\n$3\r\nGET\r\n$%d\r\n" % (MIB + 1))
    assert client.read_to_end() == b"-ERR Protocol error: invalid bulk length\r\n"


@pytest.mark.parametrize("limit", [b"normal 512kb 0 0", b"normal 0 64kb 1"], ids=["hard", "soft"])
def test_a_client_that_does_not_read_ends_at_the_output_buffer_limit(open_cache: Server, limit: bytes) -> None:
    """At once beyond the hard limit, after the seconds beyond the soft one; who reads stays."""
    admin, lazy, busy = RawClient(open_cache.port), RawClient(open_cache.port), RawClient(open_cache.port)
    assert admin.value(b"SET", b"k", b"x" * (300 * 1024)) == b"OK"
    assert admin.value(b"CONFIG", b"SET", b"client-output-buffer-limit", limit) == b"OK"
    lazy.send_all([(b"GET", b"k")] * 100)
    number = lazy.socket.getsockname()[1]
    wait_until(lambda: b":%d " % number not in admin.value(b"CLIENT", b"LIST"), 10, "the end of the lazy client")
    for _ in range(20):
        assert len(busy.command(b"GET", b"k")) > 300 * 1024


def test_idle_clients_go_after_the_timeout(open_cache: Server) -> None:
    admin, idle = RawClient(open_cache.port), RawClient(open_cache.port)
    assert idle.value(b"PING") == b"PONG"
    assert admin.value(b"CONFIG", b"SET", b"timeout", b"1") == b"OK"
    deadline = time.monotonic() + 10
    while not ended(idle):
        assert admin.value(b"PING") == b"PONG"  # who talks stays
        assert time.monotonic() < deadline
    assert admin.value(b"PING") == b"PONG"


def test_the_largest_clients_go_when_all_take_too_much(open_cache: Server) -> None:
    admin, greedy, spared = RawClient(open_cache.port), RawClient(open_cache.port), RawClient(open_cache.port)
    assert spared.value(b"CLIENT", b"NO-EVICT", b"on") == b"OK"
    for client in (greedy, spared):
        client.send(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n" % (8 * MIB) + b"x" * (7 * MIB))
    assert admin.value(b"CONFIG", b"SET", b"maxmemory-clients", b"12mb") == b"OK"
    wait_until(lambda: ended(greedy), 10, "the end of the greedy client")
    spared.socket.settimeout(10)
    spared.send(b"x" * MIB + b"\r\n")
    assert spared.reply() == b"+OK\r\n"
    assert admin.value(b"STRLEN", b"k") == 8 * MIB


def latencies(client: RawClient, seconds: float) -> list[float]:
    """How long GETs take, one after the other."""
    request, took = encode((b"GET", b"small")), []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        client.send(request)
        assert client.reply() == b"$1\r\nv\r\n"
        took.append(time.perf_counter() - start)
    return sorted(took)


def median(values: list[float]) -> float:
    return values[len(values) // 2]


def test_two_hundred_slow_readers_do_not_slow_down_a_fast_client(open_cache: Server) -> None:
    """Each has asked for 20 MiB and reads nothing: what is held for them is bounded, and others do not wait."""
    fast = RawClient(open_cache.port)
    assert fast.value(b"SET", b"small", b"v") == b"OK"
    assert fast.value(b"SET", b"large", b"x" * (200 * 1024)) == b"OK"
    alone = latencies(fast, 1.0)
    memory_alone = psutil.Process(open_cache.pid).memory_info().rss
    slow = [RawClient(open_cache.port) for _ in range(200)]
    for client in slow:
        client.send_all([(b"GET", b"large")] * 100)
    fast.socket.settimeout(60)
    # Copying what they asked for into the kernel's buffers is work that was ordered; then they must cost nothing more.
    wait_until(lambda: median(latencies(fast, 0.3)) < 0.002, 60, "the sockets of the slow readers to be full")
    among = latencies(fast, 2.0)
    held = psutil.Process(open_cache.pid).memory_info().rss - memory_alone
    assert held < 200 * 3 * MIB, f"{held / MIB:.0f} MiB are held for 200 clients that do not read"
    for share in (0.5, 0.95):
        before, now = (took[int(len(took) * share)] for took in (alone, among))
        text = f"{share:.0%} of the fast client's requests took {now * 1e6:.0f} µs, {before * 1e6:.0f} µs alone"
        assert now < max(3 * before, 0.002), text
    for client in slow[5:]:  # what they have in the kernel's buffers would slow down the others there
        client.close()
    for client in slow[:5]:  # and when they do read, they get everything
        for _ in range(100):
            assert len(client.reply()) == 200 * 1024 + len(b"$204800\r\n\r\n")
