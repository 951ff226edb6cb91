"""Replaying access traces: what is counted, and what a wrong trace is told."""

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from core_cache import replay
from core_cache.resp_client import RespClient, RespError
from tests.servers import Server


def npz(path: Path, keys: Sequence[object], sizes: Sequence[int] | None = None) -> Path:
    np.savez(path, key=np.array(keys), size=np.array(sizes if sizes is not None else [1] * len(keys)))
    return path


@pytest.fixture(params=["redis_server", "cache_server"])
def server(request: pytest.FixtureRequest) -> Server:
    """The replay must count the same against Redis and against our cache."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def client(server: Server) -> Iterator[RespClient]:
    with server.client() as client:
        yield client


@pytest.mark.parametrize("pipeline", [1, 2, 7, 64])
def test_counts_hits_and_misses_as_a_sequential_cache_whatever_the_pipeline(
    client: RespClient, tmp_path: Path, pipeline: int
) -> None:
    # given a trace in which keys come back at once, soon and late
    random.seed(7)
    keys = [5, 5, 5, 1, 5] + [random.randrange(40) for _ in range(500)]
    trace = replay.load_trace(npz(tmp_path / "t.npz", keys))
    # when it is replayed into a cache that holds all of it
    result = replay.replay(trace, client, pipeline=pipeline)
    # then each key misses exactly once
    assert result.misses == len(set(keys)) == result.unique_keys == result.set.calls
    assert result.hits == len(keys) - len(set(keys))
    assert result.hit_ratio == pytest.approx(result.hits / len(keys))
    assert result.get.calls == result.accesses == len(keys)
    assert result.warm_hits == 0


def test_stores_values_of_the_traces_sizes(client: RespClient, tmp_path: Path) -> None:
    trace = replay.load_trace(npz(tmp_path / "t.npz", [0, 1, 2], [0, 1, 70_000]))
    result = replay.replay(trace, client)
    assert [client.command("STRLEN", f"trace:{key}") for key in range(3)] == [0, 1, 70_000]
    assert result.stored_bytes == 70_001
    replay.replay(trace.with_size(9), client, prefix="other:")
    assert client.command("STRLEN", "other:2") == 9


def test_says_how_many_hits_the_cache_brought_along(client: RespClient, tmp_path: Path) -> None:
    trace = replay.load_trace(npz(tmp_path / "t.npz", [1, 2, 1]))
    replay.replay(trace.first(1), client)
    result = replay.replay(trace, client)
    assert (result.hits, result.warm_hits) == (2, 1)


def test_counts_refused_sets_and_goes_on(redis_server: Server, tmp_path: Path) -> None:
    with redis_server.client() as client:
        client.command("CONFIG", "SET", "maxmemory", "1")
        result = replay.replay(replay.load_trace(npz(tmp_path / "t.npz", [1, 2, 1])), client)
    assert result.refused == {"OOM": 3}
    assert (result.hits, result.misses, result.stored_bytes) == (0, 3, 0)


def test_a_key_of_another_type_is_named(redis_server: Server, tmp_path: Path) -> None:
    with redis_server.client() as client:
        client.command("LPUSH", "trace:1", "x")
        with pytest.raises(RespError, match=r"'trace:1'.*--prefix"):
            replay.replay(replay.load_trace(npz(tmp_path / "t.npz", [1])), client)


def test_latencies_are_ordered_and_progress_ends_with_the_last_access(client: RespClient, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    trace = replay.load_trace(npz(tmp_path / "t.npz", [n % 50 for n in range(2000)]))
    result = replay.replay(trace, client, progress=lambda done, hits: seen.append((done, hits)))
    quantiles = [result.get.seconds[name] for name in replay.QUANTILES]
    assert quantiles == sorted(quantiles)
    assert quantiles[0] > 0
    assert seen[-1] == (2000, 1950)


@pytest.mark.parametrize(
    ("text", "keys", "sizes"),
    [
        ("key,size\na,5\nb,0\n", ["a", "b"], [5, 0]),
        ("time,Key,Size\n1,a,5\n", ["a"], [5]),
        ("key\na\nb\n", ["a", "b"], [1, 1]),
        ("a,5\n\nb,6\n", ["a", "b"], [5, 6]),
        ("a\nb\n", ["a", "b"], [1, 1]),
        ('"a,b",3\n', ["a,b"], [3]),
    ],
)
def test_reads_csv_with_and_without_a_header(tmp_path: Path, text: str, keys: list[str], sizes: list[int]) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    trace = replay.load_trace(path)
    assert (list(trace.keys), list(trace.sizes)) == (keys, sizes)


def test_reads_text_keys_from_npz(tmp_path: Path) -> None:
    trace = replay.load_trace(npz(tmp_path / "t.npz", ["a", "ü"]))
    assert list(replay.batches(trace, 2)) == [(["a", "ü"], [1, 1])]


@pytest.mark.parametrize(
    ("arrays", "complaint"),
    [
        ({"key": [1], "length": [1]}, "no array 'size'; it holds 'key', 'length'"),
        ({}, "no array 'key' and no array 'size'; it holds nothing"),
        ({"key": [1.5], "size": [1]}, "'key' is an array of float64"),
        ({"key": [1], "size": [1.0]}, "'size' is an array of float64"),
        ({"key": [[1]], "size": [1]}, "'key' is an array of int64 with 2 dimensions"),
        ({"key": [1, 2], "size": [1]}, "'key' has 2 entries and 'size' 1"),
        ({"key": [1], "size": [-1]}, "'size' goes from -1 to -1"),
        ({"key": np.array([], int), "size": np.array([], int)}, "holds no accesses"),
        ({"key": np.array([{}]), "size": [1]}, "not an .npz file of plain arrays"),
    ],
)
def test_a_wrong_npz_is_told_what_would_be_right(tmp_path: Path, arrays: dict[str, object], complaint: str) -> None:
    path = tmp_path / "t.npz"
    np.savez(path, **{name: np.asarray(values) for name, values in arrays.items()})
    with pytest.raises(replay.TraceError) as error:
        replay.load_trace(path)
    assert complaint in str(error.value)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("key,size\na,5\nb,x\n", ":3: 'x' is not a size"),
        ("a,-1\n", ":1: '-1' is not a size"),
        ("size,key\n5\n", ":2: the row has no key"),
        ("", "holds no accesses"),
    ],
)
def test_a_wrong_csv_is_told_the_line(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(replay.TraceError) as error:
        replay.load_trace(path)
    assert complaint in str(error.value)


def test_a_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 not really")
    for name, complaint in [("nowhere.npz", "no such file"), ("broken.npz", "not an .npz file"), (".", "is a folder")]:
        with pytest.raises(replay.TraceError, match=complaint):
            replay.load_trace(tmp_path / name)


def test_a_real_trace_misses_at_least_once_per_key(client: RespClient, shared_data: Path) -> None:
    trace = replay.load_trace(shared_data / "traces" / "web07.npz").first(20_000)
    result = replay.replay(trace, client, pipeline=32)
    assert result.misses == len(np.unique(trace.keys))
