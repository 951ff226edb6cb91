"""Reads by local readers count in the statistics, keep their keys from eviction, and can do the cache no harm."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import core_cache
from core_cache.resp_client import RespClient
from tests import servers
from tests.core_cache.native_build import build
from tests.waiting import wait_until

SLOTS = 256
HEADS, HEAD, RING = 4096, 64, 4096 * 8
SIZE = HEADS + SLOTS * HEAD + SLOTS * RING


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[servers.Server]:
    server = servers.start_cache(tmp_path, "--no-auth", memory="16MiB")
    yield server
    server.stop()


@pytest.fixture
def client(cache: servers.Server) -> Iterator[RespClient]:
    with cache.client() as connection:
        yield connection


def numbers(client: RespClient) -> dict[str, int]:
    """The counters of INFO's section Stats that are whole numbers."""
    text = client.command("INFO", "stats")
    assert isinstance(text, bytes)
    fields = (line.split(":", 1) for line in text.decode().splitlines() if ":" in line)
    return {name: int(value) for name, value in fields if value.isdecimal()}


def readers_file(server: servers.Server) -> Path:
    return (server.data_dir / "cache.arena").resolve().with_suffix(".readers")


def wait_for_reads(client: RespClient, hits: int, misses: int) -> dict[str, int]:
    def counted() -> dict[str, int] | None:
        found = numbers(client)
        return found if (found["local_read_hits"], found["local_read_misses"]) == (hits, misses) else None

    return wait_until(counted, what=f"{hits} hits and {misses} misses of local readers")


def test_local_reads_are_counted_one_by_one(cache: servers.Server, client: RespClient) -> None:
    for i in range(100):
        client.command("SET", f"key:{i}", b"x" * 8)
    reader = core_cache.attach(cache.data_dir)
    assert reader.counted
    for i in range(150):
        reader.get(f"key:{i}")
    reader.mget([f"key:{i}" for i in range(90, 110)])
    reader.mget_into(np.array([b"key:%d" % i for i in range(60)]), np.empty((60, 8), np.uint8))
    found = wait_for_reads(client, 100 + 10 + 60, 50 + 10)
    assert (found["keyspace_hits"], found["keyspace_misses"]) == (170, 60)
    client.command("GET", "key:1")
    assert numbers(client)["keyspace_hits"] == 171


def test_a_forked_reader_counts_for_itself(cache: servers.Server, client: RespClient) -> None:
    client.command("SET", "key", "v")
    reader = core_cache.attach(cache.data_dir)
    assert reader.get("key") == b"v"
    pid = os.fork()
    if pid == 0:
        ok = all(reader.get("key") == b"v" for _ in range(20_000)) and reader.counted
        os._exit(0 if ok else 1)
    for _ in range(20_000):
        assert reader.get("key") == b"v"
    assert os.waitpid(pid, 0)[1] == 0
    wait_for_reads(client, 40_001, 0)


@pytest.mark.parametrize("policy", ["s3fifo", "lru"])
def test_what_local_readers_read_is_not_evicted(tmp_path: Path, policy: str) -> None:
    server = servers.start_cache(tmp_path, "--no-auth", "--policy", policy, memory="8MiB")
    try:
        client = server.client()
        mine, others = [f"mine:{i}" for i in range(50)], [f"other:{i}" for i in range(50)]
        for name in mine + others:
            client.command("SET", name, b"x" * 1000)
        reader = core_cache.attach(server.data_dir)
        # When far more than fits is written while a local reader reads half of the first keys
        for batch in range(40):
            for _ in range(2):
                assert None not in reader.mget(mine), f"a key in use was evicted after {batch * 500} writes"
            wait_for_reads(client, len(mine) * 2 * (batch + 1), 0)
            for number in range(500):
                client.command("SET", f"filler:{batch}:{number}", b"x" * 1000)
        # Then only those have stayed
        assert not any(reader.mget(others)), "the test did not evict what nobody reads"
        assert numbers(client)["evicted_keys"] > 10_000
    finally:
        server.stop()


