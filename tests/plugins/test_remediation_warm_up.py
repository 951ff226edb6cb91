"""cache.warm_up: keys that the hosted cache lacks are brought from a server that has them."""

from pathlib import Path
from typing import Any

import pytest

from agent.api import Host, PredisError
from core_cache.resp_client import RespClient
from plugins.remediation.warm_up import _set as copy_of
from tests.agent.supervised import MIB
from tests.plugins.remediation import Used, action_of, host_in
from tests.servers import Server


@pytest.fixture
def host(tmp_path: Path, cache_server: Server) -> Host:
    return host_in(tmp_path, cache_server)


def servers(redis: Server) -> dict[str, Any]:
    return {"servers": {"origin": {"url": f"redis://127.0.0.1:{redis.port}"}}}


def copies(client: RespClient) -> dict[bytes, Any]:
    reads = {
        b"string": ("GET",),
        b"hash": ("HGETALL",),
        b"list": ("LRANGE", "0", "-1"),
        b"set": ("SMEMBERS",),
        b"zset": ("ZRANGE", "0", "-1", "WITHSCORES"),
    }
    keys: Any = client.command("KEYS", "*")
    found = {}
    for key in keys:
        kind: Any = client.command("TYPE", key)
        name, *rest = reads[kind.encode()]
        value: Any = client.command(name, key, *rest)
        found[key] = value if kind == "string" else sorted(value)
    return found


def test_what_the_cache_lacks_is_copied_with_type_and_expiry(
    host: Host, cache_server: Server, redis_server: Server
) -> None:
    # given an origin with every type, and a cache that has one of its keys already, newer
    with redis_server.client() as origin, cache_server.client() as client:
        origin.command("SET", "string", b"\x00\xff\r\n")
        origin.command("SET", "expiring", "soon", "PX", "600000")
        origin.command("HSET", "hash", "a", "1", "b", "2")
        origin.command("RPUSH", "list", "b", "a", "b")
        origin.command("SADD", "set", "x", "y")
        origin.command("ZADD", "zset", "1.5", "one", "-inf", "least")
        origin.command("PEXPIRE", "zset", "600000")
        origin.command("SET", "known", "old")
        origin.command("XADD", "stream", "*", "a", "1")
        client.command("SET", "known", "new")
        used = Used(action_of("cache.warm_up", servers(redis_server)), host, server="origin")
        assert "of the first 8 it lacks 7" in used.plan()
        assert client.command("DBSIZE") == 1
        # when it runs
        assert used.was_done() is False
        outcome = used.run()
        assert used.done_before() == outcome
        # then all but the newer key, and the stream, which this cache has not, are there
        assert outcome.detail.startswith("copied 6 keys from the server origin; 1 were left out")
        assert client.command("GET", "known") == b"new"
        origin.command("DEL", "stream", "known")
        client.command("DEL", "known")
        assert copies(client) == copies(origin)
        for key in ("expiring", "zset"):
            left = client.command("PTTL", key)
            assert isinstance(left, int)
            assert 500_000 < left <= 600_000
        assert client.command("PTTL", "hash") == -1
        assert used.run("rule-1/0002").detail == "copied 0 keys from the server origin"


def test_a_key_that_somebody_writes_meanwhile_stays(cache_server: Server) -> None:
    # between the look at what the cache lacks and the copy
    with cache_server.client() as client:
        client.command("SET", "string", "newer")
        client.command("HSET", "hash", "a", "newer")
        assert not copy_of(client, b"string", b"string", b"older", 1000)
        assert not copy_of(client, b"hash", b"hash", [b"a", b"older"], 1000)
        assert client.command("GET", "string") == b"newer"
        assert client.command("HGETALL", "hash") == [b"a", b"newer"]
        assert client.command("PTTL", "string") == client.command("PTTL", "hash") == -1


def test_keys_may_come_from_a_file(host: Host, cache_server: Server, redis_server: Server, tmp_path: Path) -> None:
    with redis_server.client() as origin, cache_server.client() as client:
        origin.pipeline([("SET", f"key {number}", number) for number in range(500)])
        file = tmp_path / "keys"
        file.write_text("".join(f"key {number}\n" for number in range(0, 500, 5)) + "unknown\n\n")
        used = Used(action_of("cache.warm_up", servers(redis_server)), host, server="origin", file=str(file))
        assert used.run().detail == "copied 100 keys from the server origin"
        assert client.command("GET", "key 10") == b"10"
        assert client.command("DBSIZE") == 100
        file.unlink()
        with pytest.raises(PredisError, match="cannot be read: no such file"):
            used.plan()


def test_warming_ends_when_memory_gets_scarce(host: Host, cache_server: Server, redis_server: Server) -> None:
    with redis_server.client() as origin, cache_server.client() as client:
        client.command("CONFIG", "SET", "maxmemory", str(16 * MIB))
        for number in range(200):
            origin.command("SET", f"key:{number}", "x" * 100_000)
        keys: dict[str, Any] = {"server": "origin", "memory_ratio": 0.5, "per_second": 1_000_000}
        outcome = Used(action_of("cache.warm_up", servers(redis_server)), host, **keys).run()
        assert "it ended early, since 50% of the memory are used" in outcome.detail
        count = client.command("DBSIZE")
        assert isinstance(count, int)
        assert 70 < count < 200
        with pytest.raises(PredisError, match="no room for more"):
            Used(action_of("cache.warm_up", servers(redis_server)), host, **keys).plan()


def test_an_unknown_server_is_named_with_what_was_meant(host: Host) -> None:
    config = {"servers": {"origin": {"url": "redis://127.0.0.1:1"}}}
    with pytest.raises(PredisError, match=r"there is no server orgin \(did you mean origin\?\): add it to"):
        Used(action_of("cache.warm_up", config), host, server="orgin").plan()
    with pytest.raises(PredisError, match=r"the server origin: .*refused"):
        Used(action_of("cache.warm_up", config), host, server="origin").plan()
