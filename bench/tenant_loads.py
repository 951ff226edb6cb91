"""What tenant B does to the others: floods, scans, and commands that take long."""

import multiprocessing
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from typing import Any

from tests.servers import Server

PASSWORD = b"tenant"  # of redis-server's users; ours makes its own
VALUE = b"v" * 500
KEYS = 100_000  # of B: more than its quota holds
HOT = 1000  # of them stay, as they were written last
FLOOD_CONNECTIONS = 4
FLOOD_DEPTH = 64


def command(*parts: bytes) -> bytes:
    """A command in RESP."""
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)


def connect(server: Server, tenant: str) -> socket.socket:
    """A connection over TCP, logged in as the tenant."""
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    path = server.data_dir / "tenants" / f"{tenant}.password"
    password = path.read_bytes().strip() if path.exists() else PASSWORD
    connection.sendall(command(b"AUTH", tenant.encode(), password))
    if (answer := connection.recv(1000)) != b"+OK\r\n":
        raise RuntimeError(f"the tenant {tenant} cannot log in: {answer!r}")
    return connection


def receive(connection: socket.socket, missing: int) -> None:
    """Reads so many bytes of replies."""
    while missing > 0:
        data = connection.recv(1 << 18)
        if not data or data.startswith(b"-"):
            raise RuntimeError(f"tenant B was answered {data[:100]!r}")
        missing -= len(data)


def fill(server: Server) -> None:
    """B's keys, those of HOT last."""
    with connect(server, "b") as connection:
        names = [b"b:%06d" % number for number in range(KEYS)] + [b"b:hot%d" % number for number in range(HOT)] * 4
        for start in range(0, len(names), 500):
            part = names[start : start + 500]
            connection.sendall(b"".join(command(b"SET", name, VALUE) for name in part))
            receive(connection, 5 * len(part))


@dataclass
class Pipeline:
    """What is sent over each of FLOOD_CONNECTIONS, one batch after another."""

    batches: list[bytes]  # of one length, each of so many commands:
    commands: int
    reply: int  # bytes, to each batch


def _flood() -> Pipeline:
    batches = [
        b"".join(command(b"SET", b"b:%06d" % number, VALUE) for number in range(start, start + FLOOD_DEPTH))
        for start in range(0, KEYS, FLOOD_DEPTH)
    ]
    return Pipeline(batches, FLOOD_DEPTH, 5 * FLOOD_DEPTH)


def _gets() -> Pipeline:
    return Pipeline([b"".join(command(b"GET", b"b:none%d" % number) for number in range(1000))], 1000, 5 * 1000)


def _mgets() -> Pipeline:
    one = command(b"MGET", *[b"b:hot%d" % number for number in range(HOT)])
    return Pipeline([one], 1, len(b"*%d\r\n" % HOT) + HOT * len(b"$500\r\n%b\r\n" % VALUE))


def _large() -> Pipeline:
    return Pipeline([command(b"SET", b"b:large%d" % n, b"v" * 1_000_000) for n in range(4)], 1, 5)


PIPELINES: dict[str, Callable[[], Pipeline]] = {
    "flood of SETs": _flood,
    "flood of GETs": _gets,
    "MGETs of 1,000": _mgets,
    "SETs of 1 MB": _large,
}


# --- each gives, again and again, how many commands were answered; the connections never run dry


def _to_server(name: str) -> Callable[[Server], Iterator[int]]:
    return lambda server: pipelined(PIPELINES[name](), [connect(server, "b") for _ in range(FLOOD_CONNECTIONS)])


def pipelined(pipeline: Pipeline, connections: list[socket.socket]) -> Iterator[int]:
    """Sends a batch over each connection that has been answered, in turn; gives the commands of each batch."""
    sent: set[int] = set()
    for batch in cycle(pipeline.batches):
        connection = connections[0]
        connections.append(connections.pop(0))
        if connection.fileno() in sent:
            receive(connection, pipeline.reply)
        connection.sendall(batch)
        sent.add(connection.fileno())
        yield pipeline.commands


def _scan(server: Server) -> Iterator[int]:
    with connect(server, "b") as connection:
        walk = list(_walk(connection))
        while True:
            for text, size in walk:
                connection.sendall(text)
                receive(connection, size)
                yield 1


def _walk(connection: socket.socket) -> Iterator[tuple[bytes, int]]:
    """The calls of one whole walk and the sizes of their replies, so that the client need not parse them later."""
    file, cursor = connection.makefile("rb"), b"0"
    while True:
        text = b"SCAN %b COUNT 1000000\r\n" % cursor
        connection.sendall(text)
        lines = [file.readline() for _ in range(4)]
        if lines[0] != b"*2\r\n":
            raise RuntimeError(f"SCAN was answered {lines[0]!r}")
        cursor = lines[2].strip()
        size = sum(map(len, lines))
        for _ in range(int(lines[3][1:])):
            head = file.readline()
            size += len(head) + len(file.read(int(head[1:]) + 2))
        yield text, size
        if cursor == b"0":
            return


LOADS: dict[str, Callable[[Server], Iterator[int]]] = {
    "flood of SETs": _to_server("flood of SETs"),
    "flood of GETs": _to_server("flood of GETs"),
    "SCANs": _scan,
    "MGETs of 1,000": _to_server("MGETs of 1,000"),
    "SETs of 1 MB": _to_server("SETs of 1 MB"),
}


def real_time() -> bool:
    """Whether this process may say that it comes before all others."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
    except PermissionError:
        return False
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    return True


@dataclass
class Load:
    """Tenant B in its own process, working or not."""

    go: Any
    count: Any
    process: Any

    def switch(self, on: bool) -> None:
        """Lets B work from now on, or not."""
        self.go.value = on

    def await_answer(self) -> None:
        """RuntimeError when B gets no answer in 20 s: there was no load, then. A long command waits 2 s at most."""
        self.switch(True)
        seen, end = self.count.value, time.monotonic() + 20
        while self.count.value == seen:
            self.check()
            if time.monotonic() > end:
                raise RuntimeError("tenant B waits for an answer that does not come: there was no load")
            time.sleep(0.01)
        self.switch(False)

    def check(self) -> None:
        """RuntimeError when B has ended."""
        if not self.process.is_alive():
            raise RuntimeError("tenant B's load ended by itself")


@contextmanager
def loading(work: Callable[[Server], Iterator[int]], server: Server, cpus: set[int]) -> Iterator[Load]:
    """Tenant B, who does this work on these CPUs, behind A; he has begun, and goes on when he is switched on."""
    context = multiprocessing.get_context("fork")
    go, count = context.Value("b", 0, lock=False), context.Value("q", 0, lock=False)
    process = context.Process(target=_work, args=(work, server, go, count, cpus), daemon=True)
    process.start()
    load = Load(go, count, process)
    try:
        while count.value == 0:  # he knows what SCAN will answer; beside another it would take him long to find out
            load.check()
            time.sleep(0.01)
        yield load
    finally:
        process.kill()
        process.join()


def _work(work: Callable[[Server], Iterator[int]], server: Server, go: Any, count: Any, cpus: set[int]) -> None:
    os.sched_setaffinity(0, cpus)
    os.setpriority(os.PRIO_PROCESS, 0, -15 if real_time() else 19)
    for commands in work(server):
        count.value += commands
        while not go.value:
            time.sleep(0.001)
