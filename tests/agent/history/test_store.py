"""History from delivery to query: memory, disk, a new start, and a disk or a file that fails."""

import resource
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.history.disk import Bounds
from agent.history.ring import Ring
from agent.history.store import FILE, HistoryStore
from agent.metrics.model import Histogram, Sample
from tests.agent.history.making import BOUNDS, COUNT, DAY, START, TOOK, Clock, Kept, delivery, level
from tests.servers import ROOT


def expected(turns: range, offset: float = 0.0, interval: float = 10.0) -> list[tuple[float, float]]:
    return [(START + turn * interval, turn + offset) for turn in turns]


def test_every_point_is_found_whether_it_is_in_memory_or_on_the_disk(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    kept.run(200)
    assert kept.store.points(level(7), START, START + 1e6) == expected(range(200), 0.007)
    assert kept.store.points(level(7), START + 95, START + 1500) == expected(range(10, 151), 0.007)
    assert kept.store.points(COUNT, 0, 1e10)[-1] == (START + 1990, 1990)
    assert [time for time, _ in kept.store.points(TOOK, 0, 1e10)] == [time for time, _ in expected(range(200))]
    histograms = kept.store.histogram_points(TOOK, 0, 1e10)
    assert histograms[150] == (START + 1500, Histogram((0.1, 1.0), (150, 150, 150), 375.0))
    assert len(histograms) == 200
    assert kept.store.latest([level(3), COUNT, ("nobody", ())]) == {
        level(3): (START + 1990, 199.003),
        COUNT: (START + 1990, 1990),
    }
    assert len(kept.store.keys("predis_test_level")) == 20


@pytest.mark.parametrize("turns", [3, 200, 1000])  # in memory alone, on the disk, too, and in rollups
def test_many_series_asked_for_together_have_the_points_that_each_has(tmp_path: Path, turns: int) -> None:
    kept = Kept(tmp_path, Bounds(1800.0, 35 * DAY, 1 << 30))
    kept.run(turns)
    kept.store._prune_at = 0.0
    kept.run(1)
    keys = [level(number) for number in range(20)] + [COUNT, TOOK, ("nobody", ())]
    for start, end in ((0.0, 1e10), (START + 95.0, START + 1500.0), (kept.clock.now - 900.0, kept.clock.now)):
        found = dict(kept.store.points_of([*keys, level(0)], start, end))
        assert found == {key: kept.store.points(key, start, end) for key in keys}
    assert len(found[level(3)]) == min(turns + 1, 90)


def test_it_survives_a_new_start(tmp_path: Path) -> None:
    before = Kept(tmp_path)
    before.run(77)
    before.start()
    before.store.stop()
    after = Kept(tmp_path)
    after.turn, after.clock.now = 100, START + 1000
    after.run(1)
    assert after.store.points(level(1), 0, 1e10) == [*expected(range(77), 0.001), (START + 1000, 100.001)]
    after.store.use(tmp_path, BOUNDS)
    lone = Kept(tmp_path)
    lone.store._turn(last=False)  # nothing was delivered yet
    assert lone.store.latest([level(1)]) == {level(1): (START + 760, 76.001)}
    assert len(lone.store.keys("predis_test_level")) == 20


def test_after_sigkill_at_most_the_newest_block_is_missing(tmp_path: Path) -> None:
    program = """
import os, signal, sys
from pathlib import Path
from tests.agent.history.making import Kept
kept = Kept(Path(sys.argv[1]))
kept.run(100)
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], cwd=ROOT, check=False, timeout=60)
    after = Kept(tmp_path)
    after.store._turn(last=False)
    for number in range(20):
        points = after.store.points(level(number), 0, 1e10)
        assert points == expected(range(len(points)), number / 1000)
        assert 100 - len(points) <= 30
    assert after.store.status()["error"] is None


def test_beyond_raw_retention_there_is_a_value_for_every_five_minutes(tmp_path: Path) -> None:
    kept = Kept(tmp_path, Bounds(1800.0, 35 * DAY, 1 << 30))
    kept.run(1000)
    kept.store._prune_at = 0.0
    kept.run(1)
    raw = kept.store.points(level(0), kept.clock.now - 1700, 1e10)
    assert raw == expected(range(1001), 0.0)[-170:]
    rolled = kept.store.points(level(0), 0, 1e10)
    old = [point for point in rolled if point[0] < kept.clock.now - 1800]
    assert 20 <= len(old) <= 30
    assert all(time - START == pytest.approx(10 * mean + 145, abs=145) for time, mean in old)
    counted = kept.store.points(COUNT, 0, 1e10)
    assert all(value == time - START for time, value in counted)  # the newest value, not the mean
    assert [value for _, value in counted] == sorted(value for _, value in counted)


def test_what_is_older_than_retention_goes_and_the_file_stays_within_its_size(tmp_path: Path) -> None:
    kept = Kept(tmp_path, Bounds(2 * DAY, 35 * DAY, 1 << 19))
    for _ in range(40):
        kept.run(60, series=100)
        kept.store._prune_at = 0.0
    assert (tmp_path / FILE).stat().st_size <= 1 << 19
    points = kept.store.points(level(0), 0, 1e10)
    assert points[0][0] > START
    assert points[-1][0] == kept.clock.now - 10
    kept.store.use(tmp_path, Bounds(60.0, 120.0, 1 << 30))
    for _ in range(10):
        kept.store._prune_at = 0.0
        kept.run(1)
    assert len(kept.store.points(level(0), 0, kept.clock.now - 900)) == 0


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.dictionaries(st.integers(0, 5), st.floats(allow_nan=True, width=64), max_size=6), min_size=1, max_size=90
    ),
    st.sampled_from([1.0, 10.0, 100.0, 1000.0]),
)
def test_whatever_comes_and_goes_each_series_has_its_own_values(turns: list[dict[int, float]], interval: float) -> None:
    ring, left = Ring(interval), dict[object, list[tuple[float, float]]]()
    told: dict[object, list[tuple[float, float]]] = {}
    for turn, values in enumerate(turns):
        ring.append(float(turn), {level(n): Sample(level(n)[0], v, level(n)[1]) for n, v in values.items()})
        for number, value in values.items():
            if value == value:
                told.setdefault(level(number), []).append((float(turn), value))
        for shard in ring.due():
            rows = ring.take(shard)
            for column in rows.columns if rows else ():
                assert rows is not None
                assert rows.lost == 0
                pairs = [(t, v) for t, v in zip(rows.times, column.values, strict=True) if v == v]
                left.setdefault(column.key, []).extend(pairs)
    for number in range(6):
        found = dict(left.get(level(number), [])) | dict(ring.points(level(number)))
        assert sorted(found.items()) == told.get(level(number), [])


def test_series_that_come_and_go_by_the_thousand_take_no_room() -> None:
    ring = Ring(10.0)
    for turn in range(120):
        names = [f"t{turn // 5}-{number}" for number in range(300)]
        ring.append(float(turn), {("m", (name,)): Sample("m", 1.0, (name,)) for name in names})
        for shard in ring.due():
            ring.take(shard)
    assert ring._size < 6_000


def test_a_clock_that_is_set_back_puts_points_in_order(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    kept.run(50)
    kept.clock.now = START + 103
    kept.run(50)
    times = [time for time, _ in kept.store.points(level(0), 0, 1e10)]
    assert times == sorted(times)
    assert len(times) == 100


@pytest.mark.parametrize("what", [b"no database at all" * 100, b"SQLite format 3\0" + b"\xff" * 4096])
def test_a_corrupt_file_is_moved_aside_and_a_new_one_is_begun(tmp_path: Path, what: bytes) -> None:
    (tmp_path / FILE).write_bytes(what)
    kept = Kept(tmp_path)
    kept.run(100)
    assert kept.store.points(level(0), 0, 1e10)[-50:] == expected(range(50, 100))
    status = kept.store.status()
    assert status["moved_aside"] == str(tmp_path / f"{FILE}.broken")
    assert Path(status["moved_aside"]).read_bytes() == what
    assert status["errors"] >= 1
    assert status["error"] is None  # the new one works
    assert [s.value for s in kept.store.collect() if s.labels == ("open",)] == [1]


def test_a_file_that_is_damaged_while_it_is_used_is_replaced(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    kept.run(100)
    kept.start()
    kept.store.stop()
    with (tmp_path / FILE).open("r+b") as file:
        size = file.seek(0, 2)
        file.seek(4096)
        file.write(b"\xff" * (size - 4096))
    again = Kept(tmp_path)
    again.turn, again.clock.now = kept.turn, kept.clock.now
    again.run(80)
    assert again.store.points(level(0), 0, 1e10)[-40:] == expected(range(140, 180))
    assert again.store.status()["moved_aside"]


def test_a_newer_agents_file_is_moved_aside(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / FILE) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    kept = Kept(tmp_path)
    kept.run(1)
    assert kept.store.status()["moved_aside"] == str(tmp_path / f"{FILE}.broken")


def test_a_full_disk_costs_nothing_but_what_does_not_fit(tmp_path: Path) -> None:
    """The kernel's own limit on files stands for the disk's end: writes beyond it fail as those on a full one do."""
    program = """
import resource, signal, sys
from pathlib import Path
from tests.agent.history.making import Kept, level, START
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
kept = Kept(Path(sys.argv[1]))
kept.run(40)
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
kept.run(300, series=300)
status = kept.store.status()
assert status["errors"] > 10 and status["error"], status
memory = kept.store.points(level(0), kept.clock.now - 300, 1e10)
assert len(memory) == 30, memory
waiting = kept.store.points(level(0), kept.clock.now - 2000, 1e10)
assert len(waiting) == 200, len(waiting)
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
kept.run(40, series=300)
assert kept.store.status()["error"] is None
assert len(kept.store.points(level(0), 0, 1e10)) == 380, len(kept.store.points(level(0), 0, 1e10))
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        cwd=ROOT, check=False, timeout=60, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert resource.getrlimit(resource.RLIMIT_FSIZE)


def test_a_folder_that_cannot_be_written_leaves_the_newest_minutes(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "nowhere")
    kept.run(60)
    assert kept.store.points(level(0), 0, 1e10) == expected(range(60))[-36:]
    assert "cannot be opened" in kept.store.status()["error"]


def test_without_a_file_there_is_memory(tmp_path: Path) -> None:
    kept = Kept(None)
    kept.run(60)
    assert kept.store.points(level(0), 0, 1e10) == expected(range(60))[-36:]
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_hangs_holds_nobody_up_who_delivers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Kept(tmp_path)
    hangs, go_on = threading.Event(), threading.Event()

    def write() -> None:
        hangs.set()
        go_on.wait(20)

    assert kept.store._disk is not None
    monkeypatch.setattr(kept.store._disk, "write", write)
    kept.start()
    try:
        kept.store.accept("test", 10.0, delivery(0))
        assert hangs.wait(10)
        for turn in range(1, 100):
            kept.store.accept("test", 10.0, delivery(turn))
        assert kept.store.latest([level(0)])[level(0)][1] == 99
    finally:
        go_on.set()
        kept.store.stop()


def test_a_value_that_no_double_holds_stops_nothing() -> None:
    store = HistoryStore(Clock())
    store.accept("test", 10.0, {("m", ()): Sample("m", 10**400)})
    store.accept("test", 10.0, delivery(3))
    assert store.latest([level(0)])[level(0)][1] == 3.0
    assert "cannot be kept" in store.status()["error"]


def reads(store: HistoryStore) -> list[Callable[[], object]]:
    return [
        lambda: store.points(level(0), 0, 1e10),
        lambda: store.keys("predis_test_level"),
        lambda: store.latest([level(99)]),
        lambda: store.histogram_points(TOOK, 0, 1e10),
    ]


def test_reading_and_writing_at_the_same_time_disturb_each_other_in_nothing(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    kept.start()
    failed: list[BaseException] = []
    done = threading.Event()

    def look() -> None:
        try:
            while not done.is_set():
                for read in reads(kept.store):
                    read()
        except BaseException as error:  # noqa: BLE001
            failed.append(error)

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for turn in range(300):
        kept.store.accept("test", 10.0, delivery(turn))
        kept.clock.now += 10
        kept.until_written()
    done.set()
    for thread in threads:
        thread.join()
    kept.store.stop()
    assert failed == []
    assert kept.store.status()["errors"] == 0


@pytest.mark.parametrize("turns", [1, 5, 12, 29, 30, 35])
def test_a_series_in_a_slot_of_another_has_none_of_its_values(turns: int) -> None:
    ring = Ring(10.0)
    old = {("old", (str(n),)): Sample("old", 7.0, (str(n),)) for n in range(100)}
    other = {("other", ()): Sample("other", 1.0)}
    for turn in range(turns + 3 * ring.block):
        ring.append(float(turn), old if turn < turns else other)
        for shard in ring.due():
            ring.take(shard)
        young = {("young", (str(n),)): Sample("young", 2.0, (str(n),)) for n in range(turn + 1)}
        ring.append(turn + 0.5, {**other, **young})
        for key in young:
            assert {value for _, value in ring.points(key)} <= {2.0}
    assert not ring.keys("old")


def test_series_that_are_new_after_a_start_are_told_from_those_before(tmp_path: Path) -> None:
    before = Kept(tmp_path)
    before.run(40, series=5)
    before.start()
    before.store.stop()
    after = Kept(tmp_path)
    after.turn, after.clock.now = 40, START + 400
    after.run(40, series=12)
    after.store._turn(last=True)
    last = Kept(tmp_path)
    last.store._turn(last=False)
    for number in range(12):
        assert last.store.points(level(number), 0, 1e10) == expected(range(0 if number < 5 else 40, 80), number / 1000)
    assert last.store.status()["errors"] == 0


def test_series_are_known_as_they_appear_and_when_they_are_only_on_the_disk(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    assert kept.store.keys("predis_test_level") == []
    kept.run(40, series=3)
    assert len(kept.store.keys("predis_test_level")) == 3
    kept.run(1, series=5)
    assert len(kept.store.keys("predis_test_level")) == 5
    kept.run(80, series=1)
    kept.store._known.clear()
    assert len(kept.store.keys("predis_test_level")) == 5
    kept.store.use(None, BOUNDS)
    assert kept.store.keys("predis_test_level") == [level(0)]


def test_what_a_clock_that_was_ahead_has_written_does_not_keep_the_rest_from_going(tmp_path: Path) -> None:
    kept = Kept(tmp_path, Bounds(3600.0, 7200.0, 1 << 30))
    kept.clock.now = START + 3650 * DAY
    kept.run(450)  # over an hour, more rows than go in one step
    kept.clock.now = START
    for _ in range(24):
        kept.run(90)
        kept.store._prune_at = 0.0
    disk = kept.store._disk
    assert disk is not None
    query = "SELECT count(*) FROM blocks WHERE end < ?"
    (old,) = disk._opened().execute(query, (kept.clock.now - 5400,)).fetchone()
    assert old == 0
    disk.bounds = Bounds(3600.0, 7200.0, 1)
    disk.prune()
    (ahead,) = disk._opened().execute("SELECT count(*) FROM blocks WHERE start > ?", (kept.clock.now + DAY,)).fetchone()
    assert ahead == 0
