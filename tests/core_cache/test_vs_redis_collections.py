"""Random sequences of commands on all types: the replies and what is stored are redis-server's.

Then the promises of HSCAN and SSCAN, and of picking at random, on big collections."""

import random
from collections import Counter
from typing import Any

import pytest

from tests.core_cache.compare import Pair, same_reply
from tests.core_cache.raw_resp import Command, RawClient, decode

KEYS = [b"a", b"b", b"c", b"d", b"longer:key:%d" % 7]
# Replies without an order: of hash tables, whose order is each server's own.
UNORDERED = {
    b"HGETALL", b"HKEYS", b"HVALS", b"SMEMBERS", b"SINTER", b"SUNION", b"SDIFF", b"HSCAN", b"SSCAN", b"SPOP",
}  # fmt: skip


class Maker:
    """Makes random commands. `span` is how many members and fields there are: few make them meet, many make big
    collections."""

    def __init__(self, seed: int, span: int) -> None:
        self.random = random.Random(seed)
        self.span = span

    def key(self) -> bytes:
        return self.random.choice(KEYS)

    def member(self) -> bytes:
        number = self.random.randrange(self.span)
        if number % 7 == 3:
            return b"member:%d:" % number + b"x" * (number % 90)
        return b"%d" % number if number % 3 else b"m%d" % number

    def value(self) -> bytes:
        pick = self.random.randrange(10)
        if pick < 4:
            return b"%d" % self.random.randrange(-1000, 1000)
        if pick < 9:
            return self.random.randbytes(self.random.randrange(12))
        return self.random.randbytes(self.random.randrange(self.random.choice([200, 200, 20_000])))

    def index(self) -> bytes:
        return b"%d" % self.random.randrange(-self.span // 2 - 2, self.span // 2 + 2)

    def many(self, make: Any, most: int = 6) -> list[bytes]:
        return [make() for _ in range(self.random.randrange(1, most))]

    def pairs(self) -> list[bytes]:
        return [part for _ in range(self.random.randrange(1, 8)) for part in (self.member(), self.value())]

    def hash_command(self) -> Command:
        key, member, pick = self.key(), self.member(), self.random.randrange(20)
        if pick < 8:
            return (self.random.choice([b"HSET", b"HSET", b"HMSET"]), key, *self.pairs())
        if pick < 11:
            return (b"HDEL", key, *self.many(self.member))
        choices: list[Command] = [
            (b"HSETNX", key, member, self.value()),
            (b"HINCRBY", key, member, b"%d" % self.random.randrange(-9, 9)),
            (b"HINCRBYFLOAT", key, member, b"%.2f" % self.random.uniform(-9, 9)),
            (b"HGET", key, member),
            (b"HMGET", key, *self.many(self.member)),
            (b"HSTRLEN", key, member),
            (b"HEXISTS", key, member),
            (b"HLEN", key),
            (b"HGETALL", key),
        ]
        return self.random.choice(choices)

    def set_command(self) -> Command:
        key, other, pick = self.key(), self.key(), self.random.randrange(20)
        if pick < 7:
            return (b"SADD", key, *self.many(self.member))
        if pick < 11:
            return (b"SREM", key, *self.many(self.member))
        choices: list[Command] = [
            (b"SMOVE", key, other, self.member()),
            (b"SMISMEMBER", key, *self.many(self.member)),
            (b"SCARD", key),
            (b"SMEMBERS", key),
            (b"SINTER", key, other),
            (b"SUNION", key, other),
            (b"SDIFF", key, other, self.key()),
            (b"SINTERSTORE", self.key(), key, other),
            (b"SUNIONSTORE", self.key(), key, other),
            (b"SDIFFSTORE", self.key(), key, other),
            (b"SINTERCARD", b"2", key, other, b"LIMIT", b"%d" % self.random.randrange(9)),
            (b"SPOP", key, b"%d" % (self.span * 2)),
        ]
        return self.random.choice(choices)

    def list_command(self) -> Command:
        key, other, pick = self.key(), self.key(), self.random.randrange(24)
        side, end = (self.random.choice([b"LEFT", b"RIGHT"]) for _ in range(2))
        if pick < 9:
            return (self.random.choice([b"LPUSH", b"RPUSH", b"RPUSHX", b"LPUSHX"]), key, *self.many(self.member))
        choices: list[Command] = [
            (b"LPOP", key),
            (b"RPOP", key, b"%d" % self.random.randrange(4)),
            (b"LRANGE", key, self.index(), self.index()),
            (b"LINDEX", key, self.index()),
            (b"LSET", key, self.index(), self.value()),
            (b"LINSERT", key, self.random.choice([b"BEFORE", b"AFTER"]), self.member(), self.value()),
            (b"LREM", key, b"%d" % self.random.randrange(-3, 3), self.member()),
            (b"LPOS", key, self.member(), b"COUNT", b"0"),
            (b"LMOVE", key, other, side, end),
            (b"LMPOP", b"2", key, other, side, b"COUNT", b"3"),
            (b"LLEN", key),
        ]
        if pick == 23:
            return (b"LTRIM", key, self.index(), self.index())
        return self.random.choice(choices)

    def zset_command(self) -> Command:
        key, other, pick = self.key(), self.key(), self.random.randrange(24)
        scores = [b"-inf", b"(3", b"-5", b"0", b"7.25", b"(20", b"+inf"]
        low, high = self.random.choice(scores), self.random.choice(scores)
        by_score = (b"BYSCORE", *self.random.choice([(), (b"LIMIT", b"1", b"3")]))
        rev = self.random.choice([(), (b"REV",)])
        if pick < 9:
            flags = self.random.choice([(), (), (), (b"CH",), (b"NX",), (b"XX", b"CH"), (b"GT",), (b"LT", b"CH")])
            return (b"ZADD", key, *flags, *[x for m in self.many(self.member) for x in (self.score(), m)])
        if pick < 11:
            return (b"ZREM", key, *self.many(self.member))
        choices: list[Command] = [
            (b"ZINCRBY", key, self.score(), self.member()),
            (b"ZADD", key, b"INCR", self.score(), self.member()),
            (b"ZMSCORE", key, *self.many(self.member)),
            (b"ZRANGE", key, self.index(), self.index(), *rev, b"WITHSCORES"),
            (b"ZRANGE", key, low, high, *by_score, *rev),
            (b"ZREVRANGEBYSCORE", key, high, low, b"WITHSCORES"),
            (b"ZCOUNT", key, low, high),
            (b"ZRANK", key, self.member()),
            (b"ZREVRANK", key, self.member()),
            (b"ZPOPMIN", key),
            (b"ZPOPMAX", key, b"3"),
            (b"ZMPOP", b"2", key, other, b"MIN", b"COUNT", b"2"),
            (b"ZREMRANGEBYRANK", key, b"1", b"3"),
            (b"ZREMRANGEBYSCORE", key, b"(3", b"4"),
            (b"ZRANGESTORE", self.key(), key, self.index(), self.index()),
            (b"ZUNIONSTORE", self.key(), b"2", key, other, b"WEIGHTS", b"2", b"0.5"),
            (b"ZINTERSTORE", self.key(), b"2", key, other, b"AGGREGATE", b"MAX"),
            (b"ZDIFFSTORE", self.key(), b"2", key, other),
            (b"ZUNION", b"2", key, other, b"WITHSCORES"),
            (b"ZINTERCARD", b"2", key, other),
        ]
        return self.random.choice(choices)

    def score(self) -> bytes:
        return self.random.choice([b"%d" % self.random.randrange(-20, 20), b"%.2f" % self.random.uniform(-9, 9)])

    def key_command(self) -> Command:
        key, other = self.key(), self.key()
        choices: list[Command] = [
            (b"DEL", key),
            (b"RENAME", key, other),
            (b"COPY", key, other, b"REPLACE"),
            (b"SET", key, self.value()),
            (b"GET", key),
            (b"APPEND", key, b"x"),
            (b"INCR", key),
            (b"EXPIRE", key, b"1000"),
            (b"PERSIST", key),
            (b"OBJECT", b"ENCODING", key),
            (b"TYPE", key),
            (b"SET", key, b"v", b"NX", b"GET"),
        ]
        return self.random.choice(choices)


def normal(command: Command, reply: bytes) -> Any:
    """The reply, without an order where it has none."""
    value = decode(reply)
    name = command[0].upper()
    if name not in UNORDERED or isinstance(value, str | None):
        return reply
    if name in (b"HSCAN", b"SSCAN"):
        value = value[1]
    if name in (b"HGETALL", b"HSCAN") and isinstance(value, list):
        return sorted(zip(value[::2], value[1::2], strict=True))
    return sorted(value.items()) if isinstance(value, dict) else sorted(value)


def check(pair: Pair, commands: list[Command], what: str) -> None:
    for command, redis, ours in pair.both(commands):
        if not same_reply(command, redis, ours) and normal(command, redis) != normal(command, ours):
            raise AssertionError(f"{what}: {command[:6]!r}: redis-server gives {redis[:300]!r}, we give {ours[:300]!r}")


def contents() -> list[Command]:
    """Questions that tell all there is about the keys; those of another type are answered with an error by both."""
    names = (b"TYPE", b"HGETALL", b"SMEMBERS", b"HLEN", b"SCARD", b"GET", b"TTL", b"HKEYS", b"HVALS")
    rows: list[Command] = [(name, key) for key in KEYS for name in names]
    rows += [(b"LRANGE", key, b"0", b"-1") for key in KEYS]
    rows += [(b"ZRANGE", key, b"0", b"-1", b"WITHSCORES") for key in KEYS]
    rows += [(b"ZREVRANK", key, b"m0") for key in KEYS]
    rows += [(b"OBJECT", b"ENCODING", key) for key in KEYS]
    return [*rows, (b"DBSIZE",)]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("span", [6, 60, 700])
def test_random_sequences_agree(pair: Pair, seed: int, span: int) -> None:
    """Each type alone, then all of them on the same keys; small collections and ones with side indexes."""
    maker = Maker(seed * 1000 + span, span)
    kinds = [maker.hash_command, maker.set_command, maker.list_command, maker.zset_command]
    for kind in (*kinds, None):
        pair.clear()
        for part in range(8):
            commands: list[Command] = []
            for _ in range(150):
                chance = maker.random.random()
                chosen = kind or maker.random.choice(kinds)
                rare = 0.02 if kind else 0.15
                commands.append(maker.key_command() if chance < rare else chosen())
            check(pair, commands, f"{kind.__name__ if kind else 'all types'}, part {part}")
            check(pair, contents(), f"{kind.__name__ if kind else 'all types'}, the end of part {part}")


def walk(client: RawClient, command: bytes, key: bytes, *options: bytes) -> list[bytes]:
    cursor, found = b"0", []
    for _ in range(100_000):
        cursor, part = client.value(command, key, cursor, *options)
        found += part[::2] if command == b"HSCAN" else part
        if cursor == b"0":
            return found
    raise AssertionError(f"{command!r} did not come to its end")


@pytest.mark.parametrize(
    ("size", "count"),
    [(size, count) for size in (3, 100, 600) for count in (1, 10, 1000)] + [(20_000, 10), (20_000, 1000)],
)
def test_a_walk_over_a_collection_gives_each_element_once(pair2: Pair, size: int, count: int) -> None:
    ours = pair2.ours
    members = [b"member:%d" % i for i in range(size)]
    ours.pipeline([(b"SADD", b"s", member) for member in members])
    ours.command(b"HSET", b"h", *[part for member in members for part in (member, b"v")])
    for command, key in ((b"SSCAN", b"s"), (b"HSCAN", b"h")):
        assert sorted(walk(ours, command, key, b"COUNT", b"%d" % count)) == sorted(members)
        nines = sorted(walk(ours, command, key, b"COUNT", b"%d" % count, b"MATCH", b"*9"))
        assert nines == sorted(member for member in members if member.endswith(b"9"))


def test_a_walk_gives_what_stays_while_the_collection_grows_shrinks_and_is_rewritten(pair2: Pair) -> None:
    ours = pair2.ours
    stay = {b"stay:%d" % i for i in range(3000)}
    for command, key in ((b"SSCAN", b"s"), (b"HSCAN", b"h")):
        value = (b"v" * 30,) if command == b"HSCAN" else ()
        add, remove = (b"HSET", b"HDEL") if value else (b"SADD", b"SREM")
        ours.pipeline([(add, key, member, *value) for member in sorted(stay)])
        cursor, found, step = b"0", set(), 0
        while True:
            cursor, part = ours.value(command, key, cursor, b"COUNT", b"20")
            found |= set(part[::2] if value else part)
            if cursor == b"0":
                break
            new = [b"new:%d" % i for i in range(step * 90, step * 90 + 90)]
            change: list[Command] = [(add, key, member, *value) for member in new]
            change += [(remove, key, member) for member in new[: 20 if step < 60 else 88]]
            if value:
                change += [(b"HSET", key, b"stay:%d" % i, b"other") for i in range(step % 100)]
            ours.pipeline(change)
            step += 1
            assert step < 100_000, "the walk did not come to its end"
        assert stay <= found
        assert step > 50, "the walk was over before anything had changed"


@pytest.mark.parametrize("size", [5, 300, 5000])
def test_elements_picked_at_random_are_fair(pair2: Pair, size: int) -> None:
    """Each is picked about as often as the others; different ones are different; SPOP gives each once."""
    ours = pair2.ours
    members = [b"member:%d" % i for i in range(size)]
    ours.command(b"SADD", b"s", *members)
    ours.command(b"HSET", b"h", *[part for member in members for part in (member, b"v" + member)])
    rounds = 40
    replies = ours.pipeline([(b"SRANDMEMBER", b"s", b"-%d" % min(size, 500))] * (max(1, size // 500) * rounds))
    picked = Counter(member for reply in replies for member in decode(reply))
    assert set(picked) == set(members)
    assert max(picked.values()) < rounds * 2
    assert min(picked.values()) > rounds // 4
    for count in (1, size // 3, size - 1, size, size + 5):
        several = ours.value(b"SRANDMEMBER", b"s", b"%d" % count)
        assert len(set(several)) == len(several) == min(count, size)
    flat = ours.value(b"HRANDFIELD", b"h", b"%d" % (size // 2), b"WITHVALUES")
    assert all(value == b"v" + field for field, value in zip(flat[::2], flat[1::2], strict=True))
    assert len(set(flat[::2])) == size // 2
    popped = [ours.value(b"SPOP", b"s") for _ in range(size // 2)]
    popped += ours.value(b"SPOP", b"s", b"%d" % (size // 4))
    left = ours.value(b"SMEMBERS", b"s")
    assert sorted(popped + left) == sorted(members)


def test_values_that_fill_a_page_and_more(pair2: Pair) -> None:
    """Collections of elements of every size up to a MiB, changed, copied and renamed."""
    for size in (1, 127, 128, 16383, 16384, 70_000, 1 << 20):
        big = bytes(range(256)) * (size // 256 + 1)
        commands: list[Command] = [
            (b"HSET", b"h", b"f", big[:size], big[:size], b"field"),
            (b"HSET", b"h", b"f", big[1 : size + 1]),
            (b"HGET", b"h", b"f"),
            (b"HGET", b"h", big[:size]),
            (b"HDEL", b"h", big[:size]),
            (b"COPY", b"h", b"copy of h", b"REPLACE"),
            (b"RENAME", b"copy of h", b"k" * 70_000),
            (b"HGETALL", b"k" * 70_000),
            (b"RPUSH", b"l", big[:size], b"x", big[1 : size + 1]),
            (b"LSET", b"l", b"1", big[: size // 2]),
            (b"LRANGE", b"l", b"0", b"-1"),
            (b"SADD", b"s", big[:size], b"x"),
            (b"SISMEMBER", b"s", big[:size]),
            (b"SREM", b"s", b"x"),
            (b"SMEMBERS", b"s"),
            (b"DEL", b"h", b"l", b"s", b"k" * 70_000),
        ]
        check(pair2, commands, f"elements of {size} bytes")
