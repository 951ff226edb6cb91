"""The machine that the cache runs on, and what the cache process takes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import psutil

from agent.api import Host, MetricSpec, PluginConfig, Sample, hookimpl
from plugins.host_metrics import specs
from plugins.host_metrics.process import CacheProcess

CPU_MODES = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
PRESSURE_RESOURCES = ("cpu", "memory", "io")


class HostMetricsConfig(PluginConfig):
    """`[plugins.host_metrics]`"""

    ignore_interfaces: tuple[str, ...] = ("veth*", "br-*", "docker*", "cali*", "flannel*", "cni*")
    ignore_disks: tuple[str, ...] = ("loop*", "ram*", "zram*", "sr*", "fd*")


class HostMetrics:
    """Metrics of the machine, from psutil and /proc.

    `note` says what `status` should show besides the state: which parts this machine does not tell of, and why.
    """

    api_version = 1
    Config = HostMetricsConfig

    def __init__(self, config: HostMetricsConfig, proc: Path = Path("/proc")) -> None:
        """`proc` is where the kernel tells of pressure; tests replace it."""
        self._config = config
        self._proc = proc
        self._data_dir = self._arena = Path()
        self._process: CacheProcess | None = None
        self._last_cpu: tuple[float, float] | None = None  # busy and total seconds
        self._missing: dict[str, str] = {}

    @property
    def note(self) -> str:
        return "; ".join(f"no {part} ({why})" for part, why in sorted(dict(self._missing).items()))

    @hookimpl
    def predis_metric_specs(self) -> Sequence[MetricSpec]:
        return specs.SPECS

    @hookimpl
    def predis_start(self, host: Host) -> None:
        self._data_dir, self._arena = host.data_dir, host.cache.arena
        self._process = CacheProcess(host.data_dir / "cache.pid")

    @hookimpl
    def predis_collect(self) -> Iterable[Sample]:
        parts: dict[str, Callable[[], Iterator[Sample]]] = {
            "CPU": self._cpu,
            "pressure": self._pressure,
            "memory": self._memory,
            "file systems": self._room,
            "disks": self._disks,
            "network": self._network,
            "boot time": self._boot_time,
        }
        if self._process is not None:
            parts["cache process"] = self._process.samples
        measured = False
        for name, part in parts.items():
            try:
                samples = list(part())
                yield from samples
                # That there is no cache process can be said by who sees nothing at all.
                measured = measured or any(sample.name != specs.PROCESS_UP.name for sample in samples)
                self._missing.pop(name, None)
            except (OSError, RuntimeError, ValueError, psutil.Error) as error:
                # Sandboxes hide parts of /proc: what is left is still worth telling.
                self._missing[name] = str(error)
        if not measured:
            raise RuntimeError(f"nothing can be measured: {self.note}")

    @staticmethod
    def _boot_time() -> Iterator[Sample]:
        yield Sample(specs.BOOT_TIME.name, psutil.boot_time())

    def _cpu(self) -> Iterator[Sample]:
        times = psutil.cpu_times()
        for mode in CPU_MODES:
            if hasattr(times, mode):
                yield Sample(specs.CPU.name, getattr(times, mode), (mode,))
        # Guest time is part of user time, so it would count twice in a sum over all fields.
        total = sum(getattr(times, mode, 0.0) for mode in CPU_MODES)
        busy = total - times.idle - getattr(times, "iowait", 0.0)
        if self._last_cpu is not None and total > self._last_cpu[1]:
            ratio = (busy - self._last_cpu[0]) / (total - self._last_cpu[1])
            yield Sample(specs.CPU_BUSY.name, min(max(ratio, 0.0), 1.0))
        self._last_cpu = (busy, total)
        yield Sample(specs.CPUS.name, psutil.cpu_count() or 1)
        for window, load in zip(("1m", "5m", "15m"), psutil.getloadavg(), strict=True):
            yield Sample(specs.LOAD.name, load, (window,))

    def _pressure(self) -> Iterator[Sample]:
        """Pressure stall information, which kernels have since 4.20 unless it is switched off."""
        for resource in PRESSURE_RESOURCES:
            try:
                text = (self._proc / "pressure" / resource).read_text()
            except OSError:
                continue
            for line in text.splitlines():
                tasks, _, rest = line.partition(" ")
                microseconds = dict(field.split("=") for field in rest.split()).get("total")
                if microseconds is not None:
                    yield Sample(specs.PRESSURE.name, int(microseconds) / 1e6, (resource, tasks))

    def _memory(self) -> Iterator[Sample]:
        memory = psutil.virtual_memory()
        for kind in ("total", "available", "used", "cached", "free"):
            yield Sample(specs.MEMORY.name, getattr(memory, kind), (kind,))
        swap = psutil.swap_memory()
        yield Sample(specs.SWAP.name, swap.total, ("total",))
        yield Sample(specs.SWAP.name, swap.used, ("used",))

    def _room(self) -> Iterator[Sample]:
        # The arena is a link in the data folder, and there only once a cache has run.
        arena_folder = self._arena.resolve().parent
        for path in dict.fromkeys((self._data_dir, arena_folder)):
            try:
                room = psutil.disk_usage(str(path))
            except OSError:  # the folder was removed; the others still tell
                continue
            for kind in ("total", "used", "free"):
                yield Sample(specs.FILESYSTEM.name, getattr(room, kind), (str(path), kind))

    def _disks(self) -> Iterator[Sample]:
        for device, numbers in (psutil.disk_io_counters(perdisk=True) or {}).items():
            if self._ignored(device, self._config.ignore_disks) or _is_partition(device):
                continue
            yield Sample(specs.DISK_BYTES.name, numbers.read_bytes, (device, "read"))
            yield Sample(specs.DISK_BYTES.name, numbers.write_bytes, (device, "write"))
            yield Sample(specs.DISK_OPERATIONS.name, numbers.read_count, (device, "read"))
            yield Sample(specs.DISK_OPERATIONS.name, numbers.write_count, (device, "write"))

    def _network(self) -> Iterator[Sample]:
        for interface, numbers in psutil.net_io_counters(pernic=True).items():
            if self._ignored(interface, self._config.ignore_interfaces):
                continue
            for direction, received in (("in", True), ("out", False)):
                labels = (interface, direction)
                yield Sample(specs.NETWORK_BYTES.name, numbers.bytes_recv if received else numbers.bytes_sent, labels)
                packets = numbers.packets_recv if received else numbers.packets_sent
                yield Sample(specs.NETWORK_PACKETS.name, packets, labels)
                yield Sample(specs.NETWORK_ERRORS.name, numbers.errin if received else numbers.errout, labels)
                yield Sample(specs.NETWORK_DROPS.name, numbers.dropin if received else numbers.dropout, labels)

    @staticmethod
    def _ignored(name: str, patterns: Sequence[str]) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in patterns)


def _is_partition(device: str) -> bool:
    """Whether this is part of another disk, whose bytes would count twice."""
    return Path("/sys/class/block", device, "partition").exists()
