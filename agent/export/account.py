"""The books of one exporter: where every point that was produced is.

produced = delivered + queued + spooled + dropped, at any moment and for whoever looks: each change moves points from
one account to another, under one lock. Events count like points.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Place = Literal["queued", "spooled"]


@dataclass(frozen=True, slots=True)
class Books:
    """The state of an account at one moment, in points; `dropped` is by reason.

    `possible_duplicates` were sent again though the first request may have been taken. They are no part of the sum.
    """

    produced: int
    delivered: int
    queued: int
    spooled: int
    dropped: Mapping[str, int]
    possible_duplicates: int

    @property
    def balanced(self) -> bool:
        """Whether every point is accounted for."""
        return self.produced == self.delivered + self.queued + self.spooled + sum(self.dropped.values())


class Account:
    """All methods may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._produced = self._delivered = self._duplicates = 0
        self._waiting: dict[Place, int] = {"queued": 0, "spooled": 0}
        self._dropped: Counter[str] = Counter()

    def produce(self, points: int, place: Place = "queued") -> None:
        """New points wait there; found in the spool at the start, they are new as well."""
        with self._lock:
            self._produced += points
            self._waiting[place] += points

    def move(self, points: int, origin: Place, destination: Place) -> None:
        """Points wait elsewhere."""
        with self._lock:
            self._waiting[origin] -= points
            self._waiting[destination] += points

    def deliver(self, points: int, place: Place, rejected: int = 0) -> None:
        """The vendor took points, all but the `rejected`."""
        rejected = max(0, min(rejected, points))
        with self._lock:
            self._waiting[place] -= points
            self._delivered += points - rejected
            if rejected:
                self._dropped["rejected"] += rejected

    def drop(self, points: int, place: Place, reason: str) -> None:
        """Points that waited there are given up."""
        if points:
            with self._lock:
                self._waiting[place] -= points
                self._dropped[reason] += points

    def lose(self, points: int, reason: str) -> None:
        """Points that are given up as soon as they are produced."""
        if points:
            with self._lock:
                self._produced += points
                self._dropped[reason] += points

    def duplicate(self, points: int) -> None:
        """Points are sent again that may have been taken."""
        with self._lock:
            self._duplicates += points

    def books(self) -> Books:
        """All of it at this moment."""
        with self._lock:
            return Books(
                self._produced,
                self._delivered,
                self._waiting["queued"],
                self._waiting["spooled"],
                dict(self._dropped),
                self._duplicates,
            )
