"""Waiting for a condition with a deadline, so that no test sleeps for luck."""

import os
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE = float(os.environ.get("PREDIS_TEST_PATIENCE", "1"))
"""How many times longer than usual things may take: `make sanitize` sets it, since its processes are slower."""


def wait_until(predicate: Callable[[], T], timeout: float = 10.0, what: str = "the condition") -> T:
    """Calls predicate until its result is true and returns it; fails with `what` when timeout seconds are over.

    The timeout is multiplied by PATIENCE.
    """
    timeout *= PATIENCE
    deadline = time.monotonic() + timeout
    pause = 0.001
    while not (result := predicate()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not happen within {timeout:g} s (last seen: {result!r})")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)
    return result
