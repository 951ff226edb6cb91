"""Training of policy models: what is learned from, what is learned, and when it counts as better."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from core_cache import access_log
from core_cache.policy import retraining
from core_cache.policy.accesses import ENTRY_BYTES, Accesses, from_log, from_trace, numbered
from core_cache.policy.artefact import FEATURES, Dense, log2_linear, write
from core_cache.policy.rehearse import candidates, rehearse
from core_cache.policy.retraining import LEAST_MISSES, retrain
from core_cache.policy.training import TooLittle, Trainer
from core_cache.replay import Trace
from tests.core_cache.model_load import names, sizes

COLUMN = {name: number for number, name in enumerate(FEATURES)}
EVENT = access_log._EVENT


def mixed(accesses: int = 60_000, seed: int = 1) -> Accesses:
    """Small keys that come again and large ones that hardly do, a tenth of those of tests/core_cache/model_load.py."""
    asked = names(10 * accesses, seed)
    asked = asked[asked % 10 == 3]
    return Accesses(
        numbered(asked, "the test")[0],
        (sizes(asked) + ENTRY_BYTES).astype(np.uint32),
        np.arange(0, 20 * len(asked), 20, dtype=np.uint32),
        np.ones(len(asked), bool),
    )


def uniform(accesses: int = 20_000, seed: int = 3) -> Accesses:
    """All keys are the same, and there is nothing to learn."""
    keys = np.random.default_rng(seed).integers(0, 6000, accesses)
    return from_trace(Trace(Path("uniform"), keys, np.ones(accesses, int)), sized=False)


def of_one_key_at_the_end() -> Accesses:
    """Nothing is missed in the part to judge by."""
    keys = uniform().keys.copy()
    keys[len(keys) * 4 // 5 - 1 :] = 7
    return from_trace(Trace(Path("one"), keys, np.ones(len(keys), int)), sized=False)


CAPACITY = 5 << 20


def events(*rows: tuple[int, str, bool, int]) -> NDArray[Any]:
    """Of a log: key, operation, whether it was found, bytes of the value; one a second."""
    log = np.zeros(len(rows), EVENT)
    for at, (key, op, found, size) in enumerate(rows):
        log[at]["key_hash"], log[at]["found"], log[at]["value_bytes"] = key, found, size
        log[at]["op"] = ("read", "write", "delete", "other").index(op)
        log[at]["unix_ms"] = 1_700_000_000_000 + 1000 * at
    return log


def test_a_miss_and_its_answer_are_one_access() -> None:
    log = events(
        (7, "read", False, 0),  # answered by the write: one access, of 100 bytes
        (9, "read", True, 40),
        (7, "write", False, 100),
        (7, "read", True, 100),
        (7, "write", True, 30),  # a write of its own
        (5, "read", False, 0),  # nobody has it
        (7, "delete", True, 0),
        (9, "other", True, 50),
    )
    found = from_log(log)
    assert found.keys.tolist() == [0, 1, 0, 0, 1]
    assert found.sizes is not None
    assert found.times is not None
    assert found.sizes.tolist() == [ENTRY_BYTES + size for size in (100, 40, 100, 30, 50)]
    assert found.times.tolist() == [0, 1000, 3000, 4000, 7000]
    assert found.reads.tolist() == [True, True, True, False, False]


def test_a_clock_that_goes_back_stands_still_and_an_empty_log_is_no_access() -> None:
    log = events((1, "read", True, 1), (2, "read", True, 1), (1, "read", True, 1))
    log["unix_ms"] = [5000, 3000, 6000]
    times = from_log(log).times
    assert times is not None
    assert times.tolist() == [0, 0, 1000]
    assert len(from_log(events())) == 0


def test_what_is_noted_of_candidates_is_true() -> None:
    accesses = mixed(4000)
    noted = candidates(accesses, 1 << 20, None, every=1)
    assert accesses.sizes is not None
    assert accesses.times is not None
    assert len(noted.rows) == len(noted.keys) == len(noted.at) > 3000
    used: dict[int, int] = {}
    place = 0
    for at, (key, time) in enumerate(zip(accesses.keys.tolist(), accesses.times.tolist(), strict=True), 1):
        while place < len(noted.at) and noted.at[place] == at:
            row, candidate = noted.rows[place], int(noted.keys[place])
            assert row[COLUMN["size"]] == log2_linear(accesses.sizes[accesses.keys == candidate][0])
            # the clock goes in steps of 16 ms, and it does not begin with one
            assert abs(2 ** row[COLUMN["idle"]] - 1 - (time - used[candidate])) <= 16 + 0.51 * (time - used[candidate])
            assert row[COLUMN["hits"]] in (0, 1, 2, 3)
            assert row[COLUMN["main"]] in (0, 1)
            place += 1
        used[key] = time
    assert place == len(noted.at)
    some = candidates(accesses, CAPACITY, None, every=10)
    assert 0 < len(some.rows) < len(noted.rows) / 8


def test_each_miss_is_told_and_time_comes_from_the_accesses() -> None:
    accesses = mixed(4000)
    plain = rehearse(accesses, 1 << 20, None)
    assert plain.missed.shape == (len(accesses),)
    first = np.unique(accesses.keys, return_index=True)[1]
    assert plain.missed[first].all()
    assert plain.evictions > 500
    assert rehearse(accesses, 10**9, None).missed.sum() == len(first)


def test_a_model_learns_what_is_worth_keeping(tmp_path: Path) -> None:
    accesses = mixed()
    model = Trainer(accesses, CAPACITY).train(("size", "hits"))
    small, large = model.score([[log2_linear(264), 0], [log2_linear(6000), 0]])
    assert small > large + 2
    path = tmp_path / "model"
    write(path, model)
    mine, plain = (rehearse(mixed(seed=2), CAPACITY, which).missed.mean() for which in (path, None))
    assert mine < 0.97 * plain


def test_how_soon_a_key_is_asked_for_counts_by_itself() -> None:
    """Keys of one size: some come again and again, the others once."""
    accesses = mixed()
    alike = Accesses(accesses.keys, None, accesses.times, accesses.reads)
    newcomer, used = Trainer(alike, 1500).train(("hits", "main")).score([[0, 0], [1, 0]])
    assert used > newcomer + 0.5


def test_of_the_models_the_one_that_misses_least_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retraining, "FEATURE_SETS", (("key_length",), ("hits", "size", "main"), ("type",)))
    assert retrain(mixed(), CAPACITY, None).features == ("hits", "size", "main")


def test_the_engine_scores_as_the_trees_that_were_learned(tmp_path: Path) -> None:
    from core_cache import _native

    model = Trainer(mixed(), CAPACITY).train(("idle", "hits", "size", "main"))
    write(tmp_path / "model", model)
    rows = candidates(mixed(2000), CAPACITY, None, 1).rows[:, [COLUMN[name] for name in model.features]]
    rows = np.ascontiguousarray(rows)
    assert _native.score_policy_model(str(tmp_path / "model"), rows.data) == pytest.approx(model.score(rows))


def test_what_is_better_surely_is_told_from_what_is_not(tmp_path: Path) -> None:
    found = retrain(mixed(), CAPACITY, None)
    assert found.better
    assert found.miss_ratio < found.s3fifo.miss_ratio
    path = tmp_path / "current"
    write(path, found.model)
    again = retrain(mixed(), CAPACITY, path)
    assert again.current is not None
    assert not again.better, "it is as good as the very model that is there"
    write(path, Dense.linear({"size": 1.0}))  # keeps what is large
    worse = retrain(mixed(), CAPACITY, path)
    assert worse.current is not None
    assert worse.current.beaten
    assert worse.better
    assert not retrain(uniform(), 2500, None).better


def test_only_reads_are_judged() -> None:
    accesses = mixed()
    reads = accesses.reads.copy()
    reads[::2] = False
    found = retrain(Accesses(accesses.keys, accesses.sizes, accesses.times, reads), CAPACITY, None)
    assert found.judged == pytest.approx(0.2 * len(accesses) / 2, abs=2)


@pytest.mark.parametrize(
    ("accesses", "capacity", "said"),
    [
        (mixed(3000), 10**9, "nothing is evicted"),
        (mixed(0), 1000, "nothing is evicted"),
        (mixed(), 1 << 20, "entries, where 2,000 are needed: raise cache.access_log"),
        (uniform(3000), 2300, "candidates for eviction to learn from, where 600 are needed"),
        (of_one_key_at_the_end(), 2500, f"times in the part to judge by, where {LEAST_MISSES} are needed"),
    ],
)
def test_too_little_is_said(accesses: Accesses, capacity: int, said: str) -> None:
    with pytest.raises(TooLittle, match=said):
        retrain(accesses, capacity, None)


def test_chance_is_seldom_taken_for_progress() -> None:
    """Of models that know nothing useful, hardly any may pass; one in a hundred would."""
    assert sum(retrain(uniform(seed=seed), 2500, None).better for seed in range(8)) <= 1
