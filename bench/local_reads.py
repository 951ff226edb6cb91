"""Reads by a process on the same machine: straight from the arena, against redis-py asking redis-server."""

import multiprocessing
import os
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path
from statistics import median

import hiredis
import numpy as np
import redis

import core_cache
from bench.load import fill, folder, key_name, stopping
from bench.report import Result, Table
from tests.servers import start_cache, start_redis

KEYS = 1_000_000
VALUE_BYTES = 128
ROWS = 1000
TARGETS = {"get, cold": 80.0, "mget_into, cold": 40.0, "mget_into, cold, keys in one buffer": 40.0}
SCALING_TARGET = 1.8
SCALING_SECONDS = 0.15
UNDISTURBED = 0.97
YARDSTICK = "numpy.take, no cache involved"
METHOD = """\
Both servers run at the same time, each with {keys:,} keys of 16 bytes and values of {value} bytes. A reader
(core_cache.attach) reads from our arena; redis-py {redis_py} with hiredis {hiredis} asks redis-server over loopback
TCP, one connection, with the same keys: GET for `get`, MGET of {rows:,} keys for `mget_into` of {rows:,} rows into a
numpy array. "cold" takes the keys in random order, each once a pass, out of bytes objects made beforehand (for
`mget_into` and MGET in a list for each call, made beforehand, too), so that key, bucket, entry and value are rarely in
the processor's caches; "keys in one buffer": in numpy arrays of dtype S16 instead. "hot" reads one key, or the same
{rows:,} keys, over and over. Every read must be a hit; the loop around the calls counts. Measured alternately, ours
first in even rounds, {rounds} rounds; {pinning}
A ratio is the median of the rounds' ratios, redis-py's time divided by ours.
Two processes: each reads cold rows (keys in one buffer), then cold single keys, on a CPU of its own, for {seconds:g} s
at a time: first one alone, then the other alone, then both from a common start. The scaling of a round is the sum of
both rates at once divided by the mean of the rates alone. Rounds in which a process got less than {undisturbed:.0%} of
its CPU's time are left out, unless all are such. What the machine itself has to give shows in the last line: numpy
copying the same number of bytes per row, in random order, out of each process' own array."""


@dataclass(frozen=True)
class Case:
    """What is compared: both calls do so many reads and give how many of them were hits."""

    name: str
    ours: Callable[[], int]
    ours_reads: int
    theirs: Callable[[], int]
    their_reads: int


def run(workdir: Path, *, keys: int = KEYS, rounds: int = 9, scale: float = 1.0) -> Result:
    """About 3 minutes with the defaults; `scale` shortens the rounds."""
    cpus = sorted(os.sched_getaffinity(0))
    theirs = start_redis(folder(workdir, "redis"))
    with stopping(theirs):
        ours = start_cache(folder(workdir, "ours"), "--no-auth", memory="512MiB")
        with stopping(ours):
            for server in (ours, theirs):
                fill(server, keys, VALUE_BYTES)
                os.sched_setaffinity(server.pid, cpus[:1])
            os.sched_setaffinity(0, cpus[-1:])
            try:
                client = redis.Redis(port=theirs.port)
                cases = _cases(core_cache.attach(ours.data_dir), client, keys, scale)
                measured = {case.name: _measure(case, rounds) for case in cases}
                client.close()
            finally:
                os.sched_setaffinity(0, cpus)
            scaling = _scaling(ours.data_dir, keys, cpus, rounds, scale) if len(cpus) > 1 else {}
    rows, targets = [], {}
    for name, pairs in measured.items():
        ratios = [pair["redis_ns"] / pair["ours_ns"] for pair in pairs]
        mine, other = (median(pair[which] for pair in pairs) for which in ("ours_ns", "redis_ns"))
        span = f"{min(ratios):.0f} to {max(ratios):.0f}"
        rows.append([name, f"{mine:,.0f}", f"{other:,.0f}", f"{median(ratios):.1f}", span])
        if name in TARGETS:
            targets[f"{name}: ratio ≥ {TARGETS[name]:g} ({median(ratios):.1f})"] = median(ratios) >= TARGETS[name]
    scaled = []
    for name, found in scaling.items():
        factors = [one["scaling"] for one in found]
        alone = median(one["alone_per_second"] for one in found)
        both = median(one["together_per_second"] for one in found)
        span = f"{min(factors):.2f} to {max(factors):.2f}"
        share = f"{min(one['cpu_share'] for one in found):.0%}"
        scaled.append(
            [name, f"{alone / 1e6:.2f}", f"{both / 1e6:.2f}", f"{median(factors):.2f}", span, str(len(found)), share]
        )
        if name != YARDSTICK:
            targets[f"two processes, {name}: ≥ {SCALING_TARGET:g} times ({median(factors):.2f})"] = (
                median(factors) >= SCALING_TARGET
            )
    pinning = "the servers share one CPU and the reader has another. " if len(cpus) > 1 else "all on one CPU. "
    return Result(
        name="local_reads",
        title="Local reads",
        method=METHOD.format(
            keys=keys,
            value=VALUE_BYTES,
            rows=ROWS,
            rounds=rounds,
            seconds=SCALING_SECONDS * scale,
            undisturbed=UNDISTURBED,
            pinning=pinning,
            redis_py=redis.__version__,
            hiredis=hiredis.__version__,
        ),
        tables=[
            Table(
                "Nanoseconds per key, medians",
                ["reads", "ours", "redis-py", "ratio", "lowest to highest"],
                rows,
            ),
            Table(
                "Two reader processes, million reads per second",
                ["reads", "one", "both", "scaling", "lowest to highest", "rounds", "least share of a CPU"],
                scaled,
            ),
        ],
        data={"keys": keys, "rounds": measured, "two_processes": scaling},
        targets=targets,
    )


