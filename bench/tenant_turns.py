"""How long a command would wait for another tenant's turn to end, from the engine's own processor time."""

import os
import time
from collections.abc import Sequence
from itertools import count
from pathlib import Path

from bench.tenant_loads import VALUE, command
from core_cache import _native
from core_cache.tenants import Tenant, hash_of

MIB = 1 << 20
PIECE = {True: 8 << 10, False: 64 << 10}  # bytes that are read at once, with and without turns
ACTIVE_EVERY = 0.2  # seconds after which A shows that it is there
ALONE_AFTER = 0.3  # seconds: who has not logged in counts as another for 0.25
KEYS = 60_000
TEXTS = {
    "flood of SETs": [command(b"SET", b"b:%d" % n, VALUE) for n in range(100_000)],
    "flood of GETs": [command(b"GET", b"b:none%d" % n) for n in range(1000)],
    "SCANs": [b"SCAN 0 COUNT 1000000\r\n"],
    "MGETs of 1,000": [command(b"MGET", *[b"b:%d" % n for n in range(1000)])],
    "SETs of 1 MB": [command(b"SET", b"b:large%d" % n, b"v" * 1_000_000) for n in range(4)],
}


def delays(load: str, turns: bool, seconds: float = 1.0) -> dict[str, float]:
    """Quantiles of the waiting in µs under a load without end, the longest turn, and the share of time that B had."""
    arena = Path(f"/dev/shm/predis-bench-{os.getpid()}.arena")
    pair = [Tenant(name, f"{name}:", 32 * MIB, hash_of("x")) for name in ("a", "b")]
    engine = _native.Engine(str(arena), 96 * MIB, "s3fifo", tenants=pair)
    try:
        lengths, idle = _lengths(engine, TEXTS[load], turns, seconds)
    finally:
        engine.close()
        for suffix in (".arena", ".readers", ".accesses"):
            arena.with_suffix(suffix).unlink(missing_ok=True)
    whole = sum(lengths) + idle
    found = {f"p{100 - 100 * share:g}": _exceeded(lengths, share * whole) for share in (0.5, 0.1, 0.01)}
    return found | {"longest": max(lengths), "share": sum(lengths) / whole}


def _exceeded(lengths: Sequence[float], wanted: float) -> float:
    """The waiting that is exceeded for so much of the time: a turn of length t makes those wait longer than x who come
    in its first t - x."""
    low, high = 0.0, max(lengths)
    for _ in range(40):
        middle = (low + high) / 2
        if sum(max(length - middle, 0.0) for length in lengths) > wanted:
            low = middle
        else:
            high = middle
    return high


def _lengths(engine: _native.Engine, texts: Sequence[bytes], turns: bool, seconds: float) -> tuple[list[float], float]:
    """Of all turns of B, in µs, and how long none was possible."""
    a, b = _native.Connection(engine), _native.Connection(engine)
    _log_in(b, b"b")
    time.sleep(ALONE_AFTER)  # so that what it does to fill the cache is not held against it
    for number in reversed(range(KEYS)):
        b.feed(command(b"SET", b"b:%d" % number, VALUE))
    _log_in(a, b"a")
    if turns:
        engine.on_work = lambda: None  # without it, nobody is ever put aside
    lengths: list[float] = []
    idle, shown, end = 0.0, 0.0, time.monotonic() + seconds
    text, numbers = b"", count()
    while time.monotonic() < end:
        if time.monotonic() > shown + ACTIVE_EVERY:
            a.feed(command(b"PING"))
            shown = time.monotonic()
        while len(text) < PIECE[turns]:
            text += texts[next(numbers) % len(texts)]
        piece, text = text[: PIECE[turns]], text[PIECE[turns] :]
        began = time.thread_time_ns()
        b.feed(piece)
        lengths.append((time.thread_time_ns() - began) / 1e3)
        while turns:
            began = time.thread_time_ns()
            pause = engine.work()
            if pause < 0:
                break
            if pause == 0:
                lengths.append((time.thread_time_ns() - began) / 1e3)
            else:
                time.sleep(pause)
                idle += pause * 1e6
    return lengths, idle


def _log_in(connection: _native.Connection, tenant: bytes) -> None:
    if connection.feed(command(b"AUTH", tenant, b"x")) != b"+OK\r\n":
        raise RuntimeError(f"the tenant {tenant.decode()} cannot log in")
