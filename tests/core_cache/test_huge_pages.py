"""The arena comes to lie in pages of 2 MiB, for the cache process and for local readers, and loses nothing thereby."""

import re
from pathlib import Path

import pytest

import core_cache
from core_cache.resp_client import RespClient
from tests import servers
from tests.waiting import wait_until

VALUE = b"v" * 1000
KEYS = 20_000  # about 20 MiB


def collapsed_kib(pid: int | str, what: str) -> int:
    """How much of a process' mapping of the arena lies in large pages, in KiB; `what` is a line of smaps."""
    maps = Path(f"/proc/{pid}/smaps").read_text()
    arenas = re.findall(r"^\S+ \S+ \S+ \S+ \S+ +(\S+\.arena)\n((?:\w+: .*\n)+)", maps, re.MULTILINE)
    return sum(int(size) for _, lines in arenas for size in re.findall(rf"^{what}: +(\d+) kB", lines, re.MULTILINE))


def kernel_can() -> bool:
    version = tuple(map(int, re.findall(r"\d+", Path("/proc/sys/kernel/osrelease").read_text())[:2]))
    return version >= (6, 1) and Path("/sys/kernel/mm/transparent_hugepage").is_dir()


def fill(client: RespClient) -> None:
    for first in range(0, KEYS, 500):
        pairs = [part for n in range(first, first + 500) for part in (f"key:{n}", b"%d=" % n + VALUE)]
        assert client.command("MSET", *pairs) == "OK"


def test_a_filled_arena_lies_in_large_pages_and_reads_the_same(tmp_path: Path) -> None:
    if not kernel_can():
        pytest.skip("needs Linux 6.1 or newer with transparent huge pages")
    server = servers.start_cache(tmp_path, "--no-auth", memory="64MiB")
    try:
        with server.client() as client:
            fill(client)
            reader = core_cache.attach(server.data_dir)
            wait_until(lambda: collapsed_kib(server.pid, "ShmemPmdMapped") >= 8192, 30, "large pages of the cache")
            # What is written, deleted and read meanwhile and afterwards is as it should be.
            for n in range(0, KEYS, 7):
                assert client.command("GET", f"key:{n}") == b"%d=" % n + VALUE
                assert reader.get(f"key:{n}") == b"%d=" % n + VALUE
            assert collapsed_kib("self", "ShmemPmdMapped") >= 8192, "a reader's mapping is not aligned for large pages"
            # Memory that is given back is given back, large page or not.
            before = (server.data_dir / "cache.arena").stat().st_blocks
            client.command("FLUSHALL")
            client.command("CONFIG", "SET", "maxmemory", "8mb")
            wait_until(lambda: (server.data_dir / "cache.arena").stat().st_blocks < before / 2, 30, "memory's return")
            client.command("CONFIG", "SET", "maxmemory", "64mb")
            fill(client)
            assert client.command("GET", "key:77") == b"77=" + VALUE
    finally:
        server.stop()


def test_never_means_never(tmp_path: Path) -> None:
    server = servers.start_cache(tmp_path, "--no-auth", "--huge-pages", "never", memory="32MiB")
    try:
        with server.client() as client:
            for n in range(10):
                client.command("SET", f"key:{n}", b"x" * (1 << 20))
        tasks = Path(f"/proc/{server.pid}/task").iterdir()
        assert "huge pages" not in {(task / "comm").read_text().strip() for task in tasks}
        assert collapsed_kib(server.pid, "ShmemPmdMapped") == 0
    finally:
        server.stop()
