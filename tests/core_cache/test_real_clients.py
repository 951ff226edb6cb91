"""Real clients against the cache: redis-py with every parser, protocol, transport and style, node-redis and ioredis.

The flows are those that the clients' guides begin with. The JavaScript ones stand in clients/*.mjs and are run here;
`make peers` installs node and the npm packages.
"""

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio
from redis._parsers import _HiredisParser, _RESP2Parser, _RESP3Parser
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from tests import servers

SCRIPTS = Path(__file__).parent / "clients"
PACKAGES = servers.ROOT / "build" / "clients"
PATIENCE_MS = 20_000  # for one flow of a script
RETRIES = Retry(ConstantBackoff(0.05), 100)

PARSERS: dict[str, Any] = {"hiredis": _HiredisParser, "python": None}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    """A cache process with a password."""
    started = servers.start_cache(tmp_path_factory.mktemp("real"), memory="256MiB")
    yield started
    assert started.stop() == 0


def where(server: servers.Server, transport: str) -> dict[str, Any]:
    """Arguments of redis-py that say where the server is and how to log in."""
    place: dict[str, Any] = (
        {"port": server.port} if transport == "tcp" else {"unix_socket_path": str(server.unix_socket)}
    )
    return {**place, "password": server.password}


# --- redis-py


