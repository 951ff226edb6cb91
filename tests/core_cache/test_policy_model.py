"""Policy models: the artefact in Python and in the engine, and what the policy `learned` evicts with one."""

from __future__ import annotations

import itertools
import random
import struct
import zlib
from collections import deque
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core_cache import _native, replay
from core_cache.policy import artefact
from core_cache.policy.artefact import ArtefactError, Dense, Layer, Trees
from core_cache.policy.evaluate import evaluate
from tests.core_cache.raw_resp import decode
from tests.servers import start_cache

MIB = 1 << 20
NAMES = tuple(artefact.FEATURES)
NUMBERS = st.floats(-100, 100, width=32)


def some_trees() -> Trees:
    nodes = artefact.tree([(0, 5.0, 1, 2), 1.5, (1, 2.0, 3, 4), -2.0, 7.25, (0, 9.0, 6, 7), 0.5, -0.25])
    return Trees(("idle", "hits"), nodes, np.array([0, 5], np.uint32), 0.125, {"trained": "by hand"})


@st.composite
def dense_models(draw: st.DrawFn) -> Dense:
    features = tuple(draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=8, unique=True)))
    widths = [len(features), *draw(st.lists(st.integers(1, 8), max_size=3)), 1]
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    layers = tuple(
        Layer(
            generator.normal(size=(units, inputs)).astype(np.float32), generator.normal(size=units).astype(np.float32)
        )
        for inputs, units in itertools.pairwise(widths)
    )
    return Dense(features, layers, {"seed": draw(st.text(max_size=20))})


@settings(max_examples=50, deadline=None)
@given(model=dense_models(), row=st.lists(NUMBERS, min_size=8, max_size=8))
def test_layers_come_back_and_score_in_the_engine_as_in_python(
    tmp_path_factory: pytest.TempPathFactory, model: Dense, row: list[float]
) -> None:
    path = tmp_path_factory.mktemp("model") / "m"
    artefact.write(path, model)
    again = artefact.read(path)
    assert isinstance(again, Dense)
    assert again.features == model.features
    assert again.metadata == model.metadata
    rows = np.array([row[: len(model.features)]], np.float32)
    assert again.score(rows) == model.score(rows)
    assert _native.score_policy_model(str(path), rows.data) == pytest.approx(model.score(rows), rel=1e-4, abs=1e-3)


def test_trees_come_back_and_score_in_the_engine_as_in_python(tmp_path: Path) -> None:
    artefact.write(tmp_path / "m", some_trees())
    again = artefact.read(tmp_path / "m")
    rows = np.array([[a, b] for a in (0, 4.9, 5, 8.9, 9, 20) for b in (0, 1.9, 2, 3)], np.float32)
    scores = again.score(rows)
    assert scores[0] == 0.125 + 1.5 + 0.5
    assert scores[-1] == 0.125 + 7.25 - 0.25
    assert _native.score_policy_model(str(tmp_path / "m"), rows.data) == list(scores)
    assert (tmp_path / "m").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def engine_refuses(path: Path, data: bytes) -> bool:
    path.write_bytes(data)
    features = struct.unpack_from("<I", data, 16)[0] if len(data) >= 20 else 1
    row = np.zeros(min(max(features, 1), 16), np.float32)
    try:
        _native.score_policy_model(str(path), row.data)
    except ValueError as error:
        reason = str(error)
    else:
        return False
    return "the policy model" in reason


def python_refuses(data: bytes) -> bool:
    try:
        artefact.from_bytes(data)
    except ArtefactError:
        return True
    return False


def signed(body: bytes) -> bytes:
    return body + struct.pack("<I", zlib.crc32(body))


