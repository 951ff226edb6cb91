"""Replays an access trace against a Redis-compatible server and measures what its clients would have seen.

Every access of the trace is a GET; a miss is followed by a SET of a value of the trace's size, as an application does
that reads through the cache. With a pipeline, up to that many accesses travel in one batch and the batch's misses are
stored right after it. A batch ends before a key that it holds already, so that the second access to a key is always
made after the first one's SET: the hit ratio does not depend on the pipeline.

numpy reads the .npz traces and computes the quantiles; neither the agent nor the cache process imports this module.
"""

import csv
import time
import zipfile
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core_cache.resp_client import RespClient, RespError, ServerError

MAX_VALUE_BYTES = 512 * 1024 * 1024
QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999, "max": 1.0}


class TraceError(Exception):
    """The trace cannot be read; the text says which file, what is wrong with it and what would be right."""


@dataclass(frozen=True)
class Trace:
    """Accesses in their order: keys (whole numbers or text) and, for each, the value's size in bytes.

    Both are arrays of numpy or sequences: what the trace was read from decides, so that millions of accesses fit.
    """

    path: Path
    keys: Any
    sizes: Any

    def __len__(self) -> int:
        return len(self.keys)

    def first(self, count: int) -> "Trace":
        """The same trace cut after `count` accesses."""
        return Trace(self.path, self.keys[:count], self.sizes[:count])

    def with_size(self, size: int) -> "Trace":
        """The same trace with every value `size` bytes long."""
        return Trace(self.path, self.keys, np.full(len(self.keys), size, np.int64))


@dataclass(frozen=True)
class Latencies:
    """How long the calls of one command took, in seconds, as the client saw it."""

    calls: int
    seconds: dict[str, float]
    """By name of the quantile, see QUANTILES; empty without calls."""


@dataclass(frozen=True)
class ReplayResult:
    """What a replay measured. Times in seconds, sizes in bytes."""

    accesses: int
    hits: int
    misses: int
    hit_ratio: float
    unique_keys: int
    warm_hits: int
    """Hits on the first access to a key: values that lay in the cache before the replay."""
    stored_bytes: int
    refused: dict[str, int]
    """SETs that the server refused, by the error's first word (OOM where the cache may not evict)."""
    pipeline: int
    seconds: float
    accesses_per_second: float
    get: Latencies
    set: Latencies

    def as_dict(self) -> dict[str, Any]:
        """The result as plain values for JSON."""
        return asdict(self)


def load_trace(path: Path) -> Trace:
    """Reads an .npz with the arrays `key` and `size`, or a CSV with the columns key and size (or key alone: 1 byte).

    Raises TraceError.
    """
    if not path.is_file():
        raise TraceError(f"{path}: {'is a folder, not a trace' if path.is_dir() else 'no such file'}")
    try:
        trace = _load_npz(path) if path.suffix == ".npz" else _load_csv(path)
    except OSError as error:
        raise TraceError(f"{path}: cannot be read: {error.strerror or error}") from error
    if len(trace) == 0:
        raise TraceError(f"{path}: holds no accesses")
    return trace


def _load_npz(path: Path) -> Trace:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            names = sorted(arrays.files)
            missing = [name for name in ("key", "size") if name not in names]
            if missing:
                raise TraceError(
                    f"{path}: has no array {' and no array '.join(repr(name) for name in missing)}; "
                    f"it holds {', '.join(map(repr, names)) or 'nothing'}. A trace has the arrays 'key' and 'size'"
                )
            keys, sizes = arrays["key"], arrays["size"]
    except (ValueError, zipfile.BadZipFile, EOFError) as error:
        raise TraceError(f"{path}: is not an .npz file of plain arrays ({error})") from error
    if keys.ndim != 1 or keys.dtype.kind not in "iuSU":
        raise TraceError(f"{path}: 'key' is {_shape(keys)}; expected one dimension of whole numbers or text")
    if sizes.ndim != 1 or sizes.dtype.kind not in "iu":
        raise TraceError(f"{path}: 'size' is {_shape(sizes)}; expected one dimension of whole numbers (bytes)")
    if len(keys) != len(sizes):
        raise TraceError(f"{path}: 'key' has {len(keys)} entries and 'size' {len(sizes)}; they must be as many")
    if len(sizes) and not 0 <= int(sizes.min()) <= int(sizes.max()) <= MAX_VALUE_BYTES:
        raise TraceError(f"{path}: 'size' goes from {sizes.min()} to {sizes.max()}; expected 0 to {MAX_VALUE_BYTES}")
    return Trace(path, keys, sizes)


def _shape(values: "np.ndarray[Any, Any]") -> str:
    return f"an array of {values.dtype} with {values.ndim} dimension{'' if values.ndim == 1 else 's'}"


