"""Object miss ratios on real access traces: ours (s3fifo, lru) and redis-server's, beside published policies'."""

import csv
from collections.abc import Callable
from pathlib import Path

from bench.load import folder, info, stopping
from bench.report import Result, Table
from core_cache.replay import Trace, load_trace, replay
from core_cache.resp_client import Argument
from tests.servers import Server, start_cache, start_redis

TRACES = ("web07", "arc-OLTP", "scarab-recs")
PEERS = ("Belady", "S3FIFO", "LRU", "ARC", "WTinyLFU", "Sieve")
PIPELINE = 32
TOLERANCE = 0.005
METHOD = """\
Each trace is replayed from an empty cache (GET, and SET after a miss; all values of one size) that has room for the
given number of objects: its memory is found by filling it with other keys until it evicts, to within {tolerance:.1%} of
that number of objects. Redis evicts by allkeys-lru with maxmemory-samples 10. Its lru and ours sample, and see time in
ticks of 1 s and 1/64 s: coarse for a replay that takes seconds, so that both are better in slow real life. The other
columns are the simulator libCacheSim 0.3.5's, with exactly that number of objects, from the table beside the traces;
Belady knows the future. The ratio is ours with s3fifo divided by the simulator's S3FIFO."""

Start = Callable[[Path, int], Server]


def run(workdir: Path, *, traces: Path) -> Result:
    """Replays the traces at every capacity of the table; about 5 minutes."""
    table = traces / "peers.csv"
    if not table.is_file():
        raise RuntimeError(f"no {table}: say where the traces and their peers.csv lie with --traces")
    published = _published(table)
    starts: dict[str, Start] = {"s3fifo": _ours("s3fifo"), "lru": _ours("lru"), "Redis": _redis}
    rows, data = [], []
    for name in TRACES:
        trace = load_trace(traces / f"{name}.npz")
        for (trace_name, objects), peers in published.items():
            if trace_name != name:
                continue
            found: dict[str, float] = {}
            for policy, start in starts.items():
                place = folder(workdir, f"{name}-{objects}-{policy}")
                found[policy] = _measure(start, place, trace, objects)
            ratio = found["s3fifo"] / peers["S3FIFO"]
            numbers = [*found.values(), *(peers[peer] for peer in PEERS)]
            rows.append([name, f"{objects:,}", *(f"{number:.4f}" for number in numbers), f"{ratio:.3f}"])
            data.append({"trace": name, "objects": objects, "measured": found, "published": peers})
    columns = ["trace", "objects", "ours s3fifo", "ours lru", "Redis", *PEERS, "ratio"]
    return Result(
        name="miss_ratio",
        title="Miss ratios on access traces",
        method=METHOD.format(tolerance=TOLERANCE),
        tables=[Table("Object miss ratio, lower is better", columns, rows)],
        data={"runs": data},
    )


def _published(table: Path) -> dict[tuple[str, int], dict[str, float]]:
    """Miss ratio by policy for each (trace, capacity in objects)."""
    found: dict[tuple[str, int], dict[str, float]] = {}
    with table.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            key = (row["trace"], int(row["capacity_objects"]))
            found.setdefault(key, {})[row["policy"]] = float(row["object_miss_ratio"])
    return found


def _ours(policy: str) -> Start:
    return lambda place, memory: start_cache(place, "--no-auth", "--policy", policy, memory=str(memory))


def _redis(place: Path, memory: int) -> Server:
    limits = ("--maxmemory", str(memory), "--maxmemory-policy", "allkeys-lru", "--maxmemory-samples", "10")
    return start_redis(place, *limits)


def _value_bytes(objects: int) -> int:
    """Values so large that the objects need at least 24 MiB, beside which what is fixed weighs little."""
    return max(500, 24 * 2**20 // objects)


def _measure(start: Start, place: Path, trace: Trace, objects: int) -> float:
    size = _value_bytes(objects)
    memory = _memory_for(start, place, objects, size)
    server = start(folder(place, "replay"), memory)
    with stopping(server), server.client() as client:
        return 1 - replay(trace.with_size(size), client, pipeline=PIPELINE).hit_ratio


def _memory_for(start: Start, place: Path, objects: int, size: int) -> int:
    """The memory limit with which the server holds this many objects, found by trying."""
    memory, per_object = int(objects * (size + 200)) + 4 * 2**20, size + 100
    for attempt in range(12):
        server = start(folder(place, f"try-{attempt}"), memory)
        with stopping(server):
            held = _objects_held(server, objects, size)
        if abs(held - objects) <= max(objects * TOLERANCE, 1):
            return memory
        memory += int((objects - held) * per_object * (1.0 if attempt < 6 else 0.5))
    raise RuntimeError(f"no memory limit makes {server.name} hold {objects} objects of {size} bytes (last: {held})")


def _objects_held(server: Server, objects: int, size: int) -> int:
    """How many objects are left of twice as many as wanted, each stored once."""
    value = b"x" * size
    batch = max(1, min(200, 4 * 2**20 // size))
    with server.client() as client:
        for first in range(0, 2 * objects, batch):
            commands: list[tuple[Argument, ...]] = [
                ("SET", f"fill:{n:08d}", value) for n in range(first, first + batch)
            ]
            client.pipeline(commands)
        held = client.command("DBSIZE")
    if not isinstance(held, int) or int(info(server, "stats")["evicted_keys"]) == 0:
        raise RuntimeError(f"{server.name} evicted nothing when it was filled twice over")
    return held
