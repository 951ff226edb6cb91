"""What a fake vendor keeps: the points it took, the rules that were broken, the requests that came."""

import threading
import time
from array import array
from bisect import bisect_left, insort
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from tests.vendors.faults import Step

MAX_VIOLATIONS = 10_000
MAX_REQUESTS = 100_000


class Point(NamedTuple):
    """A point of any vendor in one form; an event or a span is a point of its lane whose tags are its attributes.

    `time` is Unix time in seconds. `kind` is the vendor's word for the type. `value` is a number, or what the vendor
    takes instead (a list of values, a map). `interval`: seconds that a count counts over. `start`: since when a
    cumulative value counts, Unix time.
    """

    lane: str
    name: str
    tags: tuple[tuple[str, str], ...]
    time: float
    kind: str
    value: Any
    interval: float | None = None
    start: float | None = None
    unit: str = ""
    host: str = ""


@dataclass(frozen=True)
class Violation:
    """A published rule that a request broke. `refused`: the vendor did not take the request, or the point, for it."""

    code: str
    text: str
    refused: bool = True
    path: str = ""
    request: int = 0


@dataclass
class Entry:
    """One request in the log: when it came (Unix time of the machine, not of the fake) and what became of it."""

    number: int
    time: float
    method: str
    path: str
    status: int = 0
    wire_bytes: int = 0
    encoding: str = ""
    points: int = 0
    fault: str = ""


@dataclass
class Clock:
    """The time that a fake goes by: the machine's, moved by `offset` seconds, and then `speed` times as fast."""

    offset: float = 0.0
    speed: float = 1.0
    _since: float = field(default_factory=time.time)

    def now(self) -> float:
        """Unix time in seconds."""
        real = time.time()
        return self._since + self.offset + (real - self._since) * self.speed

    def set(self, offset: float, speed: float) -> None:
        self.offset, self.speed, self._since = offset, speed, time.time()


class Book:
    """The records of one fake. Thread-safe; `keep` bounds how many points can be listed, the sums go over all."""

    def __init__(self, keep: int = 1_000_000) -> None:
        self._lock = threading.RLock()
        self._keep = keep
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        with self._lock:
            self._points: deque[tuple[tuple[Any, ...], float, Any, float | None, float | None]] = deque(
                maxlen=self._keep
            )
            self._series: dict[tuple[Any, ...], tuple[tuple[Any, ...], array[float]]] = {}
            self._sums: dict[tuple[str, str], list[float]] = {}
            self._violations: list[Violation] = []
            self._codes: Counter[str] = Counter()
            self._requests: deque[Entry] = deque(maxlen=MAX_REQUESTS)
            self._numbers = 0
            self._taken = self._repeated = self._late = 0
            self.connections = 0

    def begin(self, method: str, path: str) -> Entry:
        """A request has come."""
        with self._lock:
            self._numbers += 1
            entry = Entry(self._numbers, time.time(), method, path)
            self._requests.append(entry)
            return entry

    def connected(self) -> None:
        """Somebody has connected."""
        with self._lock:
            self.connections += 1

    def take(self, points: Sequence[Point]) -> None:
        """Record points that the vendor took."""
        with self._lock:
            for point in points:
                self._take(point)

    def _take(self, point: Point) -> None:
        identity = (point.lane, point.name, point.tags, point.kind, point.unit, point.host)
        known = self._series.get(identity)
        if known is None:
            known = self._series[identity] = (identity, array("d"))
        identity, times = known
        if times and point.time <= times[-1]:
            at = bisect_left(times, point.time)
            if times[at] == point.time:
                self._repeated += 1
            else:
                self._late += 1
            insort(times, point.time)
        else:
            times.append(point.time)
        self._points.append((identity, point.time, point.value, point.interval, point.start))
        self._taken += 1
        sums = self._sums.setdefault((point.lane, point.name), [0.0, 0.0])
        sums[0] += 1
        if isinstance(point.value, int | float):
            sums[1] += point.value
        elif isinstance(point.value, list):
            sums[1] += len(point.value)
        elif isinstance(point.value, dict):
            sums[1] += point.value.get("count", 0)

    def violate(self, found: Sequence[Violation], entry: Entry) -> None:
        """Record broken rules of one request."""
        with self._lock:
            for violation in found:
                self._codes[violation.code] += 1
                if len(self._violations) < MAX_VIOLATIONS:
                    values = {**asdict(violation), "path": entry.path, "request": entry.number}
                    self._violations.append(Violation(**values))

    def violations(self) -> list[dict[str, Any]]:
        """The first broken rules, in order of time."""
        with self._lock:
            return [asdict(violation) for violation in self._violations]

    def requests(self) -> list[dict[str, Any]]:
        """The newest requests, in order of time."""
        with self._lock:
            return [asdict(entry) for entry in self._requests]

    def received(self, lane: str = "", name: str = "") -> Iterator[Point]:
        """The newest points that were taken, in order of arrival; of a lane and of a name where given."""
        with self._lock:
            points = list(self._points)
        for identity, at, value, interval, start in points:
            its_lane, its_name, tags, kind, unit, host = identity
            if (not lane or lane == its_lane) and (not name or name == its_name):
                yield Point(its_lane, its_name, tags, at, kind, value, interval, start, unit, host)

    def state(self) -> dict[str, Any]:
        """Numbers over all that came since the last reset.

        `repeated` points had the series and the time of one before; `late` ones were older than one before. `sums`
        holds for "LANE NAME" the points and the sum of their values (of observations, where a value is a distribution).
        """
        with self._lock:
            statuses = Counter(str(entry.status) for entry in self._requests)
            return {
                "points": self._taken,
                "series": len(self._series),
                "repeated": self._repeated,
                "late": self._late,
                "requests": self._numbers,
                "statuses": dict(statuses),
                "connections": self.connections,
                "violations": dict(self._codes),
                "sums": {f"{lane} {name}": sums for (lane, name), sums in self._sums.items()},
            }


def describe(step: Step | None) -> str:
    """A fault as the log of requests names it."""
    if step is None or step.fault == "none":
        return ""
    return f"{step.fault} {step.status}" if step.fault == "status" else step.fault