def _shuffled(keys: int, seed: int) -> list[bytes]:
    names = [key_name(number) for number in range(keys)]
    random.Random(seed).shuffle(names)
    return names


class _Walk:
    """Stretches of a sequence, one after the other, from the beginning again at the end."""

    def __init__(self, length: int) -> None:
        self._length, self._at = length, 0

    def next(self, count: int) -> int:
        """Where the next stretch of so many begins."""
        if self._at + count > self._length:
            self._at = 0
        first, self._at = self._at, self._at + count
        return first


def _cases(reader: core_cache.Reader, client: redis.Redis, keys: int, scale: float) -> list[Case]:
    names = _shuffled(keys, 1)
    lists = [names[first : first + ROWS] for first in range(0, keys, ROWS)]
    rows = np.split(np.array(names), len(lists))
    batches, their_batches = (min(max(int(many * scale), 1), len(lists)) for many in (100, 10))
    gets, their_gets = min(max(int(50_000 * scale), 100), keys), max(int(2000 * scale), 20)
    out, found = np.empty((ROWS, VALUE_BYTES), np.uint8), np.empty(ROWS, bool)
    walk, their_gets_walk, their_walk = _Walk(keys), _Walk(keys), _Walk(len(lists))

    def get_cold() -> int:
        first, get, hits = walk.next(gets), reader.get, 0
        for number in range(first, first + gets):
            value = get(names[number])
            hits += value is not None and len(value) == VALUE_BYTES
        return hits

    def get_hot() -> int:
        get, hits, name = reader.get, 0, names[0]
        for _ in range(gets):
            value = get(name)
            hits += value is not None and len(value) == VALUE_BYTES
        return hits

    def ask_get() -> int:
        first, get, hits = their_gets_walk.next(their_gets), client.get, 0
        for number in range(first, first + their_gets):
            value = get(names[number])
            hits += value is not None and len(value) == VALUE_BYTES
        return hits

    def into(source: "Sequence[Sequence[bytes] | np.ndarray[tuple[int], np.dtype[np.bytes_]]]") -> Callable[[], int]:
        place = _Walk(len(source))

        def call() -> int:
            first = place.next(batches)
            return sum([reader.mget_into(some, out, found) for some in source[first : first + batches]])

        return call

    def into_hot() -> int:
        same = lists[0]
        return sum([reader.mget_into(same, out, found) for _ in range(batches)])

    def ask_mget() -> int:
        hits, first = 0, their_walk.next(their_batches)
        for some in lists[first : first + their_batches]:
            hits += sum(value is not None for value in client.mget(some))
        return hits

    reads, their_reads = batches * ROWS, their_batches * ROWS
    return [
        Case("get, cold", get_cold, gets, ask_get, their_gets),
        Case("get, hot", get_hot, gets, ask_get, their_gets),
        Case("mget_into, cold", into(lists), reads, ask_mget, their_reads),
        Case("mget_into, cold, keys in one buffer", into(rows), reads, ask_mget, their_reads),
        Case("mget_into, hot", into_hot, reads, ask_mget, their_reads),
    ]


