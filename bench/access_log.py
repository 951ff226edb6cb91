"""What the access log costs: instructions per operation by callgrind, and time in an interleaved A/B/A run."""

import argparse
import os
import random
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from statistics import fmean, median

from bench.report import Result, Table
from core_cache import _native

RATE = 0.001
DEPTHS = (1, 16, 64)
KEYS = 50_000
COMMANDS = 8_000  # different ones
MOST = 0.001  # more instructions per operation, as a share
COUNTED = "--toggle-collect=predis::Engine::feed*"
ROOT = Path(__file__).resolve().parent.parent
METHOD = """\
The engine runs in the measuring process, without sockets: batches of commands (9 GET, 1 SET; random keys of {keys:,}
with values of 100 bytes) are given to it as a client's bytes. All runs start from copies of one arena, so that keys
hash alike in all of them. Instructions: valgrind's callgrind counts what the engine does with the bytes, in two runs
that differ in length alone; the difference of the counts over that of the operations has no start in it. With a socket
and an event loop an operation takes several times as many, and the log's part is smaller still. The mean of {arenas}
arenas, each with a hash seed of its own: which keys are sampled, and so how often the log is written, differs by it.
Time: the same batches alternately with the log off, on, and off again (A, B, A), {rounds} times, each after a run of
the same engine that is not timed, since the other's data are in the caches; A/A is how far two equal runs differ here,
and B/A is to lie within that. The log samples {rate:.1%} of the keys."""


def run(workdir: Path, *, rounds: int = 60, operations: int = 32_000, arenas: int = 3) -> Result:
    """About 5 minutes. Raises RuntimeError where valgrind is missing."""
    if shutil.which("valgrind") is None:
        raise RuntimeError("valgrind is not installed (Debian: apt install valgrind)")
    rows, data = [], {}
    targets = {}
    templates = [_filled(workdir / f"filled-{number}.arena") for number in range(arenas)]
    for depth in DEPTHS:
        off, on = (
            fmean(_instructions(workdir, template, rate, depth, operations) for template in templates)
            for rate in (0.0, RATE)
        )
        more = on / off - 1
        rows.append([str(depth), f"{off:,.1f}", f"{on:,.1f}", f"{more:+.4%}"])
        data[f"depth {depth}"] = {"instructions_off": off, "instructions_on": on, "more": more}
        targets[f"depth {depth}: at most {MOST:.1%} more instructions"] = more <= MOST
    times = _interleaved(templates[0], rounds)
    names = ("B/A", "A/A")
    spread = {name: sorted(ratios) for name, ratios in zip(names, times, strict=True)}
    time_rows = [
        [name, f"{median(r):.4f}", f"{r[len(r) // 4]:.4f} … {r[3 * len(r) // 4]:.4f}"] for name, r in spread.items()
    ]
    low, high = spread["A/A"][len(spread["A/A"]) // 4], spread["A/A"][3 * len(spread["A/A"]) // 4]
    targets["B/A lies within the quartiles of A/A"] = low <= median(spread["B/A"]) <= high
    return Result(
        name="access_log",
        title="What the access log costs",
        method=METHOD.format(keys=KEYS, rounds=rounds, rate=RATE, arenas=arenas),
        tables=[
            Table("Instructions per operation", ["pipeline", "log off", "log on", "more"], rows),
            Table("Time, depth 64, ratio of two runs", ["runs", "median", "quartiles"], time_rows),
        ],
        data={"instructions": data, "time_ratios": spread},
        targets=targets,
    )


def _instructions(workdir: Path, template: Path, rate: float, depth: int, operations: int) -> float:
    counts = []
    for length in (operations, 3 * operations):
        command = [
            "valgrind",
            "--tool=callgrind",
            f"--callgrind-out-file={workdir}/callgrind.out",
            COUNTED,
            sys.executable,
        ]
        work = ["-m", "bench.access_log", str(template), str(rate), str(depth), str(length)]
        environment = dict(os.environ, PYTHONHASHSEED="0", PYTHONPATH=str(ROOT))
        run = subprocess.run([*command, *work], capture_output=True, text=True, cwd=ROOT, env=environment, check=False)
        found = re.search(r"Collected : (\d+)", run.stderr)
        if run.returncode != 0 or found is None:
            raise RuntimeError(f"callgrind failed: {run.stderr[-500:]}")
        counts.append(int(found[1]))
    return (counts[1] - counts[0]) / (2 * operations)


def _filled(arena: Path) -> Path:
    """Makes an arena with the keys."""
    engine = _native.Engine(str(arena), 96 << 20, "s3fifo")
    connection, value = _native.Connection(engine), b"x" * 100
    for start in range(0, KEYS, 1000):
        connection.feed(b"".join(_command(b"SET", b"key:%012d" % n, value) for n in range(start, start + 1000)))
    engine.close()
    return arena


class _Work:
    """An engine on a copy of an arena, and batches to run; the copy, at `arena`, is removed at the end."""

    def __init__(self, template: Path, arena: Path, rate: float, depth: int) -> None:
        self._arena = arena
        shutil.copyfile(template, arena)
        arena.chmod(0o600)
        self.engine = _native.Engine(str(arena), 96 << 20, "s3fifo")
        if rate > 0:
            self.engine.start_access_log(str(arena), rate, False)
        self._connection = _native.Connection(self.engine)
        if self._connection.feed(_command(b"DBSIZE")) != b":%d\r\n" % KEYS:
            raise RuntimeError("the copy of the arena was not taken")
        rng, value = random.Random(1), b"x" * 100  # the same work each time
        self.batches = []
        for _ in range(COMMANDS // depth):
            batch = []
            for _ in range(depth):
                key = b"key:%012d" % rng.randrange(KEYS)
                batch.append(_command(b"GET", key) if rng.random() < 0.9 else _command(b"SET", key, value))
            self.batches.append(b"".join(batch))

    def run(self, count: int) -> None:
        """So many batches, round and round."""
        feed, batches = self._connection.feed, self.batches
        for i in range(count):
            feed(batches[i % len(batches)])

    def close(self) -> None:
        """Ends the engine and removes its files."""
        self.engine.close()
        for suffix in (".arena", ".accesses", ".readers"):
            self._arena.with_suffix(suffix).unlink(missing_ok=True)


def _command(*parts: bytes) -> bytes:
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)


def _interleaved(template: Path, rounds: int) -> tuple[list[float], list[float]]:
    """Ratios B/A and A/A of the rounds."""
    folder = Path("/dev/shm") if Path("/dev/shm").is_dir() else template.parent
    works = [
        _Work(template, folder / f"predis-bench-{os.getpid()}-{i}.arena", rate, 64)
        for i, rate in enumerate((0.0, RATE))
    ]
    with_log, without = [], []
    try:
        for _ in range(rounds):
            first, on, second = (_seconds(works[i], 400) for i in (0, 1, 0))
            with_log.append(2 * on / (first + second))
            without.append(second / first)
    finally:
        for work in works:
            work.close()
    return with_log, without


def _seconds(work: _Work, batches: int) -> float:
    work.run(batches)
    start = time.process_time()
    work.run(batches)
    return time.process_time() - start


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="One run for callgrind to count.")
    parser.add_argument("template", type=Path)
    parser.add_argument("rate", type=float)
    parser.add_argument("depth", type=int)
    parser.add_argument("operations", type=int)
    given = parser.parse_args()
    one = _Work(given.template, given.template.with_name("work.arena"), given.rate, given.depth)
    one.run(given.operations // given.depth)
    one.close()
