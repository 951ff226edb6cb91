"""Kills a whole agent that exports, again and again at random moments: `python -m tests.exporters.agent_kills ROUNDS`.

`predis-agent run`, with all exporters at the vendors' fakes over TLS, gets SIGKILL while it starts, sends or spools,
and starts again over the same data. Between rounds the vendors go away and come back. What counts as acknowledged is
told by two witnesses: the agent's own books, asked for until the kill (/api/v1/status: delivered or spooled), and the
spools that a kill leaves, read from a copy. In the end all of it is at the vendors, in order, no increment is missing,
and what came twice is no more than the agents counted. Plugins that analyse, or measure something else, are off.
"""

import json
import os
import random
import shutil
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from logging import getLogger
from pathlib import Path
from typing import Any

from agent.export.account import Account
from agent.export.config import ExportConfig
from agent.export.lanes import Lanes
from agent.export.retry import Retry
from agent.export.sent import Sent
from tests.exporters.known_series import HITS, LEVEL, PLUGINS, SERIES, TOOK, turns_file
from tests.exporters.rig import AWS, VENDORS, counted, overrides
from tests.installed import install
from tests.servers import Server, free_port, remove_arenas, start_agent, stop_cache_of
from tests.vendors import faults
from tests.vendors.book import Point
from tests.vendors.running import Vendor, start_vendor
from tests.waiting import PATIENCE, wait_until

INTERVAL = 1.2  # seconds between exports: Datadog's timestamps have no fractions, and no two may be the same
COLLECTED = 0.2  # seconds between turns of the known series
SAME = 0.05  # seconds that two times of one snapshot may differ, after rounding
LONGEST = 4.5  # seconds that an agent lives at most
MOST_AT_ONCE = 8 * 3 * SERIES + 10  # points that may be open after one kill: some snapshots, and events
OFF = ("anomaly", "forecasting", "remediation", "redis_metrics", "host_metrics", "gpu_metrics")


Books = dict[str, dict[str, Any]]
"""What the agent's status says of each exporter."""


@dataclass
class Left:
    """What a kill left of one exporter on the disk."""

    points: int = 0
    duplicates: int = 0
    levels: set[tuple[str, float]] = field(default_factory=set)  # series and turn


@dataclass
class Seen:
    """What is known of one exporter over all lives of the agent."""

    acknowledged: int = 0  # points that became delivered or spooled, by the agents' own books
    spooled: set[tuple[str, float]] = field(default_factory=set)  # that a kill left in the spool
    duplicates: int = 0  # counted by the agents
    largest: int = 0  # after one kill
    left: Left = field(default_factory=Left)


