"""Accesses to keys as models learn from them: out of the access log, or out of a recorded trace."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core_cache.access_log import OPERATIONS
from core_cache.replay import Trace, TraceError

ENTRY_BYTES = 64
"""What an entry takes up beside its value, about: its head, its place in the index and in a queue, a short key. The log
does not tell the length of a key whose name it hides."""
_READ, _DELETE = OPERATIONS.index("read"), OPERATIONS.index("delete")
_LONGEST = 2**32 - 1


@dataclass(frozen=True)
class Accesses:
    """Accesses in their order. All arrays have the shape (accesses,)."""

    keys: NDArray[np.uint32]
    """Numbered from 0, without gaps."""
    sizes: NDArray[np.uint32] | None
    """Bytes that the entry takes up; None where each counts 1."""
    times: NDArray[np.uint32] | None
    """Milliseconds since the first; None where nobody knows."""
    reads: NDArray[np.bool_]
    """What counts as hit or miss; the others are writes."""

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def unique(self) -> int:
        """How many different keys there are."""
        return int(self.keys.max()) + 1 if len(self.keys) else 0

    def first(self, count: int) -> Accesses:
        """The same, cut after `count` accesses."""
        sizes = None if self.sizes is None else self.sizes[:count]
        times = None if self.times is None else self.times[:count]
        return Accesses(self.keys[:count], sizes, times, self.reads[:count])


def from_trace(trace: Trace, sized: bool) -> Accesses:
    """A recorded trace, all of it reads. Raises TraceError."""
    keys, _ = numbered(np.asarray(trace.keys), trace.path)
    return Accesses(keys, sizes_of(trace) if sized else None, None, np.ones(len(keys), bool))


def from_log(events: NDArray[Any]) -> Accesses:
    """What AccessLog.read() gives, as a cache sees it that stores a key when it is missed.

    A miss and the write that answers it are one access. A miss that nobody answers with a write is none: the key is not
    at the origin either, and no policy could have had it. Deletions are left out.
    """
    order = np.argsort(events["key_hash"], kind="stable")  # by key, and for each key by time
    hashes, found, ops = events["key_hash"][order], events["found"][order], events["op"][order]
    sizes = events["value_bytes"][order].astype(np.int64)
    follows = np.zeros(len(order), bool)  # the event before is of the same key
    follows[1:] = hashes[1:] == hashes[:-1]
    missed = (ops == _READ) & ~found
    written = (ops != _READ) & (ops != _DELETE)
    answer = np.zeros(len(order), bool)  # writes that answer the miss before them
    answer[1:] = written[1:] & missed[:-1] & follows[1:]
    answered = np.append(answer[1:], False)[: len(order)]
    sizes[:-1] = np.where(answered[:-1], sizes[1:], sizes[:-1])
    keep = (ops != _DELETE) & ~answer & (answered | ~missed)
    kept = np.sort(order[keep])
    of_event = np.empty(len(order), np.int64)
    of_event[order] = sizes
    chosen = events[kept]
    began = int(chosen["unix_ms"][0]) if len(chosen) else 0
    times = np.maximum.accumulate(chosen["unix_ms"].astype(np.int64)) - began
    return Accesses(
        numbered(chosen["key_hash"], "the access log")[0],
        np.minimum(of_event[kept] + ENTRY_BYTES, _LONGEST).astype(np.uint32),
        np.minimum(times, _LONGEST).astype(np.uint32),
        np.asarray(chosen["op"] == _READ),
    )


def numbered(keys: NDArray[Any], of: object) -> tuple[NDArray[np.uint32], NDArray[np.intp]]:
    """Keys of any kind as numbers from 0 without gaps, and where each was asked for first. of: whose keys, for errors.

    Raises TraceError for more than there are numbers for.
    """
    unique, firsts, numbers = np.unique(keys, return_index=True, return_inverse=True)
    if len(unique) >= 2**31:
        raise TraceError(f"{of}: has {len(unique)} different keys; an evaluation can take {2**31 - 1}")
    return np.ascontiguousarray(numbers, np.uint32), firsts


def sizes_of(trace: Trace) -> NDArray[np.uint32]:
    """The sizes of a trace. Raises TraceError for one that is too large."""
    sizes = np.asarray(trace.sizes)
    if int(sizes.max()) > _LONGEST:
        raise TraceError(f"{trace.path}: has a value of {sizes.max()} bytes; an evaluation can take {_LONGEST}")
    return np.ascontiguousarray(sizes, np.uint32)
