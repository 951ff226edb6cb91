"""How a policy does on an access trace, in the engine's own store and without a server.

Every access is a lookup, a miss is followed by storing the key. The cache holds a number of entries, whatever their
size, or (`sized`) as many bytes as their sizes add up to. The policy, its queues and the entries are those that a
running cache has; what differs is the limit, which is exact here and not one of memory.
"""

import os
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from core_cache import _native
from core_cache.replay import Trace, TraceError

TICKS_PER_SECOND = 62.5
"""The engine's clock, as policies see it, has ticks of 16 ms."""


@dataclass(frozen=True)
class Evaluation:
    """What a policy did on a trace."""

    policy: str
    model: str | None
    sized: bool
    capacity_share: float
    capacity: int
    """In entries; in bytes when sized."""
    accesses: int
    unique_keys: int
    hits: int
    misses: int
    miss_ratio: float
    byte_miss_ratio: float
    """Of the bytes asked for; without sizes the same as miss_ratio."""
    evictions: int
    bad_scores: int
    """Times that the model gave no finite number, so that the oldest candidate went."""
    refused: int
    """Misses that were not stored: values over the whole capacity, or a policy that evicts nothing."""
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """The evaluation as plain values for JSON."""
        return asdict(self)


def evaluate(
    trace: Trace,
    policy: str,
    capacity_share: float,
    *,
    sized: bool = False,
    model: Path | None = None,
    accesses_per_second: float = TICKS_PER_SECOND,
) -> Evaluation:
    """Runs the whole trace through an empty cache.

    capacity_share: of the unique keys or, when sized, of the bytes that they have together (each as it was first asked
    for); rounded down, at least 1. model: the artefact, for policy "learned".
    accesses_per_second: how fast the policy's clock goes, since traces have no times; at most 62.5 are told apart.
    Raises TraceError for a trace that this cannot run, ValueError for a policy or model that is none.
    """
    keys, firsts = _dense(trace)
    unique = len(firsts)
    sizes = _sizes(trace) if sized else None
    whole = unique if sizes is None else int(sizes[firsts].sum(dtype=np.uint64))
    capacity = max(1, int(capacity_share * whole))
    per_tick = max(1, round(accesses_per_second / TICKS_PER_SECOND))
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="predis-eval-", dir=_memory_folder()) as folder:
        found = _native.evaluate_policy(
            os.path.join(folder, "arena"),
            keys.data,
            None if sizes is None else sizes.data,
            policy,
            capacity,
            accesses_per_tick=per_tick,
            model=None if model is None else str(model),
        )
    seconds = time.perf_counter() - began
    return Evaluation(
        policy=policy,
        model=None if model is None else str(model),
        sized=sized,
        capacity_share=capacity_share,
        capacity=capacity,
        accesses=found["accesses"],
        unique_keys=unique,
        hits=found["accesses"] - found["misses"],
        misses=found["misses"],
        miss_ratio=found["misses"] / found["accesses"],
        byte_miss_ratio=found["missed_bytes"] / found["bytes"] if found["bytes"] else 0.0,
        evictions=found["evictions"],
        bad_scores=found["bad_scores"],
        refused=found["refused"],
        seconds=seconds,
    )


def _dense(trace: Trace) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.intp]]:
    """Keys numbered from 0 without gaps, and where each was asked for first."""
    unique, firsts, numbers = np.unique(np.asarray(trace.keys), return_index=True, return_inverse=True)
    if len(unique) >= 2**31:
        raise TraceError(f"{trace.path}: has {len(unique)} different keys; an evaluation can take 2147483647")
    return np.ascontiguousarray(numbers, dtype=np.uint32), firsts


def _sizes(trace: Trace) -> npt.NDArray[np.uint32]:
    sizes = np.asarray(trace.sizes)
    if int(sizes.max()) >= 2**32:
        raise TraceError(f"{trace.path}: has a value of {sizes.max()} bytes; an evaluation can take 4294967295")
    return np.ascontiguousarray(sizes, dtype=np.uint32)


def _memory_folder() -> str | None:
    """Where a file lies in memory; None, for the usual place of temporary files, where there is no such folder."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
