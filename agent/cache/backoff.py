"""How long to wait before something that failed is tried again."""

from __future__ import annotations


class Backoff:
    """No wait after the first failure in a row, then `first` seconds, doubling up to `longest`."""

    def __init__(self, first: float, longest: float) -> None:
        self._first, self._longest = first, longest
        self._failures = 0

    def failed(self) -> None:
        """It failed again."""
        self._failures += 1

    def reset(self) -> None:
        """The next failure counts as the first."""
        self._failures = 0

    @property
    def delay(self) -> float:
        """Seconds to wait now."""
        if self._failures <= 1:
            return 0.0
        return min(self._longest, self._first * 2.0 ** min(self._failures - 2, 64))
