"""Writes that find no room are refused with Redis' OOM error, once, and change nothing."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from core_cache import _native
from tests import servers
from tests.core_cache.raw_resp import Command, RawClient, decode_all, encode, words

MIB = 1024 * 1024
REFUSED = "-OOM command not allowed when used memory > 'maxmemory'."
HUGE = b"h" * (12 * MIB)


@pytest.fixture
def connection(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[_native.Connection]:
    """A connection to a small engine in this process; the policy is the fixture's parameter."""
    engine = _native.Engine(str(tmp_path / "cache.arena"), 16 * MIB, request.param)
    yield _native.Connection(engine)
    engine.close()


def send(connection: _native.Connection, *commands: Command) -> list:
    return decode_all(connection.feed(b"".join(map(encode, commands))))


def fill(connection: _native.Connection) -> int:
    """Stores 10 kB values until one is refused; gives how many there are."""
    for number in range(10_000):
        (reply,) = send(connection, (b"SET", b"fill:%d" % number, b"f" * 10_000))
        if reply == REFUSED:
            return number
        assert reply == b"OK"
    raise AssertionError("noeviction took everything")


@pytest.mark.parametrize("connection", ["s3fifo", "lru", "noeviction"], indirect=True)
@pytest.mark.parametrize(
    "write",
    [
        (b"SET", b"k", HUGE),
        (b"SET", b"k", HUGE, b"GET"),
        (b"SET", b"k", HUGE, b"XX", b"EX", b"100"),
        (b"GETSET", b"k", HUGE),
        (b"SETEX", b"k", b"100", HUGE),
        (b"APPEND", b"k", HUGE),
        (b"SETRANGE", b"k", b"400000000", b"x"),
        (b"SETRANGE", b"new", b"400000000", b"x"),
        (b"SETNX", b"new", HUGE),
        (b"MSETNX", b"new", HUGE),
        (b"SET", HUGE, b"v"),
    ],
    ids=lambda write: " ".join(part[:10].decode() for part in write),
)
def test_a_value_that_can_never_fit_is_refused(connection: _native.Connection, write: Command) -> None:
    """One error, the key keeps its value and its expiry, and nobody else was evicted for it."""
    others = [(b"SET", b"other:%d" % i, b"o" * 1000) for i in range(50)]
    send(connection, words("SET k before PXAT 4102444800000"), *others)
    assert send(connection, write) == [REFUSED]
    assert send(connection, words("GET k"), words("PEXPIRETIME k"), words("EXISTS new")) == [
        b"before",
        4102444800000,
        0,
    ]
    assert send(connection, words("DBSIZE")) == [51]


@pytest.mark.parametrize("connection", ["noeviction"], indirect=True)
def test_a_full_cache_without_eviction_reads_and_deletes(connection: _native.Connection) -> None:
    """Commands that add data are refused, the others work; after deletions there is room again."""
    assert send(connection, words("SET k before"), words("SET n 5")) == [b"OK", b"OK"]
    count = fill(connection)
    assert count > 1000
    value = b"v" * 10_000
    refused: list[Command] = [
        (b"SET", b"k", value),
        (b"SET", b"k", value, b"GET"),
        (b"APPEND", b"k", value),
        (b"MSET", b"a", value, b"b", value),
        (b"GETSET", b"new", value),
        (b"SETNX", b"new", value),
    ]
    for command in refused:
        assert send(connection, command) == [REFUSED], command[0]
    allowed: list[Command] = [
        words(line) for line in ("GET k", "STRLEN k", "TTL k", "EXPIRE k 100", "PERSIST k", "TYPE k")
    ]
    assert send(connection, *allowed) == [b"before", 6, -1, 1, 1, b"string"]
    assert send(connection, words("EXISTS a b new")) == [0]
    gone = [b"fill:%d" % number for number in range(0, count, 2)]
    assert send(connection, (b"DEL", *gone)) == [len(gone)]
    assert send(connection, (b"SET", b"k", value), (b"GET", b"k"), (b"INCR", b"n")) == [b"OK", value, 6]
    assert send(connection, *[(b"GET", b"fill:%d" % number) for number in range(1, count, 2)]) == [b"f" * 10_000] * (
        count // 2
    )


@pytest.mark.parametrize("connection", ["noeviction"], indirect=True)
@pytest.mark.parametrize("write", [b"MSET", b"MSETNX"])
def test_pairs_are_stored_all_or_none(connection: _native.Connection, write: bytes) -> None:
    """That the last finds no room is known before the first is stored; then there is as much room as before."""
    value = b"v" * MIB
    pairs = [part for n in range(30) for part in (b"pair:%d" % n, value)]
    assert send(connection, words("SET k before")) == [b"OK"]
    assert send(connection, (write, *pairs)) == [REFUSED]
    assert send(connection, words("DBSIZE")) == [1]
    few = [b"k", b"first", b"k", b"after", b"j", value] if write == b"MSET" else [b"j", value, b"i", b"x"]
    assert send(connection, (write, *few), words("STRLEN j")) == [b"OK" if write == b"MSET" else 1, MIB]
    assert send(connection, words("GET k")) == [b"after" if write == b"MSET" else b"before"]