def test_each_way_to_be_wrong_is_named(tmp_path: Path) -> None:
    good = artefact.to_bytes(some_trees())
    body = good[:-4]
    huge = Dense(("idle",), (Layer(np.ones((256, 1), np.float32), np.ones(256, np.float32)),) * 1)
    nan = bytearray(body)
    nan[28 + 32 + 4 : 28 + 32 + 8] = struct.pack("<f", float("nan"))
    loop = bytearray(body)
    at = 28 + 32 + 8 + 8  # of the first node
    loop[at + 8 : at + 12] = struct.pack("<I", 0)
    cases = {
        "is no policy model": b"GIF89a" + good,
        "is cut short": signed(body[:40]),
        "has format 9; this version reads format 1": signed(body[:8] + b"\x09" + body[9:]),
        "is damaged: its checksum is wrong": body[:50] + b"x" + good[51:],
        "says kind 3, where 1 to 2 are allowed": signed(body[:12] + b"\x03" + body[13:]),
        "wants a feature that this version does not have": signed(body.replace(b"hits", b"hats")),
        "holds a number that is not finite": signed(bytes(nan)),
        "has a tree that is none, at node 0": signed(bytes(loop)),
        "has something behind its end": signed(body + b"x"),
        "is larger than a policy model may be": good + bytes(artefact.MOST_BYTES),
    }
    for reason, data in cases.items():
        with pytest.raises(ArtefactError, match=reason):
            artefact.from_bytes(data)
        (tmp_path / "m").write_bytes(data)
        with pytest.raises(ValueError, match=reason):
            _native.score_policy_model(str(tmp_path / "m"), np.zeros(2, np.float32).data)
    with pytest.raises(ArtefactError, match="ends in a layer of 256 units, where 1 is wanted"):
        artefact.to_bytes(huge)
    wide = (Layer(np.ones((256, 16), np.float32), np.ones(256, np.float32)), Layer(np.ones((1, 256)), np.ones(1)))
    with pytest.raises(ArtefactError, match="is too slow: it takes 1088 steps per key, where 128 are allowed"):
        artefact.to_bytes(Dense(NAMES * 2, wide))


@pytest.mark.parametrize("seed", range(4))
def test_no_damage_gets_past_either_reader_or_crashes_it(tmp_path: Path, seed: int) -> None:
    generator = random.Random(seed)
    layers = (Layer(np.ones((3, 2), np.float32), np.ones(3, np.float32)), Layer(np.ones((1, 3)), np.ones(1)))
    for good in (artefact.to_bytes(some_trees()), artefact.to_bytes(Dense(("idle", "ttl"), layers))):
        assert not engine_refuses(tmp_path / "m", good)
        for _ in range(250):
            body = bytearray(good[:-4])
            for _ in range(generator.randrange(1, 4)):
                if len(body) > 8 and generator.random() < 0.2:
                    del body[generator.randrange(8, len(body)) :]
                elif len(body) > 9:
                    body[generator.randrange(8, len(body))] = generator.choice((0, 1, 2, 255, generator.randrange(256)))
            if bytes(body) != good[:-4]:
                assert python_refuses(bytes(body) + good[-4:])  # the checksum finds it
                assert engine_refuses(tmp_path / "m", bytes(body) + good[-4:])
            data = signed(bytes(body))  # and with a checksum that fits, both find the same
            try:
                refused = python_refuses(data)
            except RecursionError:
                refused = True
            metadata_only = refused and not engine_refuses(tmp_path / "m", data)
            if metadata_only:
                with pytest.raises(ArtefactError, match="metadata"):  # the engine does not look into it
                    artefact.from_bytes(data)
            elif not refused:
                assert not engine_refuses(tmp_path / "m", data)


def test_the_logarithm_is_straight_between_powers_of_two() -> None:
    assert artefact.log2_linear([0, 1, 2, 3, 5, 7, 2**40 - 1]).tolist() == [0, 1, 1.5, 2, 2.5, 3, 40]


class LearnedLru:
    """S3-FIFO whose tail is chosen from by age: of the 12 oldest that earned no second round, the longest unused goes.

    Each access is the next number: an age is a number of accesses. Keys never come back after their eviction, so that
    there is no ghost to look into.
    """

    TAIL, WALK, PATIENCE = 12, 48, 16

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.small: deque[int] = deque()
        self.main: deque[int] = deque()
        self.hits: dict[int, int] = {}
        self.used: dict[int, int] = {}
        self.passed = {"small": 0, "main": 0}
        self.victims: list[int] = []
        self.now = 0

    def access(self, key: int) -> None:
        self.now += 1
        if key in self.hits:
            self.hits[key] = min(3, self.hits[key] + 1)
        else:
            if len(self.hits) >= self.capacity:
                self._evict()
            self.hits[key] = 0
            full = bool(self.victims) or len(self.small) * 10 <= self.capacity
            (self.small if full else self.main).append(key)
        self.used[key] = self.now

    def _evict(self) -> None:
        in_small = False
        while True:
            in_small = in_small or not self.main or len(self.small) * 10 >= len(self.hits)
            in_small = in_small and bool(self.small)
            queue, threshold = (self.small, 2) if in_small else (self.main, 1)
            oldest = queue[0]
            if self.hits[oldest] < threshold:
                break
            self._move_on(queue, oldest, 0 if in_small else self.hits[oldest] - 1)
        tail = [key for key in list(queue)[: self.WALK] if self.hits[key] < threshold][: self.TAIL]
        victim = min(tail, key=lambda key: self.used[key])
        name = "small" if in_small else "main"
        self.passed[name] = 0 if victim == oldest else self.passed[name] + 1
        if self.passed[name] >= self.PATIENCE:
            self.passed[name] = 0
            self._move_on(queue, oldest, 0)
        (self.main if victim in self.main else self.small).remove(victim)
        del self.hits[victim]
        self.victims.append(victim)

    def _move_on(self, queue: deque[int], key: int, hits: int) -> None:
        queue.remove(key)
        self.hits[key] = hits
        self.main.append(key)


