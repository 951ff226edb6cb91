"""The arena's file system is full though the arena is not: the cache lives with the memory it has."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import servers

MIB = 1024 * 1024


@pytest.fixture
def small_memory(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 96 MiB; skipped loudly where this user may not mount one."""
    folder = tmp_path / "memory"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", folder], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"needs a file system of its own, and mount says: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_full_file_system_makes_the_cache_smaller_and_not_silent(tmp_path: Path, small_memory: Path) -> None:
    # Given a cache of 64 MiB on a file system where somebody else has taken all but a third of that
    cache = servers.start_cache(tmp_path, "--no-auth", "--arena-dir", str(small_memory), memory="64MiB")
    others = small_memory / "others"
    with contextlib.suppress(OSError), others.open("wb") as file:
        for _ in range(72):
            file.write(bytes(MIB))
    with cache.client(timeout=10.0) as client:
        # When more is written than fits
        for i in range(40_000):
            assert client.command("SET", f"key:{i}", bytes(1500)) == "OK"
            if i % 4000 == 0:
                assert client.command("SET", f"large:{i}", bytes(300_000)) == "OK"
        # Then the newest are there, the oldest are evicted, and nobody had to wait
        assert client.command("STRLEN", "key:39999") == 1500
        keys = client.command("DBSIZE")
        assert 4_000 < keys < 20_000
        # And when there is memory again it is used
        others.unlink()
        assert client.command("PING") == "PONG"
        for i in range(40_000):
            assert client.command("SET", f"more:{i}", bytes(1500)) == "OK"
        assert client.command("DBSIZE") > 1.5 * keys
    assert cache.stop() == 0
