"""The cache process, found by its pid file, as the kernel sees it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil

from agent.api import Sample
from plugins.host_metrics import specs


class CacheProcess:
    """The process whose pid stands in `pid_file`, for as long as it is a cache process.

    A pid file can outlive its process, and the kernel gives the number to somebody else: `marker` must be among the
    words of the command line.
    """

    def __init__(self, pid_file: Path, marker: str = "core_cache") -> None:
        self._pid_file = pid_file
        self._marker = marker
        self._process: psutil.Process | None = None

    def samples(self) -> Iterator[Sample]:
        """The process' numbers, or that there is none."""
        process = self._find()
        try:
            found = [] if process is None else list(_numbers(process))
        except psutil.Error:  # it ended, or it is not ours to look at
            found = []
        yield Sample(specs.PROCESS_UP.name, int(bool(found)))
        yield from found

    def _find(self) -> psutil.Process | None:
        try:
            pid = int(self._pid_file.read_text())
            if self._process is None or self._process.pid != pid or not self._process.is_running():
                process = psutil.Process(pid)
                self._process = process if self._marker in " ".join(process.cmdline()) else None
        except (OSError, ValueError, psutil.Error):
            self._process = None
        return self._process


def _numbers(process: psutil.Process) -> Iterator[Sample]:
    with process.oneshot():
        if process.status() == psutil.STATUS_ZOMBIE:
            return
        cpu, memory, switches = process.cpu_times(), process.memory_info(), process.num_ctx_switches()
        yield Sample(specs.PROCESS_CPU.name, cpu.user, ("user",))
        yield Sample(specs.PROCESS_CPU.name, cpu.system, ("system",))
        yield Sample(specs.PROCESS_MEMORY.name, memory.rss, ("resident",))
        yield Sample(specs.PROCESS_MEMORY.name, memory.shared, ("shared",))
        yield Sample(specs.PROCESS_FDS.name, process.num_fds())
        yield Sample(specs.PROCESS_THREADS.name, process.num_threads())
        yield Sample(specs.PROCESS_SWITCHES.name, switches.voluntary, ("voluntary",))
        yield Sample(specs.PROCESS_SWITCHES.name, switches.involuntary, ("involuntary",))
