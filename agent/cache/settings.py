"""What a cache process is started with, and the files in the data directory that it and the agent share."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from agent.config.models import Config, TlsSection
from agent.errors import PredisError
from core_cache.options import TlsOptions
from core_cache.password import load_or_create
from core_cache.tenants import FILE_NAME as TENANTS_FILE
from core_cache.tenants import to_json

LIVE = {
    "memory": "maxmemory",
    "policy": "maxmemory-policy",
    "max_clients": "maxclients",
    "log_level": "loglevel",
    "tls_cert": "tls-cert-file",
    "tls_key": "tls-key-file",
    "tls_ca": "tls-ca-cert-file",
    "tls_auth_clients": "tls-auth-clients",
    "tls_min_version": "tls-protocols",
    "tls_ciphers": "tls-ciphers",
}
"""Settings that a running cache takes by CONFIG SET, under the names that it has there."""

_OPTIONS = {
    "--host": "host",
    "--port": "port",
    "--unix-socket": "unix_socket",
    "--memory": "memory",
    "--policy": "policy",
    "--arena-dir": "arena_dir",
    "--readers-group": "readers_group",
    "--max-clients": "max_clients",
    "--log-level": "log_level",
    "--access-log": "access_log",
    "--access-log-keys": "access_log_keys",
    "--huge-pages": "huge_pages",
}
_TLS_OPTIONS = {
    "--tls-port": "tls_port",
    "--tls-cert": "tls_cert",
    "--tls-key": "tls_key",
    "--tls-ca": "tls_ca",
    "--tls-auth-clients": "tls_auth_clients",
    "--tls-min-version": "tls_min_version",
    "--tls-ciphers": "tls_ciphers",
}
_SNAPSHOT_OPTIONS = {
    "--snapshot-interval": "snapshot_interval",
    "--snapshot-max-rate": "snapshot_max_rate",
    "--snapshot-path": "snapshot_path",
}
_SNAPSHOT_FLAGS = {"--snapshot": "snapshot_enabled", "--snapshot-on-shutdown": "snapshot_on_shutdown"}
_OTHER_OPTIONS = {
    "--no-auth": "cache.auth = false",
    "--data-dir": "agent.data_dir",
    "--log-level": "agent.log_level",
    "--acl-file": "cache.acl_file",
    "--tenants-file": "cache.tenants",
}


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """How a cache process runs. `memory` is in bytes, `port` 0 means no TCP; paths are absolute.

    What has a default came later: the notes of an older agent do not have it.
    """

    host: str
    port: int
    unix_socket: str
    memory: int
    policy: str
    auth: bool
    arena_dir: str
    max_clients: int
    log_level: str
    acl_file: str = ""
    access_log: float = 0.001
    access_log_keys: str = "hashed"
    huge_pages: str = "auto"
    tls_port: int = 0  # 0: no TLS, and then the rest of it is as here
    tls_cert: str = ""
    tls_key: str = ""
    tls_ca: str = ""
    tls_auth_clients: str = "no"
    tls_min_version: str = "1.2"
    tls_ciphers: str = ""
    readers_group: str = ""
    snapshot_enabled: bool = False
    snapshot_path: str = ""  # empty: the cache's own choice
    snapshot_interval: float = 3600.0
    snapshot_max_rate: int = 64 << 20
    snapshot_on_shutdown: bool = False
    tenants: str = field(default="", repr=False)  # what stands in their file, which has hashes of passwords in it

    @classmethod
    def of(cls, config: Config) -> CacheSettings:
        """What the configuration asks for."""
        cache = config.cache
        return cls(
            host=cache.host,
            port=cache.port,
            unix_socket=os.path.abspath(config.unix_socket),
            memory=cache.memory,
            policy=cache.policy,
            auth=cache.auth,
            arena_dir=os.path.abspath(cache.arena_dir),
            readers_group=cache.readers_group,
            max_clients=cache.max_clients,
            log_level=config.agent.log_level,
            acl_file=os.path.abspath(cache.acl_file) if cache.acl_file is not None else "",
            access_log=cache.access_log,
            access_log_keys=cache.access_log_keys,
            huge_pages=cache.huge_pages,
            **_tls_settings(cache.tls),
            snapshot_enabled=cache.snapshot.enabled,
            snapshot_path=_path(cache.snapshot.path),
            snapshot_interval=cache.snapshot.interval,
            snapshot_max_rate=cache.snapshot.max_rate,
            snapshot_on_shutdown=cache.snapshot.on_shutdown,
            tenants=to_json(cache.all_tenants()) if cache.tenants else "",
        )

    @property
    def tls(self) -> TlsOptions:
        """The TLS settings as the cache process has them."""
        return TlsOptions(*(getattr(self, name) for name in _TLS_OPTIONS.values()))

    def changes(self, wanted: CacheSettings) -> dict[str, Any]:
        """The settings that `wanted` has otherwise, with its values."""
        return {
            field.name: getattr(wanted, field.name)
            for field in fields(self)
            if getattr(self, field.name) != getattr(wanted, field.name)
        }


def _tls_settings(tls: TlsSection) -> dict[str, Any]:
    if not tls.port:
        return {}
    return {
        "tls_port": tls.port,
        **{f"tls_{name}": _path(getattr(tls, name)) for name in ("cert", "key", "ca")},
        **{f"tls_{name}": getattr(tls, name) for name in ("auth_clients", "min_version", "ciphers")},
    }


def _path(path: Path | None) -> str:
    return "" if path is None else os.path.abspath(path)


CommandLine = Callable[[CacheSettings, "CacheFiles"], list[str]]
"""Makes the command line of a cache process. It must hold no secret: everyone on the machine can read it."""


def command_line(settings: CacheSettings, files: CacheFiles) -> list[str]:
    """`python -m core_cache …` as it is started by the agent."""
    arguments = [f"{option}={getattr(settings, name)}" for option, name in _OPTIONS.items()]
    arguments += [
        f"{option}={value}" for option, name in _SNAPSHOT_OPTIONS.items() if (value := getattr(settings, name))
    ]
    arguments += [option for option, name in _SNAPSHOT_FLAGS.items() if getattr(settings, name)]
    if settings.tls_port:
        arguments += [f"{option}={getattr(settings, name)}" for option, name in _TLS_OPTIONS.items()]
    arguments.append(f"--data-dir={files.data_dir}")
    if settings.acl_file:
        arguments.append(f"--acl-file={settings.acl_file}")
    if settings.tenants:
        arguments.append(f"--tenants-file={files.tenants}")
    # -P: what lies in the folder where the agent was started is not imported.
    return [sys.executable, "-P", "-m", "core_cache", *arguments, *([] if settings.auth else ["--no-auth"])]


def in_terms_of_keys(sentence: str) -> str:
    """What the cache process says of itself, with the keys of agent.toml in place of its own options."""
    keys = {option: f"cache.{name}" for option, name in _OPTIONS.items()} | _OTHER_OPTIONS
    tables = _TLS_OPTIONS | _SNAPSHOT_OPTIONS | _SNAPSHOT_FLAGS
    keys |= {option: f"cache.{name.replace('_', '.', 1)}" for option, name in tables.items()}
    sentence = sentence.removeprefix("core_cache: ")
    return re.sub(r"(?<![\w-])--[a-z-]+", lambda match: keys.get(match[0], match[0]), sentence)


class CacheFiles:
    """The files in the data directory that have to do with the cache process."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = Path(os.path.abspath(data_dir))
        self.pid = self.data_dir / "cache.pid"
        self.lock = self.data_dir / "cache.lock"
        self.log = self.data_dir / "cache.log"
        self.password = self.data_dir / "cache.password"
        self.arena = self.data_dir / "cache.arena"
        self.arguments = self.data_dir / "cache.args.json"
        self.tenants = self.data_dir / TENANTS_FILE

    def read_password(self) -> str | None:
        """The password, or None when there is no such file."""
        with contextlib.suppress(FileNotFoundError):
            return self.password.read_text().strip()
        return None

    def make_password(self) -> str | None:
        """Makes a password when there is none, in a file of mode 0600, and returns it; None when there is one.

        The agent does it and not the cache process, whose output goes to a log: no password belongs there. Raises
        PredisError.
        """
        try:
            secret, made = load_or_create(self.data_dir)
        except OSError as error:
            raise PredisError(f"the password file {self.password} cannot be used: {error.strerror}") from None
        except ValueError as error:
            raise PredisError(str(error)) from None
        return secret if made else None

    def write_arguments(self, pid: int, settings: CacheSettings, capacity: int, successor: int | None = None) -> None:
        """Notes with which settings the process of this pid runs; `capacity` is the memory it was started with.

        successor: another process that is about to take its place, with the same settings.
        """
        document = {"pid": pid, "successor": successor, "capacity": capacity, "settings": asdict(settings)}
        self._write(self.arguments, json.dumps(document, indent=1) + "\n")

    def write_tenants(self, settings: CacheSettings) -> None:
        """Writes the file that tells a cache process of its tenants; removes it when there are none."""
        if settings.tenants:
            self._write(self.tenants, settings.tenants)
        else:
            self.tenants.unlink(missing_ok=True)

    def _write(self, path: Path, text: str) -> None:
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", dir=self.data_dir)  # mode 0600
        with os.fdopen(handle, "w") as file:
            file.write(text)
        os.replace(name, path)

    def knows(self, pid: int) -> bool:
        """Whether the process of this pid is the cache: it says so itself, or an agent noted that it started it."""
        return self.notes_pid(pid) or self.read_arguments(pid) is not None

    def notes_pid(self, pid: int) -> bool:
        """Whether the process of this pid wrote the pid file, as the cache does once it is done with its start."""
        try:
            return self.pid.read_text().strip() == str(pid)
        except (OSError, ValueError):  # there is none, or it holds no text
            return False

    def read_arguments(self, pid: int) -> tuple[CacheSettings, int] | None:
        """Settings and capacity of the process of this pid; None when nobody noted them, or another version did."""
        try:
            document = json.loads(self.arguments.read_text())
            if pid not in (document["pid"], document.get("successor")):
                return None
            settings: Mapping[str, Any] = document["settings"]
            return CacheSettings(**settings), int(document["capacity"])
        except (OSError, ValueError, TypeError, KeyError):
            return None
