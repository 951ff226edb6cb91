"""Asks NVML about the machine's GPUs. That there is none, or no driver, is an answer and not an error."""

from __future__ import annotations

import contextlib
import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from agent.api import Host, MetricSpec, PluginConfig, Sample, hookimpl
from plugins.gpu_metrics.queries import DEVICES, ERRORS, INFO, QUERIES, SPECS, Nvml
from plugins.gpu_metrics.xids import XIDS, Xids

NO_GPU = "no GPU"


class GpuMetricsConfig(PluginConfig):
    """`[plugins.gpu_metrics]`"""


@dataclass(frozen=True, slots=True)
class Device:
    """One GPU: how NVML knows it, and its UUID, name and driver, which never change."""

    handle: Any
    identity: tuple[str, ...]


class GpuMetrics:
    """Metrics of NVIDIA GPUs.

    `note` says what `status` should show besides the state: the number of GPUs and which of them do not answer, or
    "no GPU" and why.
    """

    api_version = 1
    Config = GpuMetricsConfig

    def __init__(self, config: GpuMetricsConfig, nvml: Nvml = None) -> None:
        """`nvml` is pynvml unless given; tests give a recording."""
        self._nvml: Any = nvml  # a module, or None before the start
        self._count = 0  # GPUs while NVML is open, else 0
        self._driver = ""
        self._devices: dict[int, Device] = {}
        self._unsupported: defaultdict[str, set[str]] = defaultdict(set)  # queries, by UUID
        self._errors: Counter[str] = Counter()
        self._xids = Xids()
        self._stale = False  # a GPU did not answer: the library is to be opened anew
        self._log: logging.Logger | logging.LoggerAdapter[Any] = logging.getLogger(__name__)
        self.note = ""

    @hookimpl
    def predis_metric_specs(self) -> Sequence[MetricSpec]:
        return (*SPECS, XIDS)

    @hookimpl
    def predis_start(self, host: Host) -> None:
        self._log = self._xids.log = host.logger
        if self._nvml is None:
            import pynvml

            self._nvml = pynvml

    @hookimpl
    def predis_stop(self) -> None:
        self._close()

    @hookimpl
    def predis_collect(self) -> Iterable[Sample]:
        nvml = self._nvml
        self._errors.update(self._xids.poll(nvml))
        if self._stale:
            self._close()  # only now: what the others report until it is opened again, nobody would hear
        count = self._open()
        yield Sample(DEVICES.name, count)
        silent: dict[str, str] = {}
        for number in range(count):
            gpu = str(number)
            try:
                device = self._device(number)
                yield Sample(INFO.name, 1, (gpu, *device.identity))
                self._watch(gpu, device)
                yield from self._ask(gpu, device)
            except nvml.NVMLError as error:
                self._errors[gpu] += 1
                silent[gpu] = str(error)
                if error.value == nvml.NVML_ERROR_UNINITIALIZED:
                    break  # no handle is good any more
            yield from self._xids.samples(gpu)
            yield Sample(ERRORS.name, self._errors[gpu], (gpu,))
        if count:
            silence = "".join(f"; GPU {gpu} does not answer ({why})" for gpu, why in silent.items())
            self._say(f"{count} GPU{'s' if count > 1 else ''}{silence}")
        self._stale = bool(silent)  # only a library that is opened anew finds a GPU that is back

    def _open(self) -> int:
        """How many GPUs there are; looked for again each time while there are none: a driver may be loaded later."""
        if self._count:
            return self._count
        nvml = self._nvml
        try:
            nvml.nvmlInit()
            self._driver = _text(nvml.nvmlSystemGetDriverVersion())
            self._count = nvml.nvmlDeviceGetCount()
        except nvml.NVMLError as error:
            self._say(f"{NO_GPU} ({error})")
            self._close()
            return 0
        if not self._count:
            self._say(f"{NO_GPU} (the driver tells of none)")
            self._close()
        return self._count

    def _device(self, number: int) -> Device:
        """The GPU of this number. Raises NVMLError if it does not answer, which says nothing about the others."""
        if number not in self._devices:
            nvml = self._nvml
            gpu = nvml.nvmlDeviceGetHandleByIndex(number)
            identity = (_text(nvml.nvmlDeviceGetUUID(gpu)), _text(nvml.nvmlDeviceGetName(gpu)), self._driver)
            self._devices[number] = Device(gpu, identity)
        return self._devices[number]

    def _watch(self, gpu: str, device: Device) -> None:
        """Have its XID errors counted. Raises NVMLError when it was lost, or the library was closed."""
        nvml = self._nvml
        try:
            self._xids.watch(nvml, gpu, device.identity[0], device.handle)
        except nvml.NVMLError as error:
            if error.value in (nvml.NVML_ERROR_GPU_IS_LOST, nvml.NVML_ERROR_UNINITIALIZED):
                raise
            self._errors[gpu] += 1

    def _ask(self, gpu: str, device: Device) -> Iterator[Sample]:
        """What one GPU answers. Raises NVMLError when it was lost, or the library was closed."""
        nvml = self._nvml
        unsupported = self._unsupported[device.identity[0]]
        for query in QUERIES:
            name = query.spec.name
            if name in unsupported:
                continue
            try:
                values = list(query.ask(nvml, device.handle))
            except nvml.NVMLError as error:
                if error.value in (nvml.NVML_ERROR_GPU_IS_LOST, nvml.NVML_ERROR_UNINITIALIZED):
                    raise
                if error.value in (nvml.NVML_ERROR_NOT_SUPPORTED, nvml.NVML_ERROR_FUNCTION_NOT_FOUND):
                    unsupported.add(name)
                    self._log.info("GPU %s (%s) does not support %s", gpu, device.identity[1], name)
                else:
                    self._errors[gpu] += 1
                continue
            for value, labels in values:
                yield Sample(name, value, (gpu, *labels))

    def _say(self, note: str) -> None:
        if note != self.note:
            self._log.info("%s", note)
            self.note = note

    def _close(self) -> None:
        self._count, self._devices, self._stale = 0, {}, False
        if self._nvml is not None:
            self._xids.close(self._nvml)
            with contextlib.suppress(self._nvml.NVMLError):
                self._nvml.nvmlShutdown()


def _text(value: str | bytes) -> str:
    """NVML's strings, which older bindings give as bytes."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value
