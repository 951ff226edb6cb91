"""Counts XID errors: what the driver reports of a GPU that went wrong, by NVIDIA's number for it.

After https://docs.nvidia.com/deploy/nvml-api/group__nvmlEvents.html: NVML keeps the events of a set from when a GPU was
registered in it, and a wait gives one of them, or NVML_ERROR_TIMEOUT. It fails with NVML_ERROR_GPU_IS_LOST where a GPU
is lost, so each has a set of its own, and the other GPUs' events go on. MIG instances cannot be registered: what they
have comes by the GPU that they are part of. What the numbers mean: https://docs.nvidia.com/deploy/xid-errors/.
"""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Iterator
from typing import Any

from agent.api import Kind, MetricSpec, Sample
from plugins.gpu_metrics.queries import Nvml

XIDS = MetricSpec(
    "predis_gpu_xid_errors_total",
    Kind.counter,
    "XID errors that the driver reported while the agent ran, by number.",
    "",
    ("gpu", "xid"),
)

# fmt: off
GRAVE = (
    "46", "48", "62", "64", "74", "79", "95", "109", "110", "119", "120", "136", "140", "143", "155", "156", "158",
)
# fmt: on
"""Those after which the GPU, or the machine, is to be reset at once, by NVIDIA's "Analyzing Xid Errors with the Xid
Catalog". The rule gpu-xid-grave has the same, and says why others are not in it."""

WAIT_MS = 1
"""For an event at most. Not 0: by NVML's documentation that waits for nothing, but by that of NVIDIA's cuda.core, which
hands it to the same function, for ever."""
MOST_EVENTS = 200
"""Of one GPU in one collection; the rest waits in NVML until the next, so that a storm holds up no collection."""
MOST_XIDS = 64
"""Numbers of one GPU that get a series of their own; those after them are counted together, as OTHERS."""
OTHERS = "other"


class Xids:
    """The XID errors of all GPUs, counted from when each was watched first; counts outlive a loss of the GPU.

    A series begins with 0, and grave errors have theirs before the first: the first error is an increase, too.
    """

    def __init__(self) -> None:
        self.log: logging.Logger | logging.LoggerAdapter[Any] = logging.getLogger(__name__)
        self._sets: dict[str, Any] = {}  # NVML's event sets, by GPU
        self._counts: dict[str, Counter[str]] = {}
        self._shown: set[tuple[str, str]] = set()  # series that began
        self._unsupported: set[str] = set()  # UUIDs

    def watch(self, nvml: Nvml, gpu: str, uuid: str, handle: Any) -> None:
        """Have NVML keep a GPU's errors from now on, unless it does already, or cannot. Raises NVMLError."""
        if gpu in self._sets or uuid in self._unsupported:
            return
        xid = nvml.nvmlEventTypeXidCriticalError
        try:
            if not nvml.nvmlDeviceGetSupportedEventTypes(handle) & xid:
                raise nvml.NVMLError(nvml.NVML_ERROR_NOT_SUPPORTED)
            events = nvml.nvmlEventSetCreate()
            try:
                nvml.nvmlDeviceRegisterEvents(handle, xid, events)
            except nvml.NVMLError:
                _free(nvml, events)
                raise
        except nvml.NVMLError as error:
            if error.value not in (nvml.NVML_ERROR_NOT_SUPPORTED, nvml.NVML_ERROR_FUNCTION_NOT_FOUND):
                raise
            self._unsupported.add(uuid)
            self.log.info("GPU %s does not support %s", gpu, XIDS.name)
            return
        self._sets[gpu] = events
        self._counts.setdefault(gpu, Counter(dict.fromkeys(GRAVE, 0)))

    def poll(self, nvml: Nvml) -> list[str]:
        """Count what has come since the last time. Returns the GPUs whose wait failed, lost ones not among them: those
        are found by all that is asked of them."""
        failed = []
        for gpu, events in list(self._sets.items()):
            try:
                for _ in range(MOST_EVENTS):
                    event = nvml.nvmlEventSetWait_v2(events, WAIT_MS)
                    if event.eventType == nvml.nvmlEventTypeXidCriticalError:
                        self._count(gpu, str(event.eventData))
            except nvml.NVMLError as error:
                if error.value in (
                    nvml.NVML_ERROR_TIMEOUT,
                    nvml.NVML_ERROR_GPU_IS_LOST,
                    nvml.NVML_ERROR_UNINITIALIZED,
                ):
                    continue
                failed.append(gpu)
                _free(nvml, self._sets.pop(gpu))  # to be watched anew
        return failed

    def samples(self, gpu: str) -> Iterator[Sample]:
        """A GPU's errors so far; none of one that does not support it."""
        for xid, count in self._counts.get(gpu, {}).items():
            yield Sample(XIDS.name, count if (gpu, xid) in self._shown else 0, (gpu, xid))
            self._shown.add((gpu, xid))

    def close(self, nvml: Nvml) -> None:
        """Give the event sets back; the counts stay."""
        for events in self._sets.values():
            _free(nvml, events)
        self._sets.clear()

    def _count(self, gpu: str, xid: str) -> None:
        counts = self._counts[gpu]
        number = xid if xid in counts or len(counts) < MOST_XIDS else OTHERS
        counts[number] += 1
        if counts[number] == 1:
            self.log.warning("GPU %s reports XID %s", gpu, xid)


def _free(nvml: Nvml, events: Any) -> None:
    with contextlib.suppress(nvml.NVMLError):
        nvml.nvmlEventSetFree(events)
