"""The analysis worker, with plugins that do what plugins should not; and the keeper, with the shipped plugin."""

import dataclasses
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from agent.config import load_config
from agent.forecast.keeper import ForecastKeeper
from agent.forecast.model import Forecast, ForecastRequest, Wanted
from agent.forecast.worker import ForecastWorker
from agent.metrics.model import Histogram, Kind, MetricSpec, SeriesKey
from agent.plugin.host import CacheAddress, Host
from agent.plugin.manager import PluginManager
from tests.agent.foreign import Foreign, foreign
from tests.waiting import wait_until

__all__ = ["foreign"]

REQUEST = ForecastRequest("predis_test", (1.0, 2.0), (3.0, 4.0), 10.0)

ORACLE = """
    import ctypes, os, sys, time
    from agent.api import Estimate, Forecast, hookimpl

    class Plugin:
        api_version = 1

        def __init__(self, config):
            pass

        @hookimpl
        def predis_forecast(self, request):
            match request.name:
                case "hang":
                    time.sleep(600)
                case "raise":
                    raise ValueError("no idea")
                case "eat":
                    held = bytearray(2_000_000_000)
                case "die":
                    os._exit(7)
                case "nothing":
                    return None
            one = Estimate(1.0, 2.0, 3.0, 4.0, 5.0)
            return Forecast((1.0,), (2.0,), (1.5,), (2.5,), (1.0,), (3.0,), f"pid {os.getpid()}", 0.5,
                            (None, 1.0, None), one, one)
"""


def host(folder: Path) -> Host:
    address = CacheAddress(folder / "sock", "127.0.0.1", 0, None, folder / "arena")
    return Host(folder, address, "0", logging.getLogger("predis.plugins"))


def worker_of(name: str, folder: Path, **limits: float) -> ForecastWorker:
    loaded = load_config(None, [f"plugins.{name}.enabled=true"])
    manager = PluginManager(loaded, only=(name,))
    manager.load()
    assert manager.problems == []
    return ForecastWorker(manager.plugins[name], loaded, host(folder), **limits)  # type: ignore[arg-type]


@pytest.fixture
def oracle(foreign: Foreign, tmp_path: Path) -> Callable[..., ForecastWorker]:
    foreign.package("oracle", ORACLE)
    return lambda **limits: worker_of("oracle", tmp_path, **limits)


def ask(worker: ForecastWorker, name: str) -> Forecast:
    return worker.forecast(dataclasses.replace(REQUEST, name=name))


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_forecast_is_made_in_another_process_that_ends_with_the_worker(oracle: Callable[..., ForecastWorker]) -> None:
    with oracle() as worker:
        found, again = ask(worker, "well"), ask(worker, "well")
        pid = worker.pid
        assert pid is not None
        assert pid != os.getpid()
        assert found.model == again.model == f"pid {pid}"
        assert found.reach == (None, 1.0, None)
        assert found.peak is not None
        assert found.peak.high95 == 5.0
        assert alive(pid)
    wait_until(lambda: not alive(pid), what="the end of the worker's process")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("raise", "no idea"),
        ("eat", "it needs more than its memory_limit of 512MiB"),
        ("die", "ended by itself with status 7"),
        ("nothing", "predis_forecast gave nothing"),
    ],
)
def test_what_goes_wrong_there_is_said_and_the_next_series_is_forecast(
    oracle: Callable[..., ForecastWorker], name: str, why: str
) -> None:
    with oracle(memory_limit=512 << 20) as worker:
        assert why in ask(worker, name).problem
        assert ask(worker, "well").problem == ""


def test_a_forecast_that_hangs_is_killed(oracle: Callable[..., ForecastWorker]) -> None:
    with oracle(deadline=3.0) as worker:
        ask(worker, "well")
        pid, began = worker.pid, time.monotonic()
        assert pid is not None
        assert "not done after 3s" in ask(worker, "hang").problem
        assert time.monotonic() - began < 20
        wait_until(lambda: not alive(pid), what="the end of the process that hung")
        assert ask(worker, "well").problem == ""


def test_closing_ends_a_forecast_under_way(oracle: Callable[..., ForecastWorker]) -> None:
    worker = oracle()
    ask(worker, "well")
    found: list[Forecast] = []
    thread = threading.Thread(target=lambda: found.append(ask(worker, "hang")))
    thread.start()
    time.sleep(0.2)  # either way it is to end: before the request reaches the process, or in it
    worker.close()
    thread.join(10)
    assert not thread.is_alive()
    assert found[0].problem


class Recorded:
    """A History that a test has written."""

    def __init__(self) -> None:
        self.series: dict[SeriesKey, list[tuple[float, float]]] = {}

    def keys(self, metric: str) -> Sequence[SeriesKey]:
        return [key for key in self.series if key[0] == metric]

    def points(self, key: SeriesKey, start: float, end: float) -> Sequence[tuple[float, float]]:
        return [point for point in self.series[key] if start <= point[0] <= end]

    def points_of(
        self, keys: Iterable[SeriesKey], start: float, end: float
    ) -> Iterator[tuple[SeriesKey, Sequence[tuple[float, float]]]]:
        return ((key, self.points(key, start, end)) for key in keys)

    def histogram_points(self, key: SeriesKey, start: float, end: float) -> Sequence[tuple[float, Histogram]]:
        return []

    def latest(self, keys: Iterable[SeriesKey]) -> dict[SeriesKey, tuple[float, float]]:
        return {key: self.series[key][-1] for key in keys if key in self.series}


