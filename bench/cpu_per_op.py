"""CPU time of the server process per operation, ours against redis-server, with the same client."""

import csv
import io
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psutil

from bench.load import KEYS, VALUE_BYTES, fill, folder, info, stopping
from bench.report import Result, Table
from tests.servers import Server, start_cache, start_redis

CLIENTS = 50
TARGETS = {("get", 1): 1.0, ("set", 1): 1.0, ("get", 16): 0.6, ("set", 16): 0.5, ("get", 64): 0.5, ("set", 64): 0.4}
METHOD = """\
Server CPU is user plus system time of the whole server process (all its threads) over one redis-benchmark run,
divided by the operations of that run. Both servers run at the same time with {keys:,} keys of 16 bytes and values of
{value} bytes, password off, eviction on (Redis: allkeys-lru, ours: s3fifo) with room enough that nothing is evicted,
no persistence; they are measured alternately, ours first in odd pairs and Redis first in even ones, {pairs} pairs per
line. redis-benchmark has {clients} connections and asks for random keys of those stored; for GET the server's own
count of hits is compared with the number of operations, so that no miss is measured.
{pinning}A ratio is the median of the pairs' ratios, ours divided by Redis'; below 1 we need less CPU."""


@dataclass(frozen=True)
class Case:
    """One line of the table."""

    command: str
    depth: int
    unix: bool
    operations: int

    @property
    def name(self) -> str:
        return f"{self.command.upper()}, depth {self.depth}, {'unix socket' if self.unix else 'TCP'}"


def cases(scale: float) -> list[Case]:
    """Depths 1, 16 and 64 over TCP and depth 1 over the unix socket; scale shortens the runs."""
    lengths = [(1, False, 150_000), (1, True, 200_000), (16, False, 1_500_000), (64, False, 2_500_000)]
    return [
        Case(command, depth, unix, max(int(operations * scale), 10_000))
        for depth, unix, operations in lengths
        for command in ("get", "set")
    ]


def run(workdir: Path, *, pairs: int = 5, scale: float = 1.0) -> Result:
    """Measures every case in `pairs` alternating pairs; about 5 minutes with the defaults."""
    cpus = sorted(os.sched_getaffinity(0))
    server_cpus, client_cpus = (cpus[:1], cpus[1:]) if len(cpus) > 1 else (cpus, cpus)
    options = ("--maxmemory", "1gb", "--maxmemory-policy", "allkeys-lru")
    redis = start_redis(folder(workdir, "redis"), *options)
    with stopping(redis):
        ours = start_cache(folder(workdir, "ours"), "--no-auth", memory="1GiB")
        with stopping(ours):
            for server in (ours, redis):
                os.sched_setaffinity(server.pid, server_cpus)
                fill(server)
            measured = {case.name: _measure(case, ours, redis, pairs, client_cpus) for case in cases(scale)}
    rows, targets = [], {}
    for case in cases(scale):
        mine = [one["ours_us"] for one in measured[case.name]]
        theirs = [one["redis_us"] for one in measured[case.name]]
        ratios = [one["ratio"] for one in measured[case.name]]
        rate = median(one["ours_per_second"] for one in measured[case.name])
        peer_rate = median(one["redis_per_second"] for one in measured[case.name])
        ratio = f"{median(ratios):.3f}"
        span = f"{min(ratios):.2f} to {max(ratios):.2f}"
        rows.append([case.name, f"{median(mine):.3f}", f"{median(theirs):.3f}", ratio, span, f"{rate / peer_rate:.2f}"])
        most = TARGETS[case.command, case.depth]
        targets[f"{case.name}: ratio ≤ {most:g} ({ratio})"] = median(ratios) <= most
    columns = ["case", "ours µs/op", "Redis µs/op", "ratio", "lowest to highest", "throughput ratio"]
    pinning = "The servers share one CPU and the client has the others. " if len(cpus) > 1 else ""
    return Result(
        name="cpu_per_op",
        title="Server CPU per operation",
        method=METHOD.format(keys=KEYS, value=VALUE_BYTES, pairs=pairs, clients=CLIENTS, pinning=pinning),
        tables=[Table(f"Medians of {pairs} pairs", columns, rows)],
        data={"pairs": measured},
        targets=targets,
    )


def _measure(case: Case, ours: Server, redis: Server, pairs: int, client_cpus: Sequence[int]) -> list[dict[str, float]]:
    _one(case, ours, client_cpus, share=0.1)
    _one(case, redis, client_cpus, share=0.1)
    found = []
    for pair in range(pairs):
        if pair % 2 == 0:
            mine, theirs = _one(case, ours, client_cpus), _one(case, redis, client_cpus)
        else:
            theirs, mine = _one(case, redis, client_cpus), _one(case, ours, client_cpus)
        if mine[0] <= 0 or theirs[0] <= 0:
            raise RuntimeError(f"{case.name} took no measurable CPU time; use a larger --scale")
        found.append(
            {
                "ours_us": mine[0],
                "redis_us": theirs[0],
                "ratio": mine[0] / theirs[0],
                "ours_per_second": mine[1],
                "redis_per_second": theirs[1],
            }
        )
    return found


def _one(case: Case, server: Server, client_cpus: Sequence[int], share: float = 1.0) -> tuple[float, float]:
    """One run of redis-benchmark: the server's µs of CPU per operation, and operations per second."""
    program = shutil.which("redis-benchmark")
    if program is None:
        raise FileNotFoundError("redis-benchmark is not installed; `make peers` installs it")
    operations = int(case.operations * share)
    where = ["-s", str(server.unix_socket)] if case.unix else ["-p", str(server.port)]
    command = [program, *where, "-t", case.command, "-n", str(operations), "-c", str(CLIENTS), "-P", str(case.depth)]
    command += ["-d", str(VALUE_BYTES), "-r", str(KEYS), "--csv"]
    process = psutil.Process(server.pid)
    hits = _hits(server)
    before = _cpu_seconds(process)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as client:
        os.sched_setaffinity(client.pid, client_cpus)
        output, errors = client.communicate(timeout=300)
    used = _cpu_seconds(process) - before
    rows = [row for row in csv.reader(io.StringIO(output)) if row and row[0].lower() == case.command]
    if client.returncode != 0 or len(rows) != 1:
        raise RuntimeError(f"redis-benchmark failed against {server.name}: {errors or output}")
    if case.command == "get" and _hits(server) - hits < operations:
        raise RuntimeError(f"{server.name} had only {_hits(server) - hits} hits in {operations} GETs")
    return used / operations * 1e6, float(rows[0][1])


def _hits(server: Server) -> int:
    return int(info(server, "stats")["keyspace_hits"])


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system
