"""The pipe between snapshots and a vendor that does what a test tells it: nothing is lost, doubled or out of order."""

import random
import resource
import threading
import time
from itertools import pairwise
from pathlib import Path

import pytest

from agent.api import Answer, Batch, Body, Event, Limits, Sample, Verdict
from agent.export import report
from agent.export.retry import Circuit, Retry
from tests.agent.export.piped import Make, make, patient, wait_until_settled
from tests.agent.export.scripted import (
    ACCEPT,
    LOST,
    REFUSED,
    RETRY,
    START,
    TOO_LARGE,
    Scripted,
    hits,
    level,
    snapshot,
    times,
)
from tests.waiting import wait_until

__all__ = ["make"]


def test_what_is_offered_is_delivered_and_accounted_for(make: Make) -> None:
    vendor = Scripted()
    pipe = make(vendor)
    assert pipe.offer(snapshot(0, level(1.0), hits(10), times((1, 0, 0), 0.1))) == 1  # counters have no delta yet
    assert pipe.offer(snapshot(10, level(2.0), hits(13), times((1, 2, 0), 1.6))) == 3
    wait_until_settled(pipe)
    assert vendor.values() == [1.0, 2.0]
    assert vendor.values("predis_hits_total") == [3.0]
    assert vendor.values("predis_time_seconds") == [pytest.approx(1.5)]
    books = pipe.account.books()
    assert (books.produced, books.delivered, dict(books.dropped)) == (4, 4, {})


@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
def test_bodies_are_compressed_as_configured(make: Make, compression: str) -> None:
    encodings = []

    def look(body: Body) -> Answer:
        encodings.append(body.encoding)
        return ACCEPT

    vendor = Scripted(look)
    pipe = make(vendor, compression=compression)
    pipe.offer(snapshot(0, level(1.0)))
    wait_until_settled(pipe)
    assert encodings == ["" if compression == "none" else compression]
    assert vendor.values() == [1.0]


def test_requests_are_no_larger_than_the_vendor_takes(make: Make) -> None:
    vendor = Scripted(limits=Limits(7, 1 << 20, 1 << 20, oldest=1e9, newest=1e9))
    pipe = make(vendor)
    pipe.offer(snapshot(0, *[level(n, str(n)) for n in range(50)]))
    wait_until_settled(pipe)
    assert [len(batch) for batch in vendor.requests] == [7] * 7 + [1]
    assert [value for batch in vendor.taken for value in batch.values] == list(range(50))


def test_a_body_over_the_limit_of_bytes_is_cut_before_it_is_sent(make: Make) -> None:
    vendor = Scripted(limits=Limits(1000, 500, 1 << 20, oldest=1e9, newest=1e9))
    pipe = make(vendor)
    for turn in range(3):
        pipe.offer(snapshot(turn, *[level(n, str(n)) for n in range(100)]))
    wait_until_settled(pipe)
    assert max(len(vendor.encode(batch)) for batch in vendor.requests) <= 500
    assert pipe.account.books().delivered == 300
    # having learned what a point takes, it needs no more requests than that
    assert len(vendor.requests) < 3 * 100 / 6


def test_too_large_is_cut_down_to_the_one_point_that_never_fits(make: Make) -> None:
    def no_thirteen(body: Body) -> Answer:
        return TOO_LARGE if b'"13"' in body.data else ACCEPT

    vendor = Scripted(usual=no_thirteen)
    pipe = make(vendor)
    pipe.offer(snapshot(0, *[level(n, str(n)) for n in range(40)]))
    wait_until_settled(pipe)
    books = pipe.account.books()
    assert (books.delivered, dict(books.dropped)) == (39, {"too_large": 1})
    assert [value for batch in vendor.taken for value in batch.values] == [n for n in range(40) if n != 13]


def test_a_point_that_cannot_be_encoded_is_dropped_alone(make: Make) -> None:
    vendor = Scripted()
    vendor.unencodable = {13.0}
    pipe = make(vendor)
    pipe.offer(snapshot(0, *[level(n, str(n)) for n in range(40)]))
    wait_until_settled(pipe)
    assert dict(pipe.account.books().dropped) == {"encode_failed": 1}
    assert pipe.account.books().delivered == 39
    assert "this value is not for me" in (pipe.last_error or "")


