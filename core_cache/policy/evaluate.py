"""How a policy does on an access trace, in the engine's own store and without a server.

Every access is a lookup, a miss is followed by storing the key. The cache holds a number of entries, whatever their
size, or (`sized`) as many bytes as their sizes add up to. The policy, its queues and the entries are those that a
running cache has; what differs is the limit, which is exact here and not one of memory.
"""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core_cache import _native
from core_cache.policy.accesses import numbered, sizes_of
from core_cache.policy.rehearse import arena_path
from core_cache.replay import Trace

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
    keys, firsts = numbered(np.asarray(trace.keys), trace.path)
    unique = len(firsts)
    sizes = sizes_of(trace) if sized else None
    whole = unique if sizes is None else int(sizes[firsts].sum(dtype=np.uint64))
    capacity = max(1, int(capacity_share * whole))
    per_tick = max(1, round(accesses_per_second / TICKS_PER_SECOND))
    began = time.perf_counter()
    with arena_path() as path:
        found = _native.evaluate_policy(
            path,
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
