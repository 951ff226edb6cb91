"""Local readers: values straight out of the arena, right whatever the cache process is doing."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import core_cache
from core_cache.resp_client import RespClient, RespError
from tests import servers
from tests.waiting import wait_until

ROW = 128


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[servers.Server]:
    server = servers.start_cache(tmp_path, "--no-auth", memory="64MiB")
    yield server
    server.stop()


@pytest.fixture
def client(cache: servers.Server) -> Iterator[RespClient]:
    with cache.client() as connection:
        yield connection


def test_reads_what_was_acknowledged(cache: servers.Server, client: RespClient) -> None:
    reader = core_cache.attach(cache.data_dir)
    assert reader.get("greeting") is None
    for value in (b"hello", b"", b"x" * 300_000, bytes(range(256))):
        client.command("SET", "greeting", value)
        assert reader.get("greeting") == reader.get(b"greeting") == value
    client.command("SET", b"\xff" * 70_000, "of a long key")
    assert reader.get(b"\xff" * 70_000) == b"of a long key"
    client.command("DEL", "greeting")
    assert reader.get("greeting") is None
    client.command("FLUSHALL")
    assert reader.get(b"\xff" * 70_000) is None


def test_an_expired_key_is_a_miss_before_the_cache_has_removed_it(cache: servers.Server, client: RespClient) -> None:
    reader = core_cache.attach(cache.data_dir)
    client.command("SET", "short", "lived", "PX", 300)
    assert reader.get("short") == b"lived"
    os.kill(cache.pid, signal.SIGSTOP)  # nobody removes it
    try:
        wait_until(lambda: reader.get("short") is None, what="the expiry")
    finally:
        os.kill(cache.pid, signal.SIGCONT)


def test_many_keys_at_once(cache: servers.Server, client: RespClient) -> None:
    reader = core_cache.attach(cache.data_dir)
    names = [f"row:{i}" for i in range(1000)]
    for i, name in enumerate(names):
        if i % 10:
            client.command("SET", name, i.to_bytes(8, "little") * (ROW // 8))
    values = reader.mget(names)
    assert [value is None for value in values] == [i % 10 == 0 for i in range(1000)]
    rows, found = np.full((1000, ROW // 8), 77, np.uint64), np.zeros(1000, bool)
    assert reader.mget_into(names, rows, found) == 900
    assert [row.tobytes() if here else None for row, here in zip(rows, found, strict=True)] == values
    assert (rows[~found] == 77).all()
    assert reader.mget([]) == []


@pytest.mark.parametrize("form", ["S", "wide S", "V", "uint8", "str array", "strided", "tuple", "objects"])
def test_keys_in_buffers_and_sequences_of_all_kinds(cache: servers.Server, client: RespClient, form: str) -> None:
    reader = core_cache.attach(cache.data_dir)
    count = 333  # not a multiple of the blocks that are read at a time
    names = [b"key:%04d" % number for number in range(count)]
    for number, name in enumerate(names):
        if number % 7:
            client.command("SET", name, number.to_bytes(8, "little"))
    array = np.array(names)
    keys: Any = {
        "S": lambda: array,
        "wide S": lambda: np.array(names, "S40"),
        "V": lambda: array.view("V8"),
        "uint8": lambda: array.view(np.uint8).reshape(count, 8),
        "str array": lambda: array.astype("U8"),
        "strided": lambda: np.repeat(array, 2)[::2],
        "tuple": lambda: tuple(names),
        "objects": lambda: array.astype(object),
    }[form]()
    rows, found = np.zeros(count, np.uint64), np.zeros(count, bool)
    assert reader.mget_into(keys, rows, found) == (np.arange(count) % 7 != 0).sum()
    assert (found == (np.arange(count) % 7 != 0)).all()
    assert (rows[found] == np.flatnonzero(found)).all()
    values = reader.mget(keys)
    assert [value and int.from_bytes(value, "little") for value in values] == [
        n if n % 7 else None for n in range(count)
    ]


def test_a_key_with_nuls_at_its_end_is_read_in_full_from_rows_of_bytes(
    cache: servers.Server, client: RespClient
) -> None:
    reader = core_cache.attach(cache.data_dir)
    client.command("SET", b"ab\0\0", b"1")
    client.command("SET", b"ab", b"2")
    padded = np.array([b"ab\0\0"], "S4")
    assert reader.mget(padded) == [b"2"]
    assert reader.mget(padded.view(np.uint8).reshape(1, 4)) == [b"1"]


@pytest.mark.parametrize("keys", [b"key", "key", 7, np.arange(3), None])
def test_what_is_no_keys_is_refused(cache: servers.Server, keys: Any) -> None:
    reader = core_cache.attach(cache.data_dir)
    with pytest.raises(TypeError, match=r"takes a sequence of keys, or a buffer|a key is bytes or str, not"):
        reader.mget(keys)
    with pytest.raises(TypeError, match=r"takes a sequence of keys, or a buffer|a key is bytes or str, not"):
        reader.mget_into(keys, bytearray(24))


def test_other_types_than_strings_are_a_miss(cache: servers.Server, client: RespClient) -> None:
    reader = core_cache.attach(cache.data_dir)
    client.command("HSET", "hash", "field", "value")
    client.command("SET", "string", "value")
    assert reader.mget(["hash", "string"]) == [None, b"value"]


def test_an_arena_that_was_removed_is_left_for_the_new_one(tmp_path: Path) -> None:
    server = servers.start_cache(tmp_path, "--no-auth", memory="16MiB")
    with server.client() as client:
        client.command("SET", "key", "old")
    reader = core_cache.attach(server.data_dir)
    assert reader.get("key") == b"old"
    server.stop(signal.SIGKILL)
    assert reader.get("key") == b"old"
    (server.data_dir / "cache.arena").resolve().unlink()
    wait_until(lambda: reader.get("key") is None, 5, "the reader to notice that the arena is gone")
    server = servers.start_cache(tmp_path, "--no-auth", memory="16MiB")
    try:
        with server.client() as client:
            client.command("SET", "key", "new")
        assert reader.get("key") == b"new"
    finally:
        server.stop()


def test_what_mget_into_cannot_do_is_said(cache: servers.Server, client: RespClient) -> None:
    reader = core_cache.attach(cache.data_dir)
    client.command("SET", "a", "123")
    with pytest.raises(ValueError, match="key 0 has a value of 3 bytes, a row of `out` has 4"):
        reader.mget_into(["a"], bytearray(4))
    with pytest.raises(ValueError, match="2 keys need `out` of 2 equal rows"):
        reader.mget_into(["a", "b"], bytearray(5))
    with pytest.raises(BufferError):
        reader.mget_into(["a"], b"123")
    with pytest.raises(TypeError, match="a key is bytes or str, not int"):
        reader.get(7)  # type: ignore[arg-type]


def test_where_there_is_no_cache(tmp_path: Path) -> None:
    with pytest.raises(core_cache.ArenaError, match=r"cannot open the arena .*cache\.arena"):
        core_cache.attach(tmp_path)
    (tmp_path / "cache.arena").write_bytes(b"x" * (9 << 20))
    with pytest.raises(core_cache.ArenaError, match="is not an arena"):
        core_cache.attach(tmp_path)


def test_right_under_overwriting_eviction_kills_and_another_size(tmp_path: Path) -> None:
    # Given a writer whose values carry their key and a rising version, in a cache too small for all of them
    folder = tmp_path / "data"
    command = [sys.executable, "-m", "core_cache", "--port", "0", "--no-auth", "--data-dir", str(folder)]
    process = subprocess.Popen([*command, "--memory", "16MiB"], cwd=servers.ROOT)
    acknowledged = [0] * 400
    stop = threading.Event()

    def write() -> None:
        version = 0
        client = None
        while not stop.is_set():
            try:
                client = client or RespClient(folder / "cache.sock", timeout=5)
                version += 1
                key = random.randrange(len(acknowledged))
                client.command("SET", f"key:{key}", f"key:{key}:{version}:".encode() * random.randrange(1, 4000))
                acknowledged[key] = version
            except (OSError, RespError):
                client = None

    wait_until(lambda: (folder / "cache.sock").exists(), what="the cache")
    writer = threading.Thread(target=write)
    writer.start()
    # When the reader reads while the cache is killed, restarted, and restarted with other sizes
    wait_until(lambda: all(acknowledged), what="a first write of each key")
    reader = core_cache.attach(folder)
    for how, memory in ((signal.SIGKILL, "16MiB"), (signal.SIGTERM, "24MiB"), (signal.SIGKILL, "24MiB"), (None, "")):
        hits, until = 0, time.monotonic() + 1
        while time.monotonic() < until:
            key = random.randrange(len(acknowledged))
            least = acknowledged[key]
            value = reader.get(f"key:{key}")
            if value is None:
                continue
            # Then no value is foreign, torn, or older than what was acknowledged before the read began
            hits += 1
            name, number, version, _ = value.split(b":", 3)
            assert (name, int(number)) == (b"key", key)
            pattern = b"key:%d:%d:" % (key, int(version))
            assert value == pattern * (len(value) // len(pattern))
            assert int(version) >= least
        assert hits > 100
        if how is not None:
            process.send_signal(how)
            process.wait()
            process = subprocess.Popen([*command, "--memory", memory], cwd=servers.ROOT)
            wait_until(lambda: any(reader.get(f"key:{key}") for key in range(400)), what="warm reads")
    stop.set()
    writer.join()
    process.terminate()
    process.wait()
    arena = (folder / "cache.arena").readlink()
    arena.unlink()
    arena.with_suffix(".readers").unlink()
