"""What may stand in agent.toml, with every default. Plugins bring the models of their own sections."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationInfo,
    field_validator,
    model_validator,
)

from agent.config.refuse import refuse
from agent.config.show import mask, show
from agent.config.units import Duration, Size, duration_between, size_between
from core_cache.options import MOST_LOGGED, Policy
from core_cache.options import is_loopback as is_loopback
from core_cache.tenants import Tenant, find_wrong, hash_of

_LONGEST_SOCKET = 107  # bytes: sun_path has 108, the last for NUL
_HOST_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")


def _check_host(host: str) -> str:
    if not host:
        raise refuse("the host is empty", 'write "127.0.0.1" for this machine only, or "0.0.0.0" for every interface')
    try:
        ipaddress.ip_address(host)
        return host
    except ValueError:
        pass
    if "://" in host or "/" in host:
        raise refuse(f"{show(host)} is a URL or a path, not a host", "write the host alone, such as 127.0.0.1")
    name, colon, port = host.rpartition(":")
    if colon and port.isdigit() and ":" not in name.strip("[]"):
        raise refuse(f"{show(host)} has a port in it", f'write host = "{name.strip("[]")}" and port = {port}')
    if len(host) > 253 or not all(_HOST_LABEL.fullmatch(label) for label in host.removesuffix(".").split(".")):
        raise refuse(
            f"{show(host)} is neither an address nor a host name", "write for example 127.0.0.1, ::1 or localhost"
        )
    if re.fullmatch(r"[0-9.]+", host):
        raise refuse(f"{show(host)} is not an IPv4 address", "an address has four numbers from 0 to 255")
    return host


def _check_variable(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII):
        start, assigned, _ = name.partition("=")  # what may follow is a secret
        shown = show(f"{start}=…" if assigned else name)
        raise refuse(
            f"{shown} is no name of an environment variable", 'write its name alone, as "AWS_SECRET_ACCESS_KEY"'
        )
    return name


def _to_path(value: object, info: ValidationInfo) -> Path:
    if not isinstance(value, (str, Path)):
        raise refuse(f"{show(value)} is not a path", "write it in quotes")
    if value == "" or "\0" in str(value):
        raise refuse("the path is empty" if not value else "the path has a NUL in it", "name a file or folder")
    path = Path(value)
    if path.parts[:1] == ("~",):
        try:
            path = path.expanduser()
        except RuntimeError:
            raise refuse(f"{show(value)}: the agent's user has no home folder", "write the whole path") from None
    base = (info.context or {}).get("base")
    return path if base is None else Path(base, path)


def _nothing(value: object) -> object:
    return None if value == "" else value


ConfigPath = Annotated[Path, PlainValidator(_to_path)]
"""A path; a relative one counts from the folder of agent.toml (a default only with ``validate_default=True``)."""

Host = Annotated[str, AfterValidator(_check_host)]
"""A host name or address to bind to or connect to."""

Port = Annotated[int, Field(ge=0, le=65535)]
"""A TCP port."""

Interval = Annotated[Duration, duration_between("100ms", "1d")]
"""How often something is done, in seconds."""

OrDefault = BeforeValidator(_nothing)
"""TOML has no null: an empty string stands for None in ``Annotated[X | None, OrDefault]``."""


class Section(BaseModel):
    """A table of the configuration: unknown keys are errors, values do not change once read."""

    # hide_input: a secret must not get into a traceback by way of pydantic's own message.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        # Configurations end up in logs and tracebacks.
        for name, value in super().__repr_args__():
            yield name, mask(name or "", value)


class AgentSection(Section):
    """The agent itself."""

    data_dir: ConfigPath = Field(
        default=Path("var/predis"),
        validate_default=True,
        description="folder for everything that must survive a restart",
    )
    interval: Interval = Field(default=10.0, description="how often plugins collect")
    log_level: Literal["debug", "info", "warning", "error"] = "info"


class TlsSection(Section):
    """TLS of the hosted cache, on a port of its own."""

    port: Port = Field(default=0, description="0 for no TLS; cache.port = 0 for nothing but TLS")
    cert: Annotated[ConfigPath | None, OrDefault] = Field(default=None, description="its certificate and chain, PEM")
    key: Annotated[ConfigPath | None, OrDefault] = Field(default=None, description="the certificate's key, PEM")
    ca: Annotated[ConfigPath | None, OrDefault] = Field(default=None, description="what clients' certificates need")
    auth_clients: Literal["no", "optional", "required"] = "no"
    min_version: Literal["1.2", "1.3"] = "1.2"
    ciphers: str = Field(default="", description="of TLS 1.2, as OpenSSL names them; empty for the library's choice")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.port:
            for name, value in (("cert", self.cert), ("key", self.key)):
                if value is None:
                    mend = f'set cache.tls.{name} = "…", a file in PEM form'
                    raise refuse(f"TLS on port {self.port} needs a {name}", mend, "cache.tls.port")
            if self.auth_clients != "no" and self.ca is None:
                what = f"auth_clients = {show(self.auth_clients)} needs a CA to check certificates by"
                raise refuse(what, 'set cache.tls.ca = "…", a file in PEM form', "cache.tls.auth_clients")
        return self


class SnapshotSection(Section):
    """Keys on the disk, for a reboot."""

    enabled: bool = False
    path: Annotated[ConfigPath | None, OrDefault] = Field(default=None, description="empty for cache.snapshot")
    interval: Annotated[Duration, duration_between("1s", "52w")] = Field(
        default=3600.0, description="from one snapshot to the next"
    )
    max_rate: Annotated[Size, size_between("64KiB", "64GiB")] = Field(
        default=64 << 20, description="at most so many bytes per second are written"
    )
    on_shutdown: bool = Field(default=False, description="one is made when the cache is stopped, too")


class TenantSection(Section):
    """A tenant: the keys with a prefix, for the ACL user of the tenant's name."""

    prefix: str = Field(description="of its keys")
    memory: Size = Field(description="its quota; what it stores beyond evicts its own keys")
    password: str = Field(default="", description="empty for one that is made, in data_dir/tenants/NAME.password")
    ops_per_second: int = Field(default=0, ge=0, le=2**53, description="0 for no limit")
    cpu_share: float = Field(default=0.0, ge=0, le=1, description="of the cache's one thread; 0 for no limit")


