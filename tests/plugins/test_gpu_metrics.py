"""gpu_metrics asks NVML; no GPU is an answer, and what one GPU does not support costs that one metric only."""

import json
from pathlib import Path

import pynvml
import pytest

from agent.api import Host
from plugins.gpu_metrics.plugin import GpuMetrics, GpuMetricsConfig
from plugins.gpu_metrics.queries import QUERIES, THROTTLE_REASONS
from tests.plugins.conftest import Collect
from tests.plugins.nvml_recording import DATA, RecordedNvml

RECORDINGS = sorted(DATA.glob("nvml_*.json"))


def recorded(name: str) -> RecordedNvml:
    return RecordedNvml(json.loads((DATA / f"nvml_{name}.json").read_text()))


def started(nvml: RecordedNvml | None, host: Host) -> GpuMetrics:
    plugin = GpuMetrics(GpuMetricsConfig(), nvml)
    plugin.predis_start(host)
    return plugin


def machine_has_gpu() -> bool:
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return False
    count: int = pynvml.nvmlDeviceGetCount()
    pynvml.nvmlShutdown()
    return count > 0


def test_on_this_machine_it_tells_how_many_gpus_there_are(host: Host, collect: Collect) -> None:
    plugin = started(None, host)
    values = collect(plugin)
    if machine_has_gpu():
        assert values["predis_gpu_devices", ()] >= 1  # type: ignore[operator]
        assert ("predis_gpu_memory_used_bytes", ("0",)) in values
    else:
        assert values == {("predis_gpu_devices", ()): 0}
        assert plugin.note.startswith("no GPU (")
    plugin.predis_stop()


@pytest.mark.parametrize("error", [pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, pynvml.NVML_ERROR_DRIVER_NOT_LOADED])
def test_no_driver_is_no_gpu_and_a_driver_that_is_loaded_later_is_found(
    host: Host, collect: Collect, error: int
) -> None:
    nvml = recorded("datacentre")
    nvml.errors["nvmlInit"] = error
    plugin = started(nvml, host)
    assert collect(plugin) == {("predis_gpu_devices", ()): 0}
    assert plugin.note.startswith("no GPU (")
    nvml.errors.clear()
    assert collect(plugin)["predis_gpu_devices", ()] == 2
    assert plugin.note == "2 GPUs"


def test_a_driver_without_gpus_is_no_gpu(host: Host, collect: Collect) -> None:
    plugin = started(RecordedNvml({"nvmlSystemGetDriverVersion": "550", "nvmlDeviceGetCount": 0, "gpus": []}), host)
    assert collect(plugin) == {("predis_gpu_devices", ()): 0}
    assert plugin.note.startswith("no GPU")


def test_a_gpu_that_supports_everything_gives_everything_in_base_units(host: Host, collect: Collect) -> None:
    values = collect(started(recorded("datacentre"), host))
    assert {name for name, _ in values} >= {query.spec.name for query in QUERIES}
    uuid = "GPU-00000000-0000-0000-0000-000000000001"
    assert values["predis_gpu_info", ("0", uuid, "NVIDIA H200", "550.90.07")] == 1
    assert values["predis_gpu_busy_ratio", ("0",)] == 0.87
    assert values["predis_gpu_busy_ratio", ("1",)] == 0
    assert values["predis_gpu_memory_max_bytes", ("0",)] == 150754820096
    assert values["predis_gpu_power_watts", ("0",)] == pytest.approx(412.345)
    assert values["predis_gpu_energy_joules_total", ("0",)] == pytest.approx(987654321)
    assert values["predis_gpu_clock_hertz", ("0", "memory")] == 3_201_000_000
    assert values["predis_gpu_pcie_throughput_bytes_per_second", ("0", "in")] == 1_200_000
    throttled = {reason: values["predis_gpu_throttled", ("0", reason)] for reason in THROTTLE_REASONS}
    assert throttled == {**dict.fromkeys(THROTTLE_REASONS, 0), "sw_power_cap": 1}
    assert values["predis_gpu_ecc_errors_total", ("0", "corrected")] == 3


def test_what_a_gpu_does_not_support_is_left_out_asked_once_and_no_error(host: Host, collect: Collect) -> None:
    nvml = recorded("desktop")
    plugin = started(nvml, host)
    names = {name for name, _ in collect(plugin)}
    left_out = {query.spec.name for query in QUERIES} - names
    assert left_out == {"predis_gpu_ecc_errors_total", "predis_gpu_energy_joules_total"}
    nvml.calls.clear()
    values = collect(plugin)
    assert "nvmlDeviceGetTotalEccErrors" not in nvml.calls
    assert values["predis_gpu_query_errors_total", ("0",)] == 0


def test_drivers_before_535_call_the_throttle_reasons_otherwise(host: Host, collect: Collect) -> None:
    assert collect(started(recorded("desktop"), host))["predis_gpu_throttled", ("0", "sw_thermal_slowdown")] == 1


