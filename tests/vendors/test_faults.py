"""Each fault that a script can order, as a client sees it; on the fake of Datadog, over HTTP and HTTPS."""

import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest
import urllib3
from urllib3.exceptions import HTTPError, NewConnectionError, ProtocolError, ReadTimeoutError, SSLError

from tests.vendors import faults
from tests.vendors.running import Vendor, start_vendor
from tests.waiting import wait_until


@pytest.fixture(scope="module", params=[False, True], ids=["http", "https"])
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vendor]:
    with start_vendor("datadog", tmp_path_factory.mktemp("vendors"), tls=request.param) as running:
        yield running


@pytest.fixture
def vendor(shared: Vendor) -> Iterator[Vendor]:
    shared.reset()
    yield shared
    shared.back()
    if shared.ca_file:
        shared.certificate("right")


@pytest.fixture
def pool(vendor: Vendor) -> Iterator[urllib3.PoolManager]:
    with urllib3.PoolManager(ca_certs=str(vendor.ca_file) if vendor.ca_file else None) as pool:
        yield pool


def send(pool: urllib3.PoolManager, vendor: Vendor, timeout: float = 10.0, tags: int = 0) -> Any:
    """One valid point, with so many tags."""
    names = [f"tag{number}:value" for number in range(tags)]
    series = {"metric": "predis_keys", "points": [{"timestamp": int(time.time()), "value": 1}], "tags": names}
    headers = {"Content-Type": "application/json", "DD-API-KEY": vendor.api_key}
    body = json.dumps({"series": [series]}).encode()
    return pool.request(
        "POST", vendor.url + "/api/v2/series", body=body, headers=headers, retries=False, timeout=timeout
    )


def test_without_a_script_connections_are_kept_and_requests_logged(vendor: Vendor, pool: urllib3.PoolManager) -> None:
    assert [send(pool, vendor).status for _ in range(3)] == [202, 202, 202]
    state = vendor.state()
    assert (state["requests"], state["points"], state["connections"]) == (3, 3, 1)
    entry = vendor.requests()[0]
    assert (entry["path"], entry["status"], entry["points"], entry["fault"]) == ("/api/v2/series", 202, 1, "")
    assert abs(entry["time"] - time.time()) < 60


def test_statuses_come_in_the_order_of_the_script_and_take_nothing(vendor: Vendor, pool: urllib3.PoolManager) -> None:
    vendor.script(
        [
            faults.status(413),
            faults.passes(),
            faults.status(429, retry_after=3),
            faults.status(429, retry_after=30, http_date=True),
            faults.rate_limit(7),
            faults.status(500, times=2),
            faults.status(403),
        ]
    )
    answers = [send(pool, vendor) for _ in range(9)]
    assert [answer.status for answer in answers] == [413, 202, 429, 429, 429, 500, 500, 403, 202]
    assert answers[2].headers["Retry-After"] == "3"
    wait = parsedate_to_datetime(answers[3].headers["Retry-After"]).timestamp() - time.time()
    assert 28 < wait < 32
    assert answers[4].headers["X-RateLimit-Reset"] == "7"
    assert "errors" in answers[0].json()
    assert vendor.state()["points"] == 2
    assert vendor.state()["script"] == 0
    assert vendor.violations() == []
    assert [entry["fault"] for entry in vendor.requests()][:3] == ["status 413", "", "status 429"]


def test_a_fault_for_seconds_begins_with_the_first_request_and_ends(vendor: Vendor, pool: urllib3.PoolManager) -> None:
    vendor.script([faults.status(503, seconds=0.5)])
    began = time.monotonic()
    assert send(pool, vendor).status == 503
    wait_until(lambda: send(pool, vendor).status == 202, what="the end of the fault")
    assert time.monotonic() - began >= 0.5


def test_a_fault_meets_its_path_only_and_lasts_until_told_otherwise(vendor: Vendor, pool: urllib3.PoolManager) -> None:
    vendor.script([faults.status(500, times=None, path="/api/v2/")])
    headers = {"DD-API-KEY": vendor.api_key}
    assert pool.request("GET", vendor.url + "/api/v1/validate", headers=headers, retries=False).status == 200
    assert [send(pool, vendor).status for _ in range(5)] == [500] * 5
    vendor.script([])
    assert send(pool, vendor).status == 202


@pytest.mark.parametrize(("fault", "taken"), [("reset_before", 0), ("reset_after", 0), ("lost_answer", 1)])
def test_resets_end_the_connection_before_or_after_the_points_are_taken(
    vendor: Vendor, pool: urllib3.PoolManager, fault: str, taken: int
) -> None:
    vendor.script([getattr(faults, fault)()])
    with pytest.raises((ProtocolError, SSLError)):  # the latter where the body was still being written
        send(pool, vendor)
    assert vendor.state()["points"] == taken
    assert send(pool, vendor).status == 202
    assert vendor.state()["points"] == taken + 1