class CacheSection(Section):
    """The hosted cache process."""

    host: Host = "127.0.0.1"
    port: Port = Field(default=6379, description="0 for no TCP at all")
    unix_socket: Annotated[ConfigPath | None, OrDefault] = Field(
        default=None, description="empty for cache.sock in data_dir"
    )
    memory: Annotated[Size, size_between("8MiB", "64TiB")] = Field(default=1 << 30, description="size of the arena")
    policy: Policy = Field(default="s3fifo", description="what happens when memory is full")
    auth: bool = Field(default=True, description="ask clients for the password in data_dir/cache.password")
    arena_dir: ConfigPath = Field(
        default=Path("/dev/shm"), validate_default=True, description="where the arena lies; should be in memory"
    )
    acl_file: Annotated[ConfigPath | None, OrDefault] = Field(
        default=None, description="users and their rights, in a file of mode 0600; empty for none"
    )
    readers_group: str = Field(default="", description="whose members may read the arena; empty for nobody else")
    max_clients: int = Field(default=10_000, ge=1, le=1_000_000)
    access_log: float = Field(
        default=0.001, ge=0, le=MOST_LOGGED, description="share of the keys whose accesses are logged"
    )
    access_log_keys: Literal["hashed", "plain"] = Field(
        default="hashed", description="keys may be personal data: the log has them keyed and hashed, or as they are"
    )
    huge_pages: Literal["auto", "never"] = Field(
        default="auto", description="the arena in pages of 2 MiB, where the kernel can; never: in small ones"
    )
    tls: TlsSection = TlsSection()
    snapshot: SnapshotSection = SnapshotSection()
    tenants: dict[str, TenantSection] = Field(default={}, description="by name")

    def all_tenants(self) -> list[Tenant]:
        """The tenants as the cache takes them."""
        return [_tenant(name, section) for name, section in self.tenants.items()]

    @field_validator("tenants")
    @classmethod
    def _possible_tenants(cls, tenants: dict[str, TenantSection], info: ValidationInfo) -> dict[str, TenantSection]:
        if not {"memory", "policy", "auth"} <= info.data.keys():  # one of them is wrong itself
            return tenants
        wrong = find_wrong(
            [_tenant(name, section) for name, section in tenants.items()],
            info.data["memory"],
            info.data["policy"],
            info.data["auth"],
        )
        if wrong is not None:
            where = ["cache.tenants", *([wrong.name] if wrong.name else [])]
            if wrong.key in TenantSection.model_fields:
                where.append(wrong.key)
            raise refuse(wrong.what, wrong.mend, ".".join(where))
        return tenants

    @field_validator("tls")
    @classmethod
    def _another_port(cls, tls: TlsSection, info: ValidationInfo) -> TlsSection:
        if tls.port and tls.port == info.data.get("port"):
            mend = "give cache.port and cache.tls.port different ports, or set cache.port = 0 for TLS alone"
            raise refuse(f"port {tls.port} is the cache's without TLS", mend, "cache.tls.port")
        return tls

    @field_validator("auth")
    @classmethod
    def _no_open_cache(cls, auth: bool, info: ValidationInfo) -> bool:
        host = info.data.get("host")  # absent when the host itself is wrong
        if not auth and host is not None and not is_loopback(host):
            raise refuse(
                f"auth = false would open the cache to everyone who reaches {show(host)}",
                'set auth = true, or host = "127.0.0.1"',
            )
        return auth