@pytest.fixture(params=["tcp", "unix"])
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=[2, 3], ids=["RESP2", "RESP3"])
def protocol(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(params=list(PARSERS))
def client(server: servers.Server, transport: str, protocol: int, request: pytest.FixtureRequest) -> Iterator[Any]:
    """redis-py on an empty cache, connected in one of all the ways."""
    parser = PARSERS[request.param] or (_RESP3Parser if protocol == 3 else _RESP2Parser)
    connected = redis.Redis(**where(server, transport), protocol=protocol)
    connected.connection_pool.connection_kwargs["parser_class"] = parser
    connected.flushall()
    assert isinstance(connected.connection_pool.get_connection()._parser, parser)
    yield connected
    connected.close()


def test_redis_py_basics(client: Any) -> None:
    assert client.ping() is True
    assert client.set("k", b"\x00\xff\r\n", ex=100) is True
    assert client.get("k") == b"\x00\xff\r\n"
    assert 0 < client.ttl("k") <= 100
    assert client.mset({"a": "1", "b": "2"}) is True
    assert client.mget("a", "none", "b") == [b"1", None, b"2"]
    assert client.incr("a", 41) == 42
    assert client.exists("a", "b", "none") == 2
    assert client.delete("a", "none") == 1
    assert sorted(client.scan_iter(match="?", count=10)) == [b"b", b"k"]
    assert client.setbit("bits", 7, 1) == 0
    assert client.bitcount("bits") == 1
    assert client.bitfield("bits").incrby("u8", "#1", 300, "SAT").get("u8", 0).execute() == [255, 1]
    assert client.mset({"word": "ohmytext", "other": "mynewtext"})
    assert client.lcs("word", "other") == b"mytext"
    assert client.type("k") in (b"string", "string")
    assert client.dbsize() == 5


def test_redis_py_collections(client: Any) -> None:
    assert client.hset("session", mapping={"user": "ann", "visits": 1}) == 2
    assert client.hincrby("session", "visits", 4) == 5
    assert client.hgetall("session") == {b"user": b"ann", b"visits": b"5"}
    assert client.hmget("session", "user", "none") == [b"ann", None]
    assert dict(client.hscan_iter("session")) == {b"user": b"ann", b"visits": b"5"}
    assert client.sadd("tags", "a", "b", "c") == 3
    assert client.sadd("others", "b", "c", "d") == 3
    assert set(client.sinter("tags", "others")) == {b"b", b"c"}
    assert client.rpush("queue", 1, 2, 3) == 3
    assert client.lrange("queue", 0, -1) == [b"1", b"2", b"3"]
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        client.get("session")


def test_redis_py_pipeline(client: Any) -> None:
    with client.pipeline(transaction=False) as pipe:
        for number in range(1000):
            pipe.set(f"k{number}", number).get(f"k{number}")
        pipe.incr("k1").get("none")
        replies = pipe.execute()
    assert replies == [*[part for number in range(1000) for part in (True, str(number).encode())], 2, None]


def test_redis_py_errors(client: Any) -> None:
    client.set("k", "text")
    with pytest.raises(redis.ResponseError, match="value is not an integer or out of range"):
        client.incr("k")
    with pytest.raises(redis.ResponseError, match="unknown command 'NOSUCH'"):
        client.execute_command("NOSUCH", "a")
    with (
        pytest.raises(redis.ResponseError, match="unknown command 'NOSUCH'"),
        client.pipeline(transaction=False) as pipe,
    ):
        pipe.set("k", 1).execute_command("NOSUCH").get("k").execute()
    with pytest.raises(redis.ResponseError, match="cluster support disabled"):
        client.execute_command("CLUSTER INFO")
    assert client.get("k") == b"1"


def test_redis_py_about_the_server(client: Any) -> None:
    info = client.info("all")
    assert info["redis_version"] == "7.0.15"
    assert info["db0"] if client.dbsize() else "db0" not in info
    assert client.command_count() > 80
    assert {"get", "set", "cluster"} <= client.command().keys()
    assert client.role() in (["master", 0, []], [b"master", 0, []])
    assert client.config_get("maxmemory")["maxmemory"] == str(256 << 20)
    assert client.wait(0, 0) == 0
    assert client.replicaof("NO", "ONE")
    assert client.module_list() == []


def test_redis_py_asyncio(server: servers.Server, transport: str, protocol: int) -> None:
    async def work() -> None:
        client: Any = redis.asyncio.Redis(**where(server, transport), protocol=protocol, decode_responses=True)
        async with client:
            await client.flushall()
            assert await client.ping()
            await asyncio.gather(*(client.incr("counter") for _ in range(100)))
            async with client.pipeline(transaction=False) as pipe:
                assert await pipe.get("counter").exists("counter", "none").execute() == ["100", 1]
            await client.mset({f"k{number}": number for number in range(100)})
            assert {key async for key in client.scan_iter(match="k*")} == {f"k{number}" for number in range(100)}
            with pytest.raises(redis.ResponseError, match="value is not an integer"):
                await client.incr("k1", "x")

    asyncio.run(work())


def test_redis_py_wrong_password(server: servers.Server, transport: str) -> None:
    wrong = redis.Redis(**{**where(server, transport), "password": "wrong"}, retry=Retry(ConstantBackoff(0), 0))
    with pytest.raises(redis.AuthenticationError):
        wrong.ping()


def test_redis_py_connects_again_after_a_restart(tmp_path: Path, transport: str, protocol: int) -> None:
    first = servers.start_cache(tmp_path)
    client = redis.Redis(**where(first, transport), protocol=protocol, retry=RETRIES)
    assert client.set("before", "restart")
    assert first.stop() == 0
    second = servers.start_cache(tmp_path, port=first.port)
    assert client.get("before") == b"restart"
    assert second.stop() == 0


# --- node-redis and ioredis


def packages() -> Path:
    """The folder with node_modules; without it or node the test is skipped, and a warning says so."""
    problem = None
    if shutil.which("node") is None:
        problem = "node is not installed"
    elif not all((PACKAGES / "node_modules" / name).is_dir() for name in ("redis", "ioredis")):
        problem = f"the npm packages are not in {PACKAGES.relative_to(servers.ROOT)}"
    if problem is not None:
        warnings.warn(f"{problem}: node-redis and ioredis are not tried (`make peers` installs them)", stacklevel=1)
        pytest.skip(f"{problem}; `make peers` installs it")
    return PACKAGES


class Script:
    """A running script of clients/: gives its lines one by one."""

    def __init__(self, name: str, server: servers.Server, **settings: Any) -> None:
        settings |= {"packages": str(packages()), "password": server.password, "port": server.port}
        environment = {**os.environ, "PREDIS_CLIENT": json.dumps({**settings, "patience": PATIENCE_MS})}
        self.process = subprocess.Popen(
            ["node", str(SCRIPTS / name)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def line(self) -> str:
        """The next line, or "" at the end. A script ends itself when a flow takes longer than PATIENCE_MS."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def answer(self, text: str) -> None:
        """Lets a script that asked for something go on."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended, and end() tells why
            self.process.stdin.write(text + "\n")
            self.process.stdin.flush()

    def end(self) -> tuple[int, str]:
        """Its exit status and what it wrote to stderr; ends it where it does not by itself."""
        try:
            _, errors = self.process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            _, errors = self.process.communicate()
        return self.process.returncode, errors


def flows_of(name: str) -> list[str]:
    """The names of a script's flows, as its text has them."""
    text = (SCRIPTS / name).read_text(encoding="utf-8")
    lines = (line for line in text[text.index("await run({") :].splitlines() if line.startswith("  async "))
    return [line.removeprefix("  async ").partition("(")[0].strip("'") for line in lines]


SETTINGS = [
    ("node_redis.mjs", "tcp", 2),
    ("node_redis.mjs", "tcp", 3),
    ("node_redis.mjs", "unix", 3),
    ("ioredis.mjs", "tcp", 2),
    ("ioredis.mjs", "unix", 2),
]


@pytest.mark.parametrize(("name", "transport", "protocol"), SETTINGS)
def test_javascript_clients(tmp_path: Path, name: str, transport: str, protocol: int) -> None:
    """Every flow of the script passes; in one of them the server is restarted under the client's feet."""
    packages()
    running = servers.start_cache(tmp_path, memory="128MiB")
    socket = str(running.unix_socket) if transport == "unix" else None
    script = Script(name, running, socket=socket, protocol=protocol)
    passed = []
    try:
        while line := script.line():
            if line == "restart":
                assert running.stop() == 0
                running = servers.start_cache(tmp_path, memory="128MiB", port=running.port)
                script.answer("restarted")
            else:
                passed.append(line)
    finally:
        status, errors = script.end()
        running.stop()
    assert status == 0, errors
    assert passed == [f"ok {flow}" for flow in flows_of(name)]