SPECS = {
    "predis_used_bytes": MetricSpec("predis_used_bytes", Kind.gauge, "Used.", "bytes", ("disk",)),
    "predis_max_bytes": MetricSpec("predis_max_bytes", Kind.gauge, "Max.", "bytes"),
    "predis_done_total": MetricSpec("predis_done_total", Kind.counter, "Done."),
}
NOW = 1_700_000_000.0
A: SeriesKey = ("predis_used_bytes", ("a",))
DONE: SeriesKey = ("predis_done_total", ())


@pytest.fixture
def history() -> Recorded:
    recorded = Recorded()
    rows = [(NOW - 60 * (300 - row), float(row)) for row in range(300)]
    recorded.series[A] = [(at, 1000 + 2 * row + (row % 3)) for at, row in rows]
    recorded.series[DONE] = [(at, 600 * (row % 200)) for at, row in rows]  # starts anew in between
    recorded.series["predis_max_bytes", ()] = [(NOW, 1700.0)]
    return recorded


class Keeping:
    """A keeper with the shipped plugin, and how often it asked for a worker."""

    def __init__(self, history: Recorded, folder: Path) -> None:
        self.workers = 0
        self._folder = folder
        self.keeper = ForecastKeeper(history, SPECS.get, self._worker, clock=lambda: NOW, look=0.05)

    def _worker(self) -> ForecastWorker:
        self.workers += 1
        return worker_of("forecasting", self._folder)


def test_what_is_wanted_is_forecast_once_and_with_its_limit(history: Recorded, tmp_path: Path) -> None:
    keeping = Keeping(history, tmp_path)
    keeper = keeping.keeper
    assert keeper.refresh() == 0
    assert keeping.workers == 0  # nobody wants anything: no process
    keeper.want("a", [Wanted("predis_used_bytes", 3600.0, limit="predis_max_bytes")])
    keeper.want("b", [Wanted("predis_used_bytes", 7200.0), Wanted("predis_done_total", 1800.0), Wanted("none", 60.0)])
    assert keeper.refresh() == 2
    found = keeper.newest()
    assert set(found) == {A, DONE}
    assert found[A].problem == ""
    assert found[A].times[-1] == pytest.approx(NOW - 60 + 7200)  # as far as the farthest
    likely = found[A].reach[0]
    assert likely is not None
    assert abs(likely - (NOW + 50 * 60)) < 15 * 60  # 100 bytes at 2 a minute
    assert found[DONE].middle[-1] == pytest.approx(10.0, rel=0.2)  # its rate
    assert keeper.refresh() == 0
    assert keeping.workers == 1


def test_what_nobody_wants_any_more_is_forgotten(history: Recorded, tmp_path: Path) -> None:
    keeping = Keeping(history, tmp_path)
    keeping.keeper.want("a", [Wanted("predis_used_bytes", 3600.0)])
    keeping.keeper.refresh()
    keeping.keeper.want("a", [])
    keeping.keeper.refresh()
    assert keeping.keeper.newest() == {}


def test_other_wishes_are_a_reason_to_forecast_again(history: Recorded, tmp_path: Path) -> None:
    keeping = Keeping(history, tmp_path)
    keeping.keeper.want("a", [Wanted("predis_used_bytes", 3600.0)])
    keeping.keeper.refresh()
    keeping.keeper.want("a", [Wanted("predis_used_bytes", 1800.0)])
    assert keeping.keeper.refresh() == 1
    assert keeping.keeper.newest()[A].times[-1] == pytest.approx(NOW - 60 + 1800)


def test_it_goes_on_by_itself_and_stops_at_once(history: Recorded, tmp_path: Path) -> None:
    keeping = Keeping(history, tmp_path)
    keeping.keeper.want("a", [Wanted("predis_used_bytes", 3600.0, refresh=0.1)])
    keeping.keeper.start()
    wait_until(lambda: keeping.workers >= 2, timeout=30, what="a second round")
    began = time.monotonic()
    keeping.keeper.stop()
    assert time.monotonic() - began < 5
    assert keeping.keeper.newest()[A].problem == ""


def test_without_a_plugin_there_are_no_forecasts(history: Recorded) -> None:
    keeper = ForecastKeeper(history, SPECS.get, lambda: None)
    keeper.want("a", [Wanted("predis_used_bytes", 3600.0)])
    assert keeper.refresh() == 0
    assert keeper.newest() == {}


def test_a_forecast_that_fails_unexpectedly_is_not_tried_at_once_again_and_the_others_are_made(
    history: Recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeping = Keeping(history, tmp_path)
    points = history.points

    def fails(key: SeriesKey, start: float, end: float) -> Any:
        if key == A:
            raise OSError("no more processes")
        return points(key, start, end)

    monkeypatch.setattr(history, "points", fails)
    keeping.keeper.want("a", [Wanted("predis_used_bytes", 3600.0), Wanted("predis_done_total", 3600.0)])
    assert keeping.keeper.refresh() == 2
    assert "no more processes" in keeping.keeper.newest()[A].problem
    assert keeping.keeper.newest()[DONE].problem == ""
    assert keeping.keeper.refresh() == 0


def test_stopping_ends_a_forecast_that_hangs(history: Recorded, oracle: Callable[..., ForecastWorker]) -> None:
    history.series["hang", ()] = history.series[A]
    spec = MetricSpec("hang", Kind.gauge, "A series that is never done.")
    workers: list[ForecastWorker] = []

    def make() -> ForecastWorker:
        workers.append(oracle())
        return workers[0]

    keeper = ForecastKeeper(history, lambda name: spec, make, clock=lambda: NOW, look=0.05)
    keeper.want("a", [Wanted("hang", 60.0)])
    keeper.start()
    wait_until(lambda: bool(workers) and workers[0].pid is not None, timeout=30, what="the worker's process")
    pid = workers[0].pid
    assert pid is not None
    keeper.stop()
    wait_until(lambda: not alive(pid), timeout=5, what="the end of the worker's process")
    assert keeper.newest() == {}
