"""The stress test of local readers: writers, readers, evictions, expiries, deletions, flushes and kills together.

Every value says which key and version it belongs to and when it expires, and fills its length with words that follow
from that. What has been acknowledged stands in shared memory, outside the cache: before a reader looks one up it notes
the least version that it may find. So three things are told apart from what is right:

- torn: the words of a value do not belong together;
- foreign: a value belongs to another key;
- stale: a value is older than a write, deletion or FLUSHALL that was acknowledged before the read began, or was
  to expire before it began.

A miss is always allowed: keys are evicted, expire, are deleted, and nothing is found while the cache recovers.
"""

import contextlib
import multiprocessing
import os
import random
import signal
import struct
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import core_cache
from core_cache.resp_client import RespClient, RespError
from tests import servers
from tests.waiting import wait_until

ROW = 128
ROW_KEYS = 4000
"""Keys 0 … ROW_KEYS-1 have values of ROW bytes; the others are of all sizes."""
KEYS = 5000
CLOCK_SLACK_MS = 40
"""Readers take the time from a clock that ticks every 1 to 10 ms; a machine under load may stop us in between."""
HEAD = struct.Struct("<QQQQ")  # key, version, expiry (Unix time in ms, 0: never), check
MIX = 0x9E3779B97F4A7C15
WORD = 2**64 - 1

Words = NDArray[np.uint64]


def check_word(key: int, version: int, expires: int) -> int:
    """What all words behind a value's head are."""
    return ((key + 1) * MIX ^ version * 0xD1B54A32D192ED03 ^ expires * 0x8EBC6AF09C88C6E3) & WORD


