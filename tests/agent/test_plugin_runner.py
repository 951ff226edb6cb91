"""A plugin's runs: never two at once, within the deadline, backed off after failures; and with the real pipeline."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.config import load_config
from agent.metrics.catalogue import Catalogue
from agent.metrics.pipeline import Pipeline
from agent.metrics.self_metrics import SelfMetrics
from agent.plugin.manager import PluginManager
from agent.plugin.runner import LONGEST_WAIT, QUARANTINE_AFTER, QUARANTINE_WAIT, PluginRunner
from tests.agent.foreign import GOOD, Foreign, foreign
from tests.waiting import wait_until

__all__ = ["foreign"]


class Clock:
    """Time that only a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Work:
    """Plugin code that a test holds, releases and lets fail."""

    def __init__(self) -> None:
        self.arguments: list[Any] = []
        self.error: BaseException | None = None
        self.started = threading.Event()
        self.free = threading.Event()
        self.free.set()
        self.at_once = 0
        self.most_at_once = 0

    def __call__(self, argument: Any) -> int:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.arguments.append(argument)
        self.started.set()
        assert self.free.wait(30)
        self.at_once -= 1
        if self.error is not None:
            raise self.error
        return 42


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def work() -> Iterator[Work]:
    made = Work()
    yield made
    made.free.set()


def runner(work: Work, clock: Clock, **more: Any) -> PluginRunner:
    return PluginRunner("box", work, deadline=5.0, interval=10.0, clock=clock, **more)


def run_once(run: PluginRunner, argument: Any = None) -> None:
    runs = run.status()["runs"]
    assert run.trigger(argument)
    wait_until(lambda: run.status()["runs"] == runs + 1, what="the end of the run")


def let_go(run: PluginRunner, work: Work) -> None:
    """Let the run that is held end."""
    work.free.set()
    wait_until(lambda: run.state not in ("running", "hung"), what="the end of the run")


def hold(run: PluginRunner, work: Work) -> None:
    """Start a run that does not end until the work is freed."""
    work.free.clear()
    work.started.clear()
    assert run.trigger("held")
    assert work.started.wait(10)


def test_a_run_is_counted_with_its_series(work: Work, clock: Clock) -> None:
    outcomes: list[tuple[str, str]] = []
    run = runner(work, clock, on_run=lambda name, seconds, outcome: outcomes.append((name, outcome)))
    assert run.status()["last_success"] is None
    run_once(run)
    clock.now += 3
    status = run.status()
    assert (status["state"], status["runs"], status["failures"], status["series"]) == ("idle", 1, 0, 42)
    assert status["last_success_seconds_ago"] == 3
    assert status["last_error"] is None
    wait_until(lambda: outcomes == [("box", "ok")], what="the report of the run")
    assert run.stop(10)


def test_a_trigger_during_a_run_is_dropped_and_counted(work: Work, clock: Clock) -> None:
    run = runner(work, clock)
    hold(run, work)
    assert run.state == "running"
    assert not run.trigger("second")
    let_go(run, work)
    assert (work.arguments, run.status()["skipped"], work.most_at_once) == (["held"], 1, 1)


def test_an_exporter_gets_the_newest_of_what_came_during_its_run(work: Work, clock: Clock) -> None:
    run = runner(work, clock, keep_newest=True)
    hold(run, work)
    for snapshot in range(5):
        assert run.trigger(snapshot)
    work.free.set()
    wait_until(lambda: run.status()["runs"] == 2, what="the end of both runs")
    assert (work.arguments, run.status()["skipped"], work.most_at_once) == (["held", 4], 4, 1)


def test_a_run_over_its_deadline_is_named_once_and_never_doubled(work: Work, clock: Clock) -> None:
    outcomes: list[str] = []
    run = runner(work, clock, on_run=lambda name, seconds, outcome: outcomes.append(outcome))
    hold(run, work)
    clock.now += 5.1
    # it is hung, whoever looks and however often
    for _ in range(3):
        assert not run.trigger()
        assert run.state == "hung"
    status = run.status()
    assert (status["overdue"], status["failures"], status["runs"]) == (1, 1, 1)
    assert "longer than its deadline of 5 s" in status["last_error"]
    assert outcomes == ["overdue"]
    assert not run.stop(0.01)
    assert work.most_at_once == 1


def test_an_overdue_run_that_ends_is_not_counted_again_and_the_next_may_run(work: Work, clock: Clock) -> None:
    outcomes: list[str] = []
    run = runner(work, clock, on_run=lambda name, seconds, outcome: outcomes.append(outcome))
    hold(run, work)
    clock.now += 6
    let_go(run, work)
    assert (run.status()["runs"], run.status()["overdue"], run.status()["failures"]) == (1, 1, 1)
    run_once(run)
    assert (run.status()["runs"], run.status()["failures_in_a_row"]) == (2, 0)
    wait_until(lambda: outcomes == ["overdue", "ok"], what="the report of the second run")


