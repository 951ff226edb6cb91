"""A pipe that is stopped, or killed, and the one that comes after it: nothing is lost, nothing counts twice unsaid."""

import shutil
import threading
import time
from pathlib import Path

import pytest

from agent.api import Answer, Batch, Body, ExportConfig
from agent.export import baseline
from agent.export.pipe import ExportPipe
from tests.agent.export.piped import Make, make, patient, wait_until_settled
from tests.agent.export.scripted import (
    ACCEPT,
    REFUSED,
    RETRY,
    START,
    Scripted,
    hits,
    level,
    snapshot,
)
from tests.waiting import wait_until

__all__ = ["make"]


def test_a_stop_keeps_what_could_not_be_delivered_for_the_next_run(make: Make) -> None:
    pipe = make(Scripted(usual=RETRY), retry=patient)
    for turn in range(10):
        pipe.offer(snapshot(turn, level(turn), hits(turn)))
    pipe.stop(1.0)
    books = pipe.account.books()
    assert books.balanced
    assert (books.queued, books.spooled) == (0, 19)
    # when the agent runs again, and the vendor as well
    vendor = Scripted()
    after = make(vendor)
    after.offer(snapshot(100, level(10), hits(25)))
    wait_until_settled(after)
    # then it is all there, in order, and what was counted while nobody ran
    assert vendor.values() == list(range(11))
    assert vendor.values("predis_hits_total") == [1.0] * 9 + [16.0]
    assert after.account.books().produced == 19 + 2


def test_a_stop_delivers_what_is_in_memory_if_the_vendor_takes_it(make: Make) -> None:
    slow = threading.Event()

    def slowly(body: Body) -> Answer:
        slow.wait(0.01)
        return ACCEPT

    vendor = Scripted(usual=slowly)
    pipe = make(vendor)
    for turn in range(20):
        pipe.offer(snapshot(turn, level(turn)))
    pipe.stop(5.0)
    assert vendor.values() == list(range(20))
    assert (pipe.account.books().spooled, vendor.closed) == (0, 1)


def test_a_stop_does_not_wait_for_a_request_that_hangs_and_keeps_its_points(make: Make) -> None:
    let_go = threading.Event()

    def hang(body: Body) -> Answer:
        let_go.wait(30)
        return ACCEPT

    pipe = make(Scripted(hang))
    pipe.offer(snapshot(0, level(0)))
    pipe.offer(snapshot(1, level(1)))
    wait_until(lambda: pipe._work is not None and pipe._work.sending)
    began = time.monotonic()
    pipe.stop(0.3)
    assert time.monotonic() - began < 2
    books = pipe.account.books()
    assert books.balanced
    assert (books.spooled, books.delivered, books.possible_duplicates) == (2, 0, 1)
    let_go.set()
    pipe._thread.join(5)
    assert pipe.account.books() == books  # what comes back late changes nothing
    vendor = Scripted()
    after = make(vendor)
    wait_until_settled(after)
    assert vendor.values() == [0.0, 1.0]


def test_after_a_stop_that_was_cut_short_nothing_is_sent_and_the_destination_is_closed(make: Make) -> None:
    let_go, began = threading.Event(), threading.Event()

    class SlowToEncode(Scripted):
        def encode(self, batch: Batch) -> bytes:
            began.set()
            let_go.wait(30)
            return super().encode(batch)

    vendor = SlowToEncode()
    pipe = make(vendor)
    pipe.offer(snapshot(0, level(0)))
    assert began.wait(10)
    pipe.stop(0.2)
    assert pipe.account.books().spooled == 1, "the next run sends it"
    assert vendor.closed == 0, "it is still in use"
    let_go.set()
    pipe._thread.join(5)
    assert (vendor.requests, vendor.closed) == ([], 1)


