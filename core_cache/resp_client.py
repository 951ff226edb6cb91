"""A small blocking client for the Redis protocol (RESP2), for tools and for the agent's own errands.

It opens one connection over TCP or a unix socket, authenticates, sends commands singly or as a pipeline, and has a
deadline for each wait. Applications use redis-py or any other client; this one exists so that the agent and its tools
need no heavy client for an AUTH and an INFO.
"""

import socket
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self, TypeAlias

Argument: TypeAlias = bytes | str | int | float
Address: TypeAlias = str | Path | tuple[str, int]

_READ_SIZE = 256 * 1024


class RespError(Exception):
    """Base of everything that goes wrong between this client and a server."""


class ServerError(RespError):
    """An error reply of the server, with its text as it came."""

    @property
    def code(self) -> str:
        """The first word of the reply, such as ERR, WRONGTYPE or NOAUTH."""
        return str(self).partition(" ")[0]


class ConnectionFailed(RespError):
    """No connection, a lost connection, or no answer before the deadline."""


class ProtocolError(RespError):
    """The peer's answer is not RESP2; the connection is closed."""


Reply: TypeAlias = str | bytes | int | list["Reply"] | ServerError | None
"""A simple string is a str, a bulk string bytes, a nil None; an error stands only within a pipeline or an array."""


def describe(address: Address) -> str:
    """An address as people write it: host:port or the socket's path."""
    if isinstance(address, tuple):
        host, port = address
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return str(address)


def encode_command(arguments: Sequence[Argument]) -> bytes:
    """One command as an array of bulk strings."""
    parts = [b"*%d\r\n" % len(arguments)]
    for argument in arguments:
        data = argument if isinstance(argument, bytes) else str(argument).encode("utf-8", "surrogateescape")
        parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(parts)


class RespClient:
    """One connection to a Redis-compatible server.

    address: path of a unix socket, or (host, port).
    password, user: sent with AUTH when a password is given.
    timeout: seconds that connecting, sending and each wait for bytes may take.
    Raises ConnectionFailed when nobody answers there and ServerError when AUTH is refused.
    """

    def __init__(
        self, address: Address, password: str | None = None, *, user: str | None = None, timeout: float = 5.0
    ) -> None:
        self.address = address
        self._buffer = bytearray()
        self._position = 0
        self._socket = _connect(address, timeout)
        try:
            if password is not None:
                self.command("AUTH", *([user] if user else []), password)
        except RespError:
            self.close()
            raise

    def command(self, *arguments: Argument) -> Reply:
        """Sends one command and returns its reply; an error reply is raised as ServerError."""
        self._send(encode_command(arguments))
        reply = self._read_reply()
        if isinstance(reply, ServerError):
            raise reply
        return reply

    def pipeline(self, commands: Iterable[Sequence[Argument]]) -> list[Reply]:
        """Sends all commands at once and returns their replies in order; error replies stand in it as ServerError.

        All of it is sent before anything is read, so a pipeline should stay within the socket's buffers' size (some
        thousand small commands): with both directions full, the send runs into its timeout.
        """
        encoded = [encode_command(arguments) for arguments in commands]
        self._send(b"".join(encoded))
        return [self._read_reply() for _ in encoded]

    def information(self, section: str) -> dict[str, str]:
        """The fields of a section of INFO."""
        return information_of(self.command("INFO", section))

    def close(self) -> None:
        """Closes the connection; closing twice is fine."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _send(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError as error:
            self._fail(error)

    def _fail(self, error: OSError) -> NoReturn:
        self.close()
        if isinstance(error, TimeoutError):
            raise ConnectionFailed(f"{describe(self.address)} did not answer in time") from error
        raise ConnectionFailed(f"connection to {describe(self.address)} lost: {error.strerror or error}") from error

    def _fill(self) -> None:
        if self._position:
            del self._buffer[: self._position]
            self._position = 0
        try:
            data = self._socket.recv(_READ_SIZE)
        except OSError as error:
            self._fail(error)
        if not data:
            self.close()
            raise ConnectionFailed(f"{describe(self.address)} closed the connection")
        self._buffer += data

    def _read_line(self) -> bytes:
        searched = self._position
        while (end := self._buffer.find(b"\r\n", searched)) < 0:
            unread = len(self._buffer) - self._position
            self._fill()
            searched = max(unread - 1, 0)
        line = bytes(self._buffer[self._position : end])
        self._position = end + 2
        return line

    def _read_exactly(self, size: int) -> bytes:
        while len(self._buffer) - self._position < size:
            self._fill()
        data = bytes(self._buffer[self._position : self._position + size])
        self._position += size
        return data

    def _read_reply(self) -> Reply:
        line = self._read_line()
        kind, rest = line[:1], line[1:]
        try:
            match kind:
                case b"+":
                    return rest.decode("utf-8", "replace")
                case b"-":
                    return ServerError(rest.decode("utf-8", "replace"))
                case b":":
                    return int(rest)
                case b"$":
                    size = int(rest)
                    return None if size < 0 else self._read_exactly(size + 2)[:-2]
                case b"*":
                    count = int(rest)
                    return None if count < 0 else [self._read_reply() for _ in range(count)]
        except ValueError:
            pass
        self.close()
        raise ProtocolError(f"{describe(self.address)} does not speak the Redis protocol: it sent {line[:60]!r}")


def _connect(address: Address, timeout: float) -> socket.socket:
    """A connected stream socket, or ConnectionFailed with a sentence that says where and why."""
    try:
        if isinstance(address, tuple):
            connection = socket.create_connection(address, timeout)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connection
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(timeout)
            connection.connect(str(address))
        except OSError:
            connection.close()
            raise
        return connection
    except TimeoutError as error:
        raise ConnectionFailed(f"{describe(address)} did not answer within {timeout:g} s") from error
    except OSError as error:
        raise ConnectionFailed(f"cannot connect to {describe(address)}: {error.strerror or error}") from error


def information_of(reply: object) -> dict[str, str]:
    """The fields that an answer to INFO has."""
    text = reply.decode(errors="replace") if isinstance(reply, bytes) else ""
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
