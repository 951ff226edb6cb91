"""The command line of the cache process."""

from __future__ import annotations

import argparse
import ipaddress
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

EX_CONFIG = 78
POLICIES = ("s3fifo", "lru", "noeviction")
LOG_LEVELS = ("debug", "info", "warning", "error")
MIN_MEMORY = 8 * 1024 * 1024
_UNITS = {
    "": 1, "b": 1,
    "k": 1000, "kb": 1000, "m": 1000**2, "mb": 1000**2, "g": 1000**3, "gb": 1000**3, "t": 1000**4, "tb": 1000**4,
    "kib": 1024, "mib": 1024**2, "gib": 1024**3, "tib": 1024**4,
}  # fmt: skip


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
    auth: bool
    max_clients: int
    log_level: str


def parse_size(text: str) -> int:
    """Bytes in a size such as 1GiB, 512MB or 1048576. Raises ValueError."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*", text)
    factor = _UNITS.get(match[2].lower()) if match else None
    if match is None or factor is None:
        raise ValueError(f"{text!r} is not a size: write bytes, or a number with MiB, GiB, MB or GB")
    return int(float(match[1]) * factor)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    if host == "localhost":
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
    parser.add_argument("--no-auth", action="store_true", help="no password; only on a loopback address")
    parser.add_argument(
        "--max-clients", type=_Number(1, 1_000_000), default=10000, metavar="N", help="connections at once"
    )
    parser.add_argument("--log-level", choices=LOG_LEVELS, default="info", help="what is logged")
    given = parser.parse_args(arguments)
    if given.no_auth and given.port != 0 and not is_loopback(given.host):
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
        auth=not given.no_auth,
        max_clients=given.max_clients,
        log_level=given.log_level,
    )


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


def _memory(text: str) -> int:
    try:
        size = parse_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if size < MIN_MEMORY:
        raise argparse.ArgumentTypeError(f"{text} is too little: the cache needs at least 8MiB")
    return size
