"""How rare a score is among those seen so far: a histogram, and beyond what was seen a power law."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BINS = 480
LOWEST = 1e-4
PER_DECADE = 60  # bins are 3.9 % wide and reach to 10⁴
TAIL = 0.02
LEAST = 1e-12
YOUNG = 60.0  # rows that are remembered at any age


class ScoreTail:
    """The upper tail of a positive score, from a histogram in log scale that forgets slowly.

    Within what was seen often the tail is counted. Beyond its highest 2 % it is a Pareto tail, fitted by Hill's
    estimator (Hill 1975), so that a score far above all others is rarer than one just above them.

    memory: rows after which what was seen counts for 1/e.
    """

    def __init__(self, memory: float, counts: Floats | None = None) -> None:
        self.memory = memory
        self.counts = np.zeros(BINS) if counts is None else np.asarray(counts, float)

    @property
    def rows(self) -> float:
        """How many scores are remembered, those forgotten in part counting less."""
        return float(self.counts.sum())

    def add(self, score: float, age: float = np.inf) -> None:
        """Learn one score. age: rows that the model behind the scores has learnt; while it is young, half of that is
        remembered, since what it said when it knew less is no measure of what it says now."""
        rows, memory = self.counts.sum(), min(self.memory, max(age / 2, YOUNG))
        if rows >= memory:
            self.counts *= memory / (rows + 1)
        self.counts[self._bin(score)] += 1

    def p_value(self, score: float) -> float:
        """The share of scores to be expected at or above this one, in (0, 1]; 1 before anything is known."""
        above = np.cumsum(self.counts[::-1])[::-1]
        rows = above[0]
        if rows < 1:
            return 1.0
        # The first bin above which no more than the tail's share lies.
        start = int(np.searchsorted(-above, -TAIL * rows))
        edge = self._edge(start)
        if score <= edge or start >= BINS:
            return float(min((above[self._bin(score)] + 1) / (rows + 1), 1.0))
        in_tail = self.counts[start:]
        # One pretended row at twice the edge keeps the slope finite while the tail is thin.
        logs = np.log(self._middle(np.arange(start, BINS)) / edge)
        slope = (in_tail.sum() + 1) / (float(in_tail @ logs) + np.log(2))
        share = (in_tail.sum() + 1) / (rows + 1)
        return float(max(share * (score / edge) ** -slope, LEAST))

    @staticmethod
    def _bin(score: float) -> int:
        place = np.log10(max(score, LOWEST) / LOWEST) * PER_DECADE
        return min(int(place), BINS - 1)

    @staticmethod
    def _edge(index: int) -> float:
        return float(LOWEST * 10.0 ** (index / PER_DECADE))

    @staticmethod
    def _middle(index: NDArray[np.int64]) -> Floats:
        return np.asarray(LOWEST * 10.0 ** ((index + 0.5) / PER_DECADE), float)
