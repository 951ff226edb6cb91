"""The control: a load's bytes go to a process that drops them. What A waits longer then is the network's price."""

import multiprocessing
import os
import selectors
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bench.tenant_loads import FLOOD_CONNECTIONS, PIPELINES, Pipeline, pipelined
from tests.servers import Server

READ = 8 << 10  # bytes at once, as the cache reads where tenants take turns
IDLE = 0.01  # seconds: after a longer pause the rate counts from anew


@contextmanager
def elsewhere(name: str, commands_per_second: float, cpu: int) -> Iterator[Callable[[Server], Iterator[int]]]:
    """The load `name` for a process on this CPU, which takes so much of it a second and answers each batch."""
    pipeline = PIPELINES[name]()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        sink = multiprocessing.get_context("fork").Process(
            target=_sink, args=(listener, pipeline, commands_per_second, cpu), daemon=True
        )
        sink.start()
    try:
        yield lambda _: pipelined(pipeline, [_connect(address) for _ in range(FLOOD_CONNECTIONS)])
    finally:
        sink.kill()
        sink.join()


def _connect(address: tuple[str, int]) -> socket.socket:
    connection = socket.create_connection(address)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _sink(listener: socket.socket, pipeline: Pipeline, commands_per_second: float, cpu: int) -> None:
    os.sched_setaffinity(0, {cpu})
    os.setpriority(os.PRIO_PROCESS, 0, 10)  # the cache on the same CPU comes before it
    length, reply = len(pipeline.batches[0]), b"+" * pipeline.reply
    seconds_per_byte = pipeline.commands / length / commands_per_second
    missing = {listener.accept()[0]: length for _ in range(FLOOD_CONNECTIONS)}
    by_number = {connection.fileno(): connection for connection in missing}
    selector = selectors.DefaultSelector()
    for connection in missing:
        selector.register(connection, selectors.EVENT_READ)
    buffer, due = bytearray(READ), time.monotonic()
    while True:
        for key, _ in selector.select():
            connection = by_number[key.fd]
            due = max(due, time.monotonic() - IDLE)
            time.sleep(max(due - time.monotonic(), 0))
            try:
                size = connection.recv_into(buffer, min(READ, missing[connection]))
            except ConnectionResetError:
                return  # the load has ended
            if size == 0:
                return
            due += size * seconds_per_byte
            missing[connection] -= size
            if missing[connection] == 0:
                connection.sendall(reply)
                missing[connection] = length
