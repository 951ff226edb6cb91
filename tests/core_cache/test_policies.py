"""What each maxmemory-policy evicts, and the counter of the LFU ones against redis-server's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from core_cache import _native
from core_cache.options import POLICIES
from tests.core_cache.compare import Pair, differences
from tests.core_cache.raw_resp import decode, words

MIB = 1 << 20
OOM = b"-OOM command not allowed when used memory > 'maxmemory'.\r\n"
VALUE = b"v" * 200


def command(*parts: bytes) -> bytes:
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)


class Cache:
    """An engine with one connection, without a server."""

    def __init__(self, folder: Path, policy: str) -> None:
        self.engine = _native.Engine(str(folder / "arena"), 12 * MIB, policy)
        self._connection = _native.Connection(self.engine)

    def do(self, *parts: bytes | str | int) -> bytes:
        return self._connection.feed(command(*(p if isinstance(p, bytes) else str(p).encode() for p in parts)))

    def ask(self, text: str) -> object:
        return decode(self.do(*text.split()))

    def left(self, prefix: str, count: int) -> list[int]:
        """Which of PREFIX0, PREFIX1, … are there still."""
        return [i for i in range(count) if self.do("EXISTS", f"{prefix}{i}") == b":1\r\n"]

    def fill(self, prefix: str, count: int, *options: str | int) -> set[bytes]:
        return {self.do("SET", f"{prefix}{i}", VALUE, *options) for i in range(count)}


@pytest.fixture
def cache(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Cache]:
    made = Cache(tmp_path, request.param)
    yield made
    made.engine.close()


def policy(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("cache", [name], indirect=True)


KEYS = 60_000  # of 200 bytes: more than 12 MiB hold


@pytest.mark.parametrize("name", POLICIES)
def test_every_policy_can_be_chosen_at_start_and_while_running(tmp_path: Path, name: str) -> None:
    cache = Cache(tmp_path, name)
    long = name if name.startswith("volatile-") or name == "noeviction" else f"allkeys-{name}"
    assert cache.ask("CONFIG GET maxmemory-policy") == [b"maxmemory-policy", long.encode()]
    assert f"maxmemory_policy:{long}\r\n".encode() in cache.do("INFO", "memory")
    for other in ("allkeys-lru", "volatile-ttl", "noeviction", long):
        assert cache.do("CONFIG", "SET", "maxmemory-policy", other) == b"+OK\r\n"
    assert cache.ask("CONFIG GET maxmemory-policy") == [b"maxmemory-policy", long.encode()]
    cache.engine.close()


@policy("lfu")
def test_lfu_keeps_what_is_used_often_over_what_was_used_last(cache: Cache) -> None:
    cache.fill("often", 1000)
    for _ in range(30):
        cache.left("often", 1000)
        for i in range(1000):
            cache.do("GET", f"often{i}")
    assert cache.fill("once", KEYS) == {b"+OK\r\n"}
    assert len(cache.left("often", 1000)) == 1000
    assert len(cache.left("once", KEYS)) < KEYS


@policy("random")
def test_random_spares_nobody(cache: Cache) -> None:
    assert cache.fill("k", KEYS) == {b"+OK\r\n"}
    left = cache.left("k", KEYS)
    early, late = sum(i < KEYS // 2 for i in left), sum(i >= KEYS // 2 for i in left)
    assert KEYS // 4 < len(left) < KEYS
    assert early > 2000
    assert late > early


@pytest.mark.parametrize("cache", [name for name in POLICIES if name.startswith("volatile-")], indirect=True)
def test_volatile_policies_evict_none_but_keys_with_an_expiry(cache: Cache) -> None:
    # given a few keys that stay and many that may go
    cache.fill("stays", 5000)
    assert cache.fill("goes", KEYS, "EX", 100_000) == {b"+OK\r\n"}
    assert len(cache.left("stays", 5000)) == 5000
    goes = len(cache.left("goes", KEYS))
    assert goes < KEYS
    # when those that may go are gone, no others take their place
    replies = cache.fill("more", KEYS)
    assert replies == {b"+OK\r\n", OOM}
    assert cache.left("goes", KEYS) == []
    assert len(cache.left("stays", 5000)) == 5000


@policy("volatile-random")
def test_a_key_joins_and_leaves_those_that_may_go_as_its_expiry_comes_and_goes(cache: Cache) -> None:
    cache.fill("a", 1000)
    cache.fill("b", 1000, "EX", 100_000)
    for i in range(1000):
        assert cache.do("EXPIRE", f"a{i}", 100_000) == b":1\r\n"
        assert cache.do("PERSIST", f"b{i}") == b":1\r\n"
        if i < 100:
            cache.do("SET", f"a{i}", VALUE)  # an overwrite takes the expiry off
    assert OOM in cache.fill("c", KEYS)
    assert cache.left("a", 1000) == list(range(100))
    assert len(cache.left("b", 1000)) == 1000


@policy("volatile-ttl")
def test_volatile_ttl_takes_what_expires_soonest(cache: Cache) -> None:
    for i in range(KEYS):
        assert cache.do("SET", f"k{i}", VALUE, "EX", 1_000_000 - i) == b"+OK\r\n"
    left = cache.left("k", KEYS)
    oldest = sum(i < len(left) for i in left)
    assert oldest > 0.9 * len(left)


@policy("volatile-lru")
def test_volatile_lru_finds_a_few_keys_among_many(cache: Cache) -> None:
    cache.fill("goes", 50, "EX", 100_000)
    replies = cache.fill("stays", KEYS)
    assert replies == {b"+OK\r\n", OOM}
    assert cache.left("goes", 50) == []


@policy("s3fifo")
def test_changes_of_policy_while_full_lose_no_time_and_no_key_that_may_stay(cache: Cache) -> None:
    cache.fill("k", KEYS, "EX", 100_000)
    for name in ("allkeys-lfu", "volatile-ttl", "allkeys-s3fifo", "volatile-lru", "allkeys-random", "allkeys-lru"):
        before = cache.engine.keys
        assert cache.do("CONFIG", "SET", "maxmemory-policy", name) == b"+OK\r\n"
        assert cache.engine.keys == before
        assert cache.fill(name, 2000, "EX", 100_000) == {b"+OK\r\n"}
        while cache.engine.cron(1000):
            pass
        assert cache.fill(name, 2000, "EX", 100_000) == {b"+OK\r\n"}


LFU = """
    CONFIG SET maxmemory-policy allkeys-lfu
    CONFIG SET lfu-log-factor 0 lfu-decay-time 0
    CONFIG GET lfu-log-factor
    CONFIG GET lfu-decay-time
    SET k v
    OBJECT FREQ k
    GET k
    OBJECT FREQ k
    OBJECT FREQ k
    SET k w
    OBJECT FREQ k
    APPEND k x
    OBJECT FREQ k
    EXISTS k
    TOUCH k
    OBJECT FREQ k
    TTL k
    EXPIRE k 100
    OBJECT FREQ k
    GETEX k PERSIST
    OBJECT FREQ k
    OBJECT IDLETIME k
    OBJECT FREQ missing
    CONFIG SET lfu-log-factor -1
    CONFIG SET lfu-decay-time x
    CONFIG SET lfu-log-factor 3 lfu-decay-time x
    CONFIG GET lfu-log-factor
    CONFIG GET lfu-decay-time
    CONFIG SET maxmemory-policy noeviction lfu-log-factor 10 lfu-decay-time 1
    OBJECT FREQ k
"""


def test_the_lfu_counter_is_that_of_redis(pair: Pair) -> None:
    problems = differences(pair.both([words(line.strip()) for line in LFU.strip().splitlines()]))
    assert problems == "", problems


def test_the_lfu_counter_ends_at_255_and_rises_ever_more_slowly(tmp_path: Path) -> None:
    cache = Cache(tmp_path, "lfu")
    cache.do("CONFIG", "SET", "lfu-log-factor", 0, "lfu-decay-time", 0)
    cache.do("SET", "sure", "v")
    cache.do("SET", "slow", "v")
    for _ in range(400):
        cache.do("GET", "sure")
    assert cache.ask("OBJECT FREQ sure") == 255
    cache.do("CONFIG", "SET", "lfu-log-factor", 10)
    for _ in range(10_000):
        cache.do("GET", "slow")
    # The counter c rises with probability 1 / (10 (c - 5) + 1): after n uses it is near 5 + sqrt(n / 5).
    counted = cache.ask("OBJECT FREQ slow")
    assert isinstance(counted, int)
    assert 35 <= counted <= 65
    cache.engine.close()
