"""Asks NVML about the machine's GPUs. That there is none, or no driver, is an answer and not an error."""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from agent.api import Host, MetricSpec, PluginConfig, Sample, hookimpl
from plugins.gpu_metrics.queries import DEVICES, ERRORS, INFO, QUERIES, SPECS, Nvml

NO_GPU = "no GPU"


class GpuMetricsConfig(PluginConfig):
    """`[plugins.gpu_metrics]`"""


@dataclass(slots=True)
class Device:
    """One GPU: how NVML knows it, what never changes, and which queries it does not support."""

    handle: Any
    identity: tuple[str, ...]
    unsupported: set[str] = field(default_factory=set)


class GpuMetrics:
    """Metrics of NVIDIA GPUs.

    `note` says what `status` should show besides the state: the number of GPUs, or "no GPU" and why.
    """

    api_version = 1
    Config = GpuMetricsConfig

    def __init__(self, config: GpuMetricsConfig, nvml: Nvml = None) -> None:
        """`nvml` is pynvml unless given; tests give a recording."""
        self._nvml: Any = nvml  # a module, or None before the start
        self._devices: list[Device] | None = None
        self._errors: Counter[str] = Counter()
        self._log: logging.Logger | logging.LoggerAdapter[Any] = logging.getLogger(__name__)
        self.note = ""

    @hookimpl
    def predis_metric_specs(self) -> Sequence[MetricSpec]:
        return SPECS

    @hookimpl
    def predis_start(self, host: Host) -> None:
        self._log = host.logger
        if self._nvml is None:
            import pynvml

            self._nvml = pynvml

    @hookimpl
    def predis_stop(self) -> None:
        self._close()

    @hookimpl
    def predis_collect(self) -> Iterable[Sample]:
        devices = self._open()
        yield Sample(DEVICES.name, len(devices))
        for number, device in enumerate(devices):
            gpu = str(number)
            yield Sample(INFO.name, 1, (gpu, *device.identity))
            yield from self._ask(gpu, device)
            yield Sample(ERRORS.name, self._errors[gpu], (gpu,))

    def _open(self) -> list[Device]:
        """The GPUs; found once, and looked for again each time while there are none: a driver may be loaded later."""
        if self._devices is not None:
            return self._devices
        nvml = self._nvml
        try:
            nvml.nvmlInit()
            driver = _text(nvml.nvmlSystemGetDriverVersion())
            handles = [nvml.nvmlDeviceGetHandleByIndex(number) for number in range(nvml.nvmlDeviceGetCount())]
            devices = [
                Device(gpu, (_text(nvml.nvmlDeviceGetUUID(gpu)), _text(nvml.nvmlDeviceGetName(gpu)), driver))
                for gpu in handles
            ]
        except nvml.NVMLError as error:
            self._say(f"{NO_GPU} ({error})")
            self._close()
            return []
        if not devices:
            self._say(f"{NO_GPU} (the driver tells of none)")
            self._close()
            return []
        self._say(f"{len(devices)} GPU" + ("s" if len(devices) > 1 else ""))
        self._devices = devices
        return devices

    def _ask(self, gpu: str, device: Device) -> Iterator[Sample]:
        nvml = self._nvml
        for query in QUERIES:
            name = query.spec.name
            if name in device.unsupported:
                continue
            try:
                values = list(query.ask(nvml, device.handle))
            except nvml.NVMLError as error:
                if error.value in (nvml.NVML_ERROR_NOT_SUPPORTED, nvml.NVML_ERROR_FUNCTION_NOT_FOUND):
                    device.unsupported.add(name)
                    self._log.info("GPU %s (%s) does not support %s", gpu, device.identity[1], name)
                    continue
                self._errors[gpu] += 1
                if error.value in (nvml.NVML_ERROR_GPU_IS_LOST, nvml.NVML_ERROR_UNINITIALIZED):
                    self._say(f"GPU {gpu} was lost ({error}); looking for GPUs again")
                    self._close()
                    return
                continue
            for value, labels in values:
                yield Sample(name, value, (gpu, *labels))

    def _say(self, note: str) -> None:
        if note != self.note:
            self._log.info("%s", note)
            self.note = note

    def _close(self) -> None:
        self._devices = None
        if self._nvml is not None:
            with contextlib.suppress(self._nvml.NVMLError):
                self._nvml.nvmlShutdown()


def _text(value: str | bytes) -> str:
    """NVML's strings, which older bindings give as bytes."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value