def test_what_no_vendor_takes_is_dropped_before_it_is_sent(make: Make) -> None:
    vendor = Scripted(limits=Limits(1000, 1 << 20, 1 << 20, oldest=1e9, newest=1e9, largest=1e6))
    pipe = make(vendor)
    nan, infinite = float("nan"), float("inf")
    pipe.offer(snapshot(0, level(nan, "n"), level(1.0), level(-infinite, "i"), level(1e7, "l"), hits(5)))
    pipe.offer(snapshot(1, level(2.0), hits(nan)))
    pipe.offer(snapshot(2, level(3.0), hits(9)))
    wait_until_settled(pipe)
    assert dict(pipe.account.books().dropped) == {"not_finite": 3, "value_too_large": 1}
    assert vendor.values() == [1.0, 2.0, 3.0]
    assert vendor.values("predis_hits_total") == [4.0]  # counted on from before the NaN


def test_points_that_are_too_old_or_too_new_for_the_vendor_are_dropped(make: Make) -> None:
    vendor = Scripted(limits=Limits(1000, 1 << 20, 1 << 20, oldest=3600, newest=600))
    pipe = make(vendor)
    for offset in (-4000, -10, 10, 700):
        pipe.offer(snapshot(time.time() - START + offset, level(offset)))
    wait_until_settled(pipe)
    assert vendor.values() == [-10, 10]
    assert dict(pipe.account.books().dropped) == {"too_old": 1, "too_new": 1}


def test_after_failures_all_is_delivered_in_order(make: Make) -> None:
    vendor = Scripted(RETRY, RETRY, ConnectionError("gone"), RETRY)
    pipe = make(vendor)
    for turn in range(30):
        pipe.offer(snapshot(turn, level(turn), hits(turn * 2)))
    wait_until_settled(pipe)
    assert vendor.values() == list(range(30))
    assert vendor.values("predis_hits_total") == [2.0] * 29
    books = pipe.account.books()
    assert (books.delivered, books.possible_duplicates) == (59, 1)  # the exception told nothing
    assert (pipe.retry.failures, pipe.retry.wait) == (0, 0.0)
    wait_until(lambda: not list(pipe.lanes["series"].spool.folder.glob("*.segment")))


def test_an_answer_that_was_lost_is_counted_as_a_possible_duplicate(make: Make) -> None:
    vendor = Scripted(LOST)
    pipe = make(vendor)
    pipe.offer(snapshot(0, level(1.0), level(2.0, "b")))
    wait_until_settled(pipe)
    assert vendor.values() == [1.0, 1.0]
    assert pipe.account.books().possible_duplicates == 2


