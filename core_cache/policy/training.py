"""Training a policy model: from what came of the candidates for eviction, what an entry is worth keeping.

The accesses run through a cache of their own, and of some evictions all candidates are noted, with the facts that a
model may know. The trace tells when each was asked for next. A model of boosted regression trees (Friedman 2001;
scikit-learn) learns to tell that from the facts, and scores an entry by it: the sooner it is asked for, and the fewer
bytes it takes, the more it is worth. (Belady's rule relaxed, as in Song et al., "Learning relaxed Belady for content
distribution network caching", NSDI 2020, here among the few candidates of S3-FIFO.) A second round notes the candidates
that the first round's model meets, which are others than those of the plain policy (Ross et al., DAgger, AISTATS 2011).

scikit-learn takes over 100 MB: only workers import this module.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import GradientBoostingRegressor

from core_cache.policy.accesses import Accesses
from core_cache.policy.artefact import FEATURES, LEAF, NODE, Trees, write
from core_cache.policy.rehearse import Candidates, candidates, rehearse

ROUNDS = 2
MOST_ROWS = 60_000
LEAST_ROWS = 600
_TREES, _DEPTH = 25, 4  # one comparison less than a step per level: 125 of the 128 steps that an artefact may take
_ORDER = tuple(FEATURES)

Lesson = tuple[NDArray[np.float32], NDArray[np.float64]]
"""Candidates, shape (candidates, features), all of FEATURES in their order; and what each was worth, (candidates,)."""


class TooLittle(ValueError):
    """The accesses do not make a model; the text says why, as an end of a sentence."""


class Trainer:
    """Trains models on the same accesses. The first round is that of the plain policy, so the same for all of them."""

    def __init__(self, accesses: Accesses, capacity: int) -> None:
        """capacity: as in `rehearse`. Raises TooLittle."""
        self._accesses, self._capacity = accesses, capacity
        self._every = max(1, rehearse(accesses, capacity, None).evictions * 8 // MOST_ROWS)
        self._first = self._lesson(None)
        if (count := len(self._first[0])) < LEAST_ROWS:
            raise TooLittle(f"gave {count} candidates for eviction to learn from, where {LEAST_ROWS} are needed")

    def train(self, features: Sequence[str]) -> Trees:
        """A model that knows these features."""
        columns = [_ORDER.index(name) for name in features]
        lessons = [self._first]
        with tempfile.TemporaryDirectory(prefix="predis-train-") as folder:
            path = Path(folder, "model")
            for _ in range(ROUNDS - 1):
                write(path, _fit(lessons, columns))
                lessons.append(self._lesson(path))
        return _fit(lessons, columns)

    def _lesson(self, model: Path | None) -> Lesson:
        noted = candidates(self._accesses, self._capacity, model, self._every)
        known, worth = _worth(self._accesses, noted)
        return noted.rows[known], worth


def _worth(accesses: Accesses, noted: Candidates) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """For which of the candidates it is known what became of them, and for those what they were worth."""
    horizon = len(accesses) // 4  # later is as good as never: about the last quarter nobody knows
    known = np.asarray(noted.at < len(accesses) - horizon)
    at = noted.at[known].astype(np.int64)
    wait = np.minimum(_next_use(accesses.keys, noted.keys[known], at) - at, horizon)
    worth = -np.log2(1.0 + wait)
    if accesses.sizes is not None:
        worth -= noted.rows[known][:, _ORDER.index("size")]
    return known, worth


def _next_use(keys: NDArray[np.uint32], asked: NDArray[np.uint32], at: NDArray[np.int64]) -> NDArray[np.int64]:
    """The first place not before `at` where the key asked for stands; far beyond the end where there is none."""
    span = len(keys) + 1
    order = np.argsort(keys, kind="stable")
    places = keys[order].astype(np.int64) * span + order  # sorted by key and place
    found = np.searchsorted(places, asked.astype(np.int64) * span + at)
    place = places[np.minimum(found, len(places) - 1)]
    same = (found < len(places)) & (place // span == asked)
    return np.where(same, place % span, 4 * span)


def _fit(lessons: Sequence[Lesson], columns: Sequence[int]) -> Trees:
    rows, worth = (np.concatenate(parts) for parts in zip(*lessons, strict=True))
    rows = rows[:, columns]
    chosen = np.random.default_rng(1).permutation(len(rows))[:MOST_ROWS]
    boosted = GradientBoostingRegressor(
        n_estimators=_TREES,
        max_depth=_DEPTH,
        learning_rate=0.25,
        subsample=0.7,
        min_samples_leaf=50,
        init="zero",
        random_state=1,
    )
    base = float(worth[chosen].mean())
    boosted.fit(rows[chosen], worth[chosen] - base)
    nodes: list[tuple[int, float, int, int]] = []
    roots: list[int] = []
    for estimator in boosted.estimators_[:, 0]:
        tree, root = estimator.tree_, len(nodes)
        roots.append(root)
        for i in range(tree.node_count):
            if tree.children_left[i] < 0:
                nodes.append((LEAF, float(tree.value[i, 0, 0]) * boosted.learning_rate, 0, 0))
                continue
            # There it goes left up to the threshold, and here below it.
            above = np.nextafter(np.float32(tree.threshold[i]), np.float32(np.inf))
            left, right = root + int(tree.children_left[i]), root + int(tree.children_right[i])
            nodes.append((int(tree.feature[i]), float(above), left, right))
    features = tuple(_ORDER[column] for column in columns)
    return Trees(features, np.array(nodes, NODE), np.array(roots, np.uint32), base)