def test_a_query_that_fails_once_is_counted_and_asked_again(host: Host, collect: Collect) -> None:
    nvml = recorded("desktop")
    plugin = started(nvml, host)
    nvml.errors["nvmlDeviceGetPowerUsage"] = pynvml.NVML_ERROR_UNKNOWN
    values = collect(plugin)
    assert ("predis_gpu_power_watts", ("0",)) not in values
    assert ("predis_gpu_power_limit_watts", ("0",)) in values
    assert values["predis_gpu_query_errors_total", ("0",)] == 1
    nvml.errors.clear()
    assert ("predis_gpu_power_watts", ("0",)) in collect(plugin)


def test_after_a_gpu_was_lost_it_looks_for_gpus_again(host: Host, collect: Collect) -> None:
    nvml = recorded("datacentre")
    plugin = started(nvml, host)
    collect(plugin)
    nvml.errors["nvmlDeviceGetUtilizationRates"] = pynvml.NVML_ERROR_GPU_IS_LOST
    values = collect(plugin)
    assert values["predis_gpu_query_errors_total", ("0",)] == 1
    nvml.errors.clear()
    assert collect(plugin)["predis_gpu_busy_ratio", ("0",)] == 0.87
    assert nvml.calls.count("nvmlShutdown") == 1
    assert nvml.calls.count("nvmlInit") == 2


LOST_CALLS = [
    "nvmlDeviceGetHandleByIndex",  # it is lost before it was asked anything
    "nvmlDeviceGetName",
    "nvmlDeviceGetUtilizationRates",  # the first query
    "nvmlDeviceGetPowerUsage",
]


@pytest.mark.parametrize("call", LOST_CALLS)
@pytest.mark.parametrize("lost", ["0", "1"])
@pytest.mark.parametrize("from_the_start", [True, False])
def test_a_lost_gpu_hides_no_other(host: Host, collect: Collect, call: str, lost: str, from_the_start: bool) -> None:
    nvml = recorded("datacentre")
    plugin = started(nvml, host)
    other = "1" if lost == "0" else "0"
    whole = {key for key in collect(plugin) if key[1][:1] == (other,)} if not from_the_start else set()
    nvml.errors[f"{call} {lost}"] = pynvml.NVML_ERROR_GPU_IS_LOST
    nvml.errors[f"nvmlDeviceGetPowerUsage {lost}"] = pynvml.NVML_ERROR_GPU_IS_LOST
    # whenever it collects, the other GPU's numbers are all there, and the lost one is named
    for turn in range(1, 4):
        values = collect(plugin)
        assert values["predis_gpu_busy_ratio", (other,)] == (0 if other == "1" else 0.87)
        assert whole <= set(values)
        assert values["predis_gpu_query_errors_total", (lost,)] == turn
        assert values["predis_gpu_query_errors_total", (other,)] == 0
        assert ("predis_gpu_power_watts", (lost,)) not in values
        assert f"GPU {lost}" in plugin.note
        assert "lost" in plugin.note
    # and when it is back, so are its numbers
    nvml.errors.clear()
    collect(plugin)
    assert collect(plugin)["predis_gpu_power_watts", (lost,)] > 0  # type: ignore[operator]
    assert plugin.note == "2 GPUs"


def test_a_library_that_was_shut_down_by_somebody_else_is_opened_again(host: Host, collect: Collect) -> None:
    nvml = recorded("datacentre")
    plugin = started(nvml, host)
    collect(plugin)
    nvml.nvmlShutdown()
    nvml.calls.clear()
    # no handle is used any more after the first that says so
    collect(plugin)
    assert [call for call in nvml.calls if call.startswith("nvmlDevice")] == ["nvmlDeviceGetUtilizationRates"]
    assert collect(plugin)["predis_gpu_busy_ratio", ("0",)] == 0.87
    assert plugin.note == "2 GPUs"


def test_while_a_gpu_is_lost_the_log_says_it_once(
    host: Host, collect: Collect, caplog: pytest.LogCaptureFixture
) -> None:
    nvml = recorded("desktop")
    nvml.errors["nvmlDeviceGetPowerUsage 0"] = pynvml.NVML_ERROR_GPU_IS_LOST
    plugin = started(nvml, host)
    with caplog.at_level("INFO"):
        for _ in range(3):
            collect(plugin)
    assert len(caplog.messages) == len(set(caplog.messages))


def test_stopping_gives_the_library_back(host: Host, collect: Collect) -> None:
    nvml = recorded("desktop")
    plugin = started(nvml, host)
    collect(plugin)
    plugin.predis_stop()
    assert nvml.calls.count("nvmlInit") == nvml.calls.count("nvmlShutdown") == 1


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_every_recording_gives_plausible_numbers(path: Path, host: Host, collect: Collect) -> None:
    recording = json.loads(path.read_text())
    values = collect(started(RecordedNvml(recording), host))
    assert values["predis_gpu_devices", ()] == len(recording["gpus"]) > 0
    for (name, labels), value in values.items():
        assert isinstance(value, int | float)
        if name.endswith("_ratio"):
            assert 0 <= value <= 1, (name, labels)
        if name.endswith("_celsius"):
            assert 0 < value < 120, (name, labels)
        if name.endswith("_hertz"):
            assert 1e8 < value < 2e10, (name, labels)
