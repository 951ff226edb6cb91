"""SCAN and RANDOMKEY: what they promise, on our server, since cursors and chance are each server's own."""

import pytest

from tests.core_cache.compare import Pair
from tests.core_cache.raw_resp import Command, RawClient


def walk(client: RawClient, *options: bytes) -> list[bytes]:
    """All keys that a walk with SCAN gives, repetitions included."""
    cursor, found = b"0", []
    for _ in range(200_000):
        cursor, keys = client.value(b"SCAN", cursor, *options)
        found += keys
        if cursor == b"0":
            return found
    raise AssertionError("SCAN did not come to its end")


@pytest.mark.parametrize("count", [1, 10, 1000])
def test_a_walk_gives_every_key_once_when_nothing_changes(pair2: Pair, count: int) -> None:
    ours = pair2.ours
    keys = {b"key:%d" % i for i in range(5000)}
    ours.pipeline([(b"SET", key, b"v") for key in sorted(keys)])
    assert sorted(walk(ours, b"COUNT", b"%d" % count)) == sorted(keys)
    assert sorted(walk(ours, b"COUNT", b"%d" % count, b"MATCH", b"*99")) == sorted(k for k in keys if k.endswith(b"99"))


def test_a_walk_gives_every_key_that_stays_while_others_come_and_go(pair2: Pair) -> None:
    """The table grows fourfold and keys are deleted during the walk."""
    ours = pair2.ours
    stay = {b"stay:%d" % i for i in range(3000)}
    ours.pipeline([(b"SET", key, b"v") for key in sorted(stay)])
    cursor, found, step = b"0", set(), 0
    while True:
        cursor, keys = ours.value(b"SCAN", cursor, b"COUNT", b"20")
        found |= set(keys)
        if cursor == b"0":
            break
        change: list[Command] = [(b"SET", b"new:%d" % i, b"v") for i in range(step * 60, step * 60 + 60)]
        ours.pipeline([*change, *[(b"DEL", b"new:%d" % i) for i in range(step * 60, step * 60 + 8)]])
        step += 1
        assert step < 100_000, "SCAN did not come to its end"
    assert stay <= found


@pytest.mark.parametrize("cursor", [b"1", b"12345", b"281474976710655", b"18446744073709551615", b"-7"])
def test_a_made_up_cursor_does_no_harm(pair2: Pair, cursor: bytes) -> None:
    """It gives some keys and a cursor that leads to the end."""
    keys = {b"key:%d" % i for i in range(2000)}
    pair2.ours.pipeline([(b"SET", key, b"v") for key in sorted(keys)])
    for count in (b"10", b"9223372036854775807"):
        at = cursor
        for _ in range(5000):
            at, found = pair2.ours.value(b"SCAN", at, b"COUNT", count)
            assert set(found) <= keys
            if at == b"0":
                break
        assert at == b"0"


def test_random_keys_are_keys_and_differ(pair2: Pair) -> None:
    keys = {b"key:%d" % i for i in range(50)}
    pair2.ours.pipeline([(b"SET", key, b"v") for key in sorted(keys)])
    seen = {pair2.ours.value(b"RANDOMKEY") for _ in range(500)}
    assert seen <= keys
    assert len(seen) > 25


def test_a_hostile_pattern_costs_little(pair2: Pair) -> None:
    """A pattern that takes a naive matcher exponential time is answered at once."""
    pair2.both([(b"SET", b"a" * 5000, b"v")])
    pattern = b"*a" * 20 + b"*b"
    for client in (pair2.redis, pair2.ours):
        client.socket.settimeout(5)
        assert client.value(b"KEYS", pattern) == []
        assert client.value(b"SCAN", b"0", b"COUNT", b"1000", b"MATCH", pattern + b"?") == [b"0", []]
