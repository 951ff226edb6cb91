"""The agent's own numbers, and the documentation made from the catalogue."""

import os
import subprocess
import sys
import time

import pytest

from agent.errors import PluginError
from agent.metrics import docs
from agent.metrics.catalogue import Catalogue
from agent.metrics.model import Histogram, Sample, SeriesKey
from agent.metrics.pipeline import Pipeline
from agent.metrics.self_metrics import PLUGIN_NAME, SPECS, SelfMetrics
from tests.servers import ROOT


@pytest.fixture
def pipeline() -> Pipeline:
    catalogue = Catalogue()
    catalogue.add(PLUGIN_NAME, SPECS)
    return Pipeline(catalogue, strict=True)


def collected(metrics: SelfMetrics, pipeline: Pipeline) -> dict[SeriesKey, float | Histogram]:
    """What is exported of it, through a pipeline that refuses whatever is not as declared."""
    pipeline.accept(PLUGIN_NAME, metrics.collect())
    return {key: sample.value for key, sample in pipeline.snapshot().samples.items()}


def test_runs_failures_and_durations_are_told_by_plugin(pipeline: Pipeline) -> None:
    metrics = SelfMetrics("1.2.3", pipeline)
    metrics.runs("good", 0.002, "ok")
    metrics.runs("good", 0.030, "ok")
    metrics.runs("bad", 99.0, "exception")
    metrics.runs("bad", 99.0, "overdue")
    values = collected(metrics, pipeline)
    assert values["predis_plugin_runs_total", ("good",)] == 2
    assert values["predis_plugin_runs_total", ("bad",)] == 2
    assert values["predis_plugin_failures_total", ("good", "exception")] == 0
    assert values["predis_plugin_failures_total", ("bad", "exception")] == 1
    assert values["predis_plugin_failures_total", ("bad", "overdue")] == 1
    durations = values["predis_plugin_run_duration_seconds", ("good",)]
    assert isinstance(durations, Histogram)
    assert durations.count == 2
    assert durations.sum == pytest.approx(0.032)
    assert durations.counts[durations.bounds.index(0.0025)] == 1
    assert durations.counts[durations.bounds.index(0.05)] == 1
    longest = values["predis_plugin_run_duration_seconds", ("bad",)]
    assert isinstance(longest, Histogram)
    assert longest.counts[-1] == 2


def test_restarts_are_there_from_the_start_so_that_the_first_one_shows(pipeline: Pipeline) -> None:
    metrics = SelfMetrics("1.2.3", pipeline)
    assert collected(metrics, pipeline)["predis_supervisor_restarts_total", ("killed",)] == 0
    metrics.restart("killed")
    assert collected(metrics, pipeline)["predis_supervisor_restarts_total", ("killed",)] == 1


def test_series_and_drops_are_told_by_plugin() -> None:
    catalogue = Catalogue()
    catalogue.add(PLUGIN_NAME, SPECS)
    pipeline = Pipeline(catalogue)
    pipeline.accept("typist", [Sample("predis_tpyo", 1), Sample("predis_tpyo", 1)])
    values = collected(SelfMetrics("1.2.3", pipeline), pipeline)
    assert values["predis_samples_dropped_total", ("typist", "uncatalogued")] == 2
    assert values["predis_series", ("typist",)] == 0


def test_the_process_and_the_build_are_told(pipeline: Pipeline) -> None:
    values = collected(SelfMetrics("1.2.3", pipeline), pipeline)
    version = ".".join(map(str, sys.version_info[:3]))
    assert values["predis_build_info", ("1.2.3", version)] == 1
    memory = values["predis_agent_resident_memory_bytes", ()]
    started = values["predis_agent_start_time_seconds", ()]
    assert isinstance(memory, int | float)
    assert isinstance(started, int | float)
    assert 5e6 < memory < 5e9
    assert time.time() - 3600 < started <= time.time() + 1
    with open(os.devnull), open(os.devnull):
        more = collected(SelfMetrics("1.2.3", pipeline), pipeline)
    assert more["predis_agent_open_fds", ()] == values["predis_agent_open_fds", ()] + 2  # type: ignore[operator]


def test_every_declared_metric_of_the_agent_is_given(pipeline: Pipeline) -> None:
    metrics = SelfMetrics("1.2.3", pipeline)
    metrics.runs("good", 0.002, "exception")
    relaxed = Pipeline(pipeline.catalogue)
    relaxed.accept("typist", [Sample("predis_tpyo", 1)])
    given = {sample.name for sample in SelfMetrics("1.2.3", relaxed).collect()} | {s.name for s in metrics.collect()}
    assert given == {spec.name for spec in SPECS}


def test_docs_metrics_md_is_what_the_catalogue_says() -> None:
    written = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert written == docs.page(), "stale: python -m agent.metrics.docs > docs/metrics.md"


def test_the_command_prints_the_page_or_a_plugins_table() -> None:
    def printed(*arguments: str) -> str:
        command = [sys.executable, "-m", "agent.metrics.docs", *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout

    assert printed() == docs.page()
    assert "predis_gpu_devices" in printed("gpu_metrics")
    with pytest.raises(PluginError, match="there is no shipped plugin of this name"):
        docs.main(["gpu_metrix"])
