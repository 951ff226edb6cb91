"""How long the event loop is held up: by writes into a full cache, large values, big collections, expiry, FLUSHALL."""

import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench.report import Result, Table
from core_cache import _native

LONGEST_MS = 5.0
CRON_BUDGET_US = 1000  # as core_cache.server gives it
READ_BYTES = 64 * 1024  # what the event loop hands over at once
PIPELINE = 16  # commands on one collection
METHOD = """\
The engine runs in the measuring process; it gets what a client sends in pieces of at most {read} KiB, as from the
event loop, and its upkeep is called after every tenth piece. Each call into it is one turn of the event loop: the
longest is how long other clients have to wait. Times are the thread's CPU time, so that other programs on the machine
do not count; page faults and system calls do. {keys:,} keys; the cache of {memory} MiB is full where it says so. Large
values come in such pieces too. Collections grow to {keys:,} elements, {pipeline} commands at a time; then each element
is overwritten, or taken out and another put in, and at last the collection is deleted."""


@dataclass
class Calls:
    """What the calls of one scenario took, in seconds of CPU time."""

    count: int = 0
    longest: float = 0.0
    total: float = 0.0
    slowest_was: str = ""
    over_1ms: int = field(default=0)

    def add(self, what: str, seconds: float) -> None:
        """Counts one call."""
        self.count += 1
        self.total += seconds
        self.over_1ms += seconds > 0.001
        if seconds > self.longest:
            self.longest, self.slowest_was = seconds, what


class Loop:
    """Stands in for the event loop, and looks at the clock around each call."""

    def __init__(self, engine: _native.Engine) -> None:
        self.calls = Calls()
        self._engine = engine
        self._connection = _native.Connection(engine)
        self._turn = 0

    def send(self, data: bytes) -> bytes:
        """What a client sends; gives the replies."""
        replies = []
        for start in range(0, len(data), READ_BYTES):
            piece = data[start : start + READ_BYTES]
            began = time.thread_time()
            replies.append(self._connection.feed(piece))
            self.calls.add("commands", time.thread_time() - began)
            self._turn += 1
            if self._turn % 10 == 0:
                self.upkeep()
        return b"".join(replies)

    def upkeep(self) -> bool:
        """One call of the upkeep; whether more waits."""
        began = time.thread_time()
        more = self._engine.cron(CRON_BUDGET_US)
        self.calls.add("upkeep", time.thread_time() - began)
        return more


def run(_: Path, *, keys: int = 1_000_000, memory_mib: int = 512) -> Result:
    """About 4 minutes."""
    rows, data, targets = [], {}, {}
    for name, scenario in SCENARIOS.items():
        arena = Path(f"/dev/shm/predis-bench-{os.getpid()}.arena")
        engine = _native.Engine(str(arena), memory_mib << 20, "s3fifo")
        try:
            loop = Loop(engine)
            scenario(loop, keys, memory_mib << 20)
        finally:
            engine.close()
            for suffix in (".arena", ".readers", ".accesses"):
                arena.with_suffix(suffix).unlink(missing_ok=True)
        calls = loop.calls
        longest = calls.longest * 1000
        mean = calls.total / calls.count * 1e6
        rows.append(
            [name, f"{longest:.2f}", calls.slowest_was, f"{calls.over_1ms:,}", f"{calls.count:,}", f"{mean:.0f}"]
        )
        data[name] = {"longest_ms": longest, "calls": calls.count, "over_1ms": calls.over_1ms, "mean_us": mean}
        targets[f"{name}: at most {LONGEST_MS:g} ms"] = longest <= LONGEST_MS
    columns = ["what goes on", "longest, ms", "in", "calls over 1 ms", "calls", "mean, µs"]
    return Result(
        name="stall",
        title="Longest stall of the event loop",
        method=METHOD.format(read=READ_BYTES >> 10, keys=keys, memory=memory_mib, pipeline=PIPELINE),
        tables=[Table("CPU time of one turn", columns, rows)],
        data=data,
        targets=targets,
    )


def _command(*parts: bytes) -> bytes:
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)


def _pieces(commands: Iterator[bytes]) -> Iterator[bytes]:
    piece: list[bytes] = []
    size = 0
    for command in commands:
        piece.append(command)
        size += len(command)
        if size > READ_BYTES - 512:
            yield b"".join(piece)
            piece, size = [], 0
    yield b"".join(piece)


