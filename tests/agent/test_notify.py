"""The messages that systemd gets, on a real datagram socket; the watchdog pings only while every loop goes on."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.notify import Notifier, Watchdog, from_environment
from agent.pulse import Pulse
from tests.waiting import wait_until


class Manager:
    """systemd's side of the socket."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._socket.settimeout(5)

    def receive(self) -> list[str]:
        return self._socket.recv(4096).decode().split("\n")

    def drain(self) -> list[bytes]:
        """All messages that lie there."""
        messages = []
        self._socket.setblocking(False)
        try:
            while True:
                messages.append(self._socket.recv(4096))
        except BlockingIOError:
            return messages
        finally:
            self._socket.settimeout(5)

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(str(tmp_path / "notify"))
    yield manager
    manager.close()


def test_the_messages_are_those_of_sd_notify(manager: Manager) -> None:
    notifier = Notifier(manager.address)

    notifier.ready("all is well")
    assert manager.receive() == ["READY=1", "STATUS=all is well"]
    notifier.status("still")
    assert manager.receive() == ["STATUS=still"]
    notifier.not_yet("a large arena", 1.5)
    assert manager.receive() == ["EXTEND_TIMEOUT_USEC=1500000", "STATUS=a large arena"]
    notifier.stopping("draining")
    assert manager.receive() == ["STOPPING=1", "STATUS=draining"]
    notifier.watchdog()
    assert manager.receive() == ["WATCHDOG=1"]


def test_a_reload_carries_the_monotonic_time_that_systemd_compares(manager: Manager) -> None:
    notifier = Notifier(manager.address)
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000

    notifier.reloading()

    reloading, stamp = manager.receive()
    assert reloading == "RELOADING=1"
    name, value = stamp.split("=")
    assert name == "MONOTONIC_USEC"
    assert before <= int(value) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


def test_a_status_of_several_lines_cannot_become_other_messages(manager: Manager) -> None:
    Notifier(manager.address).status("broken:\nREADY=1")

    assert manager.receive() == ["STATUS=broken: READY=1"]


def test_an_abstract_socket_is_reached_too() -> None:
    manager = Manager(f"@predis-test-{os.getpid()}")
    try:
        Notifier(manager.address).ready("hello")
        assert manager.receive() == ["READY=1", "STATUS=hello"]
    finally:
        manager.close()


@pytest.mark.parametrize("address", [None, "", "relative/path"])
def test_without_systemd_nothing_is_sent_and_nothing_fails(address: str | None) -> None:
    Notifier(address).ready("nobody listens")


def test_a_manager_that_is_gone_or_does_not_read_holds_up_nothing(manager: Manager) -> None:
    notifier = Notifier(manager.address)
    start = time.monotonic()
    for _ in range(10_000):  # more than the socket takes
        notifier.watchdog()
    manager.close()
    notifier.ready("nobody is left")
    assert time.monotonic() - start < 5


def test_the_variables_are_taken_out_of_the_environment(manager: Manager) -> None:
    environ = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "17", "HOME": "/"}

    notifier, period = from_environment(environ, pid=17)

    assert environ == {"HOME": "/"}
    assert period == 30.0
    notifier.ready("yes")
    assert manager.receive()[0] == "READY=1"


@pytest.mark.parametrize(
    ("variables", "why"),
    [
        ({}, "none is wanted"),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "18"}, "it is meant for another process"),
        ({"WATCHDOG_USEC": "0"}, "it is off"),
        ({"WATCHDOG_USEC": "soon"}, "it is no number"),
    ],
)
def test_no_watchdog(variables: dict[str, str], why: str) -> None:
    assert from_environment(dict(variables), pid=17)[1] is None, why


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_beat_is_late_after_its_own_limit() -> None:
    clock = Clock()
    pulse = Pulse({"fast": 1.0, "slow": 10.0}, clock)

    clock.now += 2
    assert pulse.late() == {"fast": 2.0}
    pulse.beat("fast")
    assert pulse.late() == {}
    clock.now += 11
    assert set(pulse.late()) == {"fast", "slow"}


def test_pings_come_at_half_of_the_period(manager: Manager) -> None:
    clock = Clock()
    pulse = Pulse({"loop": 1000.0}, clock)
    watchdog = Watchdog(Notifier(manager.address), pulse, 10.0, clock)

    for _ in range(200):  # 20 seconds in steps of 0.1
        watchdog.tick()
        clock.now += 0.1

    assert manager.drain() == [b"WATCHDOG=1"] * 4


@pytest.mark.parametrize("frozen", ["main loop", "scheduler", "supervisor"])
def test_when_any_loop_freezes_the_pings_stop_and_come_back_with_it(manager: Manager, frozen: str) -> None:
    # given three loops that beat, and a watchdog period of 0.1 s
    pulse = Pulse(dict.fromkeys(("main loop", "scheduler", "supervisor"), 0.2))
    watchdog = Watchdog(Notifier(manager.address), pulse, 0.1)
    stop, free = threading.Event(), threading.Event()
    free.set()

    def loop(name: str) -> None:
        while not stop.wait(0.01):
            if name == frozen:
                free.wait()
            pulse.beat(name)
            if name == "main loop":
                watchdog.tick()

    threads = [threading.Thread(target=loop, args=(name,)) for name in ("main loop", "scheduler", "supervisor")]
    for thread in threads:
        thread.start()
    try:
        assert manager.receive() == ["WATCHDOG=1"]
        # when one of them freezes
        free.clear()
        wait_until(lambda: frozen in pulse.late(), what="the frozen loop to be late")
        manager.drain()
        # then no ping comes for many periods
        assert not stop.wait(1.0)
        assert manager.drain() == []
        # and with the loop the pings come back
        free.set()
        assert manager.receive() == ["WATCHDOG=1"]
    finally:
        free.set()
        stop.set()
        for thread in threads:
            thread.join()


def test_a_manager_without_a_watchdog_gets_no_pings(manager: Manager) -> None:
    watchdog = Watchdog(Notifier(manager.address), Pulse({}), None)
    watchdog.tick()
    assert manager.drain() == []
