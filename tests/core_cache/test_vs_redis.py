"""Our server and Debian's redis-server 7.0 get the same bytes and give the same bytes back."""

import textwrap

import pytest

from tests.core_cache.cases_bit import BIT_CASES
from tests.core_cache.cases_hash import HASH_CASES
from tests.core_cache.cases_instance import INSTANCE_CASES
from tests.core_cache.cases_key import KEY_CASES
from tests.core_cache.cases_list import LIST_CASES
from tests.core_cache.cases_number import NUMBER_CASES
from tests.core_cache.cases_server import SERVER_CASES
from tests.core_cache.cases_set import SET_CASES
from tests.core_cache.cases_string import STRING_CASES
from tests.core_cache.cases_zset import ZSET_CASES
from tests.core_cache.compare import Pair, differences
from tests.core_cache.raw_resp import Command, decode, fields, words
from tests.waiting import wait_until

CASES = {
    **BIT_CASES,
    **HASH_CASES,
    **INSTANCE_CASES,
    **KEY_CASES,
    **LIST_CASES,
    **NUMBER_CASES,
    **SERVER_CASES,
    **SET_CASES,
    **STRING_CASES,
    **ZSET_CASES,
}


def commands_of(case: str) -> list[Command]:
    return [words(line) for line in textwrap.dedent(case).strip().splitlines()]


@pytest.mark.parametrize("title", CASES)
def test_replies_are_those_of_redis(pair: Pair, title: str) -> None:
    """Every command of the case, sent in one go, is answered with redis-server's bytes."""
    problems = differences(pair.both(commands_of(CASES[title])))
    assert problems == "", f"{title}:\n{problems}"


def test_wrong_numbers_of_arguments_are_refused_alike(pair2: Pair) -> None:
    """For every command that both know: too few and too many arguments give redis-server's error."""
    names = set(decode(pair2.ours.command(b"COMMAND", b"LIST"))) & set(decode(pair2.redis.command(b"COMMAND", b"LIST")))
    assert len(names) > 60, "COMMAND LIST names fewer commands than the issue asks for"
    commands: list[Command] = []
    for name, info in zip(sorted(names), decode(pair2.redis.command(b"COMMAND", b"INFO", *sorted(names))), strict=True):
        arity = info[1]
        counts = range(1, -arity) if arity < 0 else (n for n in range(1, arity + 3) if n != arity)
        commands += [(name, *[b"x"] * (count - 1)) for count in counts]
    problems = differences(pair2.both(commands))
    assert problems == "", problems


def test_wrong_numbers_of_arguments_of_subcommands_are_refused_alike(pair2: Pair) -> None:
    """The same for the subcommands of CLIENT, CONFIG, …; their errors name the subcommand."""
    containers = [b"CLIENT", b"COMMAND", b"CONFIG", b"OBJECT", b"MEMORY", b"SLOWLOG", b"LATENCY", b"CLUSTER", b"MODULE"]
    containers += [b"PUBSUB"]
    commands: list[Command] = []
    for name, info in zip(containers, decode(pair2.redis.command(b"COMMAND", b"INFO", *containers)), strict=True):
        known = {sub[0] for sub in decode(pair2.ours.command(b"COMMAND", b"INFO", name))[0][9]}
        assert known, f"COMMAND INFO {name!r} names no subcommands"
        for sub in info[9]:
            if sub[0] not in known:
                continue
            arity, parts = sub[1], tuple(sub[0].split(b"|"))
            counts = range(2, -arity) if arity < 0 else (n for n in range(2, arity + 3) if n != arity)
            commands += [(*parts, *[b"x"] * (count - 2)) for count in counts]
    problems = differences(pair2.both(commands))
    assert problems == "", problems


def test_short_times_to_live_end_alike(pair: Pair) -> None:
    """A key that is read after its time is gone, on both, and counts as a miss."""
    pair.both([words("SET k v PX 30"), words("SET l v PX 30"), words("SETEX other 100 v")])
    for client in (pair.redis, pair.ours):
        wait_until(lambda client=client: client.command(b"EXISTS", b"k") == b":0\r\n", 5, "the key's expiry")
    after = [words(line) for line in ("GET k", "TTL k", "GET l", "GET other", "KEYS *", "DBSIZE", "SET l x KEEPTTL")]
    assert differences(pair.both([*after, words("TTL l")])) == ""


def test_seconds_are_rounded_as_redis_rounds_them(pair2: Pair) -> None:
    """Half a second counts as one; the times are absolute, so the two servers must agree to the letter."""
    for milliseconds in (0, 1, 499, 500, 501, 999):
        at = b"%d" % (4102444800000 + milliseconds)
        replies = pair2.both([(b"SET", b"k", b"v", b"PXAT", at), (b"EXPIRETIME", b"k"), (b"PEXPIRETIME", b"k")])
        assert [redis for _, redis, _ in replies] == [ours for _, _, ours in replies]