def _fill(loop: Loop, keys: int, *options: bytes) -> None:
    value = b"x" * 100
    for piece in _pieces(_command(b"SET", b"key:%012d" % n, value, *options) for n in range(keys)):
        loop.send(piece)


def _growth(loop: Loop, keys: int, _: int) -> None:
    _fill(loop, keys)


def _full_load(loop: Loop, keys: int, memory: int) -> None:
    """Three times the memory, in sizes from 16 bytes to 32 KiB, over keys that are there and new ones."""
    rng = random.Random(1)
    block = rng.randbytes(40_000)

    def commands() -> Iterator[bytes]:
        written = 0
        while written < 3 * memory:
            size = int(2 ** rng.uniform(4, 15))
            written += size
            yield _command(b"SET", b"key:%012d" % rng.randrange(2 * keys), block[:size])

    _fill(loop, keys)
    for piece in _pieces(commands()):
        loop.send(piece)


def _large_values(size_mib: int, count: int) -> Callable[[Loop, int, int], None]:
    """Values of one size into a cache that is full of small ones."""

    def scenario(loop: Loop, keys: int, memory: int) -> None:
        _fill(loop, keys * memory // (200 << 20))
        value = b"y" * (size_mib << 20)
        for n in range(count):
            loop.send(_command(b"SET", b"large:%d" % n, value))

    return scenario


def _collection(grow: str, *change: str) -> Callable[[Loop, int, int], None]:
    """Commands as people type them, in which N stands for the element's number."""

    def send(loop: Loop, keys: int, lines: tuple[str, ...]) -> None:
        for start in range(0, keys, PIPELINE):
            numbers = range(start, min(keys, start + PIPELINE))
            texts = (line.replace("N", str(n)) for n in numbers for line in lines)
            loop.send(b"".join(_command(*text.encode().split()) for text in texts))

    def scenario(loop: Loop, keys: int, _: int) -> None:
        send(loop, keys, (grow,))
        send(loop, keys, change)
        loop.send(_command(b"del", b"c"))
        while loop.upkeep():
            pass

    return scenario


def _expiry(loop: Loop, keys: int, _: int) -> None:
    """All keys expire at one instant."""
    at = b"%d" % (int(time.time() * 1000) + 60_000)
    _fill(loop, keys, b"PXAT", at)
    soon = b"%d" % (int(time.time() * 1000) + 5_000)
    for piece in _pieces(_command(b"PEXPIREAT", b"key:%012d" % n, soon) for n in range(keys)):
        loop.send(piece)
    time.sleep(max(0.0, int(soon) / 1000 - time.time()) + 0.01)  # until it is past; nothing is measured meanwhile
    deadline = time.monotonic() + 60
    while loop.send(_command(b"DBSIZE")) != b":0\r\n":
        loop.upkeep()
        if time.monotonic() > deadline:
            raise RuntimeError("the keys did not go away within a minute of their expiry")


def _flush(loop: Loop, keys: int, _: int) -> None:
    for _round in range(3):
        _fill(loop, keys)
        loop.send(_command(b"FLUSHALL"))
        while loop.upkeep():
            pass


def _policies(loop: Loop, keys: int, memory: int) -> None:
    _fill(loop, keys * memory // (200 << 20))
    for policy in (b"allkeys-lru", b"allkeys-s3fifo", b"allkeys-lfu", b"allkeys-s3fifo"):
        loop.send(_command(b"CONFIG", b"SET", b"maxmemory-policy", policy))
        _fill(loop, keys // 4)
        while loop.upkeep():
            pass


SCENARIOS: dict[str, Callable[[Loop, int, int], None]] = {
    "the cache grows": _growth,
    "full, values of 16 bytes to 32 KiB": _full_load,
    "full, values of 1 MiB": _large_values(1, 300),
    "full, values of 8 MiB": _large_values(8, 100),
    "full, values of 100 MiB": _large_values(100, 8),
    "a hash of a million fields": _collection("hset c field:N value", "hdel c field:N", "hset c field:N new"),
    "a set of a million members": _collection("sadd c member:N", "srem c member:N", "sadd c member:N"),
    "a list of a million elements": _collection("rpush c element:N", "lpop c", "rpush c element:N"),
    "a sorted set of a million members": _collection("zadd c N member:N", "zadd c 5 member:N"),
    "a million keys expire at once": _expiry,
    "FLUSHALL": _flush,
    "changes of policy in a full cache": _policies,
}