def test_a_point_that_comes_again_after_a_lost_answer_is_counted(vendor: Vendor, pool: urllib3.PoolManager) -> None:
    body = {"series": [{"metric": "a", "points": [{"timestamp": int(time.time()), "value": 1}]}]}
    headers = {"Content-Type": "application/json", "DD-API-KEY": vendor.api_key}
    vendor.script([faults.lost_answer()])
    with pytest.raises(HTTPError):
        pool.request("POST", vendor.url + "/api/v2/series", json=body, headers=headers, retries=False)
    pool.request("POST", vendor.url + "/api/v2/series", json=body, headers=headers, retries=False)
    body["series"][0]["points"][0]["timestamp"] -= 10
    pool.request("POST", vendor.url + "/api/v2/series", json=body, headers=headers, retries=False)
    state = vendor.state()
    assert (state["points"], state["repeated"], state["late"]) == (3, 1, 1)


def test_hanging_requests_hang_until_the_script_ends(vendor: Vendor, pool: urllib3.PoolManager) -> None:
    vendor.script([faults.hang()])
    with pytest.raises(ReadTimeoutError):
        send(pool, vendor, timeout=0.3)
    vendor.script([faults.hang()])
    ended = threading.Event()

    def hanging() -> None:
        with pytest.raises((ProtocolError, SSLError)):
            send(pool, vendor)
        ended.set()

    thread = threading.Thread(target=hanging)
    thread.start()
    wait_until(lambda: len(vendor.requests()) == 2, what="the second request")
    assert not ended.is_set()
    wait_until(lambda: vendor.state()["script"] == 0, what="the hanging")
    vendor.script([])
    assert ended.wait(10)
    thread.join()
    assert vendor.state()["points"] == 0


def test_slow_reading_and_slow_answers_take_their_time(vendor: Vendor, pool: urllib3.PoolManager) -> None:
    vendor.script([faults.slow_read(5000), faults.slow_answer(0.4)])
    began = time.monotonic()
    assert send(pool, vendor, tags=200).status == 202
    reading = time.monotonic() - began
    size = vendor.requests()[0]["wire_bytes"]
    assert reading >= size / 5000 * 0.9
    began = time.monotonic()
    assert send(pool, vendor).status == 202
    assert time.monotonic() - began >= 0.4


def test_an_answer_can_drip_while_each_read_ends_in_time(vendor: Vendor, pool: urllib3.PoolManager) -> None:
    vendor.script([faults.drip(0.01)])
    began = time.monotonic()
    assert send(pool, vendor, timeout=0.5).status == 202
    assert time.monotonic() - began > 0.5


def test_an_answer_can_be_no_http(vendor: Vendor, pool: urllib3.PoolManager) -> None:
    vendor.script([faults.garbled()])
    with pytest.raises(ProtocolError):
        send(pool, vendor)
    assert vendor.state()["points"] == 0


def test_a_silent_vendor_accepts_connections_and_says_nothing(vendor: Vendor, pool: urllib3.PoolManager) -> None:
    vendor.stall()
    with pytest.raises(ReadTimeoutError):
        send(pool, vendor, timeout=0.3)
    assert vendor.state()["requests"] == 0
    vendor.back()
    assert send(pool, vendor).status == 202


def test_an_outage_refuses_on_the_same_port_until_it_is_over(vendor: Vendor, pool: urllib3.PoolManager) -> None:
    assert send(pool, vendor).status == 202
    vendor.outage()
    with pytest.raises(HTTPError):
        send(pool, vendor)  # the connection that was kept
    with pytest.raises(NewConnectionError):
        send(pool, vendor)
    with socket.socket() as probe, pytest.raises(ConnectionRefusedError):
        probe.connect(("127.0.0.1", vendor.port))
    vendor.back()
    assert send(pool, vendor).status == 202
    assert vendor.state()["points"] == 2


def test_wrong_and_expired_certificates_fail_the_handshake(vendor: Vendor, pool: urllib3.PoolManager) -> None:
    if vendor.ca_file is None:
        with pytest.raises(AssertionError, match="no certificate"):
            vendor.certificate("wrong")
        return
    for which in ("wrong", "expired"):
        vendor.certificate(which)
        with urllib3.PoolManager(ca_certs=str(vendor.ca_file)) as fresh, pytest.raises(SSLError):
            send(fresh, vendor)
    vendor.certificate("right")
    assert send(pool, vendor).status == 202
    assert vendor.state()["requests"] == 1


def test_no_dns_knows_the_unknown_host(vendor: Vendor, pool: urllib3.PoolManager) -> None:
    with pytest.raises(HTTPError):
        pool.request("GET", vendor.nowhere, retries=False, timeout=5)


def test_the_clock_runs_as_fast_as_a_test_wants(vendor: Vendor) -> None:
    vendor.clock(offset=1000, speed=100)
    first = vendor.state()["now"]
    assert first - time.time() > 999
    wait_until(lambda: vendor.state()["now"] > first + 10, timeout=5, what="ten fast seconds")
    vendor.clock()
    assert abs(vendor.state()["now"] - time.time()) < 2


def test_the_fakes_know_nothing_of_the_code_that_they_test() -> None:
    fakes = [path for path in Path(faults.__file__).parent.glob("*.py") if not path.name.startswith("test_")]
    fakes = [path for path in fakes if path.name != "running.py"]
    assert len(fakes) > 10
    own = re.compile(r"^\s*(?:from|import) (agent|plugins|core_cache)\b", re.MULTILINE)
    assert [path.name for path in fakes if own.search(path.read_text())] == []


def test_a_fake_that_cannot_start_says_why(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(AssertionError, match="Address already in use"):
            start_vendor("datadog", tmp_path, port=taken.getsockname()[1])