@pytest.mark.parametrize("error", [ValueError("no\nluck"), SystemExit(3), KeyboardInterrupt(), MemoryError()])
def test_whatever_a_run_raises_is_told_and_the_thread_goes_on(work: Work, clock: Clock, error: BaseException) -> None:
    run = runner(work, clock)
    work.error = error
    run_once(run)
    told = run.status()["last_error"]
    assert type(error).__name__ in told or "sys.exit(3)" in told
    assert "test_plugin_runner.py:" in told
    assert "\n" not in told
    work.error = None
    run_once(run)
    assert run.status()["failures_in_a_row"] == 0


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise ValueError("not even this")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (Unspeakable(), "Unspeakable, which cannot be shown ("),
        (ValueError("x" * 10_000), "xxx… ("),
        (OSError("cannot reach redis://me:hunter2@host"), "redis://********@host ("),
    ],
)
def test_what_is_told_of_an_error_is_fit_to_be_read(work: Work, clock: Clock, error: Exception, told: str) -> None:
    run = runner(work, clock)
    work.error = error
    run_once(run)
    message = run.status()["last_error"]
    assert told in message
    assert len(message) < 700
    work.error = None
    run_once(run)


def test_failures_back_off_to_quarantine_and_a_success_ends_it(work: Work, clock: Clock) -> None:
    run = runner(work, clock)
    work.error = ValueError("no luck")
    # after the first failure no turn is skipped; then 1, 3, 7 turns of 10 s
    for wait in (0, 10, 30, 70):
        run_once(run)
        if wait:
            assert run.state == "backing off"
            assert run.status()["retry_in"] == wait
            clock.now += wait - 0.1
            assert not run.trigger()
            clock.now += 0.1
    run_once(run)
    assert run.status()["failures_in_a_row"] == QUARANTINE_AFTER
    assert run.state == "quarantined"
    assert run.status()["retry_in"] == 150
    # it is tried again for ever, at most a quarter of an hour apart
    for _ in range(20):
        clock.now += LONGEST_WAIT
        run_once(run)
    assert run.status()["retry_in"] == LONGEST_WAIT
    clock.now += LONGEST_WAIT
    work.error = None
    run_once(run)
    assert run.state == "idle"
    assert run.trigger()


def test_quarantine_lasts_a_minute_at_least(work: Work, clock: Clock) -> None:
    run = PluginRunner("box", work, deadline=5, interval=0.1, clock=clock)
    work.error = ValueError("no luck")
    for _ in range(QUARANTINE_AFTER):
        run_once(run)
        clock.now += 5
    assert run.status()["retry_in"] == QUARANTINE_WAIT - 5


def test_a_stopped_runner_runs_no_more(work: Work, clock: Clock) -> None:
    run = runner(work, clock)
    run_once(run)
    assert run.stop(10)
    assert not run.trigger()
    assert (run.state, len(work.arguments)) == ("stopped", 1)


def test_stop_waits_for_the_run_in_progress_and_drops_what_waits(work: Work, clock: Clock) -> None:
    run = runner(work, clock, keep_newest=True)
    hold(run, work)
    run.trigger("waiting")
    threading.Timer(0.05, work.free.set).start()
    assert run.stop(10)
    assert work.arguments == ["held"]


def test_two_runners_may_trigger_each_other_when_both_are_overdue(clock: Clock) -> None:
    # given two hung runs, whose reports trigger and ask the other runner
    works = Work(), Work()
    runners: list[PluginRunner] = []

    def report(name: str, seconds: float, outcome: str) -> None:
        for run in runners:
            run.trigger()
            run.status()

    runners += [PluginRunner("box", work, deadline=5, clock=clock, on_run=report) for work in works]
    for run, work in zip(runners, works, strict=True):
        hold(run, work)
    clock.now += 6
    # when two threads notice it at the same time
    start = threading.Barrier(2)

    def notice(run: PluginRunner) -> None:
        start.wait(10)
        run.status()

    threads = [threading.Thread(target=notice, args=(run,)) for run in runners]
    for thread in threads:
        thread.start()
    # then neither waits for the other for ever
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    for run, work in zip(runners, works, strict=True):
        work.free.set()
        assert run.stop(10)


def test_a_report_that_fails_does_not_end_the_plugins_thread(work: Work, clock: Clock) -> None:
    def report(name: str, seconds: float, outcome: str) -> None:
        raise RuntimeError("a bug of the agent's")

    run = runner(work, clock, on_run=report)
    run_once(run)
    run_once(run)
    assert run.status()["runs"] == 2


