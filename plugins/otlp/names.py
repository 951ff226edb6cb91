"""What metrics, units and labels are called in OpenTelemetry.

Where OpenTelemetry has a name for what a metric measures, that is used (`naming = "semconv"`): of the hardware
conventions https://opentelemetry.io/docs/specs/semconv/hardware/gpu/ , …/common/ and …/temperature/ , and for Redis
servers, for which semantic conventions have only the client's side, of the collector's Redis receiver:
https://github.com/open-telemetry/opentelemetry-collector-contrib/blob/main/receiver/redisreceiver/metadata.yaml
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from agent.api import Kind, MetricSpec, Series

UCUM = {
    "": "1",
    "seconds": "s",
    "bytes": "By",
    "bytes_per_second": "By/s",
    "ratio": "1",
    "hertz": "Hz",
    "celsius": "Cel",
    "watts": "W",
    "joules": "J",
    "volts": "V",
    "amperes": "A",
}


class Form(Enum):
    """Which kind of data a metric is; an up-down sum is one that falls, too, such as memory in use."""

    gauge = "gauge"
    sum = "sum"
    up_down = "up_down"
    histogram = "histogram"


@dataclass(frozen=True, slots=True)
class Name:
    """A metric in OpenTelemetry."""

    name: str
    unit: str
    form: Form
    help: str


@dataclass(frozen=True, slots=True)
class _Convention:
    """`labels` are renamed and `fixed` attributes added; the label `by` says what stands in `name` for `{}`."""

    name: str
    unit: str
    form: Form
    labels: Mapping[str, str] = field(default_factory=dict)
    fixed: Mapping[str, str] = field(default_factory=dict)
    by: str = ""


_GPU = {"gpu": "hw.id"}
_IS_GPU = {"hw.type": "gpu"}
_S, _U, _G = Form.sum, Form.up_down, Form.gauge

CONVENTIONS: Mapping[str, _Convention] = {
    "predis_gpu_busy_ratio": _Convention("hw.gpu.utilization", "1", _G, _GPU, _IS_GPU),
    "predis_gpu_memory_used_bytes": _Convention("hw.gpu.memory.usage", "By", _U, _GPU, _IS_GPU),
    "predis_gpu_memory_max_bytes": _Convention("hw.gpu.memory.limit", "By", _U, _GPU, _IS_GPU),
    "predis_gpu_ecc_errors_total": _Convention("hw.errors", "{error}", _S, {**_GPU, "kind": "error.type"}, _IS_GPU),
    "predis_gpu_power_watts": _Convention("hw.power", "W", _G, _GPU, _IS_GPU),
    "predis_gpu_energy_joules_total": _Convention("hw.energy", "J", _S, _GPU, _IS_GPU),
    "predis_gpu_temperature_celsius": _Convention("hw.temperature", "Cel", _G, _GPU, {"hw.name": "GPU"}),
    "predis_redis_commands_processed_total": _Convention("redis.commands.processed", "{command}", _S),
    "predis_redis_commands_total": _Convention("redis.cmd.calls", "{call}", _S, {"command": "cmd"}),
    "predis_redis_connections": _Convention("redis.clients.connected", "{client}", _U),
    "predis_redis_connections_blocked": _Convention("redis.clients.blocked", "{client}", _U),
    "predis_redis_connections_opened_total": _Convention("redis.connections.received", "{connection}", _S),
    "predis_redis_connections_rejected_total": _Convention("redis.connections.rejected", "{connection}", _S),
    "predis_redis_evicted_keys_total": _Convention("redis.keys.evicted", "{key}", _S),
    "predis_redis_expired_keys_total": _Convention("redis.keys.expired", "{event}", _S),
    "predis_redis_keys": _Convention("redis.db.keys", "{key}", _G),
    "predis_redis_keys_with_expiry": _Convention("redis.db.expires", "{key}", _G),
    "predis_redis_keyspace_hits_total": _Convention("redis.keyspace.hits", "{hit}", _S),
    "predis_redis_keyspace_misses_total": _Convention("redis.keyspace.misses", "{miss}", _S),
    "predis_redis_memory_fragmentation_ratio": _Convention("redis.memory.fragmentation_ratio", "1", _G),
    "predis_redis_memory_max_bytes": _Convention("redis.maxmemory", "By", _G),
    "predis_redis_memory_peak_bytes": _Convention("redis.memory.peak", "By", _G),
    "predis_redis_memory_resident_bytes": _Convention("redis.memory.rss", "By", _G),
    "predis_redis_memory_used_bytes": _Convention("redis.memory.used", "By", _G),
    "predis_redis_network_bytes_total": _Convention("redis.net.{}put", "By", _S, by="direction"),
    "predis_redis_replicas": _Convention("redis.slaves.connected", "{replica}", _U),
}
_OWN_FORMS = {Kind.gauge: Form.gauge, Kind.info: Form.gauge, Kind.counter: Form.sum, Kind.histogram: Form.histogram}


def name_of(series: Series, semconv: bool) -> tuple[Name, dict[str, str]]:
    """What a series is called, and its attributes."""
    spec, labels = series.spec, dict(series.tags())
    convention = CONVENTIONS.get(spec.name) if semconv else None
    if convention is None:
        return Name(spec.name, _unit(spec), _OWN_FORMS[spec.kind], spec.help), labels
    name = convention.name.format(labels.pop(convention.by, "")) if convention.by else convention.name
    attributes = {convention.labels.get(label, label): value for label, value in labels.items()}
    if server := attributes.pop("server", ""):
        attributes |= _address(server)
    return Name(name, convention.unit, convention.form, spec.help), {**attributes, **convention.fixed}


def _unit(spec: MetricSpec) -> str:
    return "" if spec.kind is Kind.info else UCUM.get(spec.unit, "1")


def _address(server: str) -> dict[str, str]:
    """HOST:PORT, [V6]:PORT or a socket's path as the conventions have it."""
    host, colon, port = server.rpartition(":")
    if not colon or server.startswith("/"):
        return {"server.address": server}
    return {"server.address": host.strip("[]"), "server.port": port}