def _load_csv(path: Path) -> Trace:
    keys: list[str] = []
    sizes = array("q")
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        rows = csv.reader(file)
        key_column, size_column = 0, 1
        try:
            for row in rows:
                if not row:
                    continue
                if not keys and "key" in (names := [name.strip().lower() for name in row]):
                    key_column = names.index("key")
                    size_column = names.index("size") if "size" in names else len(names)
                    continue
                keys.append(row[key_column])
                sizes.append(_csv_size(row[size_column]) if size_column < len(row) else 1)
        except (ValueError, IndexError, csv.Error) as error:
            what = "the row has no key" if isinstance(error, IndexError) else str(error)
            wanted = "expected key,size or the key alone, or a header that names the column key"
            raise TraceError(f"{path}:{rows.line_num}: {what}; {wanted}") from error
    return Trace(path, keys, sizes)


def _csv_size(text: str) -> int:
    try:
        size = int(text)
    except ValueError:
        size = -1
    if not 0 <= size <= MAX_VALUE_BYTES:
        raise ValueError(f"{text[:40]!r} is not a size in bytes from 0 to {MAX_VALUE_BYTES}")
    return size


def batches(trace: Trace, pipeline: int) -> Iterator[tuple[list[Any], list[int]]]:
    """Cuts the trace into runs of at most `pipeline` accesses without a repeated key."""
    step = 65536
    keys: list[Any] = []
    sizes: list[int] = []
    held: set[Any] = set()
    for start in range(0, len(trace), step):
        some_keys, some_sizes = _plain(trace.keys[start : start + step]), _plain(trace.sizes[start : start + step])
        for key, size in zip(some_keys, some_sizes, strict=True):
            if len(keys) == pipeline or key in held:
                yield keys, sizes
                keys, sizes = [], []
                held.clear()
            keys.append(key)
            sizes.append(size)
            held.add(key)
    if keys:
        yield keys, sizes


def _plain(values: Any) -> list[Any]:
    """Python's own numbers and strings, whatever holds them: they hash and print faster than numpy's."""
    plain: list[Any] = values.tolist() if hasattr(values, "tolist") else list(values)
    return plain


def replay(
    trace: Trace,
    client: RespClient,
    *,
    pipeline: int = 1,
    prefix: str = "trace:",
    progress: Callable[[int, int], None] | None = None,
) -> ReplayResult:
    """Runs the whole trace over one connection.

    pipeline: most accesses per batch; with more than 1, each call's latency is its whole batch's round trip.
    prefix: put before every key, so that the replay's keys meet no others.
    progress: called a few times per second with (accesses done, hits so far).
    Raises RespError when the connection is lost or a GET is refused. A refused SET is counted and the replay goes on,
    because a cache that is full and may not evict answers so.
    """
    head = prefix.encode("utf-8", "surrogateescape")
    payload = b"predis" * (max(int(max(trace.sizes)), 1) // 6 + 1)
    get_ns, set_ns = array("q"), array("q")
    refused: Counter[str] = Counter()
    seen: set[Any] = set()
    done = hits = warm_hits = stored_bytes = 0
    clock = time.perf_counter_ns
    started = clock()
    report_at = started
    for keys, sizes in batches(trace, pipeline):
        names = [head + _key_bytes(key) for key in keys]
        before = clock()
        replies = client.pipeline([(b"GET", name) for name in names])
        get_ns.extend([clock() - before] * len(names))
        stores = []
        for key, name, size, reply in zip(keys, names, sizes, replies, strict=True):
            if reply is None:
                stores.append((b"SET", name, payload[:size]))
            elif isinstance(reply, ServerError):
                raise _refused_get(name, reply)
            else:
                hits += 1
                warm_hits += key not in seen
        seen.update(keys)
        if stores:
            before = clock()
            answers = client.pipeline(stores)
            set_ns.extend([clock() - before] * len(stores))
            for store, answer in zip(stores, answers, strict=True):
                if isinstance(answer, ServerError):
                    refused[answer.code] += 1
                else:
                    stored_bytes += len(store[2])
        done += len(keys)
        if progress is not None and before >= report_at:
            progress(done, hits)
            report_at = clock() + 100_000_000
    seconds = (clock() - started) / 1e9
    if progress is not None:
        progress(done, hits)
    return ReplayResult(
        accesses=done,
        hits=hits,
        misses=done - hits,
        hit_ratio=hits / done,
        unique_keys=len(seen),
        warm_hits=warm_hits,
        stored_bytes=stored_bytes,
        refused=dict(refused),
        pipeline=pipeline,
        seconds=seconds,
        accesses_per_second=done / seconds,
        get=_latencies(get_ns),
        set=_latencies(set_ns),
    )


def _key_bytes(key: object) -> bytes:
    return key if isinstance(key, bytes) else str(key).encode("utf-8", "surrogateescape")


def _refused_get(name: bytes, reply: ServerError) -> RespError:
    key = name.decode("utf-8", "replace")
    if reply.code == "WRONGTYPE":
        return RespError(f"the key {key!r} holds something else than a string; choose another --prefix")
    return RespError(f"the server refused GET {key!r}: {reply}")


def _latencies(nanoseconds: "array[int]") -> Latencies:
    if not nanoseconds:
        return Latencies(0, {})
    values = np.quantile(np.frombuffer(nanoseconds, np.int64), list(QUANTILES.values()), method="higher") / 1e9
    return Latencies(len(nanoseconds), dict(zip(QUANTILES, values.tolist(), strict=True)))