def test_a_refusal_is_dropped_with_its_reason_and_not_sent_again(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    vendor = Scripted(usual=REFUSED)
    pipe = make(vendor)
    for turn in range(5):
        pipe.offer(snapshot(turn, level(turn)))
    wait_until_settled(pipe)
    assert len(vendor.requests) == 5
    assert dict(pipe.account.books().dropped) == {"http_403": 5}
    assert [record.getMessage() for record in caplog.records] == [
        "exporter test: 1 points dropped (http_403): no such key"
    ]


def test_points_that_an_accepting_vendor_rejects_are_dropped_as_rejected(make: Make) -> None:
    pipe = make(Scripted(Answer(Verdict.accepted, rejected=2, detail="names")))
    pipe.offer(snapshot(0, *[level(n, str(n)) for n in range(5)]))
    wait_until_settled(pipe)
    books = pipe.account.books()
    assert (books.delivered, dict(books.dropped)) == (3, {"rejected": 2})


def test_a_request_that_hangs_delays_no_offer_and_is_shown(make: Make) -> None:
    let_go = threading.Event()

    def hang(body: Body) -> Answer:
        let_go.wait(30)
        return ACCEPT

    vendor = Scripted(hang)
    pipe = make(vendor, queue=100, timeout=0.1)
    pipe.offer(snapshot(0, level(0)))
    wait_until(lambda: pipe.courier.hanging)
    began = time.monotonic()
    for turn in range(1, 500):
        pipe.offer(snapshot(turn, level(turn)))
    assert time.monotonic() - began < 5
    books = pipe.account.books()
    assert books.balanced
    assert books.queued <= 101  # the one that hangs, and the bound
    assert books.spooled >= 390
    let_go.set()
    wait_until_settled(pipe)
    assert vendor.values() == list(range(500))


@pytest.mark.parametrize("answer", [RETRY, LOST, ACCEPT])
def test_what_hung_while_others_went_to_the_spool_comes_before_them(make: Make, answer: Answer) -> None:
    let_go = threading.Event()

    def hang(body: Body) -> Answer:
        let_go.wait(30)
        return answer

    vendor = Scripted(ACCEPT, hang, limits=Limits(1, 1 << 20, 1 << 20, oldest=1e9, newest=1e9))
    pipe = make(vendor, queue=3)
    pipe.offer(snapshot(0, level(-1.0), level(0.0, "b"), level(1.0, "c")))
    wait_until(lambda: len(vendor.requests) == 1 and not vendor.script)
    for turn in range(1, 20):
        pipe.offer(snapshot(turn, level(turn)))
    wait_until(lambda: pipe.account.books().spooled)
    let_go.set()
    wait_until_settled(pipe)
    order = [value for batch in vendor.taken for value in batch.values]
    again = [0.0] if answer is LOST else []
    assert order == [-1.0, 0.0, *again, 1.0, *range(1, 20)]


def test_while_the_vendor_fails_all_that_waits_is_on_the_disk(make: Make) -> None:
    vendor = Scripted(usual=RETRY)
    pipe = make(vendor, retry=patient)
    for turn in range(10):
        pipe.offer(snapshot(turn, level(turn)))
    wait_until(lambda: pipe.account.books().spooled == 10)
    assert pipe.account.books().queued == 0


def test_events_are_delivered_like_points_and_together(make: Make) -> None:
    vendor = Scripted(RETRY)
    pipe = make(vendor)
    for number in range(5):
        pipe.emit(Event(START + number, "test", f"event {number}", attributes={"a": "b"}, duration=1.0))
    wait_until_settled(pipe)
    wait_until(lambda: sum(len(batch.events) for batch in vendor.taken) == 5)
    events = [event for batch in vendor.taken for event in batch.events]
    assert [event.title for event in events] == [f"event {number}" for number in range(5)]
    assert events[0] == Event(START, "test", "event 0", attributes={"a": "b"}, duration=1.0)
    assert pipe.account.books().delivered == 5


def test_an_event_never_waits_for_a_vendor_that_hangs_and_there_is_an_end_to_them(make: Make) -> None:
    let_go = threading.Event()

    def hang(body: Body) -> Answer:
        let_go.wait(30)
        return ACCEPT

    pipe = make(Scripted(hang))
    pipe.emit(Event(START, "test", "first"))
    wait_until(lambda: pipe._work is not None and pipe._work.sending)
    for number in range(3000):
        pipe.emit(Event(START, "test", str(number)))
    assert pipe.account.books().dropped["queue_full"] == 2000
    let_go.set()
    wait_until(lambda: pipe.account.books().delivered == 1001)
    assert pipe.account.books().balanced


def test_a_disk_that_takes_nothing_costs_the_oldest_and_no_memory(make: Make, tmp_path: Path) -> None:
    # given a file where the folder should be
    (tmp_path / "export").touch()
    vendor = Scripted(usual=RETRY)
    pipe = make(vendor, queue=10)
    # when more waits than the memory may hold
    for turn in range(50):
        pipe.offer(snapshot(turn, level(turn)))
    wait_until(lambda: pipe.retry.failures)
    books = pipe.account.books()
    assert books.balanced
    assert books.dropped["disk_error"] >= 39
    assert books.queued <= 11
    # and the vendor comes back: then what is left arrives in order, the newest last
    vendor.usual = ACCEPT
    wait_until_settled(pipe)
    arrived = vendor.values()
    assert arrived == sorted(arrived)
    assert arrived[-1] == 49


def test_the_vendors_wish_to_wait_is_obeyed() -> None:
    now = [0.0]
    retry = Retry(clock=lambda: now[0], uniform=lambda low, high: low)
    retry.failed(retry_after=30.0)
    assert retry.wait == 30.0
    retry.failed(retry_after=1e9)
    assert retry.wait == 3600.0
    retry.succeeded()
    assert retry.wait == 0.0


def test_the_circuit_opens_after_failures_in_a_row_and_lets_one_request_find_out() -> None:
    now = [0.0]
    retry = Retry(clock=lambda: now[0], uniform=lambda low, high: high)
    seen = []
    for _ in range(8):
        retry.failed()
        seen.append((retry.wait, str(retry.circuit)))
    assert seen[:4] == [(1.0, "closed"), (2.0, "closed"), (4.0, "closed"), (8.0, "closed")]
    assert seen[4:] == [(16.0, "open"), (32.0, "open"), (60.0, "open"), (60.0, "open")]
    now[0] = 61.0
    assert retry.circuit is Circuit.half_open
    retry.failed()
    assert retry.circuit is Circuit.open
    retry.succeeded()
    assert retry.circuit is Circuit.closed


def test_it_says_of_itself_how_it_is(make: Make) -> None:
    vendor = Scripted(usual=RETRY)
    pipe = make(vendor, retry=patient)
    pipe.offer(snapshot(time.time() - START - 100, level(1), Sample("predis_build_info", 1, ("1",))))
    wait_until(lambda: pipe.account.books().spooled == 1)
    told = report.status(pipe)
    assert (told["produced"], told["spooled"], told["unsupported_series"]) == (1, 1, 1)
    assert 99 < told["lag_seconds"] < 130
    assert told["spool_bytes"] > 0
    assert (told["failures_in_a_row"], told["circuit"], told["requests"]["retry"]) == (1, "closed", 1)
    assert told["retry_in"] > 9000
    assert "busy" in told["last_error"]
    samples = {sample.key: sample.value for sample in report.collect(pipe)}
    assert samples["predis_export_points_total", ("test", "produced")] == 1
    assert samples["predis_export_spool_points", ("test",)] == 1
    assert {name for name, _ in samples} | {"predis_export_dropped_points_total"} == {s.name for s in report.SPECS}


def test_it_is_late_when_the_vendor_takes_nothing_though_it_was_offered(make: Make) -> None:
    vendor = Scripted(usual=REFUSED)
    pipe = make(vendor)
    assert report.late(pipe, 0.0) is None, "there was nothing to deliver"
    pipe.offer(snapshot(0, level(1)))
    wait_until_settled(pipe)
    wait_until(lambda: report.late(pipe, 0.01))
    assert "no such key" in (report.late(pipe, 0.01) or "")
    assert report.late(pipe, 60.0) is None
    vendor.usual = ACCEPT
    pipe.offer(snapshot(1, level(1)))
    wait_until(lambda: report.late(pipe, 0.0) is None)


def test_it_is_not_late_when_there_was_nothing_to_say(make: Make) -> None:
    class OnlyWhatCounts(Scripted):
        def encode(self, batch: Batch) -> bytes:
            return b"" if not any(batch.values) else super().encode(batch)

    vendor = OnlyWhatCounts()
    pipe = make(vendor)
    # given a cache at rest, for longer than anybody is patient
    pipe.offer(snapshot(0, level(0.0)))
    wait_until_settled(pipe)
    wait_until(lambda: pipe.waits_since is not None and time.monotonic() - pipe.waits_since > 0.2)
    pipe.offer(snapshot(1, level(0.0)))
    wait_until_settled(pipe)
    assert report.late(pipe, 0.1) is None
    # but once something waits for a vendor that does not take it, that there is nothing else to say is no excuse
    vendor.usual = RETRY
    pipe.offer(snapshot(2, level(1.0)))
    wait_until(lambda: pipe.retry.failures)
    pipe.offer(snapshot(3, level(0.0)))
    wait_until(lambda: report.late(pipe, 0.1))


def test_a_disk_that_is_full_is_used_again_when_it_has_room(make: Make) -> None:
    vendor = Scripted(usual=RETRY)
    pipe = make(vendor, queue=5)
    pipe.offer(snapshot(0, level(0)))
    wait_until(lambda: pipe.account.books().spooled == 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, hard))
    try:
        for turn in range(1, 20):
            pipe.offer(snapshot(turn, level(turn)))
        books = pipe.account.books()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert books.balanced
    assert (books.queued, books.spooled, dict(books.dropped)) == (5, 1, {"disk_full": 14})
    # when there is room again: what is in memory goes to the disk, and all that is left arrives in order
    pipe.offer(snapshot(20, level(20)))
    assert (pipe.account.books().queued, pipe.account.books().spooled) == (0, 7)
    vendor.usual = ACCEPT
    wait_until_settled(pipe)
    assert vendor.values() == [0, *range(15, 21)]


