"""A histogram's buckets brought onto the exponential ones of Prometheus' native histograms.

Native buckets of a schema end at powers of 2^(2^-schema)
(https://prometheus.io/docs/specs/native_histograms/#schema). Ours end elsewhere, and of an observation only its bucket
is known. So each of our buckets goes, whole, to the one native bucket that holds its geometric mean: count and sum stay
exact, no bucket ever shrinks, which Prometheus would take for a reset, and a quantile is at most a factor of
sqrt(high / low) * 2^(2^-schema) away from any observation of its bucket, which lies between `low` and `high`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

SCHEMA = 5
"""32 buckets for each power of two, 2.2 % wide: little beside the width of ours. Empty ones cost nothing."""


@dataclass(frozen=True, slots=True)
class Buckets:
    """The native buckets for fixed bounds: what is not over the first bound lies in the zero bucket, which is as wide;
    `indexes` says for each of the other buckets, in ascending order, which native one it goes to. What lies over the
    last bound goes to the native bucket just above it."""

    zero_threshold: float
    indexes: tuple[int, ...]

    @classmethod
    def of(cls, bounds: Sequence[float]) -> Buckets | None:
        """For these bounds; None without any, and where they are not all above 0: native buckets of observations below
        0 are of no use to metrics that count seconds and bytes."""
        if not bounds or bounds[0] <= 0:
            return None
        middles = (math.log2(low) / 2 + math.log2(high) / 2 for low, high in pairwise(bounds))
        inner = (math.ceil(middle * 2**SCHEMA) for middle in middles)
        return cls(bounds[0], (*inner, math.floor(math.log2(bounds[-1]) * 2**SCHEMA) + 1))

    def spread(self, counts: Sequence[int]) -> tuple[list[tuple[int, int]], list[int]]:
        """Spans (the gap to the one before, length) and their counts, of counts as a Histogram has them.

        Buckets that are empty are left out. The first gap counts from index 0.
        """
        spans: list[tuple[int, int]] = []
        found: list[int] = []
        before = None  # the index of the last bucket
        for index, count in zip(self.indexes, counts[1:], strict=True):
            if not count:
                continue
            if index == before:
                found[-1] += count
                continue
            if before is not None and index == before + 1:
                spans[-1] = (spans[-1][0], spans[-1][1] + 1)
            else:
                spans.append((index if before is None else index - before - 1, 1))
            found.append(count)
            before = index
        return spans, found
