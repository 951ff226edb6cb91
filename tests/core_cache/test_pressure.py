"""The cache under pressure: a policy just changed, a value that does not fit, a full file system, no memory."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from core_cache import _native

MIB = 1 << 20
OOM = b"-OOM command not allowed when used memory > 'maxmemory'.\r\n"


def command(*parts: bytes) -> bytes:
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)


def test_a_new_policy_evicts_at_once(tmp_path: Path) -> None:
    engine = _native.Engine(str(tmp_path / "arena"), 16 * MIB, "lru")
    client = _native.Connection(engine)
    for i in range(200_000):
        client.feed(command(b"SET", b"k%d" % i, b"v" * 60))
    client.feed(command(b"CONFIG", b"SET", b"maxmemory-policy", b"allkeys-s3fifo"))
    replies = {client.feed(command(b"SET", b"n%d" % i, b"v" * 60)) for i in range(3000)}
    engine.close()
    assert replies == {b"+OK\r\n"}


def test_noeviction_one_value_that_does_not_fit_stops_no_other(tmp_path: Path) -> None:
    engine = _native.Engine(str(tmp_path / "arena"), 16 * MIB, "noeviction")
    client = _native.Connection(engine)
    replies = [client.feed(command(b"SET", b"a%d" % i, b"v" * 4_000_000)) for i in range(5)]
    small = client.feed(command(b"SET", b"small", b"1"))
    engine.close()
    assert OOM in replies
    assert small == b"+OK\r\n"


RUN_OUT = """
import resource, sys
from core_cache import _native
engine = _native.Engine(sys.argv[1], 64 << 20, "s3fifo")
a, b = _native.Connection(engine), _native.Connection(engine)
a.feed(b"SET secret " + b"S" * 60000 + b"\\r\\n")
limit = int(open("/proc/self/statm").read().split()[0]) * 4096 + (48 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    a.feed(b"*2001\\r\\n$4\\r\\nMGET\\r\\n" + b"$6\\r\\nsecret\\r\\n" * 2000)
except MemoryError:
    print("out of memory")
print(b.feed(b"PING\\r\\n")[:40])
"""


def test_nobody_gets_the_reply_of_a_client_that_memory_ran_out_for(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", RUN_OUT, str(tmp_path / "arena")], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout.splitlines() == ["out of memory", r"b'+PONG\r\n'"]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting takes root")
@pytest.mark.parametrize("policy", ["s3fifo", "lru", "noeviction"])
def test_a_full_arena_folder_costs_room_and_never_hangs(tmp_path: Path, policy: str) -> None:
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(tmp_path)], check=False).returncode != 0:
        pytest.skip("no mounting here")
    try:
        engine = _native.Engine(str(tmp_path / "arena"), 16 * MIB, policy)
        client = _native.Connection(engine)
        for i in range(30_000):
            client.feed(command(b"SET", b"k%d" % i, b"v" * 100))
        with (tmp_path / "hog").open("wb", buffering=0) as hog, contextlib.suppress(OSError):
            while hog.write(b"h" * 65536):
                pass
        full = {client.feed(command(b"SET", b"n%d" % i, b"v" * (i % 700))) for i in range(30_000)}
        big = client.feed(command(b"SET", b"big", b"v" * 7 * MIB))
        (tmp_path / "hog").unlink()
        client.feed(command(b"FLUSHALL"))
        engine.cron(1000)
        after = {client.feed(command(b"SET", b"n%d" % i, b"v" * 300)) for i in range(30_000)}
        engine.close()
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)
    assert full == ({b"+OK\r\n", OOM} if policy == "noeviction" else {b"+OK\r\n"})
    assert big == OOM
    assert after == {b"+OK\r\n"}