class TwoLanes(Scripted):
    """The events' interface fails as long as it is `down`, the points' works; or the other way round."""

    def __init__(self, down: str) -> None:
        super().__init__(usual=self.answer)
        self.down = down

    def answer(self, body: Body) -> Answer:
        return RETRY if body.lane == self.down else ACCEPT


@pytest.mark.parametrize("down", ["events", "series"])
def test_a_lane_that_fails_holds_no_other_up(make: Make, down: str) -> None:
    vendor = TwoLanes(down)
    pipe = make(vendor)
    for turn in range(5):
        pipe.emit(Event(START + turn, "test", f"event {turn}"))
        pipe.offer(snapshot(turn, level(turn)))
        wait_until(lambda turn=turn: pipe.account.books().spooled == pipe.account.books().delivered == turn + 1)
    assert report.status(pipe)["failing_lanes"] == [down]
    assert {batch.lane for batch in vendor.taken} == {"events", "series"} - {down}
    # and is delivered in its own order when the vendor takes it again
    vendor.down = ""
    wait_until_settled(pipe)
    wait_until(lambda: pipe.account.books().delivered == 10)
    assert vendor.values() == list(range(5))
    titles = [event.title for batch in vendor.taken for event in batch.events]
    assert titles == [f"event {turn}" for turn in range(5)]
    assert report.status(pipe)["failing_lanes"] == []