@pytest.mark.parametrize("capacity", [30, 200])
def test_a_linear_model_of_age_evicts_exactly_the_longest_unused_of_the_tail(tmp_path: Path, capacity: int) -> None:
    artefact.write(tmp_path / "age", Dense.linear({"idle": -1.0}))
    generator = random.Random(capacity)
    model = LearnedLru(capacity)
    trace: list[int] = []
    fresh = 0
    for _ in range(20_000):
        if generator.random() < 0.4 or not model.hits:
            key, fresh = fresh, fresh + 1
        else:  # recent keys more often
            present = list(model.hits)
            key = present[-1 - min(int(generator.expovariate(4 / capacity)), len(present) - 1)]
        trace.append(key)
        model.access(key)
    found = _native.evaluate_policy(
        str(tmp_path / "arena"),
        np.array(trace, np.uint32).data,
        None,
        "learned",
        capacity,
        model=str(tmp_path / "age"),
        victims=True,
    )
    assert len(model.victims) > 5000
    assert found["victims"] == model.victims
    plain = _native.evaluate_policy(
        str(tmp_path / "arena"), np.array(trace, np.uint32).data, None, "s3fifo", capacity, victims=True
    )
    assert plain["victims"] != model.victims


def zipf_trace() -> replay.Trace:
    keys = np.random.default_rng(5).zipf(1.1, 100_000) % 10_000
    return replay.Trace(Path("made"), keys, np.ones(len(keys), np.int64))


def test_without_a_model_or_with_one_that_gives_no_number_it_is_s3fifo(tmp_path: Path) -> None:
    # given a model whose layers grow beyond all numbers: infinity minus infinity
    big = Layer(np.full((2, 1), 3e38, np.float32), np.full(2, 3e38, np.float32))
    minus = Layer(np.array([[3e38, -3e38]], np.float32), np.zeros(1, np.float32))
    artefact.write(tmp_path / "nan", Dense(("idle",), (big, minus)))
    trace = zipf_trace()
    plain = evaluate(trace, "s3fifo", 0.1)
    # The ghost goes by hashes, whose seed is new with every arena: a few misses more or less.
    assert evaluate(trace, "learned", 0.1).misses == pytest.approx(plain.misses, rel=0.004)
    found = evaluate(trace, "learned", 0.1, model=tmp_path / "nan")
    assert found.misses == pytest.approx(plain.misses, rel=0.004)
    assert found.bad_scores == found.evictions > 0


def test_a_model_changes_what_is_missed(tmp_path: Path) -> None:
    artefact.write(tmp_path / "good", Dense.linear({"idle": -1.0, "hits": 1.0}))
    artefact.write(tmp_path / "bad", Dense.linear({"idle": 1.0, "hits": -1.0}))
    trace = zipf_trace()
    good, bad = (evaluate(trace, "learned", 0.05, model=tmp_path / name) for name in ("good", "bad"))
    assert good.bad_scores == bad.bad_scores == 0
    assert good.misses < bad.misses


def command(*parts: bytes) -> bytes:
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)