@pytest.mark.parametrize("connection", ["noeviction"], indirect=True)
@pytest.mark.parametrize("elements", [100, 2_000])
def test_a_full_cache_lets_collections_shrink(connection: _native.Connection, elements: int) -> None:
    """Each removal is a record in a log, for which there is no room: it uses memory that is kept for that."""
    names = [b"%d" % n for n in range(elements)]
    grow: list[Command] = [
        (b"HSET", b"hash", *(part for name in names for part in (name, b"v" * 20))),
        (b"SADD", b"set", *(b"member:" + name for name in names)),
        (b"ZADD", b"zset", *(part for name in names for part in (name, b"member:" + name))),
        (b"RPUSH", b"list", *(b"element:" + name for name in names)),
    ]
    assert send(connection, *grow) == [elements] * 4
    assert send(connection, words("SADD other x"), words("RPUSH others x")) == [1, 1]
    fill(connection)
    size = 10_000
    while size > 1:  # the last holes
        (reply,) = send(connection, (b"SET", b"hole:%d:%d" % (size, count_keys(connection)), b"x" * size))
        if reply == REFUSED:
            size //= 2
    for name in names[1:]:
        replies = send(
            connection,
            (b"HDEL", b"hash", name),
            (b"SREM", b"set", b"member:" + name),
            (b"ZREM", b"zset", b"member:" + name),
            words("LPOP list"),
        )
        assert replies[:3] == [1, 1, 1], (name, replies)
        assert replies[3] == b"element:%d" % (int(name) - 1)
    assert send(connection, words("HLEN hash"), words("SCARD set"), words("ZCARD zset"), words("LLEN list")) == [1] * 4
    assert send(connection, words("HGETALL hash"), words("LRANGE list 0 -1")) == [
        [b"0", b"v" * 20],
        [b"element:%d" % (elements - 1)],
    ]


def count_keys(connection: _native.Connection) -> int:
    """How many keys there are."""
    (keys,) = send(connection, words("DBSIZE"))
    return keys


@pytest.mark.parametrize("connection", ["s3fifo", "lru"], indirect=True)
def test_eviction_makes_room_for_everything_that_fits(connection: _native.Connection) -> None:
    """A cache that is full of small values takes big ones, then small ones again, and refuses none."""
    small: list[Command] = [(b"SET", b"small:%d" % i, b"s" * 100) for i in range(150_000)]
    assert set(send(connection, *small)) == {b"OK"}
    for size in (5 * MIB, 100_000, 3 * MIB, 20, 6 * MIB, 6 * MIB - 1, 6 * MIB, 2 * MIB):
        assert send(connection, (b"SET", b"big", b"b" * size), (b"STRLEN", b"big")) == [b"OK", size]
    assert send(connection, (b"COPY", b"big", b"copy"), (b"EXISTS", b"copy")) == [1, 1]
    value = b"c" * (6 * MIB)
    assert send(connection, (b"GETSET", b"copy", b"x"), (b"SET", b"copy", value), (b"GET", b"copy"))[1:] == [
        b"OK",
        value,
    ]
    assert send(connection, (b"SET", b"copy", value[1:], b"GET"), (b"STRLEN", b"copy")) == [value, len(value) - 1]
    assert set(send(connection, *small)) == {b"OK"}


@pytest.mark.parametrize(("before", "after"), [("lru", "s3fifo"), ("s3fifo", "lru"), ("s3fifo", "noeviction")])
def test_less_memory_and_another_policy_at_once(tmp_path: Path, before: str, after: str) -> None:
    """Between the two and the next upkeep, a large value finds room or is refused; the server goes on either way."""
    server = servers.start_cache(tmp_path, "--no-auth", "--policy", before, memory="16MiB")
    try:
        client = RawClient(server.port, timeout=10)
        client.pipeline([(b"SET", b"small:%d" % i, b"s" * 100) for i in range(120_000)])
        value = b"b" * 1_000_000
        policy = b"noeviction" if after == "noeviction" else b"allkeys-" + after.encode()
        change: list[Command] = [
            (b"CONFIG", b"SET", b"maxmemory", b"9mb"),
            (b"CONFIG", b"SET", b"maxmemory-policy", policy),
            (b"SET", b"big", value),
            (b"SET", b"big", value[1:]),
        ]
        expected = REFUSED.encode() + b"\r\n" if after == "noeviction" else b"+OK\r\n"
        assert client.pipeline(change) == [b"+OK\r\n", b"+OK\r\n", expected, expected]
        assert client.value(b"STRLEN", b"big") == (0 if after == "noeviction" else len(value) - 1)
        assert client.command(b"SET", b"small:1", b"s" * 100) == (expected if after == "noeviction" else b"+OK\r\n")
    finally:
        server.stop()


@pytest.mark.parametrize("policy", ["noeviction", "volatile-lru"])
def test_many_pairs_at_once_find_room_in_the_index(tmp_path: Path, policy: str) -> None:
    # given a cache that evicts nothing, so that all pairs of an MSET are prepared before the first is stored
    server = servers.start_cache(tmp_path, "--no-auth", "--policy", policy, memory="128MiB")
    try:
        with server.client(timeout=60) as client:
            # when its index grows by thousands of keys with each command, before and after it was emptied
            for _ in range(2):
                for first in range(0, 400_000, 20_000):
                    pairs = [word for n in range(first, first + 20_000) for word in (f"key:{n}", f"value of {n}")]
                    assert client.command("MSET", *pairs) == "OK"
                assert client.command("DBSIZE") == 400_000
                # then all are there
                for first in range(0, 400_000, 20_000):
                    numbers = range(first, first + 20_000)
                    found = client.command("MGET", *(f"key:{n}" for n in numbers))
                    assert found == [b"value of %d" % n for n in numbers]
                client.command("FLUSHALL")
    finally:
        server.stop()
