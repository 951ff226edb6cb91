"""Redis commands and replies as raw bytes, so that tests can compare servers to the letter."""

import codecs
import re
import socket
from collections.abc import Iterable, Sequence
from typing import Any

Command = Sequence[bytes]

_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)')


def words(line: str) -> tuple[bytes, ...]:
    """A command from a line of text: words are cut at spaces, "…" may hold spaces and Python's escapes (\\x00)."""
    return tuple(
        codecs.escape_decode(match[1].encode())[0] if match[2] is None else match[2].encode()  # type: ignore[attr-defined]
        for match in _WORD.finditer(line)
    )


def encode(command: Iterable[bytes]) -> bytes:
    """A command as an array of bulk strings."""
    parts = list(command)
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)


class RawClient:
    """One connection; gives each reply as the bytes that the server sent."""

    def __init__(self, port: int, *, protocol: int = 2, timeout: float = 20.0) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self.socket.makefile("rb")
        if protocol == 3:
            self.command(b"HELLO", b"3")

    def close(self) -> None:
        self._file.close()
        self.socket.close()

    def command(self, *command: bytes) -> bytes:
        """Sends one command and gives its reply."""
        return self.pipeline([command])[0]

    def value(self, *command: bytes) -> Any:
        """Sends one command and gives its reply as Python values."""
        return decode(self.command(*command))

    def pipeline(self, commands: Sequence[Command]) -> list[bytes]:
        """Sends all commands at once and gives their replies."""
        self.send_all(commands)
        return [self.reply() for _ in commands]

    def send_all(self, commands: Sequence[Command]) -> None:
        """Sends commands whose replies are read later, one by one."""
        self.send(b"".join(map(encode, commands)))

    def send(self, data: bytes) -> None:
        """Sends bytes as they are."""
        self.socket.sendall(data)

    def reply(self) -> bytes:
        """The next reply, whole. Raises ConnectionError where the server has closed the connection."""
        line = self._file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError(f"the connection ended within a reply: {line!r}")
        kind, rest = line[:1], line[1:-2]
        if kind in b"$=!":
            return line + (self._file.read(int(rest) + 2) if int(rest) >= 0 else b"")
        if kind in b"*~>":
            return line + b"".join(self.reply() for _ in range(int(rest)))
        if kind in b"%":
            return line + b"".join(self.reply() for _ in range(2 * int(rest)))
        assert kind in b"+-:_#,(", f"not a reply: {line!r}"
        return line

    def read_to_end(self) -> bytes:
        """All bytes until the server closes the connection."""
        return self._file.read()


def decode(reply: bytes) -> Any:
    """A reply as Python values: bytes, int, float, bool, None, list, dict; an error as a string beginning with '-'."""
    value, rest = _decode(reply)
    assert rest == b"", f"more than one reply: {reply!r}"
    return value


def decode_all(replies: bytes) -> list[Any]:
    """Several replies in a row as Python values."""
    values = []
    while replies:
        value, replies = _decode(replies)
        values.append(value)
    return values


def _decode(data: bytes) -> tuple[Any, bytes]:
    line, _, rest = data.partition(b"\r\n")
    kind, text = line[:1], line[1:]
    if kind == b"+":
        return text, rest
    if kind == b"-":
        return line.decode(errors="backslashreplace"), rest
    if kind == b":":
        return int(text), rest
    if kind == b",":
        return float(text), rest
    if kind == b"#":
        return text == b"t", rest
    if kind == b"_" or text == b"-1":
        return None, rest
    if kind in b"$=!":
        size = int(text)
        return rest[:size], rest[size + 2 :]
    items = []
    for _ in range(int(text) * (2 if kind == b"%" else 1)):
        item, rest = _decode(rest)
        items.append(item)
    return (dict(zip(items[::2], items[1::2], strict=True)) if kind == b"%" else items), rest


def fields(info: bytes) -> dict[str, str]:
    """The lines `name:value` of an INFO reply."""
    lines = (line.partition(":") for line in info.decode().splitlines() if ":" in line)
    return {name: value for name, _, value in lines}
