"""One script of commands from several connections is played on two stages, redis-server and our server; what each
connection receives after each line is compared, byte by byte.

A line is `NAME: COMMAND ARG …`; NAME is a connection, one whose name ends in 3 speaks RESP3. Commands joined with ` ; `
are sent in one go. `{id:NAME}` stands for a connection's number, `NAME: LEAVE` ends it.

After each line a prompter, a connection of its own, sends PING twice. When the second answer is there, the server has
been through its event loop once more, so all that the line brings has been sent to the sockets: nothing waits for time.
"""

import contextlib
import re
import socket
import textwrap

from tests.core_cache.raw_resp import RawClient, encode, words
from tests.waiting import wait_until

_LINE = re.compile(r"(\w+): (.+)")
_ID = re.compile(r"\{id:(\w+)\}")
# Fields of CLIENT LIST and CLIENT INFO that both servers fill alike.
_FIELDS = re.compile(rb" ((?:name|flags|db|sub|psub|ssub|multi|cmd|resp)=\S*)")
_CLIENTS = re.compile(rb"[$=]\d+\r\n(?:txt:)?((?:id=[^\n]*\n)+)\r\n")

Received = dict[str, bytes]


class Stage:
    """One server's side of the play."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.prompter = RawClient(port)
        self.clients: dict[str, RawClient] = {}
        self.ids: dict[str, int] = {}

    def client(self, name: str) -> RawClient:
        """The connection of that name, opened when it is first named."""
        if name not in self.clients:
            client = RawClient(self.port, protocol=3 if name.endswith("3") else 2)
            self.clients[name] = client
            self.ids[name] = client.value(b"CLIENT", b"ID")
        return self.clients[name]

    def play(self, line: str) -> Received:
        """Runs one line; gives what each connection has received since the line before."""
        match = _LINE.fullmatch(line)
        assert match, f"not a line of a script: {line}"
        name, text = match[1], match[2]
        client = self.client(name)
        if text == "LEAVE":
            client.close()
            del self.clients[name]
            number = b"%d" % self.ids[name]
            wait_until(lambda: self.prompter.value(b"CLIENT", b"LIST", b"ID", number) == b"", 10, f"{name}'s end")
        else:
            text = _ID.sub(lambda found: str(self.ids[found[1]]), text)
            client.send(b"".join(encode(words(part)) for part in text.split(" ; ")))
        for _ in range(2):
            assert self.prompter.command(b"PING") == b"+PONG\r\n"
        received = {name: self._anonymous(_waiting_bytes(client.socket)) for name, client in self.clients.items()}
        return {name: data for name, data in received.items() if data}

    def _anonymous(self, data: bytes) -> bytes:
        """Without what differs between servers: connections' numbers, most fields of CLIENT LIST."""
        data = _CLIENTS.sub(lambda found: b"<" + b" ".join(_FIELDS.findall(found[1])) + b">", data)
        for name, number in self.ids.items():
            data = data.replace(b":%d\r\n" % number, b":<%s>\r\n" % name.encode()) if number > 9 else data
        return data

    def close(self) -> None:
        """Ends all connections."""
        for client in (self.prompter, *self.clients.values()):
            client.close()


def _waiting_bytes(connection: socket.socket) -> bytes:
    """What lies in the socket; with `<closed>` behind it where the server has ended the connection."""
    parts = []
    connection.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while part := connection.recv(1 << 20):
            parts.append(part)
        parts.append(b"<closed>")
    connection.setblocking(True)
    return b"".join(parts)


def differences(script: str, redis_port: int, our_port: int) -> str:
    """Plays the script on both; gives a text with every difference, empty when there is none."""
    redis, ours = Stage(redis_port), Stage(our_port)
    problems = []
    try:
        for _ in range(10):  # numbers of one digit could be mistaken for other integers
            for stage in (redis, ours):
                RawClient(stage.port).close()
        for line in textwrap.dedent(script).strip().splitlines():
            theirs, mine = redis.play(line), ours.play(line)
            for name in sorted(theirs.keys() | mine.keys()):
                if theirs.get(name) != mine.get(name):
                    problems.append(f"{line}\n   redis-server to {name}: {theirs.get(name)!r}")
                    problems.append(f"   we           to {name}: {mine.get(name)!r}")
    finally:
        redis.close()
        ours.close()
    return "\n".join(problems)
