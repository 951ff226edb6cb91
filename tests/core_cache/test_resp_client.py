"""The small client: what it sends, how it reads replies in any split, and what it says when something fails."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from core_cache.resp_client import (
    ConnectionFailed,
    ProtocolError,
    RespClient,
    RespError,
    ServerError,
    describe,
    encode_command,
)
from tests.servers import Server, free_port


@contextmanager
def scripted(tmp_path: Path, *chunks: bytes, stay: bool = False) -> Iterator[Path]:
    """A server that reads one request, answers with these chunks and hangs up (or stays, silent)."""
    path = tmp_path / "scripted.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    done = threading.Event()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            for chunk in chunks:
                connection.sendall(chunk)
            if stay:
                done.wait(10)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield path
    finally:
        done.set()
        thread.join(10)
        listener.close()


def test_commands_are_arrays_of_bulk_strings() -> None:
    assert encode_command(["SET", b"k\r\n", 12]) == b"*3\r\n$3\r\nSET\r\n$3\r\nk\r\n\r\n$2\r\n12\r\n"
    assert encode_command(["GET", "ü"]) == b"*2\r\n$3\r\nGET\r\n$2\r\n\xc3\xbc\r\n"


def test_talks_with_a_real_server(redis_server: Server) -> None:
    with redis_server.client() as client:
        assert client.command("SET", "k", b"\x00\r\n\xff") == "OK"
        assert client.command("GET", "k") == b"\x00\r\n\xff"
        assert client.command("GET", "none") is None
        assert client.command("MGET", "k", "none") == [b"\x00\r\n\xff", None]
        with pytest.raises(ServerError, match="WRONGTYPE") as error:
            client.command("LPUSH", "k", 1)
        assert error.value.code == "WRONGTYPE"
        replies = client.pipeline([("SET", "n", 1), ("LPUSH", "n", 1), ("INCR", "n")])
        assert (replies[0], replies[2]) == ("OK", 2)
        assert isinstance(replies[1], ServerError)
        big = b"x" * 3_000_000
        assert client.pipeline([("SET", "big", big), ("GET", "big")]) == ["OK", big]
    with RespClient(("127.0.0.1", redis_server.port)) as over_tcp:
        assert over_tcp.command("PING") == "PONG"


def test_reads_replies_in_any_split(tmp_path: Path) -> None:
    reply = b"*4\r\n$5\r\na\r\nbc\r\n:-7\r\n*-1\r\n*2\r\n$-1\r\n+ok\r\n"
    with scripted(tmp_path, *[reply[i : i + 1] for i in range(len(reply))]) as path, RespClient(path) as client:
        assert client.command("X") == [b"a\r\nbc", -7, None, [None, "ok"]]


@pytest.mark.parametrize(("answer", "error"), [(b"", ConnectionFailed), (b"$10\r\nabc", ConnectionFailed)])
def test_a_lost_connection_is_told(tmp_path: Path, answer: bytes, error: type[RespError]) -> None:
    with scripted(tmp_path, answer) as path, RespClient(path) as client, pytest.raises(error, match="closed the conn"):
        client.command("X")


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad\r\n", b":x\r\n", b"$-x\r\n", b"\r\n"])
def test_another_protocol_is_told(tmp_path: Path, answer: bytes) -> None:
    with scripted(tmp_path, answer, stay=True) as path, RespClient(path) as client:
        with pytest.raises(ProtocolError, match="does not speak the Redis protocol"):
            client.command("X")
        with pytest.raises(ConnectionFailed):  # what came after it cannot be trusted
            client.command("X")


def test_a_silent_server_meets_the_deadline(tmp_path: Path) -> None:
    with (
        scripted(tmp_path, stay=True) as path,
        RespClient(path, timeout=0.05) as client,
        pytest.raises(ConnectionFailed, match="did not answer in time"),
    ):
        client.command("X")


def test_a_refused_password_closes_the_connection(redis_server: Server) -> None:
    with pytest.raises(ServerError, match="without any password configured"):
        RespClient(redis_server.unix_socket, "secret")


def test_says_where_it_could_not_connect(tmp_path: Path) -> None:
    port = free_port()
    with pytest.raises(ConnectionFailed, match=f"cannot connect to 127.0.0.1:{port}: Connection refused"):
        RespClient(("127.0.0.1", port))
    with pytest.raises(ConnectionFailed, match=r"none\.sock: No such file"):
        RespClient(tmp_path / "none.sock")
    assert describe(("::1", 6379)) == "[::1]:6379"
