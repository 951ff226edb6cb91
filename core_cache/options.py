"""The command line of the cache process."""

from __future__ import annotations

import argparse
import ipaddress
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, NoReturn, get_args

EX_CONFIG = 78
Policy = Literal[
    "s3fifo",
    "learned",
    "lru",
    "lfu",
    "random",
    "volatile-lru",
    "volatile-lfu",
    "volatile-random",
    "volatile-ttl",
    "noeviction",
]
POLICIES: tuple[str, ...] = get_args(Policy)
MAXMEMORY_POLICIES = {p: p if p.startswith(("volatile-", "no")) else f"allkeys-{p}" for p in POLICIES}
"""What CONFIG SET maxmemory-policy calls them, as Redis does."""
TLS_CLIENTS = ("no", "optional", "required")
TLS_VERSIONS = ("1.2", "1.3")
TENANT_POLICIES = tuple(p for p in POLICIES if p in ("s3fifo", "learned", "noeviction"))
"""Those that look at one tenant's keys only."""
MIN_TENANT_QUOTA = 1 << 20
LOG_LEVELS = ("debug", "info", "warning", "error")
ACCESS_LOG_KEYS = ("hashed", "plain")
HUGE_PAGES = ("auto", "never")
MOST_LOGGED = 1 / 256  # what costs a lookup nothing: see native/access_log.h
MIN_MEMORY = 8 * 1024 * 1024
LARGEST_SIZE = 2**63 - 1  # sizes end up in signed 64-bit integers
SIZE_UNITS: dict[str, int] = {"b": 1} | {
    prefix.lower() + suffix: base**power
    for power, prefix in enumerate("KMGTP", start=1)
    for suffix, base in (("ib", 1024), ("b", 1000))
}
_SIZE = re.compile(r"\s*([0-9]{1,30})(?:\.([0-9]{1,30}))?\s*([A-Za-z]*)\s*")
SIZE_MEND = 'write a number with a unit, such as "512MiB" or "16GiB" (1 GiB = 1024 MiB; "GB" is 1000 MB)'


class TlsOptions(NamedTuple):
    """`port` 0: no TLS. auth_clients: no, optional or required. ciphers: of TLS 1.2, empty for the library's choice."""

    port: int = 0
    cert: str = ""
    key: str = ""
    ca: str = ""
    auth_clients: str = "no"
    min_version: str = "1.2"
    ciphers: str = ""


class SnapshotOptions(NamedTuple):
    """enabled: made every `interval` seconds and loaded after a reboot. max_rate: bytes per second, 0 for no limit."""

    enabled: bool = False
    path: str = ""  # empty: cache.snapshot in the data directory
    interval: float = 3600.0
    max_rate: int = 64 << 20
    on_shutdown: bool = False


@dataclass(frozen=True, slots=True)
class Options:
    """How the cache process is to run. `memory` is in bytes; `port` 0 means no TCP; no data_dir: a temporary one."""

    host: str
    port: int
    unix_socket: Path | None
    memory: int
    policy: str
    data_dir: Path | None
    arena_dir: Path
    readers_group: str
    auth: bool
    acl_file: Path | None
    tenants_file: Path | None
    max_clients: int
    log_level: str
    access_log: float
    access_log_keys: str
    huge_pages: str
    tls: TlsOptions
    take_over: bool
    snapshot: SnapshotOptions


class SizeError(ValueError):
    """A text that is no size: `what` is the matter with it, and its `mend`."""

    def __init__(self, text: str, what: str, mend: str = SIZE_MEND) -> None:
        super().__init__(f"{text!r} {what}: {mend}")
        self.what, self.mend = what, mend


