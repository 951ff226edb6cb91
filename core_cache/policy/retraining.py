"""Retraining: a model from recorded accesses, and whether it is better than what is in place.

The accesses are cut into three parts by time. Models that know more or less are trained on the first; the one that
misses least on the second is held against the model in place, and against plain S3-FIFO, on the third, which none of
them has seen. Each runs from the beginning, so that its cache is warm when the misses begin to count.

How sure the difference is comes from the keys: they were sampled by their hashes, independently, so the sum over keys
of (misses with one − misses with the other) is to be compared with the root of the sum of their squares.
"""

from __future__ import annotations

import math
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core_cache.policy.accesses import Accesses
from core_cache.policy.artefact import Trees, write
from core_cache.policy.rehearse import Rehearsal, rehearse
from core_cache.policy.training import TooLittle, Trainer

FEATURE_SETS: tuple[tuple[str, ...], ...] = (
    ("size",),
    ("hits", "size", "main"),
    ("idle", "hits", "size", "main"),
)
"""Less is often more: how long ago a key was used says little where the pattern changes."""
TRAIN, CHOOSE = 0.6, 0.8
"""Where the first and the second part end."""
SURE = 2.33
"""Standard errors: better by chance in one trial of a hundred."""
LEAST_MISSES = 200
LEAST_ENTRIES = 2000
"""That a cache must hold to stand for a large one: a model chooses among the 12 oldest of a queue, and where the queue
is hardly longer, a choice is worth more than it will be: of one load 12 % of the misses at 100 entries, 4 % at 30,000.
"""


@dataclass(frozen=True)
class Against:
    """The new model held against something on the last part: miss ratios of reads, and by how many standard errors the
    new one misses more (so below 0 is better)."""

    miss_ratio: float
    z: float

    @property
    def beaten(self) -> bool:
        """Whether the new model is surely better."""
        return self.z < -SURE


@dataclass(frozen=True)
class Retraining:
    """features: what the model knows. miss_ratio: of the reads of the last part, of which there are `judged`."""

    model: Trees
    features: tuple[str, ...]
    accesses: int
    keys: int
    judged: int
    miss_ratio: float
    s3fifo: Against
    current: Against | None
    """The model in place; None where there was none."""

    @property
    def better(self) -> bool:
        """Whether it should take the place of what is there."""
        return self.s3fifo.beaten and (self.current is None or self.current.beaten)

    def as_dict(self) -> dict[str, Any]:
        """All but the model, as plain values for JSON."""
        return {
            "features": list(self.features),
            "accesses": self.accesses,
            "keys": self.keys,
            "judged": self.judged,
            "miss_ratio": self.miss_ratio,
            "s3fifo": asdict(self.s3fifo),
            "current": None if self.current is None else asdict(self.current),
            "better": self.better,
        }


def retrain(accesses: Accesses, capacity: int, current: Path | None) -> Retraining:
    """A model for a cache of this capacity (see `rehearse`), held against the artefact `current`.

    Raises TooLittle where there is too little to learn from or to judge by, ValueError for an artefact that is none.
    """
    plain = rehearse(accesses, capacity, None)
    if plain.evictions == 0:
        raise TooLittle("fit into the cache together: nothing is evicted, so there is nothing to learn")
    if (held := int(plain.missed.sum()) - plain.evictions) < LEAST_ENTRIES:
        raise TooLittle(
            f"fill a cache of {held:,} entries, where {LEAST_ENTRIES:,} are needed: raise cache.access_log, or have a "
            "larger cache"
        )
    judged = np.arange(len(accesses)) >= int(CHOOSE * len(accesses))
    judged &= accesses.reads
    if (misses := int(plain.missed[judged].sum())) < LEAST_MISSES:
        raise TooLittle(f"miss {misses} times in the part to judge by, where {LEAST_MISSES} are needed")
    chosen, features = _choose(accesses, capacity)
    new = _with(chosen, accesses, capacity)
    return Retraining(
        chosen,
        features,
        len(accesses),
        accesses.unique,
        int(judged.sum()),
        float(new.missed[judged].mean()),
        _against(accesses, judged, new, plain),
        None if current is None else _against(accesses, judged, new, rehearse(accesses, capacity, current)),
    )


def _choose(accesses: Accesses, capacity: int) -> tuple[Trees, tuple[str, ...]]:
    seen = accesses.first(int(CHOOSE * len(accesses)))
    judged = (np.arange(len(seen)) >= int(TRAIN * len(accesses))) & seen.reads
    best: tuple[int, Trees, tuple[str, ...]] | None = None
    trainer = Trainer(accesses.first(int(TRAIN * len(accesses))), capacity)
    for features in FEATURE_SETS:
        model = trainer.train(features)
        misses = int(_with(model, seen, capacity).missed[judged].sum())
        if best is None or misses < best[0]:
            best = misses, model, features
    assert best is not None
    return best[1], best[2]


def _with(model: Trees, accesses: Accesses, capacity: int) -> Rehearsal:
    with tempfile.TemporaryDirectory(prefix="predis-train-") as folder:
        path = Path(folder, "model")
        write(path, model)
        return rehearse(accesses, capacity, path)


def _against(accesses: Accesses, judged: NDArray[np.bool_], new: Rehearsal, other: Rehearsal) -> Against:
    difference = new.missed[judged].astype(np.float64) - other.missed[judged]
    of_keys = np.bincount(accesses.keys[judged], weights=difference)
    spread = math.sqrt(float((of_keys**2).sum()))
    z = float(of_keys.sum()) / spread if spread > 0 else 0.0
    return Against(float(other.missed[judged].mean()), z)
