"""Time from SIGKILL of a full cache to the first answer with everything warm, ours against redis-server's RDB."""

import signal
import time
from pathlib import Path
from statistics import median

from bench.load import fill, folder, info, key_name, stopping
from bench.report import Result, Table
from core_cache.resp_client import RespError
from tests.servers import Server, start_cache, start_redis

KEYS = 5_000_000
VALUE_BYTES = 100
ROUNDS = 3
METHOD = """\
The cache process with an arena of 1 GiB holds {keys:,} keys with values of {value} bytes, is killed with SIGKILL and
started again on the same data folder; the clock runs from the start of the new process to the first answered GET of a
stored key, and every key must be back (DBSIZE as before). The peer is redis-server with the same keys, which has saved
them to an RDB file in a folder of the same file system just before (its SAVE is not counted; what is written after
it would be lost) and loads it at the start. Medians of {rounds} rounds."""


def run(workdir: Path, *, keys: int = KEYS, rounds: int = ROUNDS) -> Result:
    """About 2 minutes with the defaults."""
    seconds = {
        "ours": _ours(folder(workdir, "ours"), keys, rounds),
        "redis": _redis(folder(workdir, "redis"), keys, rounds),
    }
    ours, redis = median(seconds["ours"]), median(seconds["redis"])
    row = [f"{keys:,} keys back", f"{ours:.3f}", f"{redis:.3f}", f"{ours / redis:.3f}"]
    return Result(
        name="recovery",
        title="From SIGKILL to warm",
        method=METHOD.format(keys=keys, value=VALUE_BYTES, rounds=rounds),
        tables=[Table("Seconds until warm", ["what", "ours", "Redis (RDB)", "ratio"], [row])],
        data={"keys": keys, "seconds": seconds},
    )


def _ours(place: Path, keys: int, rounds: int) -> list[float]:
    server = start_cache(place, "--no-auth", memory="1GiB")
    fill(server, keys, VALUE_BYTES)
    stored = _stored(server)
    found = []
    for _ in range(rounds):
        server.stop(signal.SIGKILL)
        started = time.perf_counter()
        server = start_cache(place, "--no-auth", memory="1GiB")
        _wait_for_last_key(server, stored)
        found.append(time.perf_counter() - started)
    with stopping(server):
        return found


def _redis(place: Path, keys: int, rounds: int) -> list[float]:
    server = start_redis(place)
    fill(server, keys, VALUE_BYTES)
    with server.client(timeout=120) as client:
        client.command("SAVE")
    found = []
    for _ in range(rounds):
        server.stop(signal.SIGKILL)
        started = time.perf_counter()
        server = start_redis(place)
        _wait_for_last_key(server, keys)
        found.append(time.perf_counter() - started)
    with stopping(server):
        return found


def _stored(server: Server) -> int:
    with server.client() as client:
        answer = client.command("DBSIZE")
    if not isinstance(answer, int):
        raise TypeError(f"DBSIZE answered {answer!r}")
    return answer


def _wait_for_last_key(server: Server, keys: int) -> None:
    """Until the key stored last is answered; redis-server answers LOADING before."""
    deadline = time.monotonic() + 120
    while True:
        try:
            with server.client(timeout=60) as client:
                if client.command("GET", key_name(keys - 1)) is not None:
                    break
        except RespError as error:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{server.name} does not come back: {error}") from error
            time.sleep(0.01)
    found = _stored(server)
    if found != keys:
        raise RuntimeError(f"{server.name} came back with {found} of {keys} keys; {info(server, 'memory')}")
