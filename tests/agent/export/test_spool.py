"""The spool: what it took comes out again, in order, whatever happens to the disk, the file or the process."""

import os
import random
import resource
import shutil
import signal
import struct
import subprocess
import sys
import textwrap
from array import array
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.api import Batch, Event, Histogram, Kind, MetricSpec, Series
from agent.export.account import Account
from agent.export.spool import Spool, SpoolError
from tests.agent.export.scripted import HITS, LEVEL, START, TIMES
from tests.servers import ROOT

ROUNDS = int(os.environ.get("SPOOL_KILLS", "20"))
SERIES = tuple(Series(LEVEL, (f"who {number}",)) for number in range(10))


OPENED: list[Spool] = []


@pytest.fixture(autouse=True)
def no_open_files(tmp_path: Path) -> Iterator[None]:
    """Closes every spool of a test, also those that stand for a process that was killed."""
    yield
    while OPENED:
        OPENED.pop().close()
    held = [os.readlink(path) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    assert [path for path in held if path.startswith(str(tmp_path))] == []


def open_spool(folder: Path, most: int = 1 << 20, now: float = START) -> tuple[Spool, Account]:
    account = Account()
    spool = Spool(folder, account, lambda spec, labels: None, most_bytes=most, oldest=3600.0, clock=lambda: now)
    OPENED.append(spool)
    spool.open()
    return spool, account


def batch(number: int, size: int = 10) -> Batch:
    """The numbers from 1,000 times `number` on."""
    values = array("d", [number * 1000.0 + each for each in range(size)])
    return Batch("series", START + number, 10.0, SERIES[:size], values)


def put(spool: Spool, account: Account, *batches: Batch) -> None:
    for each in batches:
        spool.append(each)
        account.produce(len(each), "spooled")


def drain(spool: Spool, account: Account, points: int = 1_000_000) -> list[Batch]:
    """Delivers whole batches until so many points are."""
    out = []
    while points > 0 and (head := spool.peek()) is not None:
        left = len(head[0]) - head[1]
        account.deliver(left, "spooled")
        spool.done(left)
        points -= left
        out.append(head[0])
    return out


def numbers(batches: list[Batch]) -> list[int]:
    return [int(each.time - START) for each in batches]


def test_all_that_a_batch_is_comes_out_again(tmp_path: Path) -> None:
    counters = tuple(Series(HITS, (who,)) for who in ("a", "é\n", ""))
    wide = MetricSpec("predis_x", Kind.histogram, "X.", "bytes", ("who", "how"), (1.0, 2.0))
    histograms = (Series(TIMES, ("a",)), Series(wide, ("b", "c")), Series(TIMES, ("d",)))
    many = tuple(Series(LEVEL, (str(number),)) for number in range(10_000))
    events = (
        Event(START, "kind", "title", "text", "error", {"a": "b"}, 2.5, "0" * 32, "1" * 16, "2" * 16),
        Event(START + 1, "kind", "other"),
    )
    given = [
        Batch("series", START, 10.0, counters, array("d", [1.0, -2.5e300, 0.1]), array("d", [START, 1.0, 2.0])),
        Batch(
            "hist",
            START + 1,
            10.5,
            histograms,
            [
                Histogram((0.1, 1.0), (0, 1, 2), 1.5),
                Histogram((1.0,), (3, 2**60), -0.5),
                Histogram((0.1, 1.0), (9, 9, 9), 0.0),
            ],
        ),
        Batch("events", START + 2, events=events),
        Batch("series", START + 3, 1.0, many, array("d", range(10_000))),
    ]
    spool, account = open_spool(tmp_path / "spool")
    put(spool, account, *given)
    spool.close()
    spool, account = open_spool(tmp_path / "spool")
    out = drain(spool, account)
    assert [(b.lane, b.time, b.interval, list(b.values), list(b.starts), b.events) for b in out[:3]] == [
        (b.lane, b.time, b.interval, list(b.values), list(b.starts), tuple(b.events)) for b in given[:3]
    ]
    assert [[(s.spec, s.labels) for s in b.series] for b in out[:3]] == [
        [(s.spec, s.labels) for s in b.series] for b in given[:3]
    ]
    assert [value for b in out[3:] for value in b.values] == list(range(10_000))
    assert [s.labels for b in out[3:] for s in b.series] == [s.labels for s in many]
    assert account.books().balanced
    assert account.books().delivered == 10_008


def test_a_series_gets_the_object_that_it_has_elsewhere(tmp_path: Path) -> None:
    known = {(s.spec.name, s.labels): s for s in SERIES}
    spool = Spool(
        tmp_path, Account(), lambda spec, labels: known.get((spec.name, labels)), most_bytes=1 << 20, oldest=1e9
    )
    OPENED.append(spool)
    spool.open()
    spool.append(batch(1))
    head = spool.peek()
    assert head is not None
    assert all(found is given for found, given in zip(head[0].series, SERIES, strict=True))


def test_its_age_is_that_of_the_oldest_point_that_is_not_done(tmp_path: Path) -> None:
    spool, account = open_spool(tmp_path, now=START + 100)
    assert spool.age is None
    put(spool, account, *map(batch, range(10)))
    assert spool.age == 100
    drain(spool, account, 40)
    spool.peek()
    assert spool.age == 96
    drain(spool, account)
    assert spool.age is None


def test_nobody_else_can_read_it(tmp_path: Path) -> None:
    spool, account = open_spool(tmp_path / "a" / "spool")
    put(spool, account, batch(1), batch(2))
    drain(spool, account, 1)
    assert (tmp_path / "a" / "spool").stat().st_mode & 0o777 == 0o700
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "a" / "spool").iterdir()}
    assert set(modes.values()) == {0o600}
    assert len(modes) == 2


