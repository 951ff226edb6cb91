"""An hour without the vendor, in fast time, and a disk that is full meanwhile."""

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager

from agent.api import Event
from agent.export.retry import Retry
from tests.exporters.conftest import MakeRig
from tests.exporters.rig import STEP, check_values, counted
from tests.vendors.running import Vendor
from tests.waiting import wait_until

SERIES = 10
HOUR = 360  # snapshots


class Clock:
    """The exporter's time, which goes on when it is told to."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def test_an_hours_outage_is_made_up_for_in_order(vendor: Vendor, make_rig: MakeRig) -> None:
    # given an exporter whose hour ends now, and a vendor that is away in it
    began = float(int(time.time())) - HOUR * STEP
    clock = Clock(began)
    rig = make_rig(series=SERIES, queue=500, start=began, clock=clock, retry=lambda: Retry(clock))
    vendor.outage()
    for _ in range(HOUR):
        clock.now = rig.workload.time
        rig.turn()
        rig.pipe._wake.set()  # it waits in another time than its thread does
        wait_until(lambda: rig.pipe.retry.wait > 0, what="a try, if it is time for one")
    # then each of its lanes asked about once a minute (after 30 to 60 s), and nothing was lost
    lanes = 2 if vendor.name == "datadog" else 1
    tries = rig.pipe.courier.requests["retry"]
    assert 60 * lanes <= tries <= 90 * lanes
    books = rig.pipe.account.books()
    assert books.produced == books.queued + books.spooled + sum(books.dropped.values())
    assert books.queued <= 500 + 2 * rig.workload.points
    # when the vendor is back
    vendor.back()
    clock.now += 120
    rig.turn()
    rig.settle(60)
    lost = dict(rig.pipe.account.books().dropped)
    points = rig.check(lost)
    # then it has everything that it takes: Datadog nothing older than an hour
    if vendor.name != "datadog":
        assert lost == {}
        check_values(vendor.name, points, HOUR + 1, SERIES)
    else:
        assert set(lost) == {"too_old"}
        assert lost["too_old"] <= 30 * 4 * SERIES
        levels = [point.value for point in points if point.name == "predis_rig_level" and ("who", "s0") in point.tags]
        assert levels == sorted(levels)
        assert levels[-300:] == [float(turn) for turn in range(HOUR + 1 - 300, HOUR + 1)]


@contextmanager
def full_disk() -> Iterator[None]:
    """No file of this process may grow, so that each write fails, as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_full_disk_in_an_outage_costs_the_oldest_of_what_memory_cannot_hold(
    vendor: Vendor, make_rig: MakeRig
) -> None:
    rig = make_rig(series=SERIES, queue=600)
    rig.turn(2)
    rig.settle()
    vendor.outage()
    rig.turn(3)
    waits = 3 * rig.workload.points
    wait_until(lambda: rig.pipe.account.books().spooled >= waits, what="all that waits to be on the disk")
    with full_disk():
        rig.turn(40)
        books = rig.pipe.account.books()
        assert set(books.dropped) == {"disk_full"}
        assert 0 < books.queued <= 600
        assert books.spooled > 0
    lost = books.dropped["disk_full"]
    vendor.back()
    rig.settle()
    points = rig.check({"disk_full": lost})
    levels = [point.value for point in points if point.name == "predis_rig_level" and ("who", "s1") in point.tags]
    assert levels == sorted(levels), "what was kept came in order"
    assert levels[:5] == [0.0, 1.0, 2.0, 3.0, 4.0], "the disk had them before it was full"
    assert levels[-1] == rig.workload.turns - 1, "the newest are kept"


def test_events_wait_with_the_points_for_a_vendor_that_is_back(vendor: Vendor, make_rig: MakeRig) -> None:
    rig = make_rig(series=2)
    rig.turn(2)
    rig.settle()
    vendor.outage()
    rig.turn()
    wait_until(lambda: rig.pipe.retry.failures >= 2, what="failures")
    now = time.time() - 100
    rig.emit(Event(now, "plugin_quarantined", "A plugin is in quarantine", "It hung", "error", {"plugin": "x"}))
    trace = {"trace_id": "0af7651916cd43dd8448eb211c80319c", "span_id": "b7ad6b7169203331"}
    rig.emit(Event(now, "cache_restarted", "The cache was restarted", "It died", "error", {}, 1.5, **trace))
    rig.turn()
    vendor.back()
    rig.turn()
    rig.settle()
    rig.check()
    lanes = {point.lane for point in counted(vendor.received()) if point.lane in ("event", "span", "log")}
    assert (
        lanes
        == {"datadog": {"event"}, "newrelic": {"event", "span"}, "cloudwatch": set(), "otlp": {"log", "span"}}[
            vendor.name
        ]
    )