def test_a_killed_reader_leaves_its_slot(cache: servers.Server) -> None:
    code = (
        "import core_cache, sys, time\n"
        f"readers = [core_cache.attach(sys.argv[1]) for _ in range({SLOTS})]\n"
        "print(all(reader.counted for reader in readers), flush=True)\n"
        "time.sleep(600)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, cache.data_dir], cwd=servers.ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "True\n"
        one_too_many = core_cache.attach(cache.data_dir)
        assert not one_too_many.counted
        assert one_too_many.get("key") is None
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert core_cache.attach(cache.data_dir).counted


def test_reads_go_on_being_counted_after_a_restart(tmp_path: Path) -> None:
    server = servers.start_cache(tmp_path, "--no-auth", memory="16MiB")
    with server.client() as client:
        client.command("SET", "key", "v")
    reader = core_cache.attach(server.data_dir)
    assert reader.get("key") == b"v"
    server.stop(signal.SIGKILL)
    server = servers.start_cache(tmp_path, "--no-auth", memory="16MiB")
    try:
        with server.client() as client:
            before = numbers(client)["local_read_hits"]
            for _ in range(5):
                assert reader.get("key") == b"v"
            wait_for_reads(client, before + 5, 0)
    finally:
        server.stop()


def test_readers_without_the_file_read_uncounted(cache: servers.Server, client: RespClient) -> None:
    client.command("SET", "key", "v")
    readers_file(cache).unlink()
    reader = core_cache.attach(cache.data_dir)
    assert not reader.counted
    assert reader.get("key") == b"v"


def test_garbage_in_the_readers_file_does_no_harm(cache: servers.Server, client: RespClient) -> None:
    chance = random.Random(3)
    for i in range(2000):
        client.command("SET", f"key:{i}", f"value {i}")
    path = readers_file(cache)
    assert path.stat().st_size == SIZE
    assert path.stat().st_mode & 0o777 == 0o600
    until = time.monotonic() + 3
    rounds = 0
    with path.open("r+b", buffering=0) as file:
        while time.monotonic() < until:
            rounds += 1
            file.seek(chance.randrange(HEADS + SLOTS * HEAD + RING))
            file.write(chance.randbytes(chance.randrange(1, 5000)))
            if chance.random() < 0.1:
                file.truncate(chance.choice([0, 100, HEADS, HEADS + 777, SIZE // 2, SIZE, SIZE * 2]))
            if rounds % 50 == 0:
                key = chance.randrange(2000)
                assert client.command("GET", f"key:{key}") == b"value %d" % key
    assert rounds > 100
    assert cache.process.poll() is None
    assert client.command("DBSIZE") == 2000
    assert client.command("MGET", *[f"key:{i}" for i in range(2000)]) == [b"value %d" % i for i in range(2000)]


def test_the_file_goes_with_a_temporary_arena(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "core_cache", "--port", "0", "--no-auth", "--arena-dir", str(tmp_path)]
    process = subprocess.Popen(
        [*command, "--memory", "8MiB"], cwd=servers.ROOT, env={**os.environ, "TMPDIR": str(tmp_path)}
    )
    wait_until(lambda: list(tmp_path.glob("predis-*/cache.pid")), what="the pid file")
    assert len(list(tmp_path.glob("predis-temporary-*.readers"))) == 1
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="session")
def native_test() -> Path:
    return build("local_reads_test") / "local_reads_test"


@pytest.mark.parametrize("arguments", [["fuzz", "1"], ["fuzz", "2"], ["touch"]])
def test_what_is_collected_under_the_sanitizers(native_test: Path, tmp_path: Path, arguments: list[str]) -> None:
    what, *rest = arguments
    run = subprocess.run([native_test, what, str(tmp_path), *rest], capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout == "ok\n"
