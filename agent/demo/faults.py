"""What the demonstration breaks, for real, and from outside of the agent."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import redis

SQUEEZED = "8mb"


@dataclass(frozen=True, slots=True)
class Fault:
    """A way to break something. `action`: what a rule is to do about it; None where the agent needs no rule."""

    name: str
    what: str
    inject: Callable[[Path], None]
    action: str | None


def _squeeze(data_dir: Path) -> None:
    with connect(data_dir) as client:
        client.config_set("maxmemory", SQUEEZED)


def _kill(data_dir: Path) -> None:
    os.kill(int((data_dir / "cache.pid").read_text().split()[0]), signal.SIGKILL)


def connect(data_dir: Path) -> redis.Redis:
    """A client of the demonstration's cache."""
    password = (data_dir / "cache.password").read_text().strip()
    return redis.Redis(
        unix_socket_path=str(data_dir / "cache.sock"), password=password, socket_timeout=5.0, decode_responses=True
    )


FAULTS = {
    "kill": Fault(
        "kill",
        "the cache process is killed with SIGKILL",
        _kill,
        None,
    ),
    "squeeze": Fault(
        "squeeze",
        f"somebody sets maxmemory to {SQUEEZED}: most of the keys are evicted, and the origin gets the reads",
        _squeeze,
        "cache.memory",
    ),
}