def test_the_next_run_finds_what_each_lane_spooled(make: Make) -> None:
    pipe = make(Scripted(usual=RETRY), retry=patient)
    pipe.emit(Event(START, "test", "an event"))
    pipe.offer(snapshot(0, level(1)))
    wait_until(lambda: pipe.account.books().spooled == 2)
    pipe.stop(1.0)
    vendor = Scripted()
    after = make(vendor)
    wait_until_settled(after)
    assert sorted(batch.lane for batch in vendor.taken) == ["events", "series"]


def test_lanes_share_what_they_may_take_of_memory_and_disk(make: Make) -> None:
    vendor = Scripted(usual=RETRY, lanes=("one", "two/..", "three"))
    pipe = make(vendor, retry=patient, queue=50, spool=64 << 10)
    rng = random.Random(1)
    for turn in range(60):
        pipe.offer(snapshot(turn, *[level(rng.random(), str(n)) for n in range(100)]))
        books = pipe.account.books()
        assert books.balanced
        assert books.queued <= 50 + 300
        assert pipe.lanes.size <= 64 << 10
    books = pipe.account.books()
    assert books.spooled > 1000
    assert set(books.dropped) == {"spool_full"}
    # of each lane the newest is there
    vendor.usual = ACCEPT
    for lane in pipe.lanes:
        lane.retry.succeeded()
    pipe.offer(snapshot(60, level(1.0)))
    wait_until_settled(pipe)
    newest = {lane: max(batch.time for batch in vendor.taken if batch.lane == lane) for lane in vendor.lane_names}
    assert set(newest.values()) == {START + 60}
    for name in vendor.lane_names:
        times_of_lane = [batch.time for batch in vendor.taken if batch.lane == name]
        assert times_of_lane == sorted(times_of_lane)


def test_lanes_take_turns(make: Make) -> None:
    vendor = Scripted(usual=RETRY, lanes=("one", "two"))
    pipe = make(vendor, retry=patient)
    for turn in range(10):
        pipe.offer(snapshot(turn, level(turn)))
    wait_until(lambda: pipe.account.books().spooled == 20 and pipe.lanes.failing == ["one", "two"])
    vendor.usual = ACCEPT
    with pipe._lock:
        for lane in pipe.lanes:
            lane.retry.succeeded()
    pipe.offer(snapshot(10, level(10)))
    wait_until_settled(pipe)
    order = [batch.lane for batch in vendor.taken]
    assert len(order) == 22
    assert all(first != second for first, second in pairwise(order))


def test_lanes_share_the_memory_while_a_request_hangs(make: Make) -> None:
    let_go = threading.Event()

    def hang(body: Body) -> Answer:
        let_go.wait(30)
        return ACCEPT

    pipe = make(Scripted(hang, lanes=("one", "two", "three")), queue=50)
    pipe.offer(snapshot(0, *[level(n, str(n)) for n in range(20)]))
    wait_until(lambda: pipe._work is not None and pipe._work.sending)
    for turn in range(1, 10):
        pipe.offer(snapshot(turn, *[level(n, str(n)) for n in range(20)]))
        assert pipe.account.books().queued <= 20 + 50, "what is being sent, and what may wait"
    let_go.set()
    wait_until_settled(pipe)
    assert pipe.account.books().delivered == 600


def test_who_asks_to_wait_is_left_alone_by_all_lanes(make: Make) -> None:
    vendor = Scripted(Answer(Verdict.retry, "http_429", "slow down", retry_after=1.0), lanes=("one", "two"))
    pipe = make(vendor)
    pipe.offer(snapshot(0, level(1.0)))
    wait_until(lambda: pipe.retry.failures)
    began = time.monotonic()
    wait_until(lambda: len(vendor.requests) > 1)
    assert time.monotonic() - began > 0.9
    wait_until_settled(pipe)
    assert sorted(batch.lane for batch in vendor.requests) == ["one", "one", "two"]
    assert pipe.lanes.failing == []