def test_models_are_swapped_while_the_cache_works(tmp_path: Path) -> None:
    artefact.write(tmp_path / "linear", Dense.linear({"idle": -1.0}))
    artefact.write(tmp_path / "trees", some_trees())
    (tmp_path / "damaged").write_bytes((tmp_path / "trees").read_bytes()[:-1] + b"?")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "trees")
    engine = _native.Engine(str(tmp_path / "arena"), 16 * MIB, "learned", data_dir=str(tmp_path))
    client = _native.Connection(engine)

    def ask(*parts: bytes) -> object:
        return decode(client.feed(command(*parts)))

    def fill(prefix: bytes) -> set[bytes]:
        return {client.feed(command(b"SET", prefix + b"%d" % i, b"v" * 100)) for i in range(90_000)}

    def model() -> bytes:
        return decode(client.feed(command(b"CONFIG", b"GET", b"policy-model")))[1]

    def scored() -> int:
        info = client.feed(command(b"INFO", b"memory")).decode()
        return int(info.split("policy_model_scored:")[1].split("\r\n")[0])

    assert fill(b"warm") == {b"+OK\r\n"}
    assert (model(), scored()) == (b"", 0)
    for name in (b"linear", b"trees"):
        before = scored()
        keys = engine.keys
        assert ask(b"CONFIG", b"SET", b"policy-model", name) == b"OK"
        assert engine.keys == keys
        assert fill(name) == {b"+OK\r\n"}
        assert model() == name
        assert scored() > before
    # What is no good is refused with the reason, and the model in place stays.
    for name, reason in {
        b"damaged": "the file damaged is damaged: its checksum is wrong",
        b"missing": "the file missing cannot be opened: No such file or directory",
        b"folder": "the file folder is not a file",
        b"link": "the file link is a link, not a file",
        b"../linear": "the model must be a file in the data directory, named without a path",
        b".hidden": "the model must be a file in the data directory, named without a path",
        b"trees\0": "the model must be a file in the data directory, named without a path",
    }.items():
        reply = client.feed(command(b"CONFIG", b"SET", b"policy-model", name)).decode()
        assert reply == f"-ERR CONFIG SET failed (possibly related to argument 'policy-model') - {reason}\r\n"
        assert model() == b"trees"
    # One value that is refused puts all back.
    reply = client.feed(command(b"CONFIG", b"SET", b"policy-model", b"linear", b"maxmemory-policy", b"best"))
    assert reply.startswith(b"-ERR CONFIG SET failed")
    assert model() == b"trees"
    # With another policy it waits; without a model nothing is scored.
    assert ask(b"CONFIG", b"SET", b"maxmemory-policy", b"allkeys-s3fifo") == b"OK"
    before = scored()
    assert fill(b"plain") == {b"+OK\r\n"}
    assert scored() == before
    assert ask(b"CONFIG", b"SET", b"maxmemory-policy", b"allkeys-learned") == b"OK"
    assert fill(b"again") == {b"+OK\r\n"}
    assert scored() > before
    before = scored()
    assert ask(b"CONFIG", b"SET", b"policy-model", b"") == b"OK"
    assert fill(b"none") == {b"+OK\r\n"}
    assert (model(), scored()) == (b"", before)
    engine.close()