def _measure(case: Case, rounds: int) -> list[dict[str, float]]:
    def ns(call: Callable[[], int], reads: int) -> float:
        began = time.perf_counter()
        hits = call()
        took = time.perf_counter() - began
        if hits != reads:
            raise RuntimeError(f"{case.name}: {hits} hits in {reads} reads")
        return took / reads * 1e9

    found = []
    for number in range(rounds + 1):
        if number % 2 == 0:
            mine = ns(case.ours, case.ours_reads)
            other = ns(case.theirs, case.their_reads)
        else:
            other = ns(case.theirs, case.their_reads)
            mine = ns(case.ours, case.ours_reads)
        found.append({"ours_ns": mine, "redis_ns": other})
    return found[1:]  # the first round is for warming up


def _scaling(
    data_dir: Path, keys: int, cpus: list[int], rounds: int, scale: float
) -> dict[str, list[dict[str, float]]]:
    """Rounds of the two processes by what they read, the undisturbed ones if there are any."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    results = context.SimpleQueue()
    workers = [
        context.Process(
            target=_worker, args=(data_dir, keys, cpus[-1 - which], which, 2 * rounds, scale, barrier, results)
        )
        for which in range(2)
    ]
    for worker in workers:
        worker.start()
    rates = dict(results.get() for _ in workers)
    for worker in workers:
        worker.join()
    found: dict[str, list[dict[str, float]]] = {}
    for name in rates[0]:
        for (alone, both), (other_alone, other_both) in zip(rates[0][name], rates[1][name], strict=True):
            one = {
                "alone_per_second": (alone.rate + other_alone.rate) / 2,
                "together_per_second": both.rate + other_both.rate,
                "cpu_share": min(turn.cpu_share for turn in (alone, both, other_alone, other_both)),
            }
            one["scaling"] = one["together_per_second"] / one["alone_per_second"]
            found.setdefault(name, []).append(one)
        undisturbed = [one for one in found[name] if one["cpu_share"] >= UNDISTURBED]
        found[name] = undisturbed or found[name]
    return found


@dataclass(frozen=True)
class Turn:
    """What one process did in one stretch of time: reads per second, and which part of its CPU's time it got."""

    rate: float
    cpu_share: float


def _worker(
    data_dir: Path,
    keys: int,
    cpu: int,
    which: int,
    rounds: int,
    scale: float,
    barrier: Barrier,
    results: "multiprocessing.queues.SimpleQueue[tuple[int, dict[str, list[tuple[Turn, Turn]]]]]",
) -> None:
    """One of the two processes: puts (which, {reads: [(alone, at once with the other), …]})."""
    os.sched_setaffinity(0, [cpu])
    reader = core_cache.attach(data_dir)
    names = _shuffled(keys, 2 + which)
    rows = np.array(names)
    out, walk = np.empty((ROWS, VALUE_BYTES), np.uint8), _Walk(keys)
    table, order = np.ones((keys, VALUE_BYTES), np.uint8), np.random.default_rng(which).permutation(keys)

    def read_rows() -> int:
        first = walk.next(ROWS)
        return reader.mget_into(rows[first : first + ROWS], out)

    def read_keys() -> int:
        first = walk.next(ROWS)
        return sum(reader.get(names[number]) is not None for number in range(first, first + ROWS))

    def take_rows() -> int:
        first = walk.next(ROWS)
        np.take(table, order[first : first + ROWS], 0, out, "clip")
        return ROWS

    def turn(call: Callable[[], int]) -> Turn:
        reads, began, busy = 0, time.perf_counter(), time.process_time()
        while (took := time.perf_counter() - began) < SCALING_SECONDS * scale:
            hits = call()
            if hits != ROWS:
                raise RuntimeError(f"{hits} hits in {ROWS} reads")
            reads += hits
        return Turn(reads / took, (time.process_time() - busy) / took)

    found: dict[str, list[tuple[Turn, Turn]]] = {}
    for name, call in (("mget_into, keys in one buffer", read_rows), ("get", read_keys), (YARDSTICK, take_rows)):
        for _ in range(keys // ROWS):
            call()
        for _ in range(rounds):
            for number in range(2):
                barrier.wait(60)
                if number == which:
                    alone = turn(call)
            barrier.wait(60)
            found.setdefault(name, []).append((alone, turn(call)))
            barrier.wait(60)
    results.put((which, found))