class Kills:
    """Lives and deaths of agents over one folder. `between` is called after each kill, with the data folder."""

    def __init__(
        self,
        folder: Path,
        fakes: dict[str, Vendor],
        rng: random.Random,
        between: Callable[[Path], None] = lambda data: None,
    ) -> None:
        self._folder, self._fakes, self._rng, self._between = folder, fakes, rng, between
        self._data = folder / "agent" / "data"
        (folder / "agent").mkdir()
        self._packages = install(folder / "packages", "known-series", PLUGINS)
        self._port = free_port()
        self.seen = {name: Seen() for name in fakes}
        self.asked = self.spooling = 0  # lives of which the books were seen; kills that left something in a spool
        self._agent: Server | None = None

    def start(self) -> Server:
        """An agent over the data that the one before left."""
        values = [
            f"agent.interval={INTERVAL}s",
            f"cache.port={self._port}",
            f"cache.arena_dir={self._folder}",
            f"plugins.known_series.interval={COLLECTED}s",
            *(f"plugins.{name}.enabled=false" for name in OFF),
        ]
        for vendor in self._fakes.values():
            values += overrides(vendor, metrics=["predis_known_*"])
        self._agent = start_agent(self._folder / "agent", *values, wait=False, packages=self._packages)
        return self._agent

    def live(self, agent: Server, seconds: float, enough: Callable[[Books], bool] = lambda books: False) -> Books:
        """Watches the books for so long, or until it is enough; what they said last, by exporter."""
        end, books = time.monotonic() + seconds, Books()
        while (left := end - time.monotonic()) > 0 and not enough(books):
            if agent.process.poll() is not None:
                raise AssertionError(f"the agent ended by itself:\n{agent.log_text()}")
            with suppress(OSError, ValueError):  # it is not that far
                books |= exports(agent, left)
            time.sleep(max(0.0, min(0.03, end - time.monotonic())))
        return books

    def kill(self, agent: Server, books: Books) -> None:
        """SIGKILL, and what is known then."""
        agent.process.kill()
        agent.process.wait()
        self.note(books)
        self.asked += bool(books)
        for name, seen in self.seen.items():
            seen.left = left_on_disk(self._data / "export" / name, self._folder / "copy")
            seen.spooled |= seen.left.levels
            seen.largest = max(seen.largest, seen.left.duplicates)
            seen.duplicates += seen.left.duplicates  # which the next one finds and counts
        self.spooling += any(seen.left.points for seen in self.seen.values())
        self._between(self._data)

    def note(self, books: Books) -> None:
        """Adds what a life added to that of those before: all but what it found."""
        for name, book in books.items():
            seen = self.seen[name]
            assert book["dropped"] == {}, (name, book)
            assert book["spool_corrupt"] == 0, (name, book)
            assert book["produced"] == book["delivered"] + book["queued"] + book["spooled"], (name, book)
            new = book["delivered"] + book["spooled"] - seen.left.points
            assert new >= 0, f"{name}: of {seen.left.points} spooled points the next agent did not find all: {book}"
            seen.acknowledged += new
            seen.duplicates += max(0, book["possible_duplicates"] - seen.left.duplicates)

    def round(self) -> None:
        """A life and its end, at vendors of which some are away, or not well."""
        for vendor in self._fakes.values():
            vendor.back()
            vendor.script(self._trouble(vendor) if self._rng.random() < 0.6 else [])
            if self._rng.random() < 0.3:
                vendor.outage()
        agent = self.start()
        self.kill(agent, self.live(agent, PATIENCE * self._rng.uniform(0.3, LONGEST)))

    def _trouble(self, vendor: Vendor) -> list[faults.Step]:
        times = 1 + self._rng.randrange(3)
        steps = [faults.status(503, times=times), faults.hang(times)]  # a hang is an agent killed while it sends
        if vendor.name != "otlp":  # whose agent may count it and be killed before it is asked; no file says so
            steps.append(faults.lost_answer(1))
        return [faults.passes(self._rng.randrange(3)), self._rng.choice(steps)]

    def well(self) -> None:
        """From now on all vendors are."""
        for vendor in self._fakes.values():
            vendor.script([])
            vendor.back()

    def first(self) -> None:
        """Lives in which the vendors learn what the counters begin with, and in which each spool gets something."""

        def told(books: Books) -> bool:
            return len(books) == len(self._fakes) and all(v.received(name=HITS) for v in self._fakes.values())

        def spooled(books: Books) -> bool:
            return len(books) == len(self._fakes) and all(book["spooled"] > 3 * SERIES for book in books.values())

        for enough in (told, spooled):
            agent = self.start()
            books = self.live(agent, 60 * PATIENCE, enough)
            assert enough(books), agent.log_text()
            for vendor in self._fakes.values():
                vendor.outage()
            self.kill(agent, books)

    def last(self) -> None:
        """A life at vendors that are well, until all is delivered and beyond; then it is stopped."""
        self.well()
        turn = turns_file(self._data).stat().st_size
        agent = self.start()

        def drained() -> bool:
            with suppress(OSError, ValueError):
                books = exports(agent, 5)
                return len(books) == len(self._fakes) and all(
                    not book["spooled"] and any(level > turn for _, level in levels(self._fakes[name]))
                    for name, book in books.items()
                )
            return False

        wait_until(drained, 60, "the spools to be delivered")
        self.note(exports(agent, 5))
        assert agent.stop() == 0

    def end(self) -> None:
        """Leaves nothing behind."""
        if self._agent is not None:
            if self._agent.process.poll() is None:
                self._agent.process.kill()
                self._agent.process.wait()
            with suppress(FileNotFoundError):
                stop_cache_of(self._agent)
            remove_arenas()


def exports(agent: Server, timeout: float) -> Books:
    """The books of each exporter that has some, as the agent tells them."""
    url = f"http://127.0.0.1:{agent.extra['http']}/api/v1/status"
    with urllib.request.urlopen(url, timeout=max(0.01, timeout)) as answer:
        plugins = json.load(answer)["plugins"]
    return {plugin["name"]: plugin["export"] for plugin in plugins if plugin.get("export")}


def left_on_disk(folder: Path, copy: Path) -> Left:
    """What waits in an exporter's folder, read from a copy of it."""
    left, account = Left(), Account()
    if not folder.is_dir():
        return left
    shutil.copytree(folder, copy)
    lanes = Lanes(
        copy,
        account,
        lambda spec, labels: None,
        ExportConfig(),
        retry=Retry,
        leaving=lambda batch, points: None,
        note=lambda lane, what: None,
        clock=time.time,
        log=getLogger(__name__),
    )
    lanes.open()
    left.points = account.books().spooled
    left.duplicates = account.books().possible_duplicates + Sent(copy / "sent").points
    for lane in lanes:
        while (found := lane.spool.peek()) is not None:
            batch, done = found
            of = zip(batch.series[done:], batch.values[done:], strict=True)
            left.levels |= {(s.labels[0], v) for s, v in of if s.spec.name == LEVEL and isinstance(v, float)}
            lane.spool.done(len(batch) - done)
    assert lanes.corrupt == 0, f"{folder}: what was spooled cannot be read"
    lanes.close()
    shutil.rmtree(copy)
    return left


