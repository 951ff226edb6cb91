"""The metrics of the hosted cache, and from which of its counters each of them comes."""

from __future__ import annotations

from agent.api import Kind, MetricSpec
from plugins.cache_metrics.latency import TARGETS

UP = MetricSpec(
    "predis_cache_up", Kind.gauge, "1 while the cache process gives signs of life, 0 while it does not or is not there."
)
COMMANDS = MetricSpec("predis_commands_total", Kind.counter, "Commands that were executed.", "", ("command",))
FAILURES = MetricSpec(
    "predis_command_failures_total",
    Kind.counter,
    "Commands answered with an error: found out while executing (failed) or before that (rejected).",
    "",
    ("command", "reason"),
)
DURATION = MetricSpec(
    "predis_command_duration_seconds",
    Kind.histogram,
    "How long the server was busy executing a command, without network and queueing.",
    "seconds",
    ("command",),
    TARGETS,
)

MetricRow = tuple[MetricSpec, tuple[tuple[str, tuple[str, ...], float], ...]]
"""A spec, and for each of its series: the cache's name for the number, the label values, what to multiply it with."""


def _plain(kind: Kind, name: str, source: str, text: str, unit: str = "", factor: float = 1) -> MetricRow:
    return MetricSpec(name, kind, text, unit), ((source, (), factor),)


def _labelled(kind: Kind, name: str, label: str, sources: dict[str, str], text: str, unit: str = "") -> MetricRow:
    series = tuple((source, (value,), 1) for value, source in sources.items())
    return MetricSpec(name, kind, text, unit, (label,)), series


_C, _G = Kind.counter, Kind.gauge

COUNTERS: tuple[MetricRow, ...] = (
    _plain(_C, "predis_keyspace_hits_total", "keyspace_hits", "Reads that found their key."),
    _plain(_C, "predis_keyspace_misses_total", "keyspace_misses", "Reads that did not find their key."),
    _labelled(
        _C,
        "predis_local_reads_total",
        "result",
        {"hit": "local_read_hits", "miss": "local_read_misses"},
        "Reads by local readers, straight from the arena; predis_keyspace_hits_total and _misses_total contain them.",
    ),
    _labelled(
        _C,
        "predis_evicted_keys_total",
        "reason",
        {"capacity": "evicted_capacity"},
        "Keys removed before their time: because room was needed (capacity).",
    ),
    _labelled(
        _C,
        "predis_expired_keys_total",
        "reason",
        {"lazy": "expired_lazy", "active": "expired_active"},
        "Keys removed because their time was over: found so by a command (lazy) or by the sweeper (active).",
    ),
    _labelled(
        _C,
        "predis_network_bytes_total",
        "direction",
        {"in": "net_input_bytes", "out": "net_output_bytes"},
        "Bytes received from clients (in) and sent to them (out).",
        "bytes",
    ),
    _plain(_C, "predis_connections_opened_total", "total_connections", "Connections accepted."),
    _plain(
        _C, "predis_connections_rejected_total", "rejected_connections", "Connections refused because of max-clients."
    ),
    _plain(
        _C, "predis_connections_evicted_total", "evicted_clients", "Connections closed because their buffers were full."
    ),
    _plain(_C, "predis_protocol_errors_total", "protocol_errors", "Connections closed because of malformed requests."),
    _plain(_C, "predis_auth_failures_total", "auth_failures", "Attempts to authenticate that were refused."),
    _plain(_C, "predis_access_denied_total", "access_denied", "Commands refused for want of rights (NOPERM)."),
    _plain(
        _C,
        "predis_login_timeouts_total",
        "login_timeouts",
        "Connections closed because they did not log in while many were open.",
    ),
    _plain(_C, "predis_error_replies_total", "error_replies", "Errors answered to clients."),
    _plain(_C, "predis_slow_commands_total", "slow_commands", "Commands slower than slowlog-log-slower-than."),
    _plain(_C, "predis_flushes_total", "flushes", "Times that all keys were removed by FLUSHDB or FLUSHALL."),
    _plain(_C, "predis_recoveries_total", "recoveries", "Times that the cache came back with the keys it had."),
    _plain(_C, "predis_recovered_keys_total", "recovered_entries", "Keys found again by these recoveries."),
    _plain(
        _C,
        "predis_recovery_seconds_total",
        "recovery_nanoseconds",
        "Time that these recoveries took.",
        "seconds",
        1e-9,
    ),
    _plain(_C, "predis_logged_accesses_total", "logged_accesses", "Accesses written to the access log."),
    _plain(_C, "predis_damaged_entries_total", "damaged_entries", "Entries that a recovery found damaged and dropped."),
    _plain(_C, "predis_upgrades_total", "upgrades", "Times that a new cache process took over from the one before."),
    _labelled(
        _C,
        "predis_snapshots_total",
        "outcome",
        {"saved": "snapshots_saved", "failed": "snapshot_failures"},
        "Snapshots written to the disk, or not.",
    ),
    _plain(_C, "predis_snapshots_loaded_total", "snapshots_loaded", "Snapshots loaded into an empty arena."),
    _plain(_C, "predis_snapshots_refused_total", "snapshots_refused", "Snapshots not loaded, since they are no good."),
    _plain(_C, "predis_snapshot_loaded_keys_total", "snapshot_loaded_entries", "Keys loaded from snapshots."),
    _plain(_C, "predis_tls_connections_total", "tls_connections", "Connections that shook hands over TLS."),
    _plain(_C, "predis_tls_handshake_failures_total", "tls_handshake_failures", "TLS connections without a handshake."),
    _plain(_C, "predis_moved_entries_total", "moved_entries", "Entries moved to make room that hangs together."),
)

