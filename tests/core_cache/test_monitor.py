"""MONITOR: the same lines as from redis-server, with passwords left out; and what becomes of a client that monitors."""

import re

from tests.core_cache.compare import Pair
from tests.core_cache.raw_resp import RawClient, words

SENT = [
    'SET k "a\\"b\\\\c\\n\\r\\t\\x07\\x08\\x00\\xff"',
    "GET",
    "NOSUCH a",
    "AUTH secret",
    "AUTH user secret",
    "HELLO 2 AUTH default secret",
    "CONFIG GET x",
    "CLIENT LIST",
    "CLIENT ID",
    "INFO server",
    "SELECT 0",
    "DEBUG SLEEP 0",
    "INCR k",
    "ACL WHOAMI",
    "CLUSTER INFO",
    "gEt k",
    "MULTI",
    "SET k 1",
    "EXEC",
    "PING end",
]


def seen(port: int) -> list[str]:
    """What a monitor is told of SENT, without times and ports."""
    monitor, client = RawClient(port), RawClient(port)
    assert monitor.command(b"MONITOR") == b"+OK\r\n"
    client.pipeline([words(line) for line in SENT])
    lines: list[str] = []
    while not lines or '"end"' not in lines[-1]:
        line = monitor.reply().decode("latin1")
        told = re.fullmatch(r"\+\d{10}\.\d{6} \[0 127\.0\.0\.1:\d+\] (.*)\r\n", line)
        assert told is not None, line
        lines.append(told[1])
    monitor.send(b"MONITOR\r\n")  # has no reply the second time
    assert monitor.command(b"GET", b"k") == b"-ERR Replica can't interact with the keyspace\r\n"
    assert client.value(b"CLIENT", b"LIST").count(b" flags=O ") == 1
    assert monitor.command(b"RESET") == b"+RESET\r\n"
    client.command(b"PING")
    assert monitor.command(b"ECHO", b"nothing in between") == b"$18\r\nnothing in between\r\n"
    monitor.close()
    client.close()
    return lines


def test_a_monitor_is_told_what_redis_tells(pair2: Pair) -> None:
    ours = seen(pair2.our_server.port)
    assert ours == seen(pair2.redis_server.port)
    assert "secret" not in "".join(ours)


def test_a_monitor_that_leaves_is_forgotten(pair2: Pair) -> None:
    for _ in range(3):
        monitor = RawClient(pair2.our_server.port)
        assert monitor.command(b"MONITOR") == b"+OK\r\n"
        monitor.close()
        assert pair2.ours.command(b"PING") == b"+PONG\r\n"
