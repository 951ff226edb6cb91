"""How long the supervisor of the cache process waits for what."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timings:
    """All in seconds. A cache that answers nothing and has no heartbeat for `restart_after` is killed."""

    look: float = 2.0  # between two looks at the cache
    answer: float = 1.0  # for one answer
    unresponsive_after: float = 5.0
    restart_after: float = 30.0
    start: float = 300.0  # a large arena takes its time to recover
    take_over: float = 60.0  # for a new process to load, check everything and get the old one's place
    drain: float = 10.0
    last_snapshot: float = 60.0  # for one that is made at the end, beside `drain`
    first_delay: float = 0.5
    longest_delay: float = 30.0
    stable_after: float = 10.0  # after so long a failure counts as the first again
