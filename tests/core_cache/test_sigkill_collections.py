"""SIGKILL while hashes, sets, lists and sorted sets change: every acknowledged change is there, each as a whole."""

import copy
import random
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from tests import servers
from tests.core_cache.raw_resp import Command, RawClient, decode
from tests.waiting import wait_until

ROUNDS = 12
WRITERS = 3
DEPTH = 16  # commands in flight

Kept = dict[bytes, Any]  # a key's dict (hash), set, list, or dict of floats (sorted set)


class CollectionWriter:
    """One connection that changes keys of its own, and knows what they hold."""

    def __init__(self, number: int) -> None:
        self.random = random.Random(number)
        self.keys = {
            kind: [b"w%d:%s:%d%s" % (number, kind, i, b"-" * i) for i in range(4)]
            for kind in (b"hash", b"set", b"list", b"zset")
        }
        self.acknowledged: Kept = {}
        self.in_flight: list[Command] = []
        self.acknowledgements = 0
        self.rounds = 0

    def command(self) -> Command:
        """A random change. Key 0 of a kind stays small, the last grows to thousands of elements."""
        kind = self.random.choice(list(self.keys))
        which = self.random.randrange(4)
        key, span = self.keys[kind][which], (5, 40, 300, 6000)[which]
        names = [b"m%d" % self.random.randrange(span) for _ in range(self.random.choice([1, 2, 3, 20]))]
        self.rounds += 1
        pick = self.random.random()
        if pick < 0.01:
            return (b"DEL", key)
        if pick < 0.03:
            return (b"RENAME", key, self.random.choice(self.keys[kind]))
        if kind == b"hash":
            value = b"%d:" % self.rounds + b"v" * self.random.choice([1, 10, 300])
            return (b"HDEL", key, *names) if pick < 0.3 else (b"HSET", key, *[x for n in names for x in (n, value)])
        if kind == b"set":
            return (b"SREM" if pick < 0.4 else b"SADD", key, *names)
        if kind == b"list":
            side = self.random.choice([b"LPOP", b"RPOP"])
            return (
                (side, key, b"%d" % len(names))
                if pick < 0.45
                else (self.random.choice([b"LPUSH", b"RPUSH"]), key, *names)
            )
        scores = [x for n in names for x in (b"%d" % self.random.randrange(-50, 50), n)]
        return (b"ZREM", key, *names) if pick < 0.35 else (b"ZADD", key, *scores)

    def run(self, port: int) -> None:
        """Changes until the server is gone."""
        try:
            client = RawClient(port)
            while True:
                batch = [self.command() for _ in range(DEPTH)]
                self.in_flight = list(batch)
                client.send_all(batch)
                for command in batch:
                    client.reply()
                    apply(self.acknowledged, command)
                    self.in_flight.pop(0)
                    self.acknowledgements += 1
        except OSError:
            return  # it was killed

    def check(self, client: RawClient) -> None:
        """What the server holds is what was acknowledged, and then what some of the commands in flight make of it."""
        found = fetch(client, self.keys)
        state = copy.deepcopy(self.acknowledged)
        candidates = [copy.deepcopy(state)]
        for command in self.in_flight:
            if command[0] == b"RENAME" and command[1] in state:  # the new key is made before the old one goes
                candidates.append(copy.deepcopy({**state, command[2]: state[command[1]]}))
            apply(state, command)
            candidates.append(copy.deepcopy(state))
        for candidate in candidates:
            if candidate == found:
                self.acknowledged, self.in_flight = candidate, []
                return
        wrong = [key for key in {*found, *candidates[0]} if found.get(key) != candidates[0].get(key)]
        raise AssertionError(
            f"no prefix of the {len(self.in_flight)} changes in flight gives what is there: {wrong[:5]}"
        )


def apply(state: Kept, command: Command) -> None:
    """Changes the state as the command does."""
    name, key, rest = command[0], command[1], command[2:]
    if name == b"DEL":
        state.pop(key, None)
    elif name == b"RENAME":
        if key in state and key != rest[0]:
            state[rest[0]] = state.pop(key)
    elif name == b"HSET":
        state.setdefault(key, {}).update(zip(rest[::2], rest[1::2], strict=True))
    elif name == b"ZADD":
        state.setdefault(key, {}).update((m, float(s)) for s, m in zip(rest[::2], rest[1::2], strict=True))
    elif name == b"SADD":
        state.setdefault(key, set()).update(rest)
    elif name == b"RPUSH":
        state.setdefault(key, []).extend(rest)
    elif name == b"LPUSH":
        state[key] = [*reversed(rest), *state.get(key, [])]
    elif key in state:
        held = state[key]
        if name == b"LPOP":
            del held[: int(rest[0])]
        elif name == b"RPOP":
            del held[max(0, len(held) - int(rest[0])) :]
        elif name == b"SREM":
            held.difference_update(rest)
        else:
            for member in rest:
                held.pop(member, None)
        if not held:
            del state[key]


def fetch(client: RawClient, keys: dict[bytes, list[bytes]]) -> Kept:
    """All that is there under the keys."""
    found: Kept = {}
    for kind, names in keys.items():
        for key in names:
            if kind == b"hash":
                flat = client.value(b"HGETALL", key)
                value: Any = dict(zip(flat[::2], flat[1::2], strict=True))
            elif kind == b"set":
                value = set(client.value(b"SMEMBERS", key))
            elif kind == b"list":
                value = client.value(b"LRANGE", key, b"0", b"-1")
            else:
                flat = client.value(b"ZRANGE", key, b"0", b"-1", b"WITHSCORES")
                value = {member: float(score) for member, score in zip(flat[::2], flat[1::2], strict=True)}
                assert list(value.items()) == sorted(value.items(), key=lambda item: (item[1], item[0]))
            if value:
                found[key] = value
    return found


@pytest.mark.timeout(240)
def test_every_acknowledged_change_of_a_collection_survives(tmp_path: Path) -> None:
    chance = random.Random(21)
    port = servers.free_port()
    writers = [CollectionWriter(number) for number in range(WRITERS)]
    server = servers.start_cache(tmp_path, "--no-auth", memory="128MiB", port=port)
    try:
        for _ in range(ROUNDS):
            target = sum(writer.acknowledgements for writer in writers) + chance.randrange(1, 4000)
            threads = [threading.Thread(target=writer.run, args=(port,), daemon=True) for writer in writers]
            for thread in threads:
                thread.start()

            def enough(target: int = target) -> bool:
                return sum(writer.acknowledgements for writer in writers) >= target

            wait_until(enough, 60, "enough acknowledged changes")
            server.stop(signal.SIGKILL)
            for thread in threads:
                thread.join(10)
                assert not thread.is_alive(), "a writer did not notice the end of its connection"
            server = servers.start_cache(tmp_path, "--no-auth", memory="128MiB", port=port)
            client = RawClient(port)
            for writer in writers:
                writer.check(client)
            keys = sum(len(writer.acknowledged) for writer in writers)
            assert decode(client.command(b"DBSIZE")) == keys
            client.close()
        assert sum(len(value) for writer in writers for value in writer.acknowledged.values()) > 2000
    finally:
        server.stop()
