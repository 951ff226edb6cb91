"""What is asked of each GPU, and the metric that each answer becomes.

A query gives values with their label values after `gpu`. Not every GPU answers every query: a query that one model
does not support costs that model's metric and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from agent.api import Kind, MetricSpec

Nvml = Any
"""The pynvml module, or a recording of it: functions `nvmlDeviceGet…(handle)` that raise `NVMLError`."""
Values = Iterator[tuple[float, tuple[str, ...]]]

_C, _G = Kind.counter, Kind.gauge

DEVICES = MetricSpec("predis_gpu_devices", _G, "GPUs that NVML tells of; 0 on a machine without GPU or driver.")
INFO = MetricSpec("predis_gpu_info", Kind.info, "Which GPU this is.", "", ("gpu", "uuid", "name", "driver"))
ERRORS = MetricSpec(
    "predis_gpu_query_errors_total", _C, "Queries that a GPU failed to answer though it supports them.", "", ("gpu",)
)

THROTTLE_REASONS = {
    "applications_clocks_setting": 0x2,
    "sw_power_cap": 0x4,
    "hw_slowdown": 0x8,
    "sync_boost": 0x10,
    "sw_thermal_slowdown": 0x20,
    "hw_thermal_slowdown": 0x40,
    "hw_power_brake": 0x80,
}
"""Bits of NVML's clock event reasons that mean less speed than the GPU could have; being idle is not among them."""


@dataclass(frozen=True, slots=True)
class Query:
    """One metric and how to ask for it."""

    spec: MetricSpec
    ask: Callable[[Nvml, Any], Values]


def _spec(kind: Kind, name: str, text: str, unit: str = "", *labels: str) -> MetricSpec:
    return MetricSpec(name, kind, text, unit, ("gpu", *labels))


def _busy(nvml: Nvml, gpu: Any) -> Values:
    yield nvml.nvmlDeviceGetUtilizationRates(gpu).gpu / 100, ()


def _memory_busy(nvml: Nvml, gpu: Any) -> Values:
    yield nvml.nvmlDeviceGetUtilizationRates(gpu).memory / 100, ()


def _memory_used(nvml: Nvml, gpu: Any) -> Values:
    yield nvml.nvmlDeviceGetMemoryInfo(gpu).used, ()


def _memory_max(nvml: Nvml, gpu: Any) -> Values:
    yield nvml.nvmlDeviceGetMemoryInfo(gpu).total, ()


def _temperature(nvml: Nvml, gpu: Any) -> Values:
    yield nvml.nvmlDeviceGetTemperature(gpu, nvml.NVML_TEMPERATURE_GPU), ()


def _power(nvml: Nvml, gpu: Any) -> Values:
    yield nvml.nvmlDeviceGetPowerUsage(gpu) / 1000, ()


def _power_limit(nvml: Nvml, gpu: Any) -> Values:
    yield nvml.nvmlDeviceGetEnforcedPowerLimit(gpu) / 1000, ()


def _energy(nvml: Nvml, gpu: Any) -> Values:
    yield nvml.nvmlDeviceGetTotalEnergyConsumption(gpu) / 1000, ()


def _clocks(nvml: Nvml, gpu: Any) -> Values:
    for clock, number in (
        ("graphics", nvml.NVML_CLOCK_GRAPHICS),
        ("sm", nvml.NVML_CLOCK_SM),
        ("memory", nvml.NVML_CLOCK_MEM),
    ):
        yield nvml.nvmlDeviceGetClockInfo(gpu, number) * 1e6, (clock,)


def _throttled(nvml: Nvml, gpu: Any) -> Values:
    try:
        reasons = nvml.nvmlDeviceGetCurrentClocksEventReasons(gpu)
    except nvml.NVMLError as error:
        if error.value != nvml.NVML_ERROR_FUNCTION_NOT_FOUND:
            raise
        reasons = nvml.nvmlDeviceGetCurrentClocksThrottleReasons(gpu)  # its name before driver 535
    for reason, bit in THROTTLE_REASONS.items():
        yield int(bool(reasons & bit)), (reason,)


def _ecc(nvml: Nvml, gpu: Any) -> Values:
    for kind, number in (
        ("corrected", nvml.NVML_MEMORY_ERROR_TYPE_CORRECTED),
        ("uncorrected", nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED),
    ):
        yield nvml.nvmlDeviceGetTotalEccErrors(gpu, number, nvml.NVML_AGGREGATE_ECC), (kind,)


def _pcie(nvml: Nvml, gpu: Any) -> Values:
    for direction, number in (("in", nvml.NVML_PCIE_UTIL_RX_BYTES), ("out", nvml.NVML_PCIE_UTIL_TX_BYTES)):
        yield nvml.nvmlDeviceGetPcieThroughput(gpu, number) * 1000, (direction,)  # NVML answers in KB/s


QUERIES: tuple[Query, ...] = (
    Query(_spec(_G, "predis_gpu_busy_ratio", "Share of time in which a kernel ran.", "ratio"), _busy),
    Query(
        _spec(_G, "predis_gpu_memory_busy_ratio", "Share of time in which memory was read or written.", "ratio"),
        _memory_busy,
    ),
    Query(_spec(_G, "predis_gpu_memory_used_bytes", "GPU memory in use.", "bytes"), _memory_used),
    Query(_spec(_G, "predis_gpu_memory_max_bytes", "GPU memory there is.", "bytes"), _memory_max),
    Query(_spec(_G, "predis_gpu_temperature_celsius", "Temperature of the GPU.", "celsius"), _temperature),
    Query(_spec(_G, "predis_gpu_power_watts", "Power drawn.", "watts"), _power),
    Query(_spec(_G, "predis_gpu_power_limit_watts", "Power that may be drawn.", "watts"), _power_limit),
    Query(
        _spec(_C, "predis_gpu_energy_joules_total", "Energy used since the driver was loaded.", "joules"),
        _energy,
    ),
    Query(_spec(_G, "predis_gpu_clock_hertz", "Clock rates at the moment.", "hertz", "clock"), _clocks),
    Query(
        _spec(_G, "predis_gpu_throttled", "1 while the clocks are held down for this reason.", "", "reason"),
        _throttled,
    ),
    Query(
        _spec(_C, "predis_gpu_ecc_errors_total", "Memory errors over the GPU's life.", "", "kind"),
        _ecc,
    ),
    Query(
        _spec(
            _G,
            "predis_gpu_pcie_throughput_bytes_per_second",
            "Traffic over PCIe, seen from the GPU, over the last 20 ms.",
            "bytes_per_second",
            "direction",
        ),
        _pcie,
    ),
)

SPECS: tuple[MetricSpec, ...] = (DEVICES, INFO, ERRORS, *(query.spec for query in QUERIES))
