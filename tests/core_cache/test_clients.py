"""Real clients against the cache process: redis-py in both protocols, redis-cli, redis-benchmark."""

import asyncio
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import redis
import redis.asyncio
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests import servers

PASSWORD_USER = "default"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    """A cache process with a password."""
    started = servers.start_cache(tmp_path_factory.mktemp("clients"), memory="256MiB")
    yield started
    assert started.stop() == 0


@pytest.fixture(params=[2, 3], ids=["RESP2", "RESP3"])
def client(server: servers.Server, request: pytest.FixtureRequest) -> Iterator[Any]:
    """redis-py, connected over TCP, on an empty cache."""
    connected = redis.Redis(
        port=server.port, username=PASSWORD_USER, password=server.password, protocol=request.param, client_name="tests"
    )
    connected.flushall()
    yield connected
    connected.close()


def tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed; `make peers` installs it")
    return path


def test_redis_py_strings_and_counters(client: Any) -> None:
    assert client.ping() is True
    assert client.set("k", b"\x00\xff\r\n", ex=100) is True
    assert client.get("k") == b"\x00\xff\r\n"
    assert 0 < client.ttl("k") <= 100
    assert client.set("k", "other", nx=True) is None
    assert client.set("k", "new", get=True) == b"\x00\xff\r\n"
    assert client.mset({"a": 1, "b": 2}) is True
    assert client.mget("a", "none", "b") == [b"1", None, b"2"]
    assert client.incr("n", 5) == 5
    assert client.incrbyfloat("f", 1.5) == 1.5
    assert client.delete("a", "b", "none") == 2
    assert sorted(client.scan_iter()) == [b"f", b"k", b"n"]
    with pytest.raises(redis.ResponseError, match="value is not an integer or out of range"):
        client.incr("k")


def test_redis_py_pipelines(client: Any) -> None:
    with client.pipeline(transaction=False) as pipe:
        for number in range(5000):
            pipe.set(f"k{number}", number).get(f"k{number}")
        replies = pipe.execute()
    assert replies == [part for number in range(5000) for part in (True, str(number).encode())]


def test_redis_py_server_commands(client: Any) -> None:
    assert client.info()["redis_version"].startswith("7.0.")
    client.ping()
    assert client.info("commandstats")["cmdstat_ping"]["calls"] >= 1
    client.set("k", "v")
    assert client.info("keyspace") == {"db0": {"keys": 1, "expires": 0, "avg_ttl": 0}}
    assert client.dbsize() == 1
    assert client.config_get("maxmemory*")["maxmemory-policy"] == "allkeys-s3fifo"
    assert client.config_set("slowlog-log-slower-than", 0) is True
    client.get("k")
    entry = client.slowlog_get(1)[0]
    assert entry["command"] == b"GET k"
    assert client.config_set("slowlog-log-slower-than", 10000) is True
    assert client.slowlog_reset() is True
    assert client.slowlog_len() == 0
    assert client.memory_usage("k") >= 32
    assert client.memory_stats()["keys.count"] == 1
    assert client.object("encoding", "k") == b"embstr"
    assert client.object("idletime", "k") == 0
    assert client.latency_latest() == []
    assert client.command_count() == len(client.command())
    assert "get" in client.command()
    assert len(client.time()) == 2
    with pytest.raises(redis.ResponseError, match="The server is running without a config file"):
        client.config_rewrite()


def test_redis_py_client_commands(client: Any, server: servers.Server) -> None:
    assert client.client_getname() in ("tests", b"tests")  # str or bytes, by protocol
    me = client.client_info()
    assert me["name"] == "tests"
    assert me["lib-name"].startswith("redis-py")
    assert me["id"] == client.client_id()
    other = redis.Redis(port=server.port, password=server.password, client_name="victim")
    assert other.ping()
    victim = next(entry for entry in client.client_list() if entry["name"] == "victim")
    assert client.client_kill_filter(_id=victim["id"]) == 1
    assert "victim" not in {entry["name"] for entry in client.client_list()}
    other.close()