def stress(
    rounds: int, folder: Path, seed: int = 1, between: Callable[[Path], None] = lambda data: None
) -> tuple[str, Kills]:
    """Kills so many times; what was seen, in a sentence and in full. AssertionError for what must not be.

    AWS's credentials must be in the environment.
    """
    with ExitStack() as stack:
        fakes = {name: stack.enter_context(start_vendor(name, folder, tls=True)) for name in VENDORS}
        kills = Kills(folder, fakes, random.Random(seed), between)
        stack.callback(kills.end)
        kills.first()
        for _ in range(rounds):
            kills.round()
        kills.last()
        said = [_check(fakes[name], kills.seen[name]) for name in VENDORS]
    summary = f"{rounds} kills, {kills.asked - 2} after the agent had told its books, {kills.spooling} left a spool"
    return f"{summary}; " + "; ".join(said), kills


def levels(vendor: Vendor) -> set[tuple[str, float]]:
    """The series and turns of the levels that the vendor has."""
    return {(dict(point.tags)["who"], point.value) for point in vendor.received(name=LEVEL)}


def _check(vendor: Vendor, seen: Seen) -> str:
    assert vendor.violations() == []
    assert vendor.state()["late"] == 0, f"{vendor.name}: points of a series came out of order"
    points = counted(vendor.received())
    once = {(point.lane, point.name, point.tags, point.time, repr(point.value)) for point in points}
    again = len(points) - len(once)
    assert again <= seen.duplicates, f"{vendor.name}: {again} came twice, {seen.duplicates} were counted"
    assert len(once) >= seen.acknowledged, f"{vendor.name}: {len(once)} of {seen.acknowledged} acknowledged points"
    lost = seen.spooled - levels(vendor)
    assert not lost, f"{vendor.name}: spooled and lost: {sorted(lost)[:20]}"
    overlapping = 0
    for number in range(SERIES):
        own = [point for point in points if ("who", f"s{number}") in point.tags]
        turns = [point.value for point in own if point.name == LEVEL]
        if vendor.name == "otlp":  # which takes what a counter is at
            assert max(point.value for point in own if point.name == HITS) == max(turns) * (number + 1)
            continue
        overlapping += _overlaps(vendor.name, own, number + 1)
        observed = sum(_observations(point.value) for point in own if point.name == TOOK)
        assert observed >= 2 * (max(turns) - min(turns)), f"{vendor.name}: observations of s{number} are missing"
    assert overlapping <= seen.duplicates, f"{vendor.name}: {overlapping} increments came twice, of {seen.duplicates}"
    assert seen.largest <= MOST_AT_ONCE, f"{vendor.name}: {seen.largest} points were open after one kill"
    counts = f"{seen.acknowledged} points acknowledged, {len(once)} there, {again} of them twice"
    counts += f", {overlapping} increments counted again"
    return f"{vendor.name}: {counts}, {seen.duplicates} possibly, {seen.largest} at most after one kill"


def _overlaps(vendor: str, own: list[Point], speed: int) -> int:
    """How many increases of a series count turns that others counted; AssertionError for turns that none counts.

    An increase spans the turns up to the level that was sent with it.
    """
    once = dict.fromkeys((point.name, point.time, point.interval or 0.0, repr(point.value)) for point in own)
    turns: dict[float, list[float]] = defaultdict(list)
    for name, at, _, value in once:
        if name == LEVEL:
            turns[at].append(float(value))
    increases: dict[float, list[float]] = defaultdict(list)
    for name, at, interval, value in once:
        if name == HITS:
            end = at + interval if vendor == "newrelic" else at  # there the time is when the interval began
            nearest = min(turns, key=lambda known: abs(known - end))
            assert abs(nearest - end) < SAME, f"{vendor}: an increase at {end} came without its level"
            increases[nearest].append(float(value))
    reached, overlapping = min(turns[min(turns)]), 0
    for at in sorted(increases):
        # Two at one time are those of two agents within a second, where a vendor's times have no fractions.
        for turn, increase in zip(sorted(turns[at])[-len(increases[at]) :], increases[at], strict=True):
            begin = turn - increase / speed
            assert begin <= reached, f"{vendor}: at {at}, no increment counts turns {reached} to {begin}"
            overlapping += begin < reached
            reached = turn
    assert reached == max(point.value for point in own if point.name == LEVEL), (
        f"{vendor}: the last increase is missing"
    )
    return overlapping


def _observations(value: Any) -> int:
    return len(value) if isinstance(value, list) else int(value["count"])


if __name__ == "__main__":
    os.environ.update(AWS)
    with tempfile.TemporaryDirectory(prefix="predis-agent-kills-") as place:
        print(stress(int(sys.argv[1]), Path(place))[0])  # noqa: T201