def parse_size(text: str) -> int:
    """Bytes in a size such as 1GiB, 1.5GB, "512 MiB" or 1048576; part of a byte is left out. Raises SizeError."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise SizeError(text, "is not a size")
    whole, decimals, unit = match[1], match[2] or "", match[3]
    if unit.upper() in ("K", "M", "G", "T", "P"):
        number, letter = whole + ("." + decimals if decimals else ""), unit.upper()
        mend = f'write "{number}{letter}iB" (of 1024) or "{number}{letter}B" (of 1000)'
        raise SizeError(text, "could mean two sizes", mend)
    factor = SIZE_UNITS.get(unit.lower() or "b")
    if factor is None:
        raise SizeError(text, f"is not a size, since {unit} is not a unit")
    scale: int = 10 ** len(decimals)
    size, rest = divmod(int(whole + decimals) * factor, scale)
    if factor == 1 and rest:
        raise SizeError(text, "is not a whole number of bytes")
    if size > LARGEST_SIZE:
        raise SizeError(text, "is too large for a size", "write at most 8191PiB")
    return size


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server bound to `host`. Names other than localhost count as reachable."""
    if host.lower().removesuffix(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def parse_options(arguments: Sequence[str]) -> Options:
    """Reads the command line; exits with status 78 and one clear sentence when it is wrong."""
    parser = _Parser(
        prog="python -m core_cache",
        description="A cache that speaks the Redis protocol.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=_Number(0, 65535), default=6379, help="TCP port; 0: no TCP")
    parser.add_argument("--unix-socket", type=Path, metavar="PATH", help="default: cache.sock in the data directory")
    parser.add_argument("--memory", type=_memory, default="1GiB", metavar="SIZE", help="of the arena, at least 8MiB")
    parser.add_argument("--policy", choices=POLICIES, default="s3fifo", help="which keys go when memory runs out")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="what is in it stays; default: a temporary one")
    parser.add_argument(
        "--arena-dir", type=Path, default=Path("/dev/shm"), metavar="DIR", help="where the arena file lies"
    )
    parser.add_argument("--acl-file", type=Path, metavar="PATH", help="users and their rights; default: none")
    parser.add_argument(
        "--readers-group", default="", metavar="NAME", help="whose members may read the arena; default: nobody"
    )
    parser.add_argument(
        "--tenants-file", type=Path, metavar="PATH", help="tenants and their quotas, as JSON; default: none"
    )
    parser.add_argument("--no-auth", action="store_true", help="no password; only on a loopback address")
    parser.add_argument(
        "--max-clients", type=_Number(1, 1_000_000), default=10000, metavar="N", help="connections at once"
    )
    parser.add_argument("--log-level", choices=LOG_LEVELS, default="info", help="what is logged")
    parser.add_argument(
        "--access-log",
        type=_share,
        default="0.001",
        metavar="SHARE",
        help="of the keys, whose accesses are logged; 0: none",
    )
    parser.add_argument(
        "--access-log-keys", choices=ACCESS_LOG_KEYS, default="hashed", help="how keys appear in the access log"
    )
    parser.add_argument("--huge-pages", choices=HUGE_PAGES, default="auto", help="pages of 2 MiB, where the kernel can")
    parser.add_argument(
        "--take-over",
        action="store_true",
        help="in place of the cache process that works on the same data directory: its sockets and its data",
    )
    _add_snapshot(parser.add_argument_group("snapshots on the disk"))
    _add_tls(parser.add_argument_group("TLS"))
    given = parser.parse_args(arguments)
    if given.tls_port:
        for option, value in (("--tls-cert", given.tls_cert), ("--tls-key", given.tls_key)):
            if not value:
                parser.error(f"--tls-port needs {option}")
        if given.tls_port == given.port:
            parser.error(f"--tls-port and --port are both {given.port}: give them different ports")
    if given.take_over and given.data_dir is None:
        parser.error("--take-over needs --data-dir: that of the cache process to be replaced")
    if given.no_auth and (given.port or given.tls_port) and not is_loopback(given.host):
        parser.error(
            f"--no-auth would open the cache to everybody who can reach {given.host}: "
            "listen on 127.0.0.1, or leave --no-auth out"
        )
    return Options(
        host=given.host,
        port=given.port,
        unix_socket=given.unix_socket,
        memory=given.memory,
        policy=given.policy,
        data_dir=given.data_dir,
        arena_dir=given.arena_dir,
        readers_group=given.readers_group,
        auth=not given.no_auth,
        acl_file=given.acl_file,
        tenants_file=given.tenants_file,
        max_clients=given.max_clients,
        log_level=given.log_level,
        access_log=given.access_log,
        access_log_keys=given.access_log_keys,
        huge_pages=given.huge_pages,
        tls=TlsOptions(
            given.tls_port,
            given.tls_cert,
            given.tls_key,
            given.tls_ca,
            given.tls_auth_clients,
            given.tls_min_version,
            given.tls_ciphers,
        ),
        take_over=given.take_over,
        snapshot=SnapshotOptions(
            given.snapshot,
            given.snapshot_path,
            given.snapshot_interval,
            given.snapshot_max_rate,
            given.snapshot_on_shutdown,
        ),
    )


def _add_snapshot(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--snapshot", action="store_true", help="make them, and load the last one after a reboot")
    group.add_argument(
        "--snapshot-path", type=_absolute, default="", metavar="PATH", help="default: cache.snapshot in --data-dir"
    )
    group.add_argument(
        "--snapshot-interval", type=_seconds, default=3600.0, metavar="SECONDS", help="from one to the next"
    )
    group.add_argument(
        "--snapshot-max-rate", type=_size, default="64MiB", metavar="SIZE", help="per second; 0: as fast as can be"
    )
    group.add_argument("--snapshot-on-shutdown", action="store_true", help="make one before the end, too")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 1.0 <= seconds <= 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds, from 1 on")
    return seconds


def _size(text: str) -> int:
    try:
        return parse_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _add_tls(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--tls-port", type=_Number(0, 65535), default=0, help="TCP port for TLS; 0: none")
    for name, what in (("cert", "certificate, with its chain"), ("key", "key"), ("ca", "CA that signs clients'")):
        group.add_argument(f"--tls-{name}", type=_absolute, default="", metavar="PATH", help=f"{what}, PEM")
    group.add_argument(
        "--tls-auth-clients", choices=TLS_CLIENTS, default="no", help="whether clients need a certificate"
    )
    group.add_argument("--tls-min-version", choices=TLS_VERSIONS, default="1.2", help="the oldest that is spoken")
    group.add_argument("--tls-ciphers", default="", metavar="LIST", help="of TLS 1.2, as OpenSSL names them")


def _absolute(path: str) -> str:
    return os.path.abspath(path) if path else ""


class _Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors end with the status for bad configuration."""

    def error(self, message: str) -> NoReturn:
        sys.stderr.write(f"core_cache: {message}\n")
        raise SystemExit(EX_CONFIG)


class _Number:
    """An argument type: a whole number within limits."""

    def __init__(self, least: int, most: int) -> None:
        self.least = least
        self.most = most

    def __call__(self, text: str) -> int:
        if not text.isdecimal() or not self.least <= int(text) <= self.most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {self.least} to {self.most}")
        return int(text)


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= MOST_LOGGED:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share of the keys from 0 to {MOST_LOGGED} (1 in 256)")
    return share


def _memory(text: str) -> int:
    try:
        size = parse_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if size < MIN_MEMORY:
        raise argparse.ArgumentTypeError(f"{text} is too little: the cache needs at least 8MiB")
    return size
