"""The governor: how many series a plugin may have, which went stale, and who it was that had too many.

A series that was admitted keeps its place for as long as it is seen; what comes later and finds no room is dropped and
counted. So a flood of new label values cannot push out the series that somebody is watching.
"""

from __future__ import annotations

from collections import Counter

from agent.metrics.model import SeriesKey

MAX_OFFENDERS = 64
OTHERS = "(others)"


class Governor:
    """The books of one plugin's series. Not thread-safe: the pipeline holds its lock.

    `max_series` caps the plugin and `max_per_metric` each of its metrics; `stale_after` is in seconds.
    """

    def __init__(self, max_series: int, max_per_metric: int, stale_after: float) -> None:
        self.max_series = max_series
        self.max_per_metric = max_per_metric
        self.stale_after = stale_after
        self.dropped: Counter[str] = Counter()  # by reason
        self._offenders: Counter[tuple[str, str]] = Counter()  # by metric and reason
        self._seen: dict[SeriesKey, float] = {}
        self._per_metric: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._seen)

    def admit(self, key: SeriesKey, now: float) -> str | None:
        """Take note of a series; None, or the cap that it would break: `plugin_series` or `metric_series`."""
        if key not in self._seen:
            if len(self._seen) >= self.max_series:
                return "plugin_series"
            if self._per_metric[key[0]] >= self.max_per_metric:
                return "metric_series"
            self._per_metric[key[0]] += 1
        self._seen[key] = now
        return None

    def drop(self, metric: str, reason: str, count: int = 1) -> None:
        """Count samples that were not accepted. The table of names is bounded, since a plugin can make names up."""
        self.dropped[reason] += count
        offender = (metric, reason)
        if offender not in self._offenders and len(self._offenders) >= MAX_OFFENDERS:
            offender = (OTHERS, reason)
        self._offenders[offender] += count

    def offenders(self, at_most: int = 5) -> list[tuple[str, str, int]]:
        """The metrics of which most samples were dropped: (metric, reason, samples)."""
        return [(metric, reason, count) for (metric, reason), count in self._offenders.most_common(at_most)]

    def expire(self, now: float) -> list[SeriesKey]:
        """Forget, and return, the series that were not seen for longer than `stale_after`."""
        oldest = now - self.stale_after
        gone = [key for key, seen in self._seen.items() if seen < oldest]
        for key in gone:
            del self._seen[key]
            self._per_metric[key[0]] -= 1
        return gone