def test_a_destination_that_fails_or_hangs_in_close_holds_nobody_up(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    let_go = threading.Event()

    class Fails(Scripted):
        def close(self) -> None:
            raise ConnectionError("gone")

    class Hangs(Scripted):
        def close(self) -> None:
            let_go.wait(30)

    make(Fails()).stop(5.0)
    began = time.monotonic()
    make(Hangs()).stop(0.3)
    assert time.monotonic() - began < 2
    let_go.set()
    assert [record.getMessage() for record in caplog.records] == [
        "exporter test failed in close: ConnectionError: gone",
        "exporter test hangs in close: it is left behind",
    ]


def test_the_baseline_says_no_more_than_has_left_the_memory(make: Make, tmp_path: Path) -> None:
    let_go = threading.Event()

    def hang(body: Body) -> Answer:
        let_go.wait(30)
        return ACCEPT

    file = tmp_path / "export" / "baseline"
    pipe = make(Scripted(ACCEPT, hang))
    pipe.offer(snapshot(0, hits(1), level(1)))
    wait_until(lambda: (kept := baseline.load(file)) is not None and kept.time == START)
    pipe.offer(snapshot(1, hits(5), level(1)))
    pipe.offer(snapshot(2, hits(9), level(1)))
    wait_until(lambda: pipe._work is not None and pipe._work.sending)
    # what is under way could still be lost with the process
    kept = baseline.load(file)
    assert kept is not None
    assert (kept.time, list(kept.counters)) == (START, [1.0])
    let_go.set()
    wait_until(lambda: (kept := baseline.load(file)) is not None and kept.time == START + 2)


def test_the_baseline_follows_the_spool_while_a_vendor_is_waited_for(make: Make, tmp_path: Path) -> None:
    pipe = make(Scripted(usual=RETRY), retry=patient)
    for turn in range(5):
        pipe.offer(snapshot(turn, hits(turn), level(0)))
    wait_until(lambda: pipe.account.books().spooled == 9)
    file = tmp_path / "export" / "baseline"
    wait_until(lambda: (kept := baseline.load(file)) is not None and kept.time == START + 4)


def test_what_was_spooled_while_a_request_hung_counts_once_after_a_kill(make: Make, tmp_path: Path) -> None:
    let_go = threading.Event()

    def hang(body: Body) -> Answer:
        let_go.wait(30)
        return REFUSED

    vendor = Scripted(ACCEPT, RETRY, hang)
    pipe = make(vendor)
    pipe.offer(snapshot(0, hits(10), level(0)))
    wait_until_settled(pipe)
    pipe.offer(snapshot(1, hits(13), level(1)))
    wait_until(lambda: pipe._work is not None and pipe._work.place == "spooled" and pipe._work.sending)
    for turn in range(2, 10):
        pipe.offer(snapshot(turn, hits(10 + 3 * turn), level(turn)))
    assert pipe.account.books().spooled == 2 * 9
    # when the process ends here, and the folder is all that is left of it
    shutil.copytree(tmp_path / "export", tmp_path / "left" / "export")
    let_go.set()
    heir = Scripted()
    after = ExportPipe("test", heir, ExportConfig(), tmp_path / "left" / "export")
    after.offer(snapshot(20, hits(50), level(20)))
    wait_until_settled(after)
    after.stop(1.0)
    assert sum(heir.values("predis_hits_total")) == 40.0


def test_what_was_spooled_just_before_a_kill_counts_as_possible_duplicates(make: Make, tmp_path: Path) -> None:
    pipe = make(Scripted(), queue=1)
    pipe.offer(snapshot(0, hits(10), level(0)))
    wait_until_settled(pipe)
    file = tmp_path / "export" / "baseline"
    wait_until(lambda: (kept := baseline.load(file)) is not None and kept.time == START)
    with pipe._saving:  # the process ends before the next baseline is kept
        pipe.offer(snapshot(1, hits(13), level(1)))
        assert pipe.account.books().spooled == 2
        shutil.copytree(tmp_path / "export", tmp_path / "left" / "export")
    after = ExportPipe("test", Scripted(), ExportConfig(), tmp_path / "left" / "export")
    assert after.account.books().possible_duplicates == 2
    after.stop(1.0)


def test_what_was_in_memory_at_a_kill_is_in_the_next_increases(make: Make, tmp_path: Path) -> None:
    let_go = threading.Event()

    def hang(body: Body) -> Answer:
        let_go.wait(30)
        return REFUSED

    vendor = Scripted(ACCEPT, hang)
    pipe = make(vendor)
    pipe.offer(snapshot(0, hits(10)))
    pipe.offer(snapshot(1, hits(13)))
    wait_until(lambda: (kept := baseline.load(tmp_path / "export" / "baseline")) is not None and kept.counters[0] == 13)
    pipe.offer(snapshot(2, hits(17)))
    pipe.offer(snapshot(3, hits(20)))
    wait_until(lambda: pipe._work is not None and pipe._work.sending)
    # when the process ends here, and the folder is all that is left of it
    shutil.copytree(tmp_path / "export", tmp_path / "left" / "export")
    after = ExportPipe("test", vendor, ExportConfig(), tmp_path / "left" / "export")
    assert after.account.books().possible_duplicates == 1, "the one that was under way may have been taken"
    after.offer(snapshot(9, hits(24)))
    wait_until_settled(after)
    after.stop(1.0)
    let_go.set()
    assert vendor.values("predis_hits_total") == [3.0, 11.0]
    again = ExportPipe("test", vendor, ExportConfig(), tmp_path / "left" / "export")
    assert again.account.books().possible_duplicates == 0
    again.stop(1.0)
