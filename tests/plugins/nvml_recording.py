"""Records what NVML answers to gpu_metrics, and plays it back where there is no GPU.

    python -m tests.plugins.nvml_recording > tests/plugins/data/nvml_NAME.json      on a machine with a GPU

A recording is one answer per GPU and call: a number, text, the fields of a structure, or the number of an error.
The two in data/ were written by hand after NVML's documentation, one for a data-centre GPU that supports everything and
one for a desktop GPU; recordings of real ones go beside them, and the tests play every file there is.
"""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pynvml

from agent.api import CacheAddress, Host
from plugins.gpu_metrics.plugin import GpuMetrics, GpuMetricsConfig

PER_SYSTEM = ("nvmlSystemGetDriverVersion", "nvmlDeviceGetCount")
QUIET = ("nvmlInit", "nvmlShutdown")
EVENTS = ("nvmlEventSetCreate", "nvmlDeviceRegisterEvents", "nvmlEventSetWait_v2", "nvmlEventSetFree")
DATA = Path(__file__).parent / "data"


@dataclass(eq=False)
class EventSet:
    """What NVML keeps for who registered: the events of some GPUs since then."""

    session: int
    gpus: set[int] = field(default_factory=set)
    events: list[tuple[int, int]] = field(default_factory=list)  # type and data


class RecordedNvml:
    """Looks like pynvml, and answers from a recording.

    `errors` overrules calls by name, or by name and GPU ("nvmlDeviceGetName 1"), with an error's number. As with NVML,
    nobody gets an answer before nvmlInit or after nvmlShutdown, and handles are good until nvmlShutdown.

    Events cannot be recorded, since they come when they come: `report` has a GPU report one, to the event sets in which
    it is registered and to nobody else. A wait for them never waits; `waits` has how long it would have, in ms.
    """

    def __init__(self, recording: dict[str, Any]) -> None:
        self._recording = recording
        self.errors: dict[str, int] = {}
        self.calls: list[str] = []
        self.sets: list[EventSet] = []
        self.waits: list[int] = []
        self._session = 0
        self._open = False

    def report(self, gpu: int, xid: int, kind: int = pynvml.nvmlEventTypeXidCriticalError) -> None:
        """A GPU reports an event."""
        for events in self.sets:
            if gpu in events.gpus:
                events.events.append((kind, xid))

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("nvml") or name.startswith("nvmlEventType"):
            return getattr(pynvml, name)  # constants and errors

        def call(*arguments: Any) -> Any:
            self.calls.append(name)
            gpu = arguments[0] if arguments else None
            number = gpu[1] if isinstance(gpu, tuple) else gpu
            if isinstance(gpu, EventSet):
                number = ",".join(map(str, sorted(gpu.gpus)))
            for key in (name, f"{name} {number}"):
                if key in self.errors:
                    raise pynvml.NVMLError(self.errors[key])
            if name in QUIET:
                self._open = name == "nvmlInit"
                self._session += self._open
                self.sets.clear()
                return None
            if not self._open:
                raise pynvml.NVMLError(pynvml.NVML_ERROR_UNINITIALIZED)
            if name == "nvmlDeviceGetHandleByIndex":
                return self._session, number
            if name in PER_SYSTEM:
                return self._recording[name]
            if name in EVENTS:
                return self._of_events(name, *arguments)
            (session, gpu), *rest = arguments
            assert session == self._session, "a handle of before nvmlShutdown"
            answer = self._recording["gpus"][gpu][" ".join([name, *map(str, rest)])]
            if isinstance(answer, dict):
                if "error" in answer:
                    raise pynvml.NVMLError(answer["error"])
                return SimpleNamespace(**answer)
            return answer

        return call

    def _of_events(self, name: str, *arguments: Any) -> Any:
        if name == "nvmlEventSetCreate":
            self.sets.append(EventSet(self._session))
            return self.sets[-1]
        if name == "nvmlDeviceRegisterEvents":
            (session, gpu), _, events = arguments
            assert session == events.session == self._session, "a handle of before nvmlShutdown"
            events.gpus.add(gpu)
            return None
        events = arguments[0]
        assert events in self.sets, "an event set that was freed, or of before nvmlShutdown"
        if name == "nvmlEventSetFree":
            self.sets.remove(events)
            return None
        if not events.events:
            self.waits.append(arguments[1])
            raise pynvml.NVMLError(pynvml.NVML_ERROR_TIMEOUT)
        kind, xid = events.events.pop(0)
        return SimpleNamespace(eventType=kind, eventData=xid)


class RecordingNvml:
    """Looks like pynvml, asks it, and keeps the answers."""

    def __init__(self) -> None:
        self.recording: dict[str, Any] = {"gpus": []}
        self._numbers: dict[int, int] = {}

    def __getattr__(self, name: str) -> Any:
        real = getattr(pynvml, name)
        if not callable(real) or not name.startswith("nvml") or name in (*QUIET, *EVENTS):
            return real

        def call(*arguments: Any) -> Any:
            if name == "nvmlDeviceGetHandleByIndex":
                handle = real(*arguments)
                self.recording["gpus"].append({})
                self._numbers[id(handle)] = arguments[0]
                return handle
            if name in PER_SYSTEM:
                self.recording[name] = real(*arguments)
                return self.recording[name]
            gpu, *rest = arguments
            answers = self.recording["gpus"][self._numbers[id(gpu)]]
            key = " ".join([name, *map(str, rest)])
            try:
                answer = real(*arguments)
            except pynvml.NVMLError as error:
                answers[key] = {"error": error.value}
                raise
            plain = isinstance(answer, int | str)
            answers[key] = answer if plain else {field: getattr(answer, field) for field, _ in answer._fields_}
            return answer

        return call


def main() -> int:
    """Print a recording of this machine's GPUs."""
    nvml = RecordingNvml()
    plugin = GpuMetrics(GpuMetricsConfig(), nvml)
    nowhere = Path()
    plugin.predis_start(Host(nowhere, CacheAddress(nowhere, "", 0, None, nowhere), "", logging.getLogger(__name__)))
    list(plugin.predis_collect())
    if not nvml.recording["gpus"]:
        sys.exit(f"nothing to record: {plugin.note}")
    sys.stdout.write(json.dumps(nvml.recording, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
