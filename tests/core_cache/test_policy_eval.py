"""Policies on access traces, in the engine's own store: against exact models, and against libCacheSim's results."""

import csv
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from core_cache import _native, replay
from core_cache.policy.evaluate import evaluate


def trace(keys: object, sizes: object = None) -> replay.Trace:
    keys = np.asarray(keys)
    return replay.Trace(Path("made.npz"), keys, np.ones(len(keys), np.int64) if sizes is None else np.asarray(sizes))


def zipf(accesses: int, keys: int, seed: int = 1) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return np.minimum(generator.zipf(1.1, accesses), keys) % keys


def exact_s3fifo(keys: list[int], sizes: list[int], capacity: int) -> tuple[int, int]:
    """Misses and missed bytes of S3-FIFO with exact queues (Yang et al., SOSP 2023), as libCacheSim has it."""
    small: OrderedDict[int, int] = OrderedDict()
    main: OrderedDict[int, int] = OrderedDict()
    ghost: OrderedDict[int, None] = OrderedDict()
    weight: dict[int, int] = {}
    held = {id(small): 0, id(main): 0}
    misses = missed = 0
    full = False

    def push(queue: OrderedDict[int, int], key: int, hits: int) -> None:
        queue[key] = hits
        held[id(queue)] += weight[key]

    def pop(queue: OrderedDict[int, int]) -> tuple[int, int]:
        key, hits = queue.popitem(last=False)
        held[id(queue)] -= weight[key]
        return key, hits

    for key, size in zip(keys, sizes, strict=True):
        if key in small or key in main:
            (small if key in small else main)[key] += 1
            continue
        misses, missed = misses + 1, missed + size
        if size > capacity:
            continue
        while sum(held.values()) + size > capacity:
            full = True
            if small and (held[id(small)] * 10 >= sum(held.values()) or not main):
                victim, hits = pop(small)
                if hits >= 2:
                    push(main, victim, 0)
                    continue
                ghost[victim] = None
                while len(ghost) > (len(small) + len(main) + 1) * 9 // 10:
                    ghost.popitem(last=False)
            else:
                victim, hits = pop(main)
                if hits:
                    push(main, victim, min(hits, 3) - 1)
        weight[key] = size
        if key in ghost:
            del ghost[key]
            push(main, key, 0)
        elif not full and held[id(small)] * 10 > capacity:
            push(main, key, 0)
        else:
            push(small, key, 0)
    return misses, missed


@pytest.mark.parametrize("capacity_share", [0.01, 0.1, 0.5])
def test_s3fifo_misses_as_often_as_an_exact_one(capacity_share: float) -> None:
    keys = zipf(200_000, 20_000)
    found = evaluate(trace(keys), "s3fifo", capacity_share)
    misses, _ = exact_s3fifo(keys.tolist(), [1] * len(keys), found.capacity)
    assert found.capacity == int(capacity_share * len(np.unique(keys)))
    assert found.misses == pytest.approx(misses, rel=0.005)
    assert found.evictions == found.misses - found.capacity


def test_s3fifo_counts_the_traces_sizes_where_it_is_told_to() -> None:
    keys = zipf(100_000, 10_000)
    sizes = (keys * 2654435761 % 5000) + 1
    found = evaluate(trace(keys, sizes), "s3fifo", 0.1, sized=True)
    unique = np.unique(keys)
    assert found.capacity == int(0.1 * int(((unique * 2654435761 % 5000) + 1).sum()))
    misses, missed = exact_s3fifo(keys.tolist(), sizes.tolist(), found.capacity)
    assert found.misses == pytest.approx(misses, rel=0.01)
    assert found.byte_miss_ratio == pytest.approx(missed / sizes.sum(), rel=0.01)


def test_a_value_over_the_whole_capacity_is_not_stored_and_evicts_nobody() -> None:
    found = evaluate(trace([0, 1, 2, 1, 0, 2], [5, 5, 1000, 5, 5, 1000]), "lru", 0.05, sized=True)
    assert (found.capacity, found.misses, found.refused, found.evictions) == (50, 4, 2, 0)


def test_lru_misses_about_as_often_as_an_exact_one() -> None:
    keys = zipf(200_000, 20_000)
    found = evaluate(trace(keys), "lru", 0.1)
    cache: OrderedDict[int, None] = OrderedDict()
    misses = 0
    for key in keys.tolist():
        misses += key not in cache
        cache[key] = None
        cache.move_to_end(key)
        if len(cache) > found.capacity:
            cache.popitem(last=False)
    assert found.misses == pytest.approx(misses, rel=0.12)


def test_noeviction_keeps_what_came_first() -> None:
    found = evaluate(trace([*range(100), *range(100)]), "noeviction", 0.3)
    assert (found.hits, found.evictions, found.refused) == (30, 0, 140)


def test_text_keys_and_keys_with_gaps_are_numbered() -> None:
    assert evaluate(trace(["b", "a", "b", "c"]), "s3fifo", 1).misses == 3
    assert evaluate(trace(np.array([2**63, 5, 2**63, 5], np.uint64)), "s3fifo", 1).misses == 2


def test_wrong_arguments_are_refused(tmp_path: Path) -> None:
    keys = np.zeros(3, np.uint32)
    with pytest.raises(ValueError, match=r"The policy is one of s3fifo, .*, not mru"):
        evaluate(trace([1]), "mru", 0.5)
    with pytest.raises(TypeError, match="keys must be of uint32"):
        _native.evaluate_policy(str(tmp_path / "a"), np.zeros(3), None, "lru", 5)
    with pytest.raises(ValueError, match="as many"):
        _native.evaluate_policy(str(tmp_path / "a"), keys, np.zeros(2, np.uint32), "lru", 5)
    with pytest.raises(ValueError, match="at least 1"):
        _native.evaluate_policy(str(tmp_path / "a"), keys, None, "lru", 0)
    assert list(tmp_path.iterdir()) == []


def test_s3fifo_is_within_a_hundredth_of_libcachesim_on_every_trace(shared_data: Path) -> None:
    traces = shared_data / "traces"
    with (traces / "peers.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["policy"] == "S3FIFO"]
    assert len(rows) >= 12
    loaded: dict[str, replay.Trace] = {}
    off = {}
    for row in rows:
        name = row["trace"]
        if name not in loaded:
            loaded[name] = replay.load_trace(traces / f"{name}.npz")
        found = evaluate(loaded[name], "s3fifo", float(row["capacity_share"]))
        assert found.capacity == int(row["capacity_objects"])
        off[name, row["capacity_share"]] = found.miss_ratio / float(row["object_miss_ratio"]) - 1
    assert {case: ratio for case, ratio in off.items() if abs(ratio) > 0.01} == {}
