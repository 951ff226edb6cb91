"""cache.drain: no new clients, and those that are there are waited for, or ended.

CLIENT PAUSE holds commands of everybody up, also of those that should finish; so the limit on clients is lowered to the
agent's own connections instead. That closes the cache to the agent, too, so the connection that did it is kept open to
open the cache again. The limit is back at the configured one when the cache process is started again.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Mapping
from typing import Annotated, Any

from agent.api import Duration, Outcome, Plan, PredisError, Task, duration_between
from core_cache.resp_client import RespClient, RespError, ServerError
from plugins.remediation.action import NOT_BEGUN, Action, Params, hold_to
from plugins.remediation.local import CLIENT_NAME, connect, hosted_cache, setting
from plugins.remediation.notes import Notes

_LOOK = 0.1  # seconds between two looks at who is there
_RETRY = 0.05
_PERSISTENCE = 10.0  # seconds in which a connection is tried for, when all places are taken
_ANSWER = 0.5  # seconds in which it says that it is full; otherwise it says nothing
_FULL = b"max number of clients"


class DrainParams(Params):
    """wait: for clients to leave by themselves. close: whether the others are disconnected then."""

    wait: Annotated[Duration, duration_between("0s", "1h")] = 10.0
    close: bool = False


class CacheDrain(Action):
    """Refuses new clients."""

    name = "cache.drain"
    help = "Has the cache refuse new clients, and waits for those that are there; with `close`, disconnects the rest."
    Params = DrainParams
    moves = ("predis_connections", "predis_connections_max", "predis_connections_rejected_total")
    deadline = 60.0

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: RespClient | None = None  # the way back in

    def target(self, params: DrainParams) -> str:
        return "cache:local"

    def plan(self, params: DrainParams, task: Task) -> str:
        with hosted_cache(task) as client:
            limit, strangers = setting(client, "maxclients"), _strangers(client)[0]
        rest = "those left then would be disconnected" if params.close else "those left then would stay"
        return Plan(
            f"would lower maxclients from {limit} to the agent's own connections, wait {params.wait:g} s for "
            f"{len(strangers)} clients to leave; {rest}",
            {"max_clients": int(limit)},
            {"max_clients": int(limit)},
        )

    def run(self, params: DrainParams, task: Task) -> Outcome:
        notes = Notes(task.host.data_dir)
        try:
            client = self._enter(task)
            noted, old = notes.read(task.intent), int(setting(client, "maxclients"))
            if noted is not None:
                old = int(noted["old"])
            elif old <= _strangers(client)[1]:
                raise PredisError(f"the cache takes no new clients already: maxclients is {old}")
            else:
                hold_to(task, {"max_clients": old}, "the limit on clients")
            notes.write(task.intent, {"old": old})
            before = _shut(client)
            left = self._await(client, params, task, old)
            if left and params.close:
                for number in left:
                    client.command("CLIENT", "KILL", "ID", number)
        except RespError as error:
            self.close()
            raise PredisError(f"the cache does not do it: {error}") from None
        ends = f"{len(left)} were disconnected" if params.close else f"{len(left)} stay"
        detail = f"the cache takes no new clients (maxclients was {old}); of {len(before)} clients {ends}"
        return Outcome(True, detail, {"max_clients": old})

    def done_before(self, params: DrainParams, task: Task) -> Outcome | None:
        noted = Notes(task.host.data_dir).read(task.intent)
        if noted is None:
            return NOT_BEGUN
        try:
            with connect(task) as client:
                drained = int(setting(client, "maxclients")) < noted["old"]
        except RespError as error:
            if not _is_full(task):
                raise PredisError(f"the cache does not say whether it is drained: {error}") from None
            drained = True
        if not drained:
            return Outcome(False, "the cache takes clients")
        return Outcome(True, "the cache takes no new clients", {"max_clients": noted["old"]})

    def undo(self, params: DrainParams, undo: Mapping[str, Any], task: Task) -> Outcome:
        limit = int(undo["max_clients"])
        try:
            client = self._enter(task)
            client.command("CONFIG", "SET", "maxclients", str(limit))
        except RespError as error:
            raise PredisError(
                f"the cache does not let the agent in either: {error}; restart it (cache.restart), which ends the drain"
            ) from None
        finally:
            self.close()
        return Outcome(True, f"the cache takes clients again, up to {limit}")

    def close(self) -> None:
        with self._lock:
            held, self._held = self._held, None
        if held is not None:
            held.close()

    def _enter(self, task: Task) -> RespClient:
        """The connection that is held, or a new one, which may need a place to become free."""
        with self._lock:
            if self._held is not None:
                try:
                    self._held.command("PING")
                    return self._held
                except RespError:
                    self._held.close()
                    self._held = None
            deadline = time.monotonic() + _PERSISTENCE
            while self._held is None:
                try:
                    self._held = connect(task)
                except RespError as error:
                    if time.monotonic() > deadline or task.cancelled() or not _may_be_full(error):
                        raise
                    time.sleep(_RETRY)
            return self._held

    def _await(self, client: RespClient, params: DrainParams, task: Task, old: int) -> list[str]:
        """Who is still there when the time is over. When nobody waits for the drain any more, it is taken back."""
        deadline = time.monotonic() + params.wait
        while (left := _shut(client)) and time.monotonic() < deadline:
            if task.cancelled():
                client.command("CONFIG", "SET", "maxclients", str(old))
                self.close()
                raise PredisError("nobody waits for the drain any more: the cache takes clients again")
            time.sleep(min(_LOOK, max(0.0, deadline - time.monotonic())))
        return left


def _may_be_full(error: RespError) -> bool:
    """A cache without a place for another client says so, or is gone before it can be read."""
    if isinstance(error, ServerError):
        return _FULL.decode() in str(error)
    return not str(error).startswith("cannot connect")


def _is_full(task: Task) -> bool:
    """Whether the cache has no place for another client. It says so unasked, and is gone before it can be asked."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_ANSWER)
        try:
            probe.connect(str(task.host.cache.unix_socket))
            return _FULL in probe.recv(256)
        except OSError:
            return False


def _clients(client: RespClient) -> dict[str, str]:
    """The name of each connection, by its number."""
    reply = client.command("CLIENT", "LIST")
    lines = reply.decode(errors="replace").splitlines() if isinstance(reply, bytes) else []
    fields = [dict(part.split("=", 1) for part in line.split(" ") if "=" in part) for line in lines if line]
    return {line["id"]: line["name"] for line in fields}


def _shut(client: RespClient) -> list[str]:
    """Leaves no place for another client; the numbers of those that are there.

    Again and again: what was the agent's own a moment ago may be a place by now.
    """
    strangers, own = _strangers(client)
    if int(setting(client, "maxclients")) != own:
        client.command("CONFIG", "SET", "maxclients", str(own))
    return strangers


def _strangers(client: RespClient) -> tuple[list[str], int]:
    """The numbers of connections that are not the agent's, and how many are."""
    names = _clients(client)
    strangers = [number for number, name in names.items() if name != CLIENT_NAME]
    return strangers, len(names) - len(strangers)
