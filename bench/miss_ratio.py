"""Object miss ratios on real access traces: our policies beside published ones; and the served cache beside Redis."""

import csv
from collections.abc import Callable
from pathlib import Path

from bench.load import folder, info, stopping
from bench.report import Result, Table
from core_cache.policy.evaluate import evaluate
from core_cache.replay import Trace, load_trace, replay
from core_cache.resp_client import Argument
from tests.servers import Server, start_cache, start_redis

POLICIES = ("s3fifo", "lru", "lfu")
PEERS = ("Belady", "S3FIFO", "LRU", "ARC", "WTinyLFU", "Sieve")
SERVED = "web07"
PIPELINE = 32
TOLERANCE = 0.005
METHOD = """\
Policies: the engine's own store runs each trace in process (predis-agent eval policy), with room for exactly the given
number of objects; all count the same. The other columns are the simulator libCacheSim 0.3.5's, with the same number of
objects, from the table beside the traces; Belady knows the future. Our lru is sampled (10 keys an eviction), the peer's
exact; our lfu is Redis' counter, at 62.5 accesses per second. The ratio is ours with s3fifo divided by the simulator's.

Served: {served} is replayed from an empty server (GET, and SET after a miss; all values of one size) whose memory limit
is found by filling it with other keys until it evicts, to within {tolerance:.1%} of that number of objects. Redis
evicts by allkeys-lru with maxmemory-samples 10. Both see time in ticks, of 1 s and 1/64 s: coarse for a replay that
takes seconds, so that their lru is better in slow real life."""

Start = Callable[[Path, int], Server]


def run(workdir: Path, *, traces: Path) -> Result:
    """Evaluates the policies at every capacity of the peers' table and replays one trace to servers; a few minutes."""
    table = traces / "peers.csv"
    if not table.is_file():
        raise RuntimeError(f"no {table}: say where the traces and their peers.csv lie with --traces")
    published = _published(table)
    loaded: dict[str, Trace] = {}
    rows, served_rows, data, served_data = [], [], [], []
    for (name, objects), peers in published.items():
        if name not in loaded:
            loaded = {name: load_trace(traces / f"{name}.npz")}
        trace = loaded[name]
        unique = len(set(trace.keys.tolist()))
        found = {policy: evaluate(trace, policy, (objects + 0.5) / unique) for policy in POLICIES}
        if found["s3fifo"].capacity != objects:
            raise RuntimeError(f"{name}: evaluated with {found['s3fifo'].capacity} objects, not with {objects}")
        ratios = {policy: evaluation.miss_ratio for policy, evaluation in found.items()}
        ratio = ratios["s3fifo"] / peers["S3FIFO"]
        numbers = [*ratios.values(), *(peers[peer] for peer in PEERS)]
        rows.append([name, f"{objects:,}", *(f"{number:.4f}" for number in numbers), f"{ratio:.3f}"])
        seconds = {policy: evaluation.seconds for policy, evaluation in found.items()}
        data.append({"trace": name, "objects": objects, "measured": ratios, "published": peers, "seconds": seconds})
        if name == SERVED:
            served = _served(workdir, name, trace, objects)
            served_rows.append(
                [name, f"{objects:,}", f"{ratios['s3fifo']:.4f}", *(f"{v:.4f}" for v in served.values())]
            )
            served_data.append({"trace": name, "objects": objects, "measured": served})
    columns = ["trace", "objects", *(f"ours {policy}" for policy in POLICIES), *PEERS, "ratio"]
    served_columns = ["trace", "objects", "in process s3fifo", "served s3fifo", "served lru", "Redis lru"]
    return Result(
        name="miss_ratio",
        title="Miss ratios on access traces",
        method=METHOD.format(tolerance=TOLERANCE, served=SERVED),
        tables=[
            Table("Object miss ratio, lower is better", columns, rows),
            Table("The served cache", served_columns, served_rows),
        ],
        data={"runs": data, "served": served_data},
    )


def _served(workdir: Path, name: str, trace: Trace, objects: int) -> dict[str, float]:
    """Miss ratios of servers with room for this many objects."""
    starts: dict[str, Start] = {"s3fifo": _ours("s3fifo"), "lru": _ours("lru"), "Redis": _redis}
    return {
        policy: _measure(start, folder(workdir, f"{name}-{objects}-{policy}"), trace, objects)
        for policy, start in starts.items()
    }


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
