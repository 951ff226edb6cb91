"""How a new cache process takes over from the old one: the listening sockets, then the arena.

The old process listens on DATA_DIR/cache.handoff. The new one, once all that it can check is right, connects and asks.
The old one then accepts no more, answers what has arrived, ends its connections, and sends its listening sockets: who
connects from then on waits in their queues, and is refused by nobody. Last it lets the arena and its lock go; the end
of its process is the new one's sign to begin. Whatever goes wrong before the sockets are sent leaves the old process
serving; what goes wrong after that is an ordinary start on a warm arena.

Both sides are the same user: the folder is closed to others, the socket has mode 0600, and the kernel says who asks.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import select
import socket
import struct
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from core_cache.places import StartError, reason

SOCKET_NAME = "cache.handoff"
REQUEST_PATIENCE = 5.0  # seconds for a request, once connected
TAKE_PATIENCE = 30.0  # seconds that the old process has for its answer: it drains its clients for 4 at most
END_PATIENCE = 30.0  # seconds that it has to let the arena go
MESSAGE_LIMIT = 64 * 1024
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid

log = logging.getLogger("core_cache")


@dataclass(frozen=True, slots=True)
class Request:
    """What the new process says of itself. addresses: where it is to listen, see listeners.addresses()."""

    pid: int
    version: str
    layout: int
    addresses: dict[str, str]


@dataclass(frozen=True, slots=True)
class Legacy:
    """What the old process left: its sockets by name, and how things were when it accepted no more."""

    sockets: dict[str, socket.socket]
    pid: int
    version: str
    layout: int
    keys: int
    shut_at: float  # on the monotonic clock, which all processes share
    connection: socket.socket

    def wait_for_the_end(self) -> None:
        """Until the old process has let go of its lock and of the arena. Raises StartError."""
        with self.connection:
            self.connection.settimeout(END_PATIENCE)
            try:
                while self.connection.recv(4096):
                    pass
            except TimeoutError:
                raise StartError(f"the cache process {self.pid} gave its sockets but does not end") from None
            except OSError:
                pass  # it has ended, and not in peace


# --- the new process


def take_over(data_dir: Path, request: Request) -> Legacy:
    """Asks the cache process that works on data_dir for its place. Raises StartError when it keeps it."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        connection.settimeout(TAKE_PATIENCE)
        with _short_path(data_dir) as path:
            connection.connect(path)
        connection.send(json.dumps(asdict(request)).encode())
        message, fds, _, _ = socket.recv_fds(connection, MESSAGE_LIMIT, 8)
    except (FileNotFoundError, ConnectionRefusedError):
        connection.close()
        raise StartError(f"no cache process on {data_dir} can be taken over from: start without --take-over") from None
    except TimeoutError:
        connection.close()
        raise StartError(f"the cache process on {data_dir} does not answer the request to hand over") from None
    except OSError as error:
        connection.close()
        raise StartError(f"the cache process on {data_dir} cannot be asked to hand over ({reason(error)})") from None
    sockets = [socket.socket(fileno=fd) for fd in fds]
    try:
        answer: dict[str, Any] = json.loads(message) if message else {"refused": "it closed the connection"}
        if refused := answer.get("refused"):
            raise StartError(f"the cache process on {data_dir} does not hand over: {refused}")
        return Legacy(
            dict(zip(answer["names"], sockets, strict=True)),
            answer["pid"],
            answer["version"],
            answer["layout"],
            answer["keys"],
            answer["shut_at"],
            connection,
        )
    except BaseException as error:
        connection.close()
        for received in sockets:
            received.close()
        if isinstance(error, (ValueError, KeyError, TypeError)):
            raise StartError(f"the cache process on {data_dir} gave an answer that is none") from None
        raise


# --- the old process


class HandoffWork:
    """What the server does for a Handoff."""

    async def prepare(self, request: Request) -> str | None:
        """Shuts the doors and ends all connections. Gives why that cannot be, with everything as it was."""
        raise NotImplementedError

    def gift(self) -> tuple[dict[str, object], dict[str, socket.socket]]:
        """The fields of the answer (pid, version, layout, keys, shut_at), and the sockets by name."""
        raise NotImplementedError

    async def undo(self) -> None:
        """Opens the doors again."""
        raise NotImplementedError

    def done(self) -> None:
        """The new process has everything: this one ends."""
        raise NotImplementedError


