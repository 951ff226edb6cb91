"""The native core. What each part does is said in the docstrings of the module itself."""

from asyncio import BaseTransport
from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any, Literal, Protocol, TypeAlias, TypedDict

from typing_extensions import Buffer

TlsSettings = tuple[int, str, str, str, str, str, str]

LAYOUT_VERSION: int

class SnapshotError(RuntimeError): ...

def write_snapshot(arena: str, path: str, id: bytes, max_rate: int, /) -> tuple[int, int, int]: ...

class ArenaError(RuntimeError): ...
class AclFileError(RuntimeError): ...

class CommandNumbers(TypedDict):
    calls: int
    failed: int
    rejected: int
    nanoseconds: int
    latency: list[int]

class ArmNumbers(TypedDict):
    hits: int
    misses: int
    evictions: int
    bytes: int

class TenantNumbers(TypedDict):
    hits: int
    misses: int
    commands: int
    errors: int
    bytes_in: int
    bytes_out: int
    throttled: int
    nanoseconds: int
    evicted: int
    expired: int
    keys: int
    bytes: int
    quota: int
    latency: list[int]

class Numbers(TypedDict):
    counters: dict[str, int]
    gauges: dict[str, int]
    commands: dict[str, CommandNumbers]
    arms: tuple[ArmNumbers, ArmNumbers]
    tenants: dict[str, TenantNumbers]

class Engine:
    def __new__(
        cls,
        path: str,
        capacity: int,
        policy: str,
        *,
        password: str = "",
        max_clients: int = 10000,
        host: str = "",
        port: int = 0,
        unix_socket: str = "",
        data_dir: str = "",
        arena_file: str = "",
        version: str = "0",
        log_level: str = "notice",
        readers_group: int = -1,
        acl_file: str = "",
        tenants: Sequence[tuple[str, str, int, str, int, float]] = (),
    ) -> Engine: ...
    @property
    def clients(self) -> int: ...
    @property
    def handshakes(self) -> int: ...
    @property
    def keys(self) -> int: ...
    @property
    def log_level(self) -> str: ...
    on_stop: Callable[[], object] | None
    on_work: Callable[[], object] | None
    def work(self) -> float: ...
    @property
    def recovered_keys(self) -> int: ...
    def cron(self, budget_us: int, /) -> bool: ...
    def take_warnings(self) -> list[str]: ...
    def drain(self, last: bool, /) -> None: ...
    def note(self, name: str, value: int, /) -> None: ...
    @property
    def fresh(self) -> bool: ...
    def use_snapshots(self, save: Callable[[bool], str | None], /) -> None: ...
    def note_saving(self, running: bool, failed: bool, /) -> None: ...
    def load_snapshot(self, path: str, id: bytes, /) -> tuple[int, int, int]: ...
    def use_tls(self, settings: TlsSettings, renew: Callable[[TlsSettings], str | None], /) -> None: ...
    def start_access_log(self, arena_path: str, rate: float, plain_keys: bool, /) -> None: ...
    def use_huge_pages(self) -> None: ...
    def load_policy_model(self, path: str, name: str, /) -> None: ...
    def abort_all(self) -> None: ...
    def close(self) -> None: ...

class Connection:
    def __new__(cls, engine: Engine, *, tls: bool = False) -> Connection: ...
    @property
    def closing(self) -> bool: ...
    @property
    def held_bytes(self) -> int: ...
    def connection_made(self, transport: BaseTransport, /) -> None: ...
    def connection_lost(self, exc: Exception | None, /) -> None: ...
    def get_buffer(self, sizehint: int, /) -> memoryview: ...
    def buffer_updated(self, nbytes: int, /) -> None: ...
    def eof_received(self) -> Literal[False]: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...
    def feed(self, data: bytes | bytearray | memoryview, /) -> bytes: ...

class StatsReader:
    def __new__(cls, path: str | PathLike[str]) -> StatsReader: ...
    def read(self) -> Numbers: ...

class NumpyArray(Protocol):
    """What tells a numpy array, of which type checkers learn only from Python 3.12 on that it is a buffer."""

    @property
    def __array_interface__(self) -> dict[str, Any]: ...

Array: TypeAlias = Buffer | NumpyArray

class Reader:
    def __new__(cls, path: str | PathLike[str]) -> Reader: ...
    @property
    def counted(self) -> bool: ...
    def get(self, key: bytes | str, /) -> bytes | None: ...
    def mget(self, keys: Sequence[bytes | str] | Array, /) -> list[bytes | None]: ...
    def mget_into(self, keys: Sequence[bytes | str] | Array, out: Array, found: Array | None = None, /) -> int: ...

class PolicyNumbers(TypedDict):
    accesses: int
    misses: int
    bytes: int
    missed_bytes: int
    evictions: int
    refused: int
    bad_scores: int
    victims: list[int]
    missed: bytes
    candidate_rows: bytes
    candidate_keys: bytes
    candidate_at: bytes

def evaluate_policy(
    path: str,
    keys: Buffer,
    sizes: Buffer | None,
    policy: str,
    capacity: int,
    *,
    accesses_per_tick: int = 1,
    times: Buffer | None = None,
    model: str | None = None,
    victims: bool = False,
    missed: bool = False,
    candidates: int = 0,
) -> PolicyNumbers: ...
def score_policy_model(path: str, rows: Buffer, /) -> list[float]: ...
def latency_bounds() -> tuple[float, ...]: ...
