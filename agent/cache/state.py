"""What the supervisor of the cache process is at."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """What the supervisor is at."""

    starting = "starting"
    running = "running"
    unresponsive = "unresponsive"
    waiting = "waiting"  # for the next attempt
    stopping = "stopping"
    stopped = "stopped"
