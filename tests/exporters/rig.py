"""An exporter at a fake of its vendor, fed with numbers that are known, and watched: the sum, the queue, who waits."""

import json
import logging
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent.api import CacheAddress, Event, Histogram, Host, Kind, MetricSpec, Sample, Snapshot
from agent.export.pipe import ExportPipe
from agent.export.retry import Retry
from plugins.cloudwatch.plugin import CloudWatch
from plugins.datadog.plugin import Datadog
from plugins.newrelic.plugin import NewRelic
from plugins.otlp.plugin import Otlp
from tests.vendors.book import Point
from tests.vendors.running import Vendor
from tests.waiting import wait_until

VENDORS = ("datadog", "newrelic", "cloudwatch", "otlp")
TIMEOUT = 1.0  # seconds, of one request
LATE = 0.1  # seconds that offering a snapshot may take (p99)
STEP = 10  # seconds between snapshots
BOUNDS = (0.001, 0.01, 0.1)
SPECS = {
    spec.name: spec
    for spec in (
        MetricSpec("predis_rig_level", Kind.gauge, "The turn.", labels=("who",)),
        MetricSpec("predis_rig_hits_total", Kind.counter, "Each series its own speed.", labels=("who",)),
        MetricSpec("predis_rig_time_seconds", Kind.histogram, "Two observations a turn.", "seconds", ("who",), BOUNDS),
    )
}
_KINDS: dict[str, Any] = {"datadog": Datadog, "newrelic": NewRelic, "cloudwatch": CloudWatch, "otlp": Otlp}
AWS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "aws-secret-canary", "AWS_MAX_ATTEMPTS": "1"}
"""Credentials for CloudWatch, as the environment gives them."""


def settings(vendor: Vendor, url: str | None = None) -> dict[str, Any]:
    """The table of the exporter that sends all it has to this fake, or to another URL."""
    own: dict[str, dict[str, Any]] = {
        "datadog": {"api_key": vendor.api_key},
        "newrelic": {"license_key": vendor.api_key, "account_id": "1234567"},
        "cloudwatch": {"region": "eu-west-1", "metrics": ["*"], "resolution": 1},
        "otlp": {"headers": {"x-otlp-key": "otlp-secret-canary"}, "naming": "predis"},
    }
    common = {"enabled": True, "endpoint": url or vendor.url, "timeout": "1s", "ca_file": str(vendor.ca_file)}
    return {**common, **own[vendor.name]}


def overrides(vendor: Vendor, **more: Any) -> list[str]:
    """The same for `predis-agent run --set`."""
    table = {**settings(vendor), **more}
    return [f"plugins.{vendor.name}.{key}={_toml(value)}" for key, value in table.items()]


def _toml(value: Any, inner: bool = False) -> str:
    """--set takes a text as it is, but not within a table."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(each, True)}" for key, each in value.items()) + "}"
    return value if isinstance(value, str) and not inner else json.dumps(value)


def make_plugin(vendor: Vendor, folder: Path, url: str | None = None, **more: Any) -> Any:
    """The exporter's plugin, started; for CloudWatch, AWS must be in the environment."""
    kind = _KINDS[vendor.name]
    plugin = kind(kind.Config.model_validate({**settings(vendor, url), **more}))
    if hasattr(plugin, "predis_start"):
        cache = CacheAddress(folder / "cache.sock", "127.0.0.1", 0, None, folder / "cache.arena")
        plugin.predis_start(Host(folder, cache, "1.2.3", logging.getLogger(f"tests.exporters.{vendor.name}")))
    return plugin


def quick_retry() -> Retry:
    """Waits for milliseconds where others wait for seconds; what a vendor asks for is waited for in full."""
    return Retry(uniform=lambda low, high: 0.001 + min(high, 10) / 1000)


class Workload:
    """Snapshots from `start` (Unix time) on, one every `step` seconds, of so many series of each kind."""

    def __init__(self, series: int, start: float, step: float = STEP) -> None:
        self.who = [f"s{number}" for number in range(series)]
        self.start, self.turns, self._step = start, 0, step

    @property
    def points(self) -> int:
        """Of one snapshot."""
        return 3 * len(self.who)

    @property
    def time(self) -> float:
        """Of the next snapshot."""
        return self.start + self._step * self.turns

    def next(self) -> Snapshot:
        turn, samples = self.turns, []
        for number, who in enumerate(self.who):
            samples += [
                Sample("predis_rig_level", float(turn), (who,)),
                Sample("predis_rig_hits_total", float(turn * (number + 1)), (who,)),
                Sample(
                    "predis_rig_time_seconds", Histogram(BOUNDS, (turn, 0, turn, 0), turn * (0.0005 + 0.05)), (who,)
                ),
            ]
        found = Snapshot(self.time, {sample.key: sample for sample in samples}, SPECS)
        self.turns += 1
        return found