def _tenant(name: str, section: TenantSection) -> Tenant:
    password = hash_of(section.password) if section.password else ""
    return Tenant(name, section.prefix, section.memory, password, section.ops_per_second, section.cpu_share)


class HttpSection(Section):
    """The agent's own HTTP server: health, status and metrics as JSON."""

    host: Host = "127.0.0.1"
    port: Port = 8889


class HistorySection(Section):
    """What series were: kept in data_dir, or read from Prometheus."""

    enabled: bool = Field(default=True, description="false: the newest minutes alone, in memory")
    backend: Literal["local", "prometheus"] = Field(
        default="local", description="prometheus: older points are read from there, and nothing is written here"
    )
    retention: Annotated[Duration, duration_between("1h", "520w")] = Field(
        default=35 * 86400.0, description="of one value (and lowest, highest) every 5 minutes"
    )
    raw_retention: Annotated[Duration, duration_between("10m", "520w")] = Field(
        default=2 * 86400.0, description="of every point"
    )
    max_size: Annotated[Size, size_between("8MiB", "1TiB")] = Field(
        default=1 << 30, description="of the file; the oldest goes first"
    )
    url: str = Field(default="http://127.0.0.1:9090", description="of Prometheus")
    selector: str = Field(default="", description='what tells this agent\'s series there, such as job="predis"')

    @field_validator("url")
    @classmethod
    def _web_address(cls, url: str) -> str:
        if not re.match(r"https?://[^/\s]", url):
            raise refuse(f"{show(url)} is not the address of a server", "write for example http://127.0.0.1:9090")
        return url


class RulesSection(Section):
    """When something holds, then do something about it: what counts for all rules."""

    enabled: bool = True
    folder: ConfigPath = Field(
        default=Path("rules.d"), validate_default=True, description="its *.toml are read; it need not be there"
    )
    packs: bool = Field(default=True, description="the rules that come with the agent, too")
    dry_run: bool = Field(default=True, description="rules that do not say otherwise change nothing")
    share: float = Field(default=0.5, gt=0, le=1, description="of a rule's subjects that may be ill or worked on")
    actions_per_hour: int = Field(default=10, ge=1, le=10_000, description="of a rule, that change something")
    max_actions_per_hour: int = Field(default=10, ge=1, le=10_000, description="of all rules together")
    approval_timeout: Annotated[Duration, duration_between("1m", "1w")] = Field(
        default=3600.0, description="how long a person has to approve"
    )
    storm_firing: int = Field(default=20, ge=1, le=10_000, description="rules and subjects firing that are a storm")
    storm_incidents: int = Field(default=10, ge=1, le=10_000, description="open incidents that are a storm")
    storm_window: Annotated[Duration, duration_between("10s", "1d")] = Field(
        default=300.0, description="within which they are counted"
    )
    audit_file_size: Annotated[Size, size_between("64KiB", "1GiB")] = Field(
        default=16 << 20, description="of the audit log, after which it goes on in another file"
    )
    audit_files: int = Field(default=32, ge=1, le=10_000, description="full ones that are kept; older ones are removed")
    within: dict[str, str] = Field(
        default={}, description="a target, or a pattern of them, and the target within which these lie"
    )

    @field_validator("within")
    @classmethod
    def _targets(cls, within: dict[str, str]) -> dict[str, str]:
        for inner, outer in within.items():
            for target in (inner, outer):
                if not re.fullmatch(r"[a-z][a-z0-9_-]*:\S+", target):
                    raise refuse(f"{show(target)} is no target", 'write KIND:NAME, such as "host:db1"')
            if any(sign in outer for sign in "*?["):
                raise refuse(f"{show(outer)} is a pattern", "name the one target within which these lie")
        return within


