"""gpu_metrics counts XID errors: each once, of the GPU that had it, whatever becomes of the others."""

import json
import tomllib

import pynvml
import pytest

from agent.api import Host
from plugins.gpu_metrics.plugin import GpuMetrics, GpuMetricsConfig
from plugins.gpu_metrics.xids import GRAVE, MOST_EVENTS, MOST_XIDS
from tests.plugins.conftest import Collect, Values
from tests.plugins.nvml_recording import DATA, RecordedNvml
from tests.servers import ROOT


@pytest.fixture
def nvml() -> RecordedNvml:
    return RecordedNvml(json.loads((DATA / "nvml_datacentre.json").read_text()))


@pytest.fixture
def plugin(nvml: RecordedNvml, host: Host, collect: Collect) -> GpuMetrics:
    """It has collected once: from then on errors are kept for it."""
    plugin = GpuMetrics(GpuMetricsConfig(), nvml)
    plugin.predis_start(host)
    assert set(xids(collect(plugin))) == {(gpu, xid) for gpu in "01" for xid in GRAVE}
    return plugin


def xids(values: Values) -> dict[tuple[str, ...], float]:
    return {labels: value for (name, labels), value in values.items() if name == "predis_gpu_xid_errors_total"}  # type: ignore[misc]


def some(values: Values) -> dict[tuple[str, ...], float]:
    """Those that are not 0."""
    return {labels: value for labels, value in xids(values).items() if value}


def test_an_xid_counts_once_and_its_series_began_with_0(
    nvml: RecordedNvml, plugin: GpuMetrics, collect: Collect
) -> None:
    nvml.report(0, 79)
    assert some(collect(plugin)) == {("0", "79"): 1}
    assert some(collect(plugin)) == {("0", "79"): 1}
    # no series was there for this one: it begins, and then it grows
    nvml.report(0, 31)
    assert xids(collect(plugin))["0", "31"] == 0
    assert some(collect(plugin)) == {("0", "79"): 1, ("0", "31"): 1}


def test_each_gpu_has_its_own(nvml: RecordedNvml, plugin: GpuMetrics, collect: Collect) -> None:
    for gpu, xid in ((0, 48), (1, 95), (1, 95), (1, 48)):
        nvml.report(gpu, xid)
    assert some(collect(plugin)) == {("0", "48"): 1, ("1", "95"): 2, ("1", "48"): 1}


def test_events_of_other_kinds_are_no_xid(nvml: RecordedNvml, plugin: GpuMetrics, collect: Collect) -> None:
    nvml.report(0, 48, pynvml.nvmlEventTypeClock)
    nvml.report(0, 79)
    assert some(collect(plugin)) == {("0", "79"): 1}


def test_a_gpu_without_events_has_no_series_is_asked_once_and_no_error(
    nvml: RecordedNvml, host: Host, collect: Collect
) -> None:
    for key, unsupported in (
        ("nvmlDeviceGetSupportedEventTypes 0", pynvml.NVML_ERROR_NOT_SUPPORTED),
        ("nvmlDeviceRegisterEvents 0", pynvml.NVML_ERROR_NOT_SUPPORTED),
        ("nvmlEventSetCreate", pynvml.NVML_ERROR_FUNCTION_NOT_FOUND),
    ):
        nvml.errors = {key: unsupported}
        plugin = GpuMetrics(GpuMetricsConfig(), nvml)
        plugin.predis_start(host)
        values = collect(plugin)
        nvml.report(1, 79)
        nvml.calls.clear()
        values = collect(plugin)
        assert some(values) == ({} if key == "nvmlEventSetCreate" else {("1", "79"): 1})
        assert not [labels for labels in xids(values) if labels[0] == "0"]
        assert values["predis_gpu_query_errors_total", ("0",)] == 0
        assert values["predis_gpu_busy_ratio", ("0",)] == 0.87
        assert "nvmlDeviceGetSupportedEventTypes" not in nvml.calls
        assert [events.gpus for events in nvml.sets] == ([] if key == "nvmlEventSetCreate" else [{1}])
        plugin.predis_stop()


def test_a_gpu_that_knows_events_but_not_this_one_is_not_registered(host: Host, collect: Collect) -> None:
    recording = json.loads((DATA / "nvml_desktop.json").read_text())
    recording["gpus"][0]["nvmlDeviceGetSupportedEventTypes"] = pynvml.nvmlEventTypeClock
    nvml = RecordedNvml(recording)
    plugin = GpuMetrics(GpuMetricsConfig(), nvml)
    plugin.predis_start(host)
    assert xids(collect(plugin)) == {}
    assert nvml.sets == []


