"""Accesses run through a cache of their own, in the engine's store, to see what a policy or a model makes of them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core_cache import _native
from core_cache.policy.accesses import Accesses
from core_cache.policy.artefact import FEATURES, Floats


@dataclass(frozen=True)
class Rehearsal:
    """missed: shape (accesses,). evictions: how many."""

    missed: NDArray[np.bool_]
    evictions: int


@dataclass(frozen=True)
class Candidates:
    """What the policy could choose from at some evictions. rows: shape (candidates, features), all of FEATURES in their
    order; keys, at: shape (candidates,), which key it is and how many accesses there had been."""

    rows: Floats
    keys: NDArray[np.uint32]
    at: NDArray[np.uint32]


def rehearse(accesses: Accesses, capacity: int, model: Path | None) -> Rehearsal:
    """All accesses, with a model, or as plain S3-FIFO without one. capacity: in bytes; in entries without sizes.

    Raises ValueError for a model that is none.
    """
    found = _run(accesses, capacity, model, missed=True)
    return Rehearsal(np.frombuffer(found["missed"], bool), found["evictions"])


def candidates(accesses: Accesses, capacity: int, model: Path | None, every: int) -> Candidates:
    """The candidates of one eviction in `every`; otherwise as `rehearse`."""
    found = _run(accesses, capacity, model, candidates=every)
    return Candidates(
        np.frombuffer(found["candidate_rows"], np.float32).reshape(-1, len(FEATURES)),
        np.frombuffer(found["candidate_keys"], np.uint32),
        np.frombuffer(found["candidate_at"], np.uint32),
    )


def _run(
    accesses: Accesses, capacity: int, model: Path | None, missed: bool = False, candidates: int = 0
) -> _native.PolicyNumbers:
    with arena_path() as path:
        return _native.evaluate_policy(
            path,
            accesses.keys.data,
            None if accesses.sizes is None else accesses.sizes.data,
            "learned",
            capacity,
            times=None if accesses.times is None else accesses.times.data,
            model=None if model is None else str(model),
            missed=missed,
            candidates=candidates,
        )


@contextmanager
def arena_path() -> Iterator[str]:
    """Where an evaluation may put its arena: in memory, where there is such a folder."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="predis-eval-", dir=memory) as folder:
        yield os.path.join(folder, "arena")