def test_a_machine_without_threads_is_a_failure_that_passes(
    work: Work, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = runner(work, clock)

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        assert not run.trigger()
    assert "can't start new thread" in run.status()["last_error"]
    run_once(run)
    assert run.state == "idle"


# With the plugin manager and the pipeline, as the service puts them together.

FLOOD = """
    import itertools
    from agent.api import Kind, MetricSpec, Sample, hookimpl

    class Plugin:
        api_version = 1

        def __init__(self, config):
            pass

        @hookimpl
        def predis_metric_specs(self):
            return [MetricSpec("predis_foreign_value", Kind.gauge, "One of too many.", labels=("number",))]

        @hookimpl
        def predis_collect(self):
            for number in itertools.count():
                yield Sample("predis_foreign_value", number, (str(number),))
"""


class Together:
    """Foreign plugins beside a good one, each with its runner, on one pipeline."""

    def __init__(self, folder: Path) -> None:
        (folder / "agent.toml").write_text(
            "[plugins]\ncache_metrics.enabled = false\nhost_metrics.enabled = false\ngpu_metrics.enabled = false\n"
            "redis_metrics.enabled = false\nprometheus.enabled = false\n"
            "[plugins.bad]\ndeadline = '100ms'\nmax_series = 50\n"
        )
        self.manager = PluginManager(load_config(folder / "agent.toml", (), {}))
        self.manager.load()
        assert self.manager.problems == []
        self.pipeline = Pipeline(Catalogue())
        self.manager.declare(self.pipeline.catalogue.add)
        self.numbers = SelfMetrics("1", self.pipeline)
        self.runners = {}
        for plugin in self.manager.active:
            self.pipeline.register(plugin.name, max_series=plugin.config.max_series)
            self.runners[plugin.name] = PluginRunner(
                plugin.name,
                lambda _, plugin=plugin: self.pipeline.accept(plugin.name, plugin.collect()),
                deadline=plugin.config.deadline,
                on_run=self.numbers.runs,
            )

    def collect(self) -> None:
        for run in self.runners.values():
            assert run.trigger()

    def wait_for_run(self, name: str) -> None:
        run = self.runners[name]
        # one that is overdue is counted before it ends
        wait_until(
            lambda: run.status()["runs"] == 1 and run.state not in ("running", "hung"), what=f"the end of {name}'s run"
        )

    def good_still_collects(self) -> None:
        run = self.runners["good"]
        self.wait_for_run("good")
        assert run.status()["failures"] == 0
        assert ("predis_good_value", ()) in self.pipeline.snapshot().samples

    def failures(self, reason: str) -> float:
        return next(
            float(sample.value)  # type: ignore[arg-type]  # a counter's
            for sample in self.numbers.collect()
            if (sample.name, sample.labels) == ("predis_plugin_failures_total", ("bad", reason))
        )


def together(foreign: Foreign, folder: Path, code: str) -> Together:
    foreign.package("good", GOOD.replace("foreign_value", "good_value"))
    foreign.package("bad", code)
    return Together(folder)


def test_a_plugin_that_raises_in_collect_is_named_and_the_other_goes_on(foreign: Foreign, tmp_path: Path) -> None:
    both = together(foreign, tmp_path, GOOD.replace("yield Sample(", "raise OSError('no sensor')\n            yield ("))
    both.collect()
    both.good_still_collects()
    both.wait_for_run("bad")
    assert "OSError: no sensor" in both.runners["bad"].status()["last_error"]
    wait_until(lambda: both.failures("exception") == 1, what="the count of the failure")


@pytest.mark.parametrize("place", ["before the first sample", "between samples"])
def test_a_plugin_that_hangs_in_collect_is_named_and_the_other_goes_on(
    foreign: Foreign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    release = threading.Event()
    monkeypatch.setattr(sys, "the_tests_event", release, raising=False)
    wait = "__import__('sys').the_tests_event.wait(60)"
    first, then = (wait, "pass") if place == "before the first sample" else ("yield from ()", wait)
    both = together(
        foreign, tmp_path, GOOD.replace("yield Sample(", f"{first}\n            {then}\n            yield Sample(")
    )
    try:
        both.collect()
        wait_until(lambda: both.runners["bad"].state == "hung", what="noticing the hung run")
        both.good_still_collects()
        assert both.runners["good"].trigger()
        assert both.runners["bad"].status()["overdue"] == 1
        assert both.failures("overdue") == 1
        assert not both.runners["bad"].trigger()
    finally:
        release.set()


def test_a_plugin_that_floods_is_cut_and_the_other_goes_on(foreign: Foreign, tmp_path: Path) -> None:
    both = together(foreign, tmp_path, FLOOD)
    both.collect()
    both.wait_for_run("bad")
    both.good_still_collects()
    status = both.pipeline.status("bad")
    assert status["series"] == 50
    assert sum(status["dropped"].values()) == 151  # read up to 4 times its cap, and one more that says "flood"
    assert status["offenders"][0][0] == "predis_foreign_value"
    assert both.runners["bad"].status()["series"] == 50


def test_a_metric_that_nobody_declared_is_dropped_and_named(foreign: Foreign, tmp_path: Path) -> None:
    both = together(foreign, tmp_path, GOOD.replace('Sample("predis_foreign', 'Sample("predis_undeclared'))
    both.collect()
    both.wait_for_run("bad")
    both.good_still_collects()
    assert both.pipeline.status("bad")["dropped"] == {"uncatalogued": 1}
    assert both.pipeline.status("bad")["offenders"] == [("predis_undeclared_value", "uncatalogued", 1)]
