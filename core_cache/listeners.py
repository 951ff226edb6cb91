"""The sockets that a cache process listens on."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from pathlib import Path

from core_cache.options import Options
from core_cache.places import StartError, reason

BACKLOG = 511


class Listeners:
    """Listening sockets by name: "tcp", "tls" and "unix", as far as they are wanted. Each stands for one address.

    A connection that is made to one of them waits in its queue until somebody accepts it; the sockets may pass from
    one process to the next (see handoff.py), and then nobody is refused in between.
    """

    def __init__(self, sockets: dict[str, socket.socket], unix_path: Path) -> None:
        self.sockets = sockets
        self.unix_path = unix_path
        self._inode = _inode_of(unix_path)

    @classmethod
    def open(cls, options: Options, unix_path: Path) -> Listeners:
        """Listens. Raises StartError with nothing left open."""
        sockets: dict[str, socket.socket] = {}
        try:
            if options.port:
                sockets["tcp"] = _listen_tcp(options.host, options.port, "--port")
            if options.tls.port:
                sockets["tls"] = _listen_tcp(options.host, options.tls.port, "--tls-port")
            sockets["unix"] = _listen_unix(unix_path)
        except StartError:
            for listener in sockets.values():
                listener.close()
            raise
        return cls(sockets, unix_path)

    def close(self) -> None:
        """Listens no more; the unix socket's file goes, unless the sockets are another process' by now."""
        for listener in self.sockets.values():
            listener.close()
        self.sockets = {}
        if self._inode is not None and _inode_of(self.unix_path) == self._inode:
            with contextlib.suppress(OSError):
                self.unix_path.unlink()

    def hand_on(self) -> None:
        """Another process has the sockets, too: there they go on."""
        self._inode = None


def _inode_of(path: Path) -> int | None:
    with contextlib.suppress(OSError):
        return path.stat().st_ino
    return None


def addresses(options: Options, unix_path: Path) -> dict[str, str]:
    """What each of the sockets is bound to, in words that two processes can compare."""
    wanted = {"unix": os.path.abspath(unix_path)}
    if options.port:
        wanted["tcp"] = f"{options.host} port {options.port}"
    if options.tls.port:
        wanted["tls"] = f"{options.host} port {options.tls.port}"
    return wanted


def _listen_tcp(host: str, port: int, option: str) -> socket.socket:
    where = f"{host} port {port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise StartError(f"the address {host} is not known ({error.strerror})") from None
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        remedy = {
            errno.EADDRINUSE: f"another program uses it: choose another {option}, or stop that program",
            errno.EACCES: "this user may not use it: choose a port from 1024 on",
            errno.EADDRNOTAVAIL: "this machine has no such address: choose another --host",
        }.get(error.errno or 0, reason(error))
        raise StartError(f"the cache cannot listen on {where}: {remedy}") from None
    return listener


def _listen_unix(path: Path) -> socket.socket:
    """A listening unix socket of mode 0600. A stale one is replaced, a live one is refused."""
    if len(os.fsencode(path)) > 107:
        raise StartError(f"the unix socket's path {path} is longer than 107 bytes: choose another --unix-socket")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.is_socket():
            if _somebody_listens(path):
                raise StartError(f"another server listens on the unix socket {path}: choose another --unix-socket")
            path.unlink()
        mask = os.umask(0o177)
        try:
            listener.bind(str(path))
        finally:
            os.umask(mask)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        what = "something that is no socket is there" if error.errno == errno.EADDRINUSE else reason(error)
        raise StartError(f"the cache cannot listen on the unix socket {path}: {what}") from None
    except StartError:
        listener.close()
        raise
    return listener


def _somebody_listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return False
    return True