class Config(Section):
    """The whole of agent.toml. ``plugins`` is raw: each plugin's own model reads its table."""

    agent: AgentSection = AgentSection()
    cache: CacheSection = CacheSection()
    http: HttpSection = HttpSection()
    history: HistorySection = HistorySection()
    rules: RulesSection = RulesSection()
    plugins: dict[str, dict[str, Any]] = Field(default={}, repr=False)  # may hold secrets

    @field_validator("cache")
    @classmethod
    def _short_socket(cls, cache: CacheSection, info: ValidationInfo) -> CacheSection:
        agent = info.data.get("agent")
        path = cache.unix_socket or (agent.data_dir / "cache.sock" if agent is not None else None)
        length = len(os.fsencode(os.path.abspath(path))) if path is not None else 0
        if length > _LONGEST_SOCKET:
            raise refuse(
                f"the path of the unix socket, {show(path)}, has {length} bytes; the kernel takes {_LONGEST_SOCKET}",
                'set cache.unix_socket to a shorter one, such as "/run/predis/cache.sock"',
                "cache.unix_socket" if cache.unix_socket is not None else "agent.data_dir",
            )
        return cache

    @field_validator("http")
    @classmethod
    def _own_port(cls, http: HttpSection, info: ValidationInfo) -> HttpSection:
        cache = info.data.get("cache")
        ports = () if cache is None else (cache.port, cache.tls.port)
        if cache is not None and http.port in ports and http.port and http.host == cache.host:
            raise refuse(
                f"port {http.port} is the cache's", "give cache.port and http.port different ports", "http.port"
            )
        return http

    @property
    def unix_socket(self) -> Path:
        """Where the cache listens for local clients and for the agent."""
        return self.cache.unix_socket or self.agent.data_dir / "cache.sock"


class PluginConfig(Section):
    """What every plugin's table has; a plugin's own model derives from it."""

    enabled: bool = True
    interval: Annotated[Interval | None, OrDefault] = Field(default=None, description="empty for agent.interval")
    deadline: Annotated[Duration, duration_between("10ms", "1h")] = Field(
        default=5.0, description="a run that takes longer counts as failed"
    )
    max_series: int = Field(
        default=2000, ge=1, le=1_000_000, description="more series than this are dropped and counted"
    )
    max_per_metric: Annotated[Annotated[int, Field(ge=1, le=1_000_000)] | None, OrDefault] = Field(
        default=None, description="more series than this of one metric are dropped and counted; empty for max_series"
    )
    isolation: Literal["thread", "process"] = Field(
        default="thread", description="whether it runs in the agent or in a process of its own, which can be killed"
    )
    memory_limit: Annotated[Size, size_between("64MiB", "1TiB")] = Field(
        default=256 << 20, description="of a process of its own: needing more ends it"
    )
    pass_environment: tuple[Annotated[str, AfterValidator(_check_variable)], ...] = Field(
        default=(), description="variables that sound like secrets, which a process of its own gets all the same"
    )


RARE_PLUGIN_KEYS = frozenset({"max_per_metric", "isolation", "memory_limit", "pass_environment"})
"""Keys that every plugin has and few tables need: samples leave them out, the user guide explains them once."""
