"""SIGKILL under write load: the cache is back and warm, and every acknowledged write is there, whole."""

import contextlib
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import servers
from tests.core_cache.crash_model import Writer, run_writers
from tests.core_cache.raw_resp import RawClient, decode, fields
from tests.waiting import wait_until

ROUNDS = 24
WRITERS = 4


def start(folder: Path, memory: str, port: int, policy: str = "s3fifo") -> tuple[servers.Server, float]:
    """The cache on this folder's data, and the seconds until it answered."""
    began = time.monotonic()
    server = servers.start_cache(folder, "--no-auth", "--policy", policy, memory=memory, port=port)
    return server, time.monotonic() - began


def kill_under_load(server: servers.Server, writers: list[Writer], acknowledgements: int) -> None:
    """Lets the writers write, kills the server once so many more writes are acknowledged, and waits for the writers."""
    target = sum(writer.acknowledgements for writer in writers) + acknowledgements
    threads = run_writers(writers, server.port)

    def enough() -> bool:
        problems = [writer.problem for writer in writers if writer.problem]
        assert problems == []
        assert server.process.poll() is None, server.log_text()
        return sum(writer.acknowledgements for writer in writers) >= target

    try:
        wait_until(enough, 30, f"{acknowledgements} acknowledged writes")
    finally:
        server.stop(signal.SIGKILL)
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive(), "a writer did not notice the end of its connection"


def walk(client: RawClient) -> list[bytes]:
    """All keys, by SCAN."""
    cursor, found = b"0", []
    while True:
        cursor, keys = client.value(b"SCAN", cursor, b"COUNT", b"1000")
        found += keys
        if cursor == b"0":
            return found


def check_keyspace(client: RawClient, writers: list[Writer]) -> None:
    """SCAN gives each key once, only keys that were written, and as many as DBSIZE says."""
    known = {key for writer in writers for key in writer.all_keys()}

    def consistent() -> bool:  # a key may expire between the two questions
        keys = walk(client)
        assert len(keys) == len(set(keys)), "SCAN gives a key twice"
        assert set(keys) <= known, "SCAN gives a key that nobody wrote"
        return client.value(b"DBSIZE") == len(keys)

    wait_until(consistent, 5, "agreement between SCAN and DBSIZE")


@pytest.mark.timeout(240)
def test_every_acknowledged_write_survives(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """24 times: overwrites, deletions, counters, appends, renames and expiries of 1 B to 200 KB, SIGKILL, restart.

    What is found is what is acknowledged or comes of a prefix of the writes in flight, never anything else.
    """
    chance = random.Random(20)
    port = servers.free_port()
    writers = [Writer(number, seed=number) for number in range(WRITERS)]
    server, _ = start(tmp_path, "256MiB", port)
    restarts = []
    try:
        for round_number in range(ROUNDS):
            kill_under_load(server, writers, chance.randrange(1, 3000))
            server, seconds = start(tmp_path, "256MiB", port)
            restarts.append(seconds)
            client = RawClient(port)
            for writer in writers:
                problem = writer.check(client)
                assert problem == "", f"round {round_number}: {problem}"
            check_keyspace(client, writers)
            stats = fields(decode(client.command(b"INFO", b"stats")))
            assert stats["evicted_keys"] == "0", "the memory is meant to hold everything"
            client.close()
        assert sum(len(writer.acknowledged) for writer in writers) > 100, "the cache is not warm"
    finally:
        server.stop()
    with capsys.disabled():
        acknowledged = sum(writer.acknowledgements for writer in writers)
        sys.stdout.write(
            f"\nSIGKILL: {ROUNDS} rounds, {acknowledged} acknowledged writes, none lost; process start to first answer "
            f"{min(restarts):.2f} to {max(restarts):.2f} s\n"
        )


@pytest.mark.timeout(120)
@pytest.mark.parametrize("policy", ["s3fifo", "lru"])
def test_what_survives_constant_eviction_is_whole(tmp_path: Path, policy: str) -> None:
    """Far more is written than fits: a key may be gone, but one that is there holds its last value."""
    port = servers.free_port()
    writers = [Writer(number, seed=100 + number, only_sets=True) for number in range(WRITERS)]
    server, _ = start(tmp_path, "8MiB", port, policy)
    try:
        for round_number in range(4):
            kill_under_load(server, writers, 1500)
            server, _ = start(tmp_path, "8MiB", port, policy)
            client = RawClient(port)
            for writer in writers:
                problem = writer.check(client, may_be_evicted=True)
                assert problem == "", f"round {round_number}: {problem}"
            check_keyspace(client, writers)
            client.close()
        assert sum(len(writer.acknowledged) for writer in writers) > 20, "nothing has survived"
        assert sum(writer.evicted for writer in writers) > 20, "nothing was evicted"
    finally:
        server.stop()


def test_a_killed_server_leaves_nothing_that_hinders_the_next(tmp_path: Path) -> None:
    """The stale socket and pid file are replaced; FLUSHALL stays done, also for what is written after a restart."""
    port = servers.free_port()
    server, _ = start(tmp_path, "16MiB", port)
    client = RawClient(port)
    client.pipeline([(b"SET", b"old:%d" % i, b"v") for i in range(1000)])
    assert (
        client.pipeline([(b"FLUSHALL",), (b"SET", b"k", b"v", b"PX", b"700"), (b"SET", b"stay", b"v")])[0] == b"+OK\r\n"
    )
    for key in (b"first", b"second"):
        server.stop(signal.SIGKILL)
        server, _ = start(tmp_path, "16MiB", port)
        assert int((server.data_dir / "cache.pid").read_text()) == server.pid
        client = RawClient(port)
        assert client.command(b"SET", key, b"v") == b"+OK\r\n"
    try:
        wait_until(lambda: client.value(b"EXISTS", b"k") == 0, 5, "the expiry that was set before the kill")
        assert sorted(walk(client)) == [b"first", b"second", b"stay"]
        assert client.value(b"DBSIZE") == 3
    finally:
        server.stop()


def test_a_kill_during_recovery_loses_nothing(tmp_path: Path) -> None:
    """Starts that are cut short at random moments, in the midst of making the index anew, leave all keys in place."""
    chance = random.Random(5)
    port, count = servers.free_port(), 200_000
    server, _ = start(tmp_path, "64MiB", port)
    client = RawClient(port)
    keys = [b"key:%d" % i for i in range(count)]
    for first in range(0, count, 10_000):
        client.pipeline([(b"SET", key, b"value of " + key) for key in keys[first : first + 10_000]])
    server.stop(signal.SIGKILL)
    server, seconds = start(tmp_path, "64MiB", port)
    server.stop(signal.SIGKILL)
    for _ in range(8):
        cut_short = servers.start_cache(tmp_path, "--no-auth", memory="64MiB", port=port, wait=False)
        with contextlib.suppress(subprocess.TimeoutExpired):
            cut_short.process.wait(chance.uniform(0.4, 1.0) * seconds)  # it is killed wherever it has got to
        cut_short.stop(signal.SIGKILL)
    server, _ = start(tmp_path, "64MiB", port)
    try:
        client = RawClient(port)
        assert client.value(b"DBSIZE") == count
        for first in range(0, count, 10_000):
            part = keys[first : first + 10_000]
            assert client.value(b"MGET", *part) == [b"value of " + key for key in part]
    finally:
        server.stop()