class Handoff:
    """Waits for a new process that wants to take over, and gives it what `work` prepares."""

    def __init__(self, data_dir: Path, work: HandoffWork) -> None:
        self._data_dir, self._work = data_dir, work
        self._listener: socket.socket | None = None
        self._task: asyncio.Task[None] | None = None
        self.connection: socket.socket | None = None
        """To the new process, once it has got everything. It is closed when nothing of ours is in use any more."""

    def open(self) -> None:
        """Listens. Without that there are no upgrades, which is no reason to be no cache."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        try:
            with _short_path(self._data_dir) as path:
                Path(path).unlink(missing_ok=True)  # we hold the lock: nobody lives who could use it
                mask = os.umask(0o177)
                try:
                    listener.bind(path)
                finally:
                    os.umask(mask)
            listener.listen(4)
        except OSError as error:
            listener.close()
            log.warning("the socket for upgrades in %s cannot be opened (%s)", self._data_dir, reason(error))
            return
        self._listener = listener
        asyncio.get_running_loop().add_reader(listener.fileno(), self._asked)

    def close(self) -> None:
        """Listens no more."""
        listener, self._listener = self._listener, None
        if listener is None:
            return
        asyncio.get_running_loop().remove_reader(listener.fileno())
        listener.close()
        (self._data_dir / SOCKET_NAME).unlink(missing_ok=True)

    def _asked(self) -> None:
        assert self._listener is not None, "without it there is no reader"
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return  # it went away
        connection.setblocking(False)
        if _peer_uid(connection) != os.geteuid():
            log.error("another user asked for the cache's sockets: refused")
            connection.close()
        elif self._task is not None and not self._task.done():
            _answer(connection, {"refused": "another process takes over just now"})
            connection.close()
        else:
            self._task = asyncio.get_running_loop().create_task(self._hand_over(connection))

    async def _hand_over(self, connection: socket.socket) -> None:
        try:
            if not await self._given(connection):
                connection.close()
        except Exception:
            log.exception("handing over failed, the cache goes on")
            connection.close()
            await self._work.undo()

    async def _given(self, connection: socket.socket) -> bool:
        try:
            async with asyncio.timeout(REQUEST_PATIENCE):
                await _readable(connection)
            request = Request(**json.loads(connection.recv(MESSAGE_LIMIT)))
        except (TimeoutError, OSError, ValueError, TypeError):
            return False
        log.info("process %d, version %s, wants to take over", request.pid, request.version)
        refused = await self._work.prepare(request)
        if refused is not None:
            log.warning("not handed over: %s", refused)
            _answer(connection, {"refused": refused})
            return False
        fields, sockets = self._work.gift()
        if _gone(connection) or not _answer(connection, {**fields, "names": list(sockets)}, list(sockets.values())):
            log.warning("the new process has gone, the cache goes on")
            await self._work.undo()
            return False
        self.connection = connection
        self._work.done()
        return True


async def _readable(connection: socket.socket) -> None:
    loop, arrived = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(connection.fileno(), arrived.set)
    try:
        await arrived.wait()
    finally:
        loop.remove_reader(connection.fileno())


def _answer(connection: socket.socket, fields: dict[str, object], sockets: list[socket.socket] | None = None) -> bool:
    data = json.dumps(fields).encode()
    try:
        if sockets is None:
            return connection.send(data) == len(data)
        return socket.send_fds(connection, [data], [listener.fileno() for listener in sockets]) == len(data)
    except OSError:
        return False


def _gone(connection: socket.socket) -> bool:
    poller = select.poll()
    poller.register(connection, select.POLLRDHUP)
    return bool(poller.poll(0))


def _peer_uid(connection: socket.socket) -> int:
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    uid: int = _CREDENTIALS.unpack(data)[1]
    return uid


@contextlib.contextmanager
def _short_path(data_dir: Path) -> Iterator[str]:
    """The socket's path by way of the folder's descriptor: the kernel takes no more than 107 bytes."""
    folder = os.open(data_dir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{SOCKET_NAME}"
    finally:
        os.close(folder)
