"""From the fields of INFO to samples. Servers differ in what they tell; a field that is not there is no sample."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from agent.api import Kind, MetricSpec, Sample

_C, _G = Kind.counter, Kind.gauge

Row = tuple[MetricSpec, tuple[tuple[str, tuple[str, ...]], ...]]
"""A spec, and for each of its series: the field of INFO, and the label values after `server`."""


def _plain(kind: Kind, name: str, source: str, text: str, unit: str = "") -> Row:
    return MetricSpec(f"predis_redis_{name}", kind, text, unit, ("server",)), ((source, ()),)


def _labelled(kind: Kind, name: str, label: str, sources: dict[str, str], text: str, unit: str = "") -> Row:
    spec = MetricSpec(f"predis_redis_{name}", kind, text, unit, ("server", label))
    return spec, tuple((source, (value,)) for value, source in sources.items())


UP = MetricSpec("predis_redis_up", _G, "1 if the server answered INFO, else 0.", "", ("server",))
ANSWER = MetricSpec(
    "predis_redis_info_duration_seconds", _G, "How long the server took to answer INFO.", "seconds", ("server",)
)
SERVER = MetricSpec(
    "predis_redis_server_info", Kind.info, "Which server this is.", "", ("server", "version", "mode", "role")
)
KEYS = MetricSpec("predis_redis_keys", _G, "Keys stored in a database.", "", ("server", "db"))
EXPIRING = MetricSpec("predis_redis_keys_with_expiry", _G, "Keys stored that will expire.", "", ("server", "db"))
COMMANDS = MetricSpec("predis_redis_commands_total", _C, "Calls of a command.", "", ("server", "command"))
COMMAND_TIME = MetricSpec(
    "predis_redis_command_seconds_total", _C, "Time spent executing a command.", "seconds", ("server", "command")
)
COMMAND_FAILURES = MetricSpec(
    "predis_redis_command_failures_total",
    _C,
    "Calls that ended with an error (failed) or were refused before they ran (rejected).",
    "",
    ("server", "command", "reason"),
)

ROWS: tuple[Row, ...] = (
    _plain(_G, "uptime_seconds", "uptime_in_seconds", "Time since the server started.", "seconds"),
    _plain(_G, "connections", "connected_clients", "Connections open."),
    _plain(_G, "connections_blocked", "blocked_clients", "Connections waiting in a blocking command."),
    _plain(_G, "connections_max", "maxclients", "Connections that may be open."),
    _plain(_C, "connections_opened_total", "total_connections_received", "Connections accepted."),
    _plain(_C, "connections_rejected_total", "rejected_connections", "Connections refused because of maxclients."),
    _plain(_C, "commands_processed_total", "total_commands_processed", "Commands executed."),
    _plain(_C, "error_replies_total", "total_error_replies", "Errors answered to clients."),
    _labelled(
        _C,
        "network_bytes_total",
        "direction",
        {"in": "total_net_input_bytes", "out": "total_net_output_bytes"},
        "Bytes received from clients (in) and sent to them (out).",
        "bytes",
    ),
    _plain(_C, "keyspace_hits_total", "keyspace_hits", "Reads that found their key."),
    _plain(_C, "keyspace_misses_total", "keyspace_misses", "Reads that did not find their key."),
    _plain(_C, "expired_keys_total", "expired_keys", "Keys removed because their time was over."),
    _plain(_C, "evicted_keys_total", "evicted_keys", "Keys removed because room was needed."),
    _plain(_G, "memory_used_bytes", "used_memory", "Memory that the server has allocated.", "bytes"),
    _plain(_G, "memory_peak_bytes", "used_memory_peak", "The most that was ever allocated.", "bytes"),
    _plain(_G, "memory_resident_bytes", "used_memory_rss", "Resident memory of the server's process.", "bytes"),
    _plain(_G, "memory_max_bytes", "maxmemory", "The limit (maxmemory); 0 for none.", "bytes"),
    _plain(
        _G,
        "memory_fragmentation_ratio",
        "mem_fragmentation_ratio",
        "Resident memory over allocated memory; above 1 when memory is fragmented.",
        "ratio",
    ),
    _labelled(
        _C,
        "cpu_seconds_total",
        "mode",
        {"user": "used_cpu_user", "system": "used_cpu_sys"},
        "CPU time of the server's process.",
        "seconds",
    ),
    _plain(_G, "replicas", "connected_slaves", "Replicas connected."),
)

SPECS: tuple[MetricSpec, ...] = (
    *(UP, ANSWER, SERVER, KEYS, EXPIRING, COMMANDS, COMMAND_TIME, COMMAND_FAILURES),
    *(spec for spec, _ in ROWS),
)


def samples(server: str, info: Mapping[str, Any]) -> Iterator[Sample]:
    """The samples of one server from its INFO, as redis-py parses it."""
    version = str(info.get("predis_version") or info.get("valkey_version") or info.get("redis_version", ""))
    identity = (server, version, str(info.get("redis_mode", "")), str(info.get("role", "")))
    yield Sample(SERVER.name, 1, identity)
    for spec, series in ROWS:
        for source, labels in series:
            value = info.get(source)
            if isinstance(value, int | float):
                yield Sample(spec.name, value, (server, *labels))
    for field, values in info.items():
        if not isinstance(values, dict):
            continue
        if field.startswith("cmdstat_"):
            yield from _command(server, field.removeprefix("cmdstat_"), values)
        elif field.startswith("db") and field[2:].isdigit() and "keys" in values:
            yield Sample(KEYS.name, values["keys"], (server, field))
            yield Sample(EXPIRING.name, values.get("expires", 0), (server, field))


def _command(server: str, command: str, values: Mapping[str, Any]) -> Iterator[Sample]:
    labels = (server, command)
    yield Sample(COMMANDS.name, values["calls"], labels)
    yield Sample(COMMAND_TIME.name, values["usec"] / 1e6, labels)
    for reason in ("failed", "rejected"):
        if f"{reason}_calls" in values:  # since Redis 6.2
            yield Sample(COMMAND_FAILURES.name, values[f"{reason}_calls"], (*labels, reason))