def test_what_is_done_is_not_sent_again_after_a_restart_and_what_was_under_way_is_counted(tmp_path: Path) -> None:
    spool, account = open_spool(tmp_path)
    put(spool, account, *map(batch, range(5)))
    drain(spool, account, 20)
    head = spool.peek()
    assert head is not None
    spool.sending(4)
    account.deliver(4, "spooled")
    spool.done(4)
    spool.sending(3)
    # when the process ends here, without a word
    again, books = open_spool(tmp_path)
    assert books.books().possible_duplicates == 3
    assert books.books().spooled == 26
    head = again.peek()
    assert head is not None
    assert (head[0].time, head[1]) == (START + 2, 4)
    assert numbers(drain(again, books)) == [2, 3, 4]
    assert books.books().balanced
    # and what came out whole leaves nothing behind that hides what is written later
    put(again, books, batch(9))
    third, books = open_spool(tmp_path)
    assert numbers(drain(third, books)) == [9]


def test_a_part_that_is_done_is_not_sent_again_and_is_no_duplicate(tmp_path: Path) -> None:
    spool, account = open_spool(tmp_path)
    put(spool, account, batch(1))
    spool.peek()
    spool.sending(4)
    account.deliver(4, "spooled")
    spool.done(4)
    again, books = open_spool(tmp_path)
    head = again.peek()
    assert head is not None
    assert (head[1], books.books().spooled, books.books().possible_duplicates) == (4, 6, 0)


def test_a_spool_that_was_emptied_before_a_restart_hides_nothing_that_comes_after_it(tmp_path: Path) -> None:
    first, account = open_spool(tmp_path)
    put(first, account, *map(batch, range(5)))
    drain(first, account)
    second, account = open_spool(tmp_path)
    put(second, account, batch(7))
    third, account = open_spool(tmp_path)
    assert numbers(drain(third, account)) == [7]


def test_series_are_named_once_in_a_segment(tmp_path: Path) -> None:
    spool, account = open_spool(tmp_path)
    put(spool, account, batch(0))
    first = spool.size
    put(spool, account, batch(1))
    assert spool.size - first < first / 2


def test_prepended_batches_come_first_also_after_a_restart(tmp_path: Path) -> None:
    spool, account = open_spool(tmp_path)
    put(spool, account, batch(1), batch(2))
    drain(spool, account, 20)  # the spool is empty, and the cursor names the segment that was
    put(spool, account, batch(5), batch(6))
    spool.prepend([batch(3), batch(4)])
    account.produce(20, "spooled")
    again, books = open_spool(tmp_path)
    assert numbers(drain(again, books)) == [3, 4, 5, 6]


