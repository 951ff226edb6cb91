"""Whatever a vendor does wrong: the sum closes at any moment, each point arrives once, in order, and nobody waits."""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.exporters.conftest import MakeRig
from tests.exporters.rig import Rig, check_values, make_plugin
from tests.vendors import faults
from tests.vendors.faults import Step
from tests.vendors.running import Vendor
from tests.waiting import wait_until

SERIES = 20


@dataclass(frozen=True)
class Fault:
    """What the fake does for some requests, and what may come of it.

    `refused` names the vendors that drop what meets the fault, by the reason. With `duplicates`, points may come twice.
    """

    steps: list[Step]
    duplicates: bool = False
    refused: dict[str, str] = field(default_factory=dict)


FAULTS = {
    "413": Fault([faults.status(413, times=3)]),
    "500": Fault([faults.status(500, times=3)], refused={"otlp": "http_500"}),  # which OTLP says is final
    "502": Fault([faults.status(502, times=3)]),
    "503": Fault([faults.status(503, times=7)]),
    "403": Fault(
        [faults.status(403, times=2)],
        refused={
            "datadog": "http_403",
            "newrelic": "http_403",
            "cloudwatch": "SignatureDoesNotMatch",
            "otlp": "http_403",
        },
    ),
    "reset_before_the_body": Fault([faults.reset_before(3)]),
    "reset_after_the_body": Fault([faults.reset_after(3)]),
    "lost_answer": Fault([faults.lost_answer(3)], duplicates=True),
    "hang": Fault([faults.hang(1)]),
    "slow_reading": Fault([faults.slow_read(5_000, times=3)], duplicates=True),
    "slow_answer": Fault([faults.slow_answer(0.2, times=3)]),
    "answer_byte_by_byte": Fault([faults.drip(0.3, times=1)], duplicates=True),
    "garbled": Fault([faults.garbled(3)]),
}


@pytest.mark.parametrize("name", FAULTS)
def test_fault(name: str, vendor: Vendor, make_rig: MakeRig) -> None:
    fault = FAULTS[name]
    rig = make_rig(series=SERIES)
    rig.turn(3)
    rig.settle()
    vendor.script(fault.steps)
    rig.turn(12)
    wait_until(lambda: vendor.state()["script"] == 0, 30, "the end of the fault")
    rig.turn(5)
    rig.settle()
    met = [entry for entry in vendor.requests() if entry["fault"]]
    assert len(met) == sum(step.times or 0 for step in fault.steps)
    reason = fault.refused.get(vendor.name)
    if reason is None:
        points = rig.check(duplicates=fault.duplicates)
        check_values(vendor.name, points, 20, SERIES)
        return
    lost = rig.pipe.account.books().dropped[reason]
    assert 0 < lost <= 3 * rig.workload.points * len(met)
    rig.check({reason: lost})


RATE_LIMITS = {
    "datadog": faults.rate_limit(1),
    "newrelic": faults.status(429, retry_after=1),
    "cloudwatch": faults.status(400, code="Throttling", retry_after=1),
    "otlp": faults.status(429, retry_after=1),
}


@pytest.mark.parametrize("as_date", [False, True], ids=["seconds", "date"])
def test_a_vendor_that_asks_to_wait_is_not_asked_again_before(vendor: Vendor, make_rig: MakeRig, as_date: bool) -> None:
    rig = make_rig(series=SERIES)
    rig.turn(3)
    rig.settle()
    vendor.script([faults.status(429, retry_after=1, http_date=True) if as_date else RATE_LIMITS[vendor.name]])
    rig.turn(10)
    wait_until(lambda: vendor.state()["script"] == 0, what="the limit")
    wait_until(lambda: rig.pipe.account.books().spooled > 0, what="what waits to be on the disk")
    rig.turn(7)
    rig.settle()
    # the fake sees a request begin when it was told, and the answer comes only after that
    ((_, waited),) = [
        (before, after["time"] - before["time"]) for before, after in pairwise(vendor.requests()) if before["fault"]
    ]
    assert waited >= (0.95 if not as_date else 0.5)  # a date has whole seconds
    check_values(vendor.name, rig.check(), 20, SERIES)


def away(begin: Callable[[Vendor], None], end: Callable[[Vendor], None], rig: Rig) -> list[str]:
    """Offers snapshots before, while and after the vendor is away; the failures that were seen."""
    rig.turn(3)
    rig.settle()
    begin(rig.vendor)
    rig.turn(6)
    wait_until(lambda: rig.pipe.retry.failures >= 2, 20, "failures")
    rig.turn(6)
    said = [rig.pipe.last_error or ""]
    wait_until(lambda: rig.pipe.account.books().spooled > 0, what="what waits to be on the disk")
    assert rig.pipe.account.books().queued <= 2 * rig.workload.points
    end(rig.vendor)
    rig.turn(5)
    rig.settle()
    return said


AWAY: dict[str, tuple[Callable[[Vendor], None], Callable[[Vendor], None], str]] = {
    "outage": (Vendor.outage, Vendor.back, "refused"),
    "silence": (Vendor.stall, Vendor.back, "in time"),
    "wrong_certificate": (lambda v: v.certificate("wrong"), lambda v: v.certificate("right"), "certificate verify"),
    "expired_certificate": (
        lambda v: v.certificate("expired"),
        lambda v: v.certificate("right"),
        "certificate has exp",
    ),
}


@pytest.mark.parametrize("name", AWAY)
def test_a_vendor_that_is_away(name: str, vendor: Vendor, make_rig: MakeRig) -> None:
    begin, end, said = AWAY[name]
    rig = make_rig(series=SERIES)
    assert any(said in what for what in away(begin, end, rig)), rig.pipe.last_error
    check_values(vendor.name, rig.check(), 20, SERIES)


def test_a_vendor_that_dns_does_not_know_gets_everything_once_it_does(
    vendor: Vendor, make_rig: MakeRig, tmp_path: Path
) -> None:
    lost: Any = make_plugin(vendor, tmp_path, vendor.nowhere)
    rig = make_rig(plugin=lost, series=SERIES)
    rig.turn(10)
    wait_until(lambda: rig.pipe.retry.failures >= 2, 30, "failures")
    rig.turn(5)
    wait_until(lambda: rig.pipe.account.books().spooled > 0, what="what waits to be on the disk")
    assert "resolved" in (rig.pipe.last_error or "")
    rig.stop()
    kept = rig.pipe.account.books()
    assert kept.balanced
    assert kept.spooled == kept.produced
    # the name is right now: another run of the agent, over the same folder
    again = make_rig(workload=rig.workload)
    assert again.pipe.account.books().produced == kept.spooled
    again.turn(5)
    again.settle()
    check_values(vendor.name, again.check(), 20, SERIES)
