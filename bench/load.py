"""Fills servers with the keys that redis-benchmark asks for."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers import Server, remove_arenas

KEYS = 1_000_000
VALUE_BYTES = 100


def key_name(number: int) -> bytes:
    """The name redis-benchmark -r makes for a number: 16 bytes."""
    return b"key:%012d" % number


def fill(server: Server, keys: int = KEYS, value_bytes: int = VALUE_BYTES) -> None:
    """Stores keys 0 … keys-1 with values of value_bytes over the unix socket; fails unless each SET says +OK."""
    value = b"x" * value_bytes
    step = 2000
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(30)
        connection.connect(str(server.unix_socket))
        if server.password is not None:
            connection.sendall(b"AUTH %b\r\n" % server.password.encode())
            _expect(connection, b"+OK\r\n")
        for start in range(0, keys, step):
            numbers = range(start, min(start + step, keys))
            head = b"*3\r\n$3\r\nSET\r\n$16\r\n"
            tail = b"\r\n$%d\r\n%b\r\n" % (value_bytes, value)
            connection.sendall(b"".join(head + key_name(number) + tail for number in numbers))
            _expect(connection, b"+OK\r\n" * len(numbers))


def _expect(connection: socket.socket, wanted: bytes) -> None:
    received = b""
    while len(received) < len(wanted):
        data = connection.recv(1 << 16)
        if not data:
            break
        received += data
    if received != wanted:
        raise RuntimeError(f"while filling the server it answered {received[:200]!r}")


def info(server: Server, section: str) -> dict[str, str]:
    """INFO's fields of one section."""
    with server.client() as client:
        text = client.command("INFO", section)
    if not isinstance(text, bytes):
        raise TypeError(f"INFO answered {text!r}")
    return dict(line.split(":", 1) for line in text.decode().splitlines() if ":" in line)


@contextmanager
def stopping(*servers: Server) -> Iterator[None]:
    """Stops the servers at the end, whatever happened, and gives their shared memory back."""
    try:
        yield
    finally:
        for server in servers:
            server.stop()
        remove_arenas()


def folder(parent: Path, name: str) -> Path:
    """A fresh folder for one server."""
    path = parent / name
    path.mkdir()
    return path