def test_the_cap_on_bytes_drops_the_oldest_and_counts_them(tmp_path: Path) -> None:
    spool, account = open_spool(tmp_path, most=64 << 10)
    for number in range(2000):
        put(spool, account, batch(number))
        assert spool.size <= 64 << 10
    assert sum(path.stat().st_size for path in tmp_path.glob("*.segment")) == spool.size > 48 << 10
    dropped = account.books().dropped["spool_full"]
    out = numbers(drain(spool, account))
    assert out == list(range(dropped // 10, 2000))
    assert account.books().balanced


def test_what_is_being_sent_is_not_dropped_meanwhile(tmp_path: Path) -> None:
    spool, account = open_spool(tmp_path, most=64 << 10)
    put(spool, account, batch(0))
    head = spool.peek()
    assert head is not None
    for number in range(1, 2000):
        put(spool, account, batch(number))
    account.deliver(10, "spooled")
    spool.done(10)
    assert account.books().balanced
    out = numbers(drain(spool, account))
    assert out == sorted(out)
    assert account.books().balanced
    assert account.books().spooled == 0


def test_segments_that_are_too_old_are_dropped_and_counted(tmp_path: Path) -> None:
    spool, account = open_spool(tmp_path, most=64 << 10)
    put(spool, account, *map(batch, range(300)))
    later, books = open_spool(tmp_path, most=64 << 10, now=START + 3600 + 250)
    put(later, books, batch(3700))
    assert 0 < books.books().dropped["too_old"] <= 2500
    assert books.books().balanced
    assert numbers(drain(later, books))[-1] == 3700


def test_a_batch_that_never_fits_is_refused_and_nothing_else_is_harmed(tmp_path: Path) -> None:
    spool, account = open_spool(tmp_path, most=8 << 10)
    put(spool, account, batch(1))
    many = tuple(Series(LEVEL, (os.urandom(8).hex(),)) for _ in range(4000))
    with pytest.raises(SpoolError) as refused:
        spool.append(Batch("series", START, 1.0, many, array("d", [random.random() for _ in many])))
    assert refused.value.reason == "spool_full"
    put(spool, account, batch(2))
    assert numbers(drain(spool, account))[-1] == 2
    assert account.books().balanced


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A spool of 20 batches in one segment."""
    folder = tmp_path_factory.mktemp("written")
    spool, account = open_spool(folder)
    put(spool, account, *[batch(number, size_of(number)) for number in range(20)])
    spool.close()
    return folder


def size_of(number: int) -> int:
    """Not always the same series, so that the segment has more than one layout."""
    return 6 + number // 4


def damaged(written: Path, folder: Path, begin: int, data: bytes) -> Path:
    shutil.copytree(written, folder)
    (segment,) = folder.glob("*.segment")
    content = bytearray(segment.read_bytes())
    content[begin : begin + len(data)] = data
    segment.write_bytes(content)
    return folder


def test_damage_anywhere_costs_what_it_hit_and_never_the_rest_nor_a_wrong_value(written: Path, tmp_path: Path) -> None:
    (segment,) = written.glob("*.segment")
    size = segment.stat().st_size
    whole = segment.read_bytes()
    for begin in range(0, size, 7):
        spoilt = bytes(each ^ 0xA5 for each in whole[begin : begin + 3])
        folder = damaged(written, tmp_path / str(begin), begin, spoilt)
        spool, account = open_spool(folder)
        out = drain(spool, account)
        books = account.books()
        assert books.balanced
        assert (books.queued, books.spooled) == (0, 0)
        assert numbers(out) == sorted(numbers(out))
        for each in out:
            number = int(each.time - START)
            assert list(each.values) == list(batch(number, size_of(number)).values)
            assert [s.labels for s in each.series] == [s.labels for s in SERIES[: size_of(number)]]
        # One with points costs itself, one with names all that use them: the first names are all batches'.
        assert len(out) >= 4 or begin < 700, begin
        assert spool.corrupt or len(out) >= 19
        assert not list(folder.glob("*.segment"))
        put(spool, account, batch(50))
        assert numbers(drain(spool, account)) == [50]
        shutil.rmtree(folder)


def test_a_name_that_is_lost_costs_its_own_series_only_and_nobody_takes_its_place(tmp_path: Path) -> None:
    given = [Batch("series", START + n, 1.0, SERIES[n : n + 1], array("d", [float(n)])) for n in range(10)]
    spool, account = open_spool(tmp_path / "written")
    put(spool, account, *given)
    size = spool.size
    spool.close()
    for begin in range(0, size, 10):
        spool, account = open_spool(damaged(tmp_path / "written", tmp_path / str(begin), begin, b"\xff\xff"))
        out = drain(spool, account)
        assert len(out) >= 8 or begin < 200, "the first names are also those of the metric"
        assert all(each.series[0].labels == SERIES[int(each.values[0])].labels for each in out)  # type: ignore[arg-type]


def test_a_segment_that_is_cut_off_anywhere_gives_what_is_whole(written: Path, tmp_path: Path) -> None:
    (segment,) = written.glob("*.segment")
    for size in range(0, segment.stat().st_size, 11):
        folder = tmp_path / str(size)
        shutil.copytree(written, folder)
        (copy,) = folder.glob("*.segment")
        os.truncate(copy, size)
        spool, account = open_spool(folder)
        assert spool.corrupt == 0, "what was being written when the agent ended is no damage"
        out = numbers(drain(spool, account))
        assert out == list(range(len(out)))
        assert account.books().balanced
        shutil.rmtree(folder)


def test_damage_is_named_and_other_segments_are_delivered(
    written: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = damaged(written, tmp_path / "spool", 0, b"\0" * 100_000)
    spool, account = open_spool(folder)
    put(spool, account, batch(30))
    assert numbers(drain(spool, account)) == [30]
    folder = damaged(written, tmp_path / "middle", 1500, b"\0" * 200)
    spool, account = open_spool(folder)
    assert 16 <= len(drain(spool, account)) < 20
    assert any("middle" in record.getMessage() and "byte 1" in record.getMessage() for record in caplog.records)


def test_a_damaged_cursor_repeats_and_loses_nothing(tmp_path: Path) -> None:
    spool, account = open_spool(tmp_path)
    put(spool, account, *map(batch, range(4)))
    drain(spool, account, 20)
    (tmp_path / "cursor").write_bytes(struct.pack("<4sQ", b"PXC1", 1))
    again, books = open_spool(tmp_path)
    assert numbers(drain(again, books)) == [0, 1, 2, 3]


def test_a_full_disk_refuses_with_its_reason_and_recovers_by_itself(tmp_path: Path) -> None:
    spool, account = open_spool(tmp_path)
    put(spool, account, batch(1))
    (segment,) = tmp_path.glob("*.segment")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (segment.stat().st_size + 60, hard))
    try:
        with pytest.raises(SpoolError) as refused:
            spool.append(Batch("series", START + 2, 1.0, SERIES, array("d", [random.random() for _ in SERIES])))
        assert refused.value.reason == "disk_full"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    put(spool, account, batch(3), batch(4))
    assert numbers(drain(spool, account)) == [1, 3, 4]
    assert spool.corrupt == 0


CHILD = textwrap.dedent("""
    import os, sys
    from pathlib import Path
    from tests.agent.export.test_spool import batch, open_spool
    folder, start = Path(sys.argv[1]), int(sys.argv[2])
    spool, account = open_spool(folder)
    number, delivered = start, 0
    print("ready", flush=True)
    while True:
        for _ in range(3):
            spool.append(batch(number))
            os.write(1, b"a %d\\n" % number)  # acknowledged
            number += 1
        head = spool.peek()
        if head is not None and number % 2:
            data, done = head
            points = min(4, len(data) - done)
            spool.sending(points)
            os.write(1, b"d %d %d %d\\n" % (int(data.time - 1_800_000_000), done, done + points))  # the vendor has it
            spool.done(points)
""")


def test_sigkill_at_any_moment_loses_nothing_and_repeats_the_request_in_flight_at_most(tmp_path: Path) -> None:
    acknowledged: set[int] = set()
    delivered: dict[tuple[int, int], int] = {}
    duplicates = number = 0
    delays = random.Random(7)
    for _ in range(ROUNDS):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(tmp_path), str(number)], stdout=subprocess.PIPE, cwd=ROOT
        )
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        first = [child.stdout.readline() for _ in range(delays.randrange(1, 60))]
        child.send_signal(signal.SIGKILL)
        lines = [*first, *child.stdout.read().splitlines(keepends=True)]
        child.stdout.close()
        child.wait(10)
        for line in lines:
            what, *values = line.split()
            if what == b"a":
                acknowledged.add(int(values[0]))
            else:
                at, begin, end = map(int, values)
                for point in range(begin, end):
                    delivered[at, point] = delivered.get((at, point), 0) + 1
        # one that was written and not yet acknowledged may be there as well
        number = max(acknowledged) + 2
        spool, account = open_spool(tmp_path)
        duplicates += account.books().possible_duplicates
        spool.close()
    spool, account = open_spool(tmp_path)
    while (head := spool.peek()) is not None:
        data, done = head
        at = int(data.time - START)
        assert list(data.values) == list(batch(at).values)
        for point in range(done, len(data)):
            delivered[at, point] = delivered.get((at, point), 0) + 1
        account.deliver(len(data) - done, "spooled")
        spool.done(len(data) - done)
    assert {(at, point) for at in acknowledged for point in range(10)} <= set(delivered)
    again = sum(times - 1 for times in delivered.values())
    assert again <= duplicates + account.books().possible_duplicates
    assert again <= 4 * ROUNDS
    assert max(delivered.values()) <= 3
