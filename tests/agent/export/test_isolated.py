"""An exporter in a process of its own: whatever becomes of that, no point is lost, and those sent twice are counted."""

from __future__ import annotations

import json
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.api import CacheAddress, Event, ExportConfig, Host
from agent.config import load_config
from agent.export.pipe import ExportPipe
from agent.plugin.isolated import IsolatedPlugin
from agent.plugin.manager import PluginManager
from tests.agent.export.piped import settled
from tests.agent.export.scripted import START, hits, level, snapshot, times
from tests.agent.foreign import Foreign, foreign
from tests.exporters.rig import Workload, check_values, counted, quick_retry, settings
from tests.vendors.running import start_vendor
from tests.waiting import wait_until

__all__ = ["foreign"]

EXPORTER = """
    import json
    import os
    import time

    from agent.api import (
        Answer, ConfigPath, ExportConfig, Histogram, Kind, Limits, Temporality, Verdict, hookimpl,
    )

    class Config(ExportConfig):
        folder: ConfigPath
        points: int = 1000

    class Shipper:
        temporality = Temporality.delta

        def __init__(self, config):
            self.config, self.seen = config, {}

        def lanes(self, spec):
            return () if spec.kind is Kind.info else ("points",)

        def event_lanes(self, event):
            return ("events",) if event.duration is None else ()

        def limits(self, lane):
            return Limits(self.config.points, 1 << 20, 1 << 20, oldest=1e9, newest=1e9, encodings=())

        def encode(self, batch):
            self.trouble("encode")
            for series in batch.series:
                self.seen.setdefault((series.spec.name, series.labels), series)
                assert self.seen[series.spec.name, series.labels] is series, "the same object each time"
            points = [
                [series.spec.name, *series.labels, value.sum if isinstance(value, Histogram) else value]
                for series, value in zip(batch.series, batch.values)
            ]
            if any(value == 13.0 for *_, value in points):
                raise ValueError("thirteen is not for me")
            rows = points + [[event.kind, event.title, dict(event.attributes)] for event in batch.events]
            return "".join(json.dumps([os.getpid(), batch.lane, batch.time, *row]) + "\\n" for row in rows).encode()

        def send(self, body):
            self.trouble("before")
            with (self.config.folder / "taken").open("ab") as file:
                file.write(body.data)
            self.trouble("after")
            return Answer(Verdict.accepted)

        def close(self):
            (self.config.folder / "closed").touch()

        def trouble(self, where):
            # What a test left in the folder happens once.
            for name, what in (("die", lambda: os._exit(7)), ("hang", lambda: time.sleep(3600))):
                path = self.config.folder / f"{name}-{where}"
                if path.exists():
                    path.unlink()
                    what()

    class Plugin:
        api_version = 1
        Config = Config

        def __init__(self, config):
            self.config = config

        @hookimpl
        def predis_start(self, host):
            if (self.config.folder / "no-start").exists():
                raise OSError("not today")

        @hookimpl
        def predis_destination(self):
            return Shipper(self.config)
"""
TABLE = '[plugins.shipper]\nisolation = "process"\ntimeout = "300ms"\ncompression = "none"\n'


class Bench:
    """The exporter, its pipe, and the folder in which it leaves what it was told to send."""

    def __init__(self, folder: Path, table: str = "") -> None:
        self.folder = folder
        (folder / "agent.toml").write_text(f"{TABLE}folder = {json.dumps(str(folder))}\n{table}")
        manager = PluginManager(load_config(folder / "agent.toml", (), {}))
        manager.load()
        plugin = manager.plugins["shipper"]
        assert isinstance(plugin, IsolatedPlugin), plugin.error
        assert isinstance(plugin.config, ExportConfig)
        self.plugin, self.config = plugin, plugin.config
        cache = CacheAddress(folder / "cache.sock", "127.0.0.1", 0, None, folder / "arena")
        plugin.start(Host(folder, cache, "1.2.3", logging.getLogger("predis.plugins.shipper")))
        self.pipe = ExportPipe("shipper", plugin.destination(), plugin.config, folder / "export", retry=quick_retry)

    @property
    def pid(self) -> int:
        pid = self.plugin.details()["process"]["pid"]
        assert isinstance(pid, int)
        return pid

    def taken(self) -> list[list[Any]]:
        try:
            return [json.loads(line) for line in (self.folder / "taken").read_text().splitlines()]
        except FileNotFoundError:
            return []

    def values(self, name: str) -> list[Any]:
        return [row[-1] for row in self.taken() if row[3] == name]

    def wait(self) -> None:
        wait_until(lambda: settled(self.pipe), 30, f"everything to be delivered or dropped ({self.pipe.last_error})")

    def stop(self) -> None:
        self.pipe.stop(2.0)
        self.plugin.stop()