def test_an_unknown_client_subcommand_keeps_the_connection(client: Any) -> None:
    number = client.client_id()
    for attempt in (
        ("CLIENT", "MAINT_NOTIFICATIONS", "ON"),
        ("CLIENT", "NO-TOUCH", "ON"),
        ("CLIENT", "CAPA", "redirect"),
    ):
        with pytest.raises(redis.ResponseError, match="unknown subcommand"):
            client.execute_command(*attempt)
    assert client.client_id() == number


def test_a_wrong_password(server: servers.Server) -> None:
    for wrong in ("wrong", None):
        with pytest.raises(redis.AuthenticationError):
            redis.Redis(port=server.port, password=wrong, retry=Retry(NoBackoff(), 0)).ping()


def test_redis_py_over_the_unix_socket(server: servers.Server) -> None:
    client = redis.Redis(unix_socket_path=str(server.unix_socket), password=server.password)
    assert client.set("unix", 1)
    assert client.get("unix") == b"1"
    client.close()


@pytest.mark.parametrize("protocol", [2, 3])
def test_redis_py_asyncio(server: servers.Server, protocol: int) -> None:
    async def work() -> list[Any]:
        client = redis.asyncio.Redis(port=server.port, password=server.password, protocol=protocol)
        try:
            await client.set("counter", 0)
            await asyncio.gather(*(client.incr("counter") for _ in range(50)))
            async with client.pipeline(transaction=False) as pipe:
                return list(await pipe.get("counter").exists("counter", "none").execute())
        finally:
            await client.aclose()

    assert asyncio.run(work()) == [b"50", 1]


def test_redis_cli(server: servers.Server) -> None:
    def cli(*arguments: str, given: str = "") -> str:
        command = [
            tool("redis-cli"),
            "-p",
            str(server.port),
            "--no-auth-warning",
            "-a",
            str(server.password),
            *arguments,
        ]
        return subprocess.run(command, input=given, capture_output=True, text=True, timeout=20, check=True).stdout

    assert cli("ping") == "PONG\n"
    assert cli("-3", "config", "get", "port") == f"port {server.port}\n"
    assert cli(given='set k "a b"\nget k\nincr k\nhello 3\n').splitlines()[:3] == [
        "OK",
        "a b",
        "ERR value is not an integer or out of range",
    ]
    assert cli("--raw", given="set n 41\nincr n\n") == "OK\n42\n"
    assert f"tcp_port:{server.port}" in cli("info", "server")
    assert cli("--scan", "--pattern", "n") == "n\n"
    assert "unknown command 'NOSUCH'" in cli("NOSUCH")
    pipe = cli("--pipe", given="".join(f"SET pipe:{i} {i}\r\n" for i in range(10_000)))
    assert "errors: 0, replies: 10000" in pipe


def test_redis_benchmark(server: servers.Server) -> None:
    command = [tool("redis-benchmark"), "-p", str(server.port), "-a", str(server.password), "-t", "get,set,incr,mset"]
    command += ["-P", "16", "-n", "20000", "-r", "10000", "-d", "100", "-q"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    rates = re.findall(r"(SET|GET|INCR|MSET \(10 keys\)): ([\d.]+) requests per second", done.stdout)
    assert [name for name, _ in rates] == ["SET", "GET", "INCR", "MSET (10 keys)"]
    assert all(float(rate) > 1000 for _, rate in rates)
    assert "error" not in done.stdout.lower()


def test_a_monitoring_client_finds_what_it_asks_for(client: Any) -> None:
    """The calls of redis_exporter, one by one."""
    assert client.client_setname("redis_exporter") is True
    every = client.config_get("*")
    assert {"maxmemory", "maxmemory-policy", "maxclients", "databases"} <= every.keys()
    client.set("k", "v")
    information = client.info("ALL")
    needed = (
        "uptime_in_seconds connected_clients blocked_clients used_memory maxmemory total_commands_processed "
        "total_net_input_bytes total_net_output_bytes keyspace_hits keyspace_misses expired_keys evicted_keys db0"
    )
    assert [name for name in needed.split() if name not in information] == []
    assert information["db0"]["keys"] == 1
    assert any(name.startswith("cmdstat_") for name in information)
    assert isinstance(client.slowlog_len(), int)
    assert client.execute_command("LATENCY", "LATEST") == []
    assert client.execute_command("LATENCY", "HISTOGRAM") is not None
