"""A load for which the order of arrival is a poor guide: small keys that are asked for again and again, and large ones
that hardly are; and what a log of all its accesses looks like."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core_cache import access_log
from core_cache.resp_client import RespClient

BATCH = 500
SMALL, LARGE = 200, 6000
SMALL_KEYS, LARGE_KEYS = 15_000, 300_000


def names(accesses: int, seed: int = 1) -> NDArray[np.int64]:
    """Keys in the order in which they are asked for; those from SMALL_KEYS on are large."""
    random = np.random.default_rng(seed)
    large = SMALL_KEYS + random.integers(0, LARGE_KEYS, accesses)
    small = (SMALL_KEYS * random.random(accesses) ** 3).astype(np.int64)  # a few far more often than the rest
    return np.where(random.random(accesses) < 0.5, large, small)


def sizes(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """The bytes of their values."""
    return np.where(keys >= SMALL_KEYS, LARGE, SMALL)


def ask(client: RespClient, keys: NDArray[np.int64]) -> float:
    """Asks a running cache for them as an application does that reads through it, with MGET and a MSET of what was
    missed. Gives the miss ratio."""
    misses = 0
    for batch in np.array_split(keys, max(1, len(keys) // BATCH)):
        asked = [b"%d" % key for key in batch]
        values = client.command("MGET", *asked)
        assert isinstance(values, list)
        misses += sum(value is None for value in values)
        missed = {key for key, value in zip(asked, values, strict=True) if value is None}
        if missed:
            pairs = [part for key in missed for part in (key, b"v" * (LARGE if int(key) >= SMALL_KEYS else SMALL))]
            client.command("MSET", *pairs)
    return misses / len(keys)


def write_log(data_dir: Path, keys: NDArray[np.int64]) -> None:
    """Beside the arena of the cache in data_dir: the log of all accesses to all keys, a hundred of them each ms. A
    cache itself logs one key in 256 at most, and would have to be asked for half an hour."""
    events = np.zeros(len(keys), access_log._EVENT)
    events["key_hash"], events["found"] = keys, True
    events["value_bytes"] = sizes(keys)
    events["unix_ms"] = 1_700_000_000_000 + np.arange(len(keys)) // 100
    room = np.concatenate([events, events[:1]])  # one more, which a writer would be at
    header = struct.pack("<QIId", access_log.MAGIC, len(room), events.itemsize, 1.0).ljust(64, b"\0")
    header += struct.pack("<Q", len(keys))
    path = Path(os.readlink(data_dir / "cache.arena")).with_suffix(".accesses")
    path.write_bytes(header.ljust(4096, b"\0") + room.tobytes())