def test_a_test_of_two_models_shares_out_keys_and_memory_and_counts_each_arm(tmp_path: Path) -> None:
    artefact.write(tmp_path / "age", Dense.linear({"idle": -1.0}))
    artefact.write(tmp_path / "youth", Dense.linear({"idle": 1.0, "hits": -1.0}))
    arena = tmp_path / "arena"
    engine = _native.Engine(str(arena), 16 * MIB, "learned", data_dir=str(tmp_path))
    client = _native.Connection(engine)
    generator = random.Random(3)
    stats = _native.StatsReader(str(arena))

    def config(*parts: str) -> bytes:
        return client.feed(command(b"CONFIG", b"SET", *(part.encode() for part in parts)))

    def read_through(count: int) -> int:
        hits = 0
        for _ in range(count):
            key = b"key:%d" % int(500_000 ** generator.random())
            if client.feed(command(b"GET", key)) == b"$-1\r\n":
                assert client.feed(command(b"SET", key, b"v" * 400)) == b"+OK\r\n"
            else:
                hits += 1
        return hits

    def arms() -> tuple[_native.ArmNumbers, _native.ArmNumbers]:
        engine.cron(1000)
        return stats.read()["arms"]

    nothing = {"hits": 0, "misses": 0, "evictions": 0, "bytes": 0}
    # given a full cache without a test: nothing is counted by arm
    read_through(150_000)
    assert arms() == (nothing, nothing)
    assert config("policy-model", "age", "policy-test-model", "youth") == b"+OK\r\n"
    assert arms() == (nothing, nothing)
    # when a quarter of the keys goes to the second model
    keys = engine.keys
    assert config("policy-test-share", "25") == b"+OK\r\n"
    assert engine.keys == keys
    while engine.cron(1000):
        pass
    read_through(100_000)
    client.feed(command(b"CONFIG", b"RESETSTAT"))
    hits = read_through(150_000)
    # then accesses, bytes and evictions are counted by arm, and the memory is shared out so
    first, second = arms()
    assert first["hits"] + second["hits"] == hits
    assert first["hits"] + first["misses"] + second["hits"] + second["misses"] == 150_000
    info = client.feed(command(b"INFO", b"stats")).decode()
    assert first["evictions"] + second["evictions"] == int(info.split("evicted_keys:")[1].split("\r\n")[0]) > 1000
    assert second["bytes"] / (first["bytes"] + second["bytes"]) == pytest.approx(0.25, abs=0.02)
    assert (second["hits"] + second["misses"]) / 150_000 == pytest.approx(0.25, abs=0.2)  # the hottest keys weigh much
    info = client.feed(command(b"INFO", b"memory")).decode()
    scored = [int(info.split(f"{name}_scored:")[1].split("\r\n")[0]) for name in ("policy_model", "policy_test_model")]
    assert min(scored) > 1000
    # A swap of the second arm's model and the end of the test lose no key.
    keys = engine.keys
    assert config("policy-test-model", "age") == b"+OK\r\n"
    assert config("policy-test-share", "0") == b"+OK\r\n"
    assert engine.keys == keys
    assert arms() == (nothing, nothing)
    read_through(1000)
    assert arms() == (nothing, nothing)
    for wrong in ("51", "-1", "x"):
        assert config("policy-test-share", wrong).startswith(b"-ERR CONFIG SET failed")
    assert config("policy-test-share", "10", "maxmemory-policy", "best").startswith(b"-ERR CONFIG SET failed")
    assert decode(client.feed(command(b"CONFIG", b"GET", b"policy-test-share"))) == [b"policy-test-share", b"0"]
    engine.close()


def test_a_test_makes_no_sense_without_queues_and_begins_once_there_are_some(tmp_path: Path) -> None:
    artefact.write(tmp_path / "age", Dense.linear({"idle": -1.0}))
    engine = _native.Engine(str(tmp_path / "arena"), 16 * MIB, "lru", data_dir=str(tmp_path))
    client = _native.Connection(engine)
    stats = _native.StatsReader(str(tmp_path / "arena"))

    def accesses() -> list[int]:
        before = [arm["hits"] + arm["misses"] for arm in stats.read()["arms"]]
        for i in range(1000):
            client.feed(command(b"GET", b"%d" % i))
        return [arm["hits"] + arm["misses"] - n for arm, n in zip(stats.read()["arms"], before, strict=True)]

    settings_ = (b"policy-test-model", b"age", b"policy-test-share", b"50")
    assert client.feed(command(b"CONFIG", b"SET", *settings_)) == b"+OK\r\n"
    assert accesses() == [0, 0]
    assert client.feed(command(b"CONFIG", b"SET", b"maxmemory-policy", b"allkeys-s3fifo")) == b"+OK\r\n"
    first, second = accesses()
    assert first + second == 1000
    assert first == pytest.approx(500, abs=80)
    assert client.feed(command(b"CONFIG", b"SET", b"maxmemory-policy", b"allkeys-lru")) == b"+OK\r\n"
    assert accesses() == [0, 0]
    engine.close()


def test_the_model_in_the_data_directory_is_loaded_at_start_and_a_damaged_one_only_logged(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    artefact.write(data / "policy.model", Dense.linear({"idle": -1.0}))
    for damaged in (False, True):
        if damaged:
            (data / "policy.model").write_bytes(b"PREDISPM and more")
        server = start_cache(tmp_path, "--no-auth", "--policy", "learned", memory="16MiB")
        try:
            with server.client() as client:
                name = client.command("CONFIG", "GET", "policy-model")
        finally:
            server.stop()
        assert name == [b"policy-model", b"" if damaged else b"policy.model"]
    log = server.log.read_text()
    assert log.count("policy.model has format 1684955424; this version reads format 1; the policy learned works") == 1