class Rig:
    """A pipe to a fake. Whoever looks at any moment sees the sum closed and the queue no longer than it may be."""

    def __init__(
        self,
        vendor: Vendor,
        plugin: Any,
        folder: Path,
        *,
        series: int = 20,
        queue: int = 100_000,
        start: float | None = None,
        clock: Callable[[], float] = time.time,
        retry: Callable[[], Retry] | None = None,
        workload: Workload | None = None,
    ) -> None:
        self.vendor = vendor
        # Some minutes ago, so that there is room for many snapshots that no vendor finds too new.
        self.workload = workload or Workload(series, float(int(time.time()) - 400) if start is None else start)
        config = plugin._config.model_copy(update={"queue": queue, "spool": 64 << 20})
        self.pipe = ExportPipe(
            vendor.name, plugin.predis_destination(), config, folder, clock=clock, retry=retry or quick_retry
        )
        self.offers: list[float] = []  # seconds each, without those in which the machine was busy with others
        self._most = queue + 3 * self.workload.points
        self._wrong: list[str] = []
        self._stop = threading.Event()
        self._watch = threading.Thread(target=self._watching, name="watch", daemon=True)
        self._watch.start()

    def _watching(self) -> None:
        while not self._stop.wait(0.002):
            books = self.pipe.account.books()
            if not books.balanced or min(books.queued, books.spooled) < 0 or books.queued > self._most:
                self._wrong.append(str(books))
                return

    def turn(self, times: int = 1) -> None:
        """Offers so many snapshots."""
        for _ in range(times):
            snapshot = self.workload.next()
            starved, began = starvation(), time.perf_counter()
            self.pipe.offer(snapshot)
            took = time.perf_counter() - began
            self.offers.append(max(0.0, took - (starvation() - starved)))

    def emit(self, event: Event) -> None:
        self.pipe.emit(event)

    def settle(self, timeout: float = 30.0) -> None:
        """Waits until everything is delivered or dropped."""

        def settled() -> bool:
            books = self.pipe.account.books()
            return not books.queued and not books.spooled

        wait_until(settled, timeout, f"everything to be delivered or dropped ({self.pipe.last_error})")

    def check(self, dropped: dict[str, int] | None = None, *, duplicates: bool = False) -> list[Point]:
        """What holds after each fault. `dropped`: by reason; None for nothing. Gives what the fake has, each once."""
        assert self._wrong == [], "the sum did not close, or the queue was too long"
        books = self.pipe.account.books()
        assert books.balanced, books
        assert dict(books.dropped) == (dropped or {}), (books, self.pipe.last_error)
        state = self.vendor.state()
        assert self.vendor.violations() == []
        assert state["late"] == 0, "the points of a series came out of order"
        received = counted(self.vendor.received())
        once = {(point.lane, point.name, point.tags, point.time): point for point in received}
        assert len(once) == books.delivered, books
        again = len(received) - len(once)
        assert again <= books.possible_duplicates, (again, books)
        if not duplicates:
            assert again == 0
        assert p99(self.offers) < LATE, "the vendor was waited for"
        return list(once.values())

    def stop(self) -> None:
        self._stop.set()
        self._watch.join()
        self.pipe.stop(1.0)


def starvation() -> float:
    """Seconds that threads of this process, all together, were ready to run and another had the CPU; 0 where the kernel
    does not tell. What a busy machine adds to an offer is in it, also where a thread that holds a lock was kept
    waiting; to wait for a vendor, a lock or the disk is not."""
    delays = 0
    for task in Path("/proc/self/task").iterdir():
        try:
            delays += int((task / "schedstat").read_text().split()[1])
        except (OSError, IndexError):
            continue  # it has just ended, or this kernel does not count
    return delays / 1e9


def counted(points: list[Point]) -> list[Point]:
    """One for each point of ours: at Datadog the series of a histogram is a count and a sum, of which the latter is
    left out."""
    return [point for point in points if not point.name.endswith("_sum")]


def check_values(vendor: str, points: list[Point], turns: int, series: int) -> None:
    """That no increment and no level of `turns` snapshots is missing or wrong."""
    levels: dict[str, list[float]] = defaultdict(list)
    hits: Counter[str] = Counter()
    observed: Counter[str] = Counter()
    for point in sorted(points, key=lambda point: point.time):
        who, value = dict(point.tags)["who"], point.value
        if point.name == "predis_rig_level":
            levels[who].append(value)
        elif point.name == "predis_rig_hits_total":
            hits[who] = value if vendor == "otlp" else hits[who] + value
        elif point.name == "predis_rig_time_seconds":
            count = len(value) if isinstance(value, list) else value["count"]
            observed[who] = count if vendor == "otlp" else observed[who] + count
    every = [f"s{number}" for number in range(series)]
    assert levels == {name: [float(turn) for turn in range(turns)] for name in every}
    assert hits == {name: (turns - 1) * (number + 1) for number, name in enumerate(every)}
    assert observed == dict.fromkeys(every, 2 * (turns - 1))


def p99(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.99)] if values else 0.0
