"""The access log: which accesses are in it, what is said of them, and what a reader is told that is late."""

import os
import stat
from pathlib import Path

import numpy as np
import pytest

from core_cache.access_log import OPERATIONS, AccessLog, AccessLogError
from tests import servers

RATE = 1 / 256  # the most that is possible


def fill(server: servers.Server, keys: int, value: bytes = b"v", prefix: str = "k") -> None:
    with server.client() as client:
        for start in range(0, keys, 500):
            client.pipeline([("SET", f"{prefix}{n}", value) for n in range(start, min(start + 500, keys))])


@pytest.fixture
def cache(tmp_path: Path):
    server = servers.start_cache(tmp_path, "--access-log", str(RATE), "--access-log-keys", "plain")
    yield server
    server.stop()


def test_the_share_of_keys_is_right_and_all_their_accesses_are_there(cache: servers.Server) -> None:
    """1/256 of 50,000 keys, each written once and read once: two events for each, in this order."""
    keys = 50_000
    fill(cache, keys)
    with cache.client() as client:
        for start in range(0, keys, 500):
            client.pipeline([("GET", f"k{n}") for n in range(start, start + 500)])
    events = AccessLog(cache.data_dir).read()
    names, counts = np.unique(events["key"], return_counts=True)
    assert abs(len(names) - keys * RATE) < 5 * (keys * RATE) ** 0.5
    assert set(counts) == {2}
    for name in names[:20]:
        pair = events[events["key"] == name]
        assert [OPERATIONS[op] for op in pair["op"]] == ["write", "read"]
        assert list(pair["found"]) == [False, True]
        assert list(pair["value_bytes"]) == [1, 1]
        assert len(set(pair["key_hash"])) == 1


def test_what_is_said_of_an_access(cache: servers.Server) -> None:
    """Operation, size, time to live, hit or miss; also of the keys of a command with many, and within transactions."""
    log = AccessLog(cache.data_dir)
    fill(cache, 5000, prefix="find")
    key = log.read()["key"][0].decode()
    commands = [
        ("DEL", key),
        ("GET", key),
        ("SET", key, "x" * 100, "EX", "1000"),
        ("MGET", "other", key, "another"),
        ("MSET", "other", "1", key, "22"),
        ("APPEND", key, "33"),
        ("EXISTS", key),
        ("DEL", "other", key),
    ]
    with cache.client() as client:
        client.pipeline(commands)
        one_by_one = log.read()
        for command in commands:
            client.command(*command)
        events = log.read()
    wanted = [
        ("delete", True, 1),
        ("read", False, 0),
        ("write", False, 100),
        ("read", True, 100),
        ("write", True, 2),
        ("write", True, 4),
        ("read", True, 4),
        ("delete", True, 4),
    ]
    said = [(OPERATIONS[e["op"]], bool(e["found"]), int(e["value_bytes"])) for e in events]
    assert said[1:] == wanted[1:]
    assert said[0][:2] == ("delete", False)  # the pipeline before has deleted it already
    assert int(events[2]["ttl_seconds"]) == 1000
    assert len(one_by_one) >= len(commands)
    assert [bool(e["found"]) for e in one_by_one][:4] == [True, False, False, True]


def test_keys_are_hashed_unless_they_are_asked_for(tmp_path: Path) -> None:
    """By default no byte of a key or value is in the file, and only its owner can read it."""
    server = servers.start_cache(tmp_path, "--access-log", str(RATE))
    try:
        fill(server, 20_000, b"secret-value", prefix="alice@example.org:")
        log = AccessLog(server.data_dir)
        events = log.read()
        assert len(events) > 40
        assert "key" not in (events.dtype.names or ())
        path = Path(os.readlink(server.data_dir / "cache.arena")).with_suffix(".accesses")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        written = path.read_bytes()
        assert b"alice" not in written
        assert b"secret" not in written
    finally:
        server.stop()


def test_the_log_outlives_the_process_and_a_late_reader_is_told_what_it_lost(tmp_path: Path) -> None:
    """A killed cache goes on where it was; the ring keeps the newest events."""
    server = servers.start_cache(tmp_path, "--access-log", str(RATE))
    late = AccessLog(server.data_dir)
    fill(server, 20_000)
    before = late.written
    server.process.kill()
    server.process.wait()
    server = servers.start_cache(tmp_path, "--access-log", str(RATE))
    try:
        log = AccessLog(server.data_dir)
        assert log.written == before > 40
        hot = AccessLog(server.data_dir).read(1)["key_hash"][0]
        with server.client() as client:  # one sampled key, a million times over
            name = next(name for name in (f"k{n}" for n in range(20_000)) if _is_logged_as(client, log, name, int(hot)))
            for _ in range(1100):
                client.pipeline([("GET", name)] * 1000)
        assert log.written > log.capacity
        assert len(log.read(100)) == 99  # the one that is being overwritten is lost as well
        assert log.lost > 0
        assert len(late.read()) > 0
        assert late.lost >= late.written - late.capacity
    finally:
        server.stop()


def _is_logged_as(client, log: AccessLog, name: str, key_hash: int) -> bool:
    log.read()
    client.command("GET", name)
    return key_hash in log.read()["key_hash"]


def test_without_a_log_there_is_none(tmp_path: Path) -> None:
    """Rate 0: no file, and a sentence for who looks for it; nonsense in the file is refused."""
    server = servers.start_cache(tmp_path, "--access-log", "0")
    try:
        with pytest.raises(AccessLogError, match="is it switched on"):
            AccessLog(server.data_dir)
        path = Path(os.readlink(server.data_dir / "cache.arena")).with_suffix(".accesses")
        path.write_bytes(b"nonsense" * 1000)
        with pytest.raises(AccessLogError, match="is not an access log"):
            AccessLog(server.data_dir)
        path.unlink()
    finally:
        server.stop()