@pytest.mark.parametrize("lost", [0, 1])
def test_a_lost_gpu_costs_no_error_of_the_others_and_keeps_its_own(
    nvml: RecordedNvml, plugin: GpuMetrics, collect: Collect, lost: int
) -> None:
    other = 1 - lost
    nvml.report(lost, 79)
    assert some(collect(plugin)) == {(f"{lost}", "79"): 1}
    for call in ("nvmlEventSetWait_v2", "nvmlDeviceGetUtilizationRates", "nvmlDeviceGetSupportedEventTypes"):
        nvml.errors[f"{call} {lost}"] = pynvml.NVML_ERROR_GPU_IS_LOST
    for turn in range(1, 4):  # the library is opened anew in between, and it counts all the same
        nvml.report(other, 95)
        values = collect(plugin)
        assert some(values) == {(f"{lost}", "79"): 1, (f"{other}", "95"): turn}
        assert values["predis_gpu_query_errors_total", (str(lost),)] == turn
        assert values["predis_gpu_query_errors_total", (str(other),)] == 0
    nvml.errors.clear()
    collect(plugin)
    nvml.report(lost, 79)
    assert some(collect(plugin)) == {(f"{lost}", "79"): 2, (f"{other}", "95"): 3}


def test_a_wait_that_fails_is_an_error_and_the_gpu_is_watched_anew(
    nvml: RecordedNvml, plugin: GpuMetrics, collect: Collect
) -> None:
    (broken,) = [events for events in nvml.sets if events.gpus == {0}]
    nvml.errors["nvmlEventSetWait_v2 0"] = pynvml.NVML_ERROR_UNKNOWN
    nvml.report(1, 79)
    values = collect(plugin)
    assert some(values) == {("1", "79"): 1}
    assert values["predis_gpu_query_errors_total", ("0",)] == 1
    assert broken not in nvml.sets
    assert len(nvml.sets) == 2
    nvml.errors.clear()
    nvml.report(0, 48)
    assert some(collect(plugin)) == {("0", "48"): 1, ("1", "79"): 1}


def test_registering_that_fails_costs_no_other_metric_and_is_tried_again(
    nvml: RecordedNvml, host: Host, collect: Collect
) -> None:
    nvml.errors["nvmlDeviceRegisterEvents 0"] = pynvml.NVML_ERROR_UNKNOWN
    plugin = GpuMetrics(GpuMetricsConfig(), nvml)
    plugin.predis_start(host)
    for turn in (1, 2):
        values = collect(plugin)
        assert values["predis_gpu_query_errors_total", ("0",)] == turn
        assert values["predis_gpu_busy_ratio", ("0",)] == 0.87
        assert [events.gpus for events in nvml.sets] == [{1}]
    nvml.errors.clear()
    collect(plugin)
    nvml.report(0, 79)
    assert some(collect(plugin)) == {("0", "79"): 1}


def test_a_storm_holds_no_collection_up_and_is_counted_in_the_end(
    nvml: RecordedNvml, plugin: GpuMetrics, collect: Collect
) -> None:
    for _ in range(2 * MOST_EVENTS + 1):
        nvml.report(0, 48)
    counts = [xids(collect(plugin))["0", "48"] for _ in range(3)]
    assert counts == [MOST_EVENTS, 2 * MOST_EVENTS, 2 * MOST_EVENTS + 1]
    # it never waits for long, nor for ever, which 0 means to some of NVIDIA's bindings
    assert set(nvml.waits) == {1}


def test_numbers_without_end_are_counted_together(
    nvml: RecordedNvml, plugin: GpuMetrics, collect: Collect, caplog: pytest.LogCaptureFixture
) -> None:
    for xid in range(1000, 1150):
        nvml.report(0, xid)
    collect(plugin)
    values = xids(collect(plugin))
    of_gpu = {xid: value for (gpu, xid), value in values.items() if gpu == "0"}
    assert len(of_gpu) == MOST_XIDS + 1
    assert of_gpu["other"] == 150 - (MOST_XIDS - len(GRAVE))
    assert sum(of_gpu.values()) == 150
    assert len(caplog.messages) <= MOST_XIDS + 1


def test_stopping_frees_the_event_sets(nvml: RecordedNvml, plugin: GpuMetrics, collect: Collect) -> None:
    assert len(nvml.sets) == 2
    plugin.predis_stop()
    assert nvml.calls.count("nvmlEventSetFree") == 2
    assert nvml.calls.index("nvmlEventSetFree") < nvml.calls.index("nvmlShutdown")
    assert nvml.sets == []


def test_the_errors_that_have_a_series_from_the_start_are_those_of_the_rule() -> None:
    rules = tomllib.loads((ROOT / "rules" / "gpu.toml").read_text())["rule"]
    (grave,) = [rule for rule in rules if rule["name"] == "gpu-xid-grave"]
    assert tuple(grave["when"]["threshold"]["labels"]["xid"]) == GRAVE