def test_active_expiry_empties_the_keyspace(pair2: Pair) -> None:
    """Keys that nobody reads go away by themselves, and the db0 line with them."""
    pair2.both([(b"SET", b"k%d" % i, b"v", b"PX", b"20") for i in range(500)])
    wait_until(lambda: pair2.ours.command(b"DBSIZE") == b":0\r\n", 10, "the expiry of keys that nobody reads")
    assert b"db0" not in pair2.ours.command(b"INFO", b"keyspace")


def test_hits_and_misses_are_counted_where_redis_counts_them(pair2: Pair) -> None:
    """After each command of every case, keyspace_hits and keyspace_misses have grown by the same on both."""
    problems = []
    for title, case in CASES.items():
        pair2.clear()
        before = {"redis": (0, 0), "ours": (0, 0)}
        for name, client in (("redis", pair2.redis), ("ours", pair2.ours)):
            client.command(b"CONFIG", b"RESETSTAT")
            before[name] = (0, 0)
        for command in commands_of(case):
            if command[:1] in ((b"CONFIG",), (b"CLIENT",), (b"HELLO",)):
                continue
            grown = {}
            for name, client in (("redis", pair2.redis), ("ours", pair2.ours)):
                stats = fields(decode(client.pipeline([command, (b"INFO", b"stats")])[1]))
                now = int(stats["keyspace_hits"]), int(stats["keyspace_misses"])
                grown[name] = (now[0] - before[name][0], now[1] - before[name][1])
                before[name] = now
            if grown["redis"] != grown["ours"]:
                problems.append(f"{title}: {b' '.join(command)!r}: (hits, misses) {grown}")
    assert problems == []


def test_calls_failures_and_rejections_are_counted_alike(pair2: Pair) -> None:
    """INFO commandstats and errorstats tell the same story after all cases."""

    def stats(info: bytes) -> dict[str, dict[str, str]]:
        lines = fields(info)
        counted = ("calls", "rejected_calls", "failed_calls", "count")
        return {
            name: {k: v for k, v in (part.split("=") for part in line.split(",")) if k in counted}
            for name, line in lines.items()
        }

    pair2.both([words("CONFIG RESETSTAT")])
    skipped = {b"CONFIG", b"CLIENT", b"INFO"}  # they differ in subcommands, or are what the test itself uses
    for case in CASES.values():
        pair2.both([command for command in commands_of(case) if command and command[0] not in skipped])
    for section in (b"commandstats", b"errorstats"):
        redis, ours = (stats(decode(c.command(b"INFO", section))) for c in (pair2.redis, pair2.ours))
        assert ours == redis


def test_big_values_come_back_whole(pair2: Pair) -> None:
    """Values of every size up to a few MiB, appended to, cut and copied."""
    for size in (1, 100, 4095, 4096, 65535, 65536, 131071, 131072, 131073, 1 << 20, (5 << 20) + 3):
        value = (b"%d," % size) * (size // 3 + 1)
        commands: list[Command] = [
            (b"SET", b"big", value[:size]),
            (b"APPEND", b"big", value[: size // 2]),
            (b"SETRANGE", b"big", b"%d" % (size // 3), b"HERE"),
            (b"GETRANGE", b"big", b"%d" % (size // 3 - 2), b"%d" % (size // 3 + 9)),
            (b"COPY", b"big", b"copy", b"REPLACE"),
            (b"RENAME", b"copy", b"other"),
            (b"STRLEN", b"other"),
            (b"GET", b"other"),
        ]
        for command, redis, ours in pair2.both(commands):
            assert redis == ours, f"{command[0]!r} at {size} bytes"


def test_long_keys_are_keys(pair2: Pair) -> None:
    """Keys around the length where their length moves behind the entry's header."""
    for size in (65534, 65535, 65536, 300_000):
        key, other = b"k" * size, b"k" * (size - 1) + b"o"
        commands: list[Command] = [
            (b"SET", key, b"1"),
            (b"GET", key),
            (b"GET", other),
            (b"INCR", key),
            (b"RENAME", key, other),
            (b"EXISTS", key, other),
            (b"KEYS", b"*"),
            (b"DEL", other),
        ]
        assert differences(pair2.both(commands)) == ""


def test_an_expiry_beyond_what_the_arena_holds_is_its_last_moment(pair2: Pair) -> None:
    """Expiries have 48 bits: one after the year 10889 is accepted as in Redis, and lasts until then."""
    last = 2**48 - 1
    pair2.both([words("SET k v PXAT 9223372036854775807")])
    assert pair2.ours.value(b"PEXPIRETIME", b"k") == last
    assert pair2.ours.value(b"EXPIREAT", b"k", b"9223372036854775") == 1
    assert pair2.ours.value(b"PEXPIRETIME", b"k") == last
    assert pair2.ours.value(b"GET", b"k") == b"v"
