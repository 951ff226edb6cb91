"""How long the supervisor waits, and what ends its wait."""

import os
import subprocess
import threading
import time

from agent.cache.backoff import Backoff
from agent.cache.waker import Waker


def test_the_first_failure_costs_no_wait_and_later_ones_ever_more() -> None:
    backoff = Backoff(first=0.5, longest=5.0)
    delays = []
    for _ in range(7):
        backoff.failed()
        delays.append(backoff.delay)

    assert delays == [0.0, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0]


def test_after_a_reset_a_failure_is_the_first_again() -> None:
    backoff = Backoff(first=0.5, longest=5.0)
    for _ in range(1000):
        backoff.failed()
    assert backoff.delay == 5.0

    backoff.reset()
    backoff.failed()

    assert backoff.delay == 0.0


def test_a_wait_takes_its_time_and_beats() -> None:
    beats = []
    waker = Waker(lambda: beats.append(1))
    start = time.monotonic()

    assert not waker.wait(1.2)

    assert 1.2 <= time.monotonic() - start < 3
    assert len(beats) >= 2


def test_a_call_from_another_thread_ends_the_wait_or_the_next_one() -> None:
    waker = Waker()
    threading.Timer(0.1, waker.wake).start()
    start = time.monotonic()
    assert not waker.wait(30)

    waker.wake()
    waker.wake()
    assert not waker.wait(30)
    assert time.monotonic() - start < 10
    assert not waker.wait(0.0)


def test_the_end_of_the_process_ends_the_wait() -> None:
    waker = Waker()
    with subprocess.Popen(["sleep", "0.1"]) as process:
        pidfd = os.pidfd_open(process.pid)
        try:
            assert waker.wait(30, pidfd)
            assert waker.wait(0, pidfd), "and it stays ended"
        finally:
            os.close(pidfd)
