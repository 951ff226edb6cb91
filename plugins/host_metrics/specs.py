"""The metrics of the machine and of the cache process."""

from __future__ import annotations

from agent.api import Kind, MetricSpec

_C, _G = Kind.counter, Kind.gauge

CPUS = MetricSpec("predis_host_cpus", _G, "Logical CPUs.")
CPU = MetricSpec(
    "predis_host_cpu_seconds_total", _C, "CPU time of the whole machine, by what it was spent on.", "seconds", ("mode",)
)
CPU_BUSY = MetricSpec(
    "predis_host_cpu_busy_ratio", _G, "Share of all CPU time since the last collection that was not idle.", "ratio"
)
LOAD = MetricSpec("predis_host_load_average", _G, "Load average over 1, 5 and 15 minutes.", "", ("window",))
PRESSURE = MetricSpec(
    "predis_host_pressure_seconds_total",
    _C,
    "Time in which some task, or every task (full), waited for a resource (pressure stall information).",
    "seconds",
    ("resource", "tasks"),
)
MEMORY = MetricSpec(
    "predis_host_memory_bytes", _G, "Memory of the machine: total, available, used, cached, free.", "bytes", ("kind",)
)
SWAP = MetricSpec("predis_host_swap_bytes", _G, "Swap space of the machine: total, used.", "bytes", ("kind",))
FILESYSTEM = MetricSpec(
    "predis_host_filesystem_bytes",
    _G,
    "Room on the file systems of the data folder and of the arena: total, used, free (to us).",
    "bytes",
    ("path", "kind"),
)
DISK_BYTES = MetricSpec(
    "predis_host_disk_bytes_total", _C, "Bytes read from and written to disks.", "bytes", ("device", "direction")
)
DISK_OPERATIONS = MetricSpec(
    "predis_host_disk_operations_total", _C, "Reads from and writes to disks.", "", ("device", "direction")
)
NETWORK_BYTES = MetricSpec(
    "predis_host_network_bytes_total", _C, "Bytes through network interfaces.", "bytes", ("interface", "direction")
)
NETWORK_PACKETS = MetricSpec(
    "predis_host_network_packets_total", _C, "Packets through network interfaces.", "", ("interface", "direction")
)
NETWORK_ERRORS = MetricSpec(
    "predis_host_network_errors_total", _C, "Packets with errors.", "", ("interface", "direction")
)
NETWORK_DROPS = MetricSpec("predis_host_network_drops_total", _C, "Packets dropped.", "", ("interface", "direction"))
BOOT_TIME = MetricSpec("predis_host_boot_time_seconds", _G, "Unix time at which the machine started.", "seconds")

PROCESS_UP = MetricSpec("predis_cache_process_up", _G, "1 while there is a cache process, else 0.")
PROCESS_CPU = MetricSpec(
    "predis_cache_process_cpu_seconds_total", _C, "CPU time of the cache process.", "seconds", ("mode",)
)
PROCESS_MEMORY = MetricSpec(
    "predis_cache_process_memory_bytes",
    _G,
    "Memory of the cache process: resident, and the part of it that is shared, as the arena is.",
    "bytes",
    ("kind",),
)
PROCESS_FDS = MetricSpec("predis_cache_process_open_fds", _G, "File descriptors that the cache process has open.")
PROCESS_THREADS = MetricSpec("predis_cache_process_threads", _G, "Threads of the cache process.")
PROCESS_SWITCHES = MetricSpec(
    "predis_cache_process_context_switches_total",
    _C,
    "Times that the cache process gave up a CPU (voluntary) or was put off it (involuntary).",
    "",
    ("kind",),
)

SPECS: tuple[MetricSpec, ...] = (
    *(CPUS, CPU, CPU_BUSY, LOAD, PRESSURE, MEMORY, SWAP, FILESYSTEM, DISK_BYTES, DISK_OPERATIONS),
    *(NETWORK_BYTES, NETWORK_PACKETS, NETWORK_ERRORS, NETWORK_DROPS, BOOT_TIME),
    *(PROCESS_UP, PROCESS_CPU, PROCESS_MEMORY, PROCESS_FDS, PROCESS_THREADS, PROCESS_SWITCHES),
)
