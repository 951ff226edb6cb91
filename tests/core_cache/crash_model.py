"""Writers for the crash tests: each sends random commands to keys of its own and knows what they may hold."""

import random
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.core_cache.raw_resp import Command, RawClient

KEYS_PER_WRITER = 150
DEPTH = 16  # commands in flight
SIZES = (1, 5, 30, 100, 100, 400, 1000, 4000, 16_000, 70_000, 131_000, 200_000)


@dataclass(frozen=True)
class Stored:
    """What a key holds: its value and the Unix time in ms at which it expires, 0 for never."""

    value: bytes
    expire_at: int = 0


State = Stored | None
Step = tuple[bytes, State]  # a key and what it holds from then on


@dataclass
class Write:
    """A command, the steps in which the server carries it out, and the reply that says that it has."""

    command: Command
    steps: list[Step]
    reply: bytes


@dataclass
class Writer:
    """One connection's worth of writes. `acknowledged` is what the server has said is stored; `in_flight` comes after.

    number: tells its keys from other writers'. only_sets: no command that depends on what is stored, as is right where
    keys may be evicted.
    """

    number: int
    seed: int
    only_sets: bool = False
    acknowledged: dict[bytes, State] = field(default_factory=dict)
    in_flight: list[Write] = field(default_factory=list)
    acknowledgements: int = 0
    evicted: int = 0  # keys that check() missed and that had not expired
    problem: str = ""

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.versions = 0
        self.keys = [b"w%d:%d:%s" % (self.number, i, b"x" * (i % 40)) for i in range(KEYS_PER_WRITER)]
        self.keys.append(b"w%d:long:" % self.number + b"y" * 70_000)
        self.short_lived = [b"w%d:short:%d" % (self.number, i) for i in range(20)]
        self.counters = [b"w%d:counter:%d" % (self.number, i) for i in range(5)]

    def all_keys(self) -> list[bytes]:
        return [*self.keys, *self.short_lived, *self.counters]

    def value(self, key: bytes) -> bytes:
        """A value that no other key and no other write has, if it is longer than a few bytes."""
        self.versions += 1
        size = self.random.choice(SIZES)
        label = b"%d:%s:" % (self.versions, key[:40])
        return (label * (size // len(label) + 1))[:size]

    def next_write(self, state: dict[bytes, State]) -> Write:
        """A random write and what it does, given what the keys hold before it."""
        pick, now = self.random.random(), int(time.time() * 1000)
        key = self.random.choice(self.keys)
        old = state.get(key)
        if pick < 0.10:
            key, at = self.random.choice(self.short_lived), now + self.random.randrange(1, 400)
            value = self.value(key)
            return Write((b"SET", key, value, b"PXAT", b"%d" % at), [(key, Stored(value, at))], b"+OK\r\n")
        if pick < 0.20:
            return Write((b"DEL", key), [(key, None)], b":0\r\n" if old is None else b":1\r\n")
        if pick < 0.25:
            pairs = [(k, self.value(k)) for k in self.random.sample(self.keys, 5)]
            flat = [part for pair in pairs for part in pair]
            return Write((b"MSET", *flat), [(k, Stored(v)) for k, v in pairs], b"+OK\r\n")
        if pick < 0.32:
            value, at = self.value(key), now + 10_000_000
            return Write((b"SET", key, value, b"PXAT", b"%d" % at), [(key, Stored(value, at))], b"+OK\r\n")
        if self.only_sets or pick < 0.75:
            value = self.value(key)
            return Write((b"SET", key, value), [(key, Stored(value))], b"+OK\r\n")
        if pick < 0.85:
            key = self.random.choice(self.counters)
            old = state.get(key)
            count = int(old.value) + 1 if old else 1
            return Write((b"INCR", key), [(key, Stored(b"%d" % count))], b":%d\r\n" % count)
        if old is None:
            return Write((b"SETNX", key, b"fresh"), [(key, Stored(b"fresh"))], b":1\r\n")
        if pick < 0.92:
            longer = Stored((old.value + b"+more")[:300_000], old.expire_at)
            added = longer.value[len(old.value) :]
            return Write((b"APPEND", key, added), [(key, longer)], b":%d\r\n" % len(longer.value))
        if pick < 0.95:
            at = now + 20_000_000
            return Write((b"PEXPIREAT", key, b"%d" % at), [(key, Stored(old.value, at))], b":1\r\n")
        target = self.random.choice([k for k in self.keys if k != key])
        return Write((b"RENAME", key, target), [(target, old), (key, None)], b"+OK\r\n")

    def run(self, port: int) -> None:
        """Writes until the server is gone."""
        try:
            client = RawClient(port)
            while not self.problem:
                state = dict(self.acknowledged)
                for _ in range(DEPTH):
                    write = self.next_write(state)
                    state.update(write.steps)
                    self.in_flight.append(write)
                batch = list(self.in_flight)
                client.send_all([write.command for write in batch])
                for write in batch:
                    reply = client.reply()
                    if reply != write.reply and not self.only_sets:
                        self.problem = f"{write.command[:2]!r} gave {reply[:80]!r} and not {write.reply!r}"
                    self.acknowledged.update(write.steps)
                    self.in_flight.pop(0)
                    self.acknowledgements += 1
        except OSError:
            return  # it was killed: what is in flight may be stored or not

    def check(self, client: RawClient, may_be_evicted: bool = False) -> str:
        """Compares what the server holds with what it may hold, takes that over, and gives what is wrong, or ''."""
        keys = self.all_keys()
        before = int(time.time() * 1000)
        replies = client.pipeline([command for key in keys for command in ((b"GET", key), (b"PEXPIRETIME", key))])
        after = int(time.time() * 1000)
        found: dict[bytes, State] = {}
        for key, value, expiry in zip(keys, replies[::2], replies[1::2], strict=True):
            body = value.partition(b"\r\n")[2][:-2]
            found[key] = None if value == b"$-1\r\n" else Stored(body, max(0, int(expiry[1:-2])))

        evicted = set()

        def agrees(key: bytes, expected: State) -> bool:
            seen = found[key]
            if seen is None:
                gone = expected is None or (0 < expected.expire_at <= after)
                if not gone:
                    evicted.add(key)
                return gone or may_be_evicted
            if expected is None:
                return False
            expired_between = seen.expire_at == 0 and 0 < expected.expire_at <= after
            alive = expected.expire_at == 0 or expected.expire_at >= before
            return seen.value == expected.value and alive and (seen.expire_at == expected.expire_at or expired_between)

        expected = dict(self.acknowledged)
        wrong = {key for key in keys if not agrees(key, expected.get(key))}
        steps = [step for write in self.in_flight for step in write.steps]
        for key, state in steps:
            if not wrong:
                break
            expected[key] = state
            wrong = (wrong - {key}) if agrees(key, state) else (wrong | {key})
        if wrong:
            key = min(wrong)
            return (
                f"{len(wrong)} keys of writer {self.number} hold what no prefix of its writes gives, with {len(steps)} "
                f"steps in flight; {key[:60]!r}: acknowledged {brief(self.acknowledged.get(key))}, found "
                f"{brief(found[key])}, in flight {[brief(state) for k, state in steps if k == key]}"
            )
        self.acknowledged = {key: state for key, state in found.items() if state is not None}
        self.in_flight = []
        self.evicted += len(evicted)
        return self.problem


def brief(state: State) -> str:
    """A state in a few words, for failure messages."""
    if state is None:
        return "nothing"
    return f"{len(state.value)} bytes {state.value[:24]!r} until {state.expire_at or 'ever'}"


def run_writers(writers: Iterable[Writer], port: int) -> list[threading.Thread]:
    """Starts the writers, each in a thread."""
    threads = [threading.Thread(target=writer.run, args=(port,), daemon=True) for writer in writers]
    for thread in threads:
        thread.start()
    return threads
