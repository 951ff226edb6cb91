"""What an exporter prepares once for each series: its name, its labels, its unit as the vendor writes them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Generic, TypeVar

from agent.export.model import Series

T = TypeVar("T")


class Prepared(Generic[T]):
    """By series, whatever `make` gives for it. To be used by one thread.

    A series that was not asked for in a while is forgotten: after `keep` seconds at least, twice that at most. `fresh`
    may be read directly where a call for each point is too slow; what is not in it, `of` finds or makes.
    """

    def __init__(
        self, make: Callable[[Series], T], keep: float = 600.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._make, self._keep, self._clock = make, keep, clock
        self.fresh: dict[Series, T] = {}
        self._older: dict[Series, T] = {}
        self._turned = clock()

    def turn(self) -> None:
        """Forget what is due. To be called now and then, such as once for each batch, and not while `fresh` is used."""
        now = self._clock()
        if now - self._turned >= self._keep:
            self.fresh, self._older, self._turned = {}, self.fresh, now

    def of(self, series: Series) -> T:
        """What belongs to this series."""
        found = self.fresh.get(series)
        if found is None:
            found = self._older.get(series)
            if found is None:
                found = self._make(series)
            self.fresh[series] = found
        return found

    def __len__(self) -> int:
        return len(self.fresh.keys() | self._older.keys())