def make_value(key: int, version: int, expires: int, length: int) -> bytes:
    """A value of `length` bytes, a multiple of 8 and at least the head's 32."""
    check = check_word(key, version, expires)
    return HEAD.pack(key, version, expires, check) + check.to_bytes(8, "little") * ((length - HEAD.size) // 8)


@dataclass(frozen=True)
class Ledger:
    """What has been acknowledged, in shared memory: the least version that a read may find, key by key."""

    path: Path

    def rows(self) -> Words:
        """The least version that a read may find, by the keys' writers and by who flushes; the last version that was
        acknowledged, as a write or a deletion; the last that was sent."""
        return np.memmap(self.path, np.uint64, "r+", shape=(4, KEYS))

    @classmethod
    def make(cls, path: Path) -> "Ledger":
        """A ledger in which nothing has been written."""
        np.zeros((4, KEYS), np.uint64).tofile(path)
        return cls(path)


def key_name(key: int) -> bytes:
    """Of the width that the readers' buffers have."""
    return b"stress:%09d" % key


def write(number: int, writers: int, data_dir: Path, ledger_path: Path, stop: Event) -> None:
    """A writer: sets, deletes, and now and then flushes. Only it writes the keys that are `number` modulo `writers`."""
    chance = random.Random(number)
    floor, flushed, acknowledged, sent = Ledger(ledger_path).rows()
    mine = range(number, KEYS, writers)
    client: RespClient | None = None
    while not stop.is_set():
        try:
            client = client or RespClient(data_dir / "cache.sock", timeout=60)
            if number == 0 and chance.random() < 0.0001:
                before = acknowledged.copy()
                client.command("FLUSHALL")
                flushed[:] = before + np.uint64(1)
                continue
            key = chance.choice(mine)
            version = int(sent[key]) + 1
            sent[key] = version
            if chance.random() < 0.1:
                client.command("DEL", key_name(key))
                floor[key] = version + 1
                acknowledged[key] = version
                continue
            expires = int(time.time() * 1000) + chance.randrange(5, 2000) if chance.random() < 0.2 else 0
            length = ROW if key < ROW_KEYS else 8 * chance.choice([4, 5, 20, 100, 1000, chance.randrange(4, 40_000)])
            options = ("PXAT", str(expires)) if expires else ()
            client.command("SET", key_name(key), make_value(key, version, expires, length), *options)
            floor[key] = acknowledged[key] = version
        except (OSError, RespError):
            client = None
            time.sleep(0.01)


class Wrong(AssertionError):
    """A value that should not have been found; the message says which, and why."""


def check_value(value: bytes, key: int, least: int, began_ms: int) -> None:
    """Raises Wrong for a value of `key` that a read which began then must not find."""
    found, version, expires, check = HEAD.unpack_from(value)
    if found != key:
        raise Wrong(f"foreign: key {key} gave a value of key {found}")
    if check != check_word(key, version, expires) or value != make_value(key, version, expires, len(value)):
        raise Wrong(f"torn: key {key}, version {version}, {len(value)} bytes")
    if version < least:
        raise Wrong(f"stale: key {key} has version {version}, {least} was acknowledged before")
    if expires and expires < began_ms - CLOCK_SLACK_MS:
        raise Wrong(f"stale: key {key}, version {version}, expired {began_ms - expires} ms before")


def check_rows(rows: Words, keys: NDArray[np.int64], least: Words, began_ms: int) -> None:
    """The same for rows of found values, all at once."""
    with np.errstate(over="ignore"):
        found, version, expires = rows[:, 0], rows[:, 1], rows[:, 2]
        right = (
            (keys.astype(np.uint64) + np.uint64(1)) * np.uint64(MIX)
            ^ version * np.uint64(0xD1B54A32D192ED03)
            ^ expires * np.uint64(0x8EBC6AF09C88C6E3)
        )
    good = (found == keys.astype(np.uint64)) & (rows[:, 3:] == right[:, None]).all(axis=1)
    good &= (version >= least) & ((expires == 0) | (expires >= np.uint64(began_ms - CLOCK_SLACK_MS)))
    if not good.all():
        bad = int(np.flatnonzero(~good)[0])
        check_value(rows[bad].tobytes(), int(keys[bad]), int(least[bad]), began_ms)
        raise Wrong(f"key {int(keys[bad])}: {rows[bad].tobytes()!r}")


def read(number: int, data_dir: Path, ledger_path: Path, stop: Event, results: Any) -> None:
    """A reader: puts (reads, hits, what was wrong) when told to stop, or at the first value that is wrong."""
    chance, pick = random.Random(1000 + number), np.random.default_rng(number)
    floor, flushed, _, _ = Ledger(ledger_path).rows()
    names = [key_name(key) for key in range(KEYS)]
    table = np.array(names)
    reader = core_cache.attach(data_dir)
    rows, found = np.empty((1000, ROW // 8), np.uint64), np.empty(1000, bool)
    reads = hits = 0
    problem = ""
    try:
        while not stop.is_set():
            for _ in range(4):
                keys = pick.integers(0, ROW_KEYS, len(rows))
                least = np.maximum(floor[keys], flushed[keys])
                began = int(time.time() * 1000)
                source: Any = table[keys] if chance.random() < 0.5 else [names[key] for key in keys]
                hits += reader.mget_into(source, rows, found)
                reads += len(rows)
                check_rows(rows[found], keys[found], least[found], began)
            some = [chance.randrange(KEYS) for _ in range(20)]
            bounds = [max(int(floor[key]), int(flushed[key])) for key in some]
            began = int(time.time() * 1000)
            values = reader.mget([names[key] for key in some])
            for key, least_version, value in zip(some, bounds, values, strict=True):
                if value is not None:
                    check_value(value, key, least_version, began)
            for key in some:
                least_version = max(int(floor[key]), int(flushed[key]))
                began = int(time.time() * 1000)
                value = reader.get(names[key])
                values.append(value)
                if value is not None:
                    check_value(value, key, least_version, began)
            reads += len(values)
            hits += sum(value is not None for value in values)
    except Wrong as error:
        problem = str(error)
    results.put((reads, hits, problem))


@dataclass
class Report:
    """What came of a run."""

    reads: int = 0
    hits: int = 0
    written: int = 0
    kills: int = 0
    stats: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        counted = {"kills": self.kills} | self.stats
        counts = ", ".join(f"{value:,} {name}" for name, value in counted.items())
        return f"{self.reads:,} reads, {self.hits:,} hits, {self.written:,} writes and deletions, {counts}"


def stress(
    folder: Path, *, reads: int, seconds: float, readers: int = 2, writers: int = 2, memories: Sequence[str] = ("8MiB",)
) -> Report:
    """Runs until at least so many reads are done and so many seconds are over; kills the cache about every 2 s."""
    chance = random.Random(7)
    data_dir = folder / "data"
    ledger = Ledger.make(folder / "ledger")
    report = Report()
    server = servers.start_cache(folder, "--no-auth", memory=memories[0], port=0)
    context = multiprocessing.get_context("spawn")
    stop, results = context.Event(), context.SimpleQueue()
    processes = [
        context.Process(target=write, args=(number, writers, data_dir, ledger.path, stop)) for number in range(writers)
    ]
    reading = [context.Process(target=read, args=(n, data_dir, ledger.path, stop, results)) for n in range(readers)]
    try:
        for process in [*processes, *reading]:
            process.start()
        wait_until(lambda: int((ledger.rows()[3] > 0).sum()) > KEYS // 2, 60, "the first writes")
        began = time.monotonic()
        while True:
            pause = chance.uniform(1, 3)
            with contextlib.suppress(AssertionError):  # a reader that ends early has found something
                wait_until(lambda: not all(one.is_alive() for one in reading), pause)
            over = _add_stats(server, report) >= reads and time.monotonic() - began > seconds
            if over or not all(one.is_alive() for one in reading):
                break
            server.stop(chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM]))
            report.kills += 1
            server = servers.start_cache(folder, "--no-auth", memory=chance.choice(memories), port=0)
    finally:
        stop.set()
        for process in [*processes, *reading]:
            if process.pid is not None:
                process.join(60)
                if process.is_alive():
                    process.kill()
                    process.join()
                if process.exitcode != 0:
                    report.problems.append(f"{process.name} ended with status {process.exitcode}")
        while not results.empty():
            count, hits, problem = results.get()
            report.reads += count
            report.hits += hits
            if problem:
                report.problems.append(problem)
        report.written = int(ledger.rows()[3].sum())
        server.stop()
    return report


def _add_stats(server: servers.Server, report: Report) -> int:
    """Adds what this life of the cache counted; gives the local reads so far."""
    with server.client() as client:
        text = client.command("INFO", "stats")
    assert isinstance(text, bytes)
    numbers = dict(line.split(":", 1) for line in text.decode().splitlines() if ":" in line)
    for name in ("evicted_keys", "expired_keys", "flushes", "local_read_hits", "local_read_misses"):
        report.stats[name] = report.stats.get(name, 0) + int(numbers[name])
    return report.stats["local_read_hits"] + report.stats["local_read_misses"]


def main() -> int:
    """The long run of `make stress`: at least 10^7 reads. Status 1 when a single one was wrong."""
    least = int(os.environ.get("READS", "10000000"))
    with tempfile.TemporaryDirectory(prefix="predis-stress-") as folder:
        try:
            report = stress(Path(folder), reads=least, seconds=60, memories=("12MiB", "12MiB", "16MiB"))
        finally:
            servers.remove_arenas()
    sys.stdout.write(f"stress: {report}\n" + "".join(f"WRONG: {problem}\n" for problem in report.problems))
    if not report.problems and report.reads < least:
        sys.stdout.write(f"WRONG: only {report.reads:,} of {least:,} reads\n")
        return 1
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