GAUGES: tuple[MetricRow, ...] = (
    _plain(_G, "predis_keys", "keys", "Keys stored."),
    _plain(_G, "predis_keys_with_expiry", "keys_with_expiry", "Keys stored that will expire."),
    _labelled(
        _G,
        "predis_memory_bytes",
        "kind",
        {
            "entries": "entry_bytes",
            "index": "index_bytes",
            "free_slots": "slab_free_bytes",
            "overhead": "overhead_bytes",
            "policy": "policy_bytes",
            "collection_indexes": "collection_index_bytes",
            "clients": "client_bytes",
        },
        "Memory by what it is for. All counts as used but free_slots and clients.",
        "bytes",
    ),
    _plain(_G, "predis_memory_used_bytes", "used_bytes", "Memory that counts against the limit.", "bytes"),
    _plain(_G, "predis_memory_peak_bytes", "peak_used_bytes", "The most that was ever used.", "bytes"),
    _plain(_G, "predis_memory_max_bytes", "max_bytes", "The limit (maxmemory).", "bytes"),
    _plain(_G, "predis_arena_pages_used", "pages_used", "Pages of the shared-memory arena in use, 64 KiB each."),
    _plain(_G, "predis_connections", "connected_clients", "Connections open."),
    _plain(_G, "predis_connections_max", "max_clients", "Connections that may be open (max-clients)."),
    _plain(
        _G,
        "predis_upgrade_pause_seconds",
        "upgrade_pause_us",
        "How long nobody was served in the last upgrade.",
        "seconds",
        1e-6,
    ),
    _plain(
        _G,
        "predis_snapshot_time_seconds",
        "snapshot_unix_ms",
        "Unix time at which the newest snapshot was begun; 0 without one.",
        "seconds",
        1e-3,
    ),
    _plain(
        _G, "predis_snapshot_duration_seconds", "snapshot_duration_us", "How long it took to write.", "seconds", 1e-6
    ),
    _plain(_G, "predis_snapshot_bytes", "snapshot_bytes", "How large it is.", "bytes"),
    _plain(_G, "predis_snapshot_keys", "snapshot_entries", "How many keys are in it."),
    _plain(
        _G,
        "predis_policy_model_time_seconds",
        "policy_model_unix_ms",
        "Unix time at which the policy model in use was loaded, or the last one taken away; 0 without one.",
        "seconds",
        1e-3,
    ),
    _plain(
        _G,
        "predis_tls_certificate_expiry_time_seconds",
        "tls_certificate_ends_unix_ms",
        "Unix time at which the TLS certificate ends; 0 without TLS.",
        "seconds",
        1e-3,
    ),
    _plain(
        _G,
        "predis_cache_start_time_seconds",
        "started_unix_ms",
        "Unix time at which the cache process started.",
        "seconds",
        1e-3,
    ),
    _plain(
        _G,
        "predis_cache_heartbeat_time_seconds",
        "heartbeat_unix_ms",
        "Unix time of the cache process' last sign of life.",
        "seconds",
        1e-3,
    ),
)

_T = ("tenant",)
TENANT_DURATION = MetricSpec(
    "predis_tenant_command_duration_seconds",
    Kind.histogram,
    "How long the server was busy executing a command of this tenant, without network and queueing.",
    "seconds",
    _T,
    TARGETS,
)
TENANT_ROWS: tuple[tuple[MetricSpec, tuple[tuple[str, tuple[str, ...]], ...]], ...] = (
    (MetricSpec("predis_tenant_hits_total", _C, "Reads of this tenant that found their key.", "", _T), (("hits", ()),)),
    (
        MetricSpec("predis_tenant_misses_total", _C, "Reads of this tenant that did not find their key.", "", _T),
        (("misses", ()),),
    ),
    (
        MetricSpec("predis_tenant_commands_total", _C, "Commands of this tenant that were executed.", "", _T),
        (("commands", ()),),
    ),
    (
        MetricSpec("predis_tenant_error_replies_total", _C, "Errors answered to this tenant.", "", _T),
        (("errors", ()),),
    ),
    (
        MetricSpec(
            "predis_tenant_network_bytes_total",
            _C,
            "Bytes received from this tenant (in) and sent to it (out).",
            "bytes",
            ("tenant", "direction"),
        ),
        (("bytes_in", ("in",)), ("bytes_out", ("out",))),
    ),
    (
        MetricSpec(
            "predis_tenant_throttled_total", _C, "Times that a connection of this tenant had to wait its turn.", "", _T
        ),
        (("throttled", ()),),
    ),
    (
        MetricSpec("predis_tenant_evicted_keys_total", _C, "Keys of this tenant evicted within its quota.", "", _T),
        (("evicted", ()),),
    ),
    (
        MetricSpec("predis_tenant_expired_keys_total", _C, "Keys of this tenant whose time was over.", "", _T),
        (("expired", ()),),
    ),
    (MetricSpec("predis_tenant_keys", _G, "Keys of this tenant.", "", _T), (("keys", ()),)),
    (MetricSpec("predis_tenant_memory_bytes", _G, "Memory that they take up.", "bytes", _T), (("bytes", ()),)),
    (
        MetricSpec("predis_tenant_memory_max_bytes", _G, "Memory that they may take up.", "bytes", _T),
        (("quota", ()),),
    ),
)

SPECS: tuple[MetricSpec, ...] = (
    UP,
    COMMANDS,
    FAILURES,
    DURATION,
    *(spec for spec, _ in COUNTERS),
    *(spec for spec, _ in GAUGES),
    TENANT_DURATION,
    *(spec for spec, _ in TENANT_ROWS),
)
