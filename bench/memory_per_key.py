"""Bytes of memory per key, ours against redis-server."""

from pathlib import Path

from bench.load import KEYS, VALUE_BYTES, fill, folder, info, stopping
from bench.report import Result, Table
from tests.servers import Server, start_cache, start_redis

METHOD = """\
Each server starts empty, gets {keys:,} keys of 16 bytes with values of {value} bytes, and is asked before and after:
used_memory of INFO, and the process' proportional set size (smaps_rollup; it contains the shared-memory arena's pages
that were touched). The difference is divided by the keys. {payload} of these bytes are key and value themselves."""


def run(workdir: Path, *, keys: int = KEYS) -> Result:
    """Fills both servers one after the other; about 20 seconds with the defaults."""
    found = {}
    for name in ("ours", "redis"):
        place = folder(workdir, name)
        server = start_cache(place, "--no-auth", memory="1GiB") if name == "ours" else start_redis(place)
        with stopping(server):
            before = _memory(server)
            fill(server, keys)
            after = _memory(server)
            stored = int(info(server, "keyspace")["db0"].partition("keys=")[2].partition(",")[0])
        if stored != keys:
            raise RuntimeError(f"{server.name} holds {stored} keys instead of {keys}")
        found[name] = {kind: (after[kind] - before[kind]) / keys for kind in after}
    rows = [
        [
            text,
            f"{found['ours'][kind]:.1f}",
            f"{found['redis'][kind]:.1f}",
            f"{found['ours'][kind] / found['redis'][kind]:.3f}",
        ]
        for kind, text in (("used_memory", "used_memory"), ("pss", "proportional set size"))
    ]
    return Result(
        name="memory_per_key",
        title="Memory per key",
        method=METHOD.format(keys=keys, value=VALUE_BYTES, payload=16 + VALUE_BYTES),
        tables=[Table("Bytes per key", ["measured by", "ours", "Redis", "ratio"], rows)],
        data={"keys": keys, "bytes_per_key": found},
    )


def _memory(server: Server) -> dict[str, int]:
    rollup = Path(f"/proc/{server.pid}/smaps_rollup").read_text().splitlines()
    pss = next(line for line in rollup if line.startswith("Pss:"))
    return {"used_memory": int(info(server, "memory")["used_memory"]), "pss": int(pss.split()[1]) * 1024}