@pytest.fixture
def bench(foreign: Foreign, tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []
    foreign.package("shipper", EXPORTER)

    def make(table: str = "") -> Bench:
        made.append(Bench(tmp_path, table))
        return made[-1]

    yield make
    for each in made:
        each.pipe.stop(0.2)
        each.plugin.abandon()


def test_what_it_encodes_and_sends_is_what_the_pipe_has(bench: Callable[..., Bench]) -> None:
    one = bench("queue = 77\n")
    assert one.config.queue == 77, "the host's half goes by the plugin's table"
    one.pipe.offer(snapshot(0, level(1.5), hits(10), times((1, 0, 0), 0.1)))
    one.pipe.offer(snapshot(10, level(2.0), hits(13), times((1, 2, 0), 1.6)))
    one.pipe.emit(Event(START, "restarted", "The cache was restarted", attributes={"why": "test"}))
    one.pipe.emit(Event(START, "took", "That is a span", duration=2.0))
    one.wait()
    wait_until(lambda: one.values("restarted") == [{"why": "test"}])
    assert one.values("predis_level") == [1.5, 2.0]
    assert one.values("predis_hits_total") == [3.0]
    assert one.values("predis_time_seconds") == [pytest.approx(1.5)]
    assert one.values("took") == []
    assert {row[0] for row in one.taken()} == {one.pid}
    assert one.pid != os.getpid()
    assert one.pipe.last_error is None
    one.stop()
    assert (one.folder / "closed").exists()


def test_a_point_that_cannot_be_encoded_is_dropped_alone(bench: Callable[..., Bench]) -> None:
    one = bench()
    one.pipe.offer(snapshot(0, *[level(float(n), str(n)) for n in range(10, 20)]))
    one.wait()
    assert dict(one.pipe.account.books().dropped) == {"encode_failed": 1}
    assert "thirteen is not for me" in (one.pipe.last_error or "")
    assert sorted(one.values("predis_level")) == [n for n in range(10, 20) if n != 13]


@pytest.mark.parametrize(
    ("trouble", "twice", "said"),
    [
        ("die-encode", 0, "ended in encode: it ended by itself with status 7"),
        ("die-before", 0, "ended in send: it ended by itself with status 7"),
        ("die-after", 1, "ended in send: it ended by itself with status 7"),
        ("hang-encode", 0, "ended in encode: not done after 1s"),
        ("hang-before", 0, "ended in send: not done after 600ms"),
        ("hang-after", 1, "ended in send: not done after 600ms"),
    ],
)
def test_a_process_that_ends_or_hangs_costs_no_point(
    bench: Callable[..., Bench], caplog: pytest.LogCaptureFixture, trouble: str, twice: int, said: str
) -> None:
    one = bench('deadline = "1s"\n')
    one.pipe.offer(snapshot(0, level(0.0)))
    one.wait()
    first = one.pid
    (one.folder / trouble).touch()
    for turn in range(1, 5):
        began = time.monotonic()
        one.pipe.offer(snapshot(turn, level(float(turn))))
        assert time.monotonic() - began < 0.5, "nobody waits for it"
    one.wait()
    values = one.values("predis_level")
    assert sorted(set(values)) == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert values == sorted(values), "in order"
    assert len(values) - 5 == twice <= one.pipe.account.books().possible_duplicates
    assert one.pid != first
    assert one.plugin.restarts == 1
    assert said in caplog.text
    assert one.pipe.account.books().dropped == {}


def test_while_it_cannot_be_started_points_wait(bench: Callable[..., Bench]) -> None:
    one = bench()
    (one.folder / "no-start").touch()
    os.kill(one.pid, signal.SIGKILL)
    wait_until(lambda: not one.plugin.alive)
    with pytest.raises(Exception, match="not today"):  # a metric that it does not know is asked for: the run fails
        one.pipe.offer(snapshot(0, level(1.0)))
    (one.folder / "no-start").unlink()
    one.pipe.offer(snapshot(1, level(1.0)))
    one.wait()
    (one.folder / "no-start").touch()
    os.kill(one.pid, signal.SIGKILL)
    wait_until(lambda: not one.plugin.alive)
    for turn in range(2, 5):
        one.pipe.offer(snapshot(turn, level(float(turn))))
    wait_until(lambda: one.pipe.retry.failures > 2)
    assert "not today" in (one.pipe.last_error or "")
    assert one.pipe.account.books().dropped == {}
    (one.folder / "no-start").unlink()
    one.wait()
    assert one.values("predis_level") == [1.0, 2.0, 3.0, 4.0]


def test_questions_are_answered_while_a_request_hangs(bench: Callable[..., Bench]) -> None:
    one = bench('deadline = "30s"\n')
    one.pipe.offer(snapshot(0, level(0.0)))
    one.wait()
    (one.folder / "hang-encode").touch()
    one.pipe.offer(snapshot(1, level(1.0)))
    wait_until(lambda: not (one.folder / "hang-encode").exists())
    began = time.monotonic()
    one.pipe.emit(Event(START, "restarted", "An event, whose lanes are asked for"))
    one.pipe.offer(snapshot(2, level(2.0), hits(1)))  # and those of a metric that was not there before
    assert time.monotonic() - began < 2
    assert one.pipe.account.books().queued == 3
    os.kill(one.pid, signal.SIGKILL)
    one.wait()
    assert one.values("predis_level") == [0.0, 1.0, 2.0]


def test_a_stop_does_not_wait_for_a_process_that_hangs(bench: Callable[..., Bench]) -> None:
    one = bench()
    (one.folder / "hang-before").touch()
    one.pipe.offer(snapshot(0, level(0.0)))
    wait_until(lambda: not (one.folder / "hang-before").exists())
    pid, began = one.pid, time.monotonic()
    one.pipe.stop(0.2)
    one.plugin.abandon()
    assert time.monotonic() - began < 3
    assert one.pipe.account.books().spooled == 1
    wait_until(lambda: not Path(f"/proc/{pid}").exists() or b"Z" in Path(f"/proc/{pid}/stat").read_bytes())


def test_a_shipped_exporter_delivers_from_its_own_process(tmp_path: Path) -> None:
    with start_vendor("datadog", tmp_path, tls=True) as vendor:
        table = {**settings(vendor), "isolation": "process"}
        (tmp_path / "agent.toml").write_text(
            "[plugins.datadog]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items())
        )
        manager = PluginManager(load_config(tmp_path / "agent.toml", (), {}))
        manager.load()
        plugin = manager.plugins["datadog"]
        assert isinstance(plugin, IsolatedPlugin), plugin.error
        assert isinstance(plugin.config, ExportConfig)
        cache = CacheAddress(tmp_path / "cache.sock", "127.0.0.1", 0, None, tmp_path / "arena")
        plugin.start(Host(tmp_path, cache, "1.2.3", logging.getLogger("predis.plugins.datadog")))
        pipe = ExportPipe("datadog", plugin.destination(), plugin.config, tmp_path / "export", retry=quick_retry)
        work = Workload(20, float(int(time.time()) - 400))
        try:
            for turn in range(6):
                pipe.offer(work.next())
                if turn == 3:
                    os.kill(int(plugin.details()["process"]["pid"]), signal.SIGKILL)
            wait_until(lambda: settled(pipe), 30, f"everything to be delivered ({pipe.last_error})")
            assert pipe.account.books().dropped == {}
        finally:
            pipe.stop(2.0)
            plugin.stop()
        assert vendor.violations() == []
        points = {(point.lane, point.name, point.tags, point.time): point for point in counted(vendor.received())}
        check_values("datadog", list(points.values()), 6, 20)
