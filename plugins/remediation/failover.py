"""failover.replica and failover.origin: another Redis-compatible server takes the place of one that has failed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from agent.api import Duration, Outcome, Plan, PlanOutdated, PredisError, Task, duration_between
from plugins.remediation.action import NOT_BEGUN, Action, Params, hold_to
from plugins.remediation.notes import Notes
from plugins.remediation.servers import Servers

_LOOK = 0.1
_ANSWERS = (
    "LOADING",
    "NOAUTH",
    "NOPERM",
    "WRONGPASS",
    "MASTERDOWN",
    "loading",
    "max number of clients",
    "uthentication",
)
"""In the errors of a server that is there all the same."""


class ReplicaParams(Params):
    """failover.replica. followers: servers that follow the new primary from then on. stale: how long the replica may
    have been without its primary. force: even if the primary is there, which makes two of them."""

    replica: str = Field(examples=["b"])
    primary: str = ""
    followers: tuple[str, ...] = Field(default=(), max_length=64)
    stale: Annotated[Duration, duration_between("0s", "7d")] = 300.0
    force: bool = False


class OriginParams(Params):
    """failover.origin. server: which is to follow `origin`; what it alone has is lost, which `discard` allows."""

    server: str = Field(examples=["a"])
    origin: str = Field(examples=["b"])
    discard: bool = False


class FailoverReplica(Action):
    """REPLICAOF NO ONE, once it is known that the primary is gone and the replica is whole and not old."""

    name = "failover.replica"
    help = "Makes a replica the primary, when its own does not answer any more; others follow it."
    Params = ReplicaParams
    deadline = 60.0

    def __init__(self, servers: Servers) -> None:
        self._servers = servers

    def target(self, params: ReplicaParams) -> str:
        return f"server:{params.replica}"

    def check(self, params: ReplicaParams) -> None:
        self._servers.check("replica", params.replica, followed=bool(params.followers))
        if params.primary:
            self._servers.check("primary", params.primary)
        for number, follower in enumerate(params.followers):
            self._servers.check(("followers", number), follower)

    def plan(self, params: ReplicaParams, task: Task) -> str:
        with self._servers.connected(params.replica) as replica:
            state = _replication(replica)
        self._check(params, state)
        for follower in params.followers:
            with self._servers.connected(follower) as client:
                client.ping()
        follow = f", and have {', '.join(params.followers)} follow it" if params.followers else ""
        return Plan(
            f"would make {params.replica} a primary{follow}: it follows {state['master_host']}:{state['master_port']}, "
            f"which it has lost {_age(state)} s ago, at the offset {state['slave_repl_offset']}",
            self._facts(params, state),
            {
                "host": state["master_host"],
                "port": int(state["master_port"]),
                "offset": int(state["slave_repl_offset"]),
            },
        )

    def run(self, params: ReplicaParams, task: Task) -> Outcome:
        notes = Notes(task.host.data_dir)
        with self._servers.connected(params.replica) as replica:
            state, noted = _replication(replica), notes.read(task.intent)
            if state["role"] != "master" or noted is None:
                self._check(params, state)
                hold_to(task, self._facts(params, state), params.replica)
                noted = {"host": state["master_host"], "port": int(state["master_port"])}
                notes.write(task.intent, noted)
                replica.execute_command("REPLICAOF", "NO", "ONE")
                _await(replica, "role", "master", task)
            offset = int(_replication(replica)["master_repl_offset"])
        failed = self._have_followed(params)
        detail = f"{params.replica} is a primary; it followed {noted['host']}:{noted['port']}"
        if params.followers:
            detail += f"; {len(params.followers) - len(failed)} of {len(params.followers)} servers follow it now"
        detail += f" ({'; '.join(failed)})" if failed else ""
        return Outcome(True, detail, {**noted, "offset": offset})

    def done_before(self, params: ReplicaParams, task: Task) -> Outcome | None:
        noted = Notes(task.host.data_dir).read(task.intent)
        if noted is None:
            return NOT_BEGUN
        with self._servers.connected(params.replica) as replica:
            state = _replication(replica)
        if state["role"] != "master":
            return Outcome(False, f"{params.replica} is a replica still")
        if failed := self._have_followed(params):  # to be told twice whom to follow changes nothing
            return Outcome(True, f"{params.replica} is a primary ({'; '.join(failed)})")
        return Outcome(True, f"{params.replica} is a primary")

    def undo(self, params: ReplicaParams, undo: Mapping[str, Any], task: Task) -> Outcome:
        """Following again throws away what was written since, so it is done only if nothing was."""
        host, port = str(undo["host"]), int(undo["port"])
        with self._servers.connected(params.replica) as replica:
            state = _replication(replica)
            if (state.get("master_host"), str(state.get("master_port"))) == (host, str(port)):
                return Outcome(True, f"{params.replica} follows {host}:{port} already")
            if int(state["master_repl_offset"]) != undo["offset"] or int(state["connected_slaves"]):
                return Outcome(
                    False,
                    f"{params.replica} stays a primary: it was written to since, which would be lost if it followed "
                    f"{host}:{port} again",
                )
            replica.execute_command("REPLICAOF", host, port)
            _await(replica, "master_link_status", "up", task)
        return Outcome(True, f"{params.replica} follows {host}:{port} again")

    def _check(self, params: ReplicaParams, state: Mapping[str, str]) -> None:
        if state["role"] == "master":
            raise PredisError(f"{params.replica} is a primary already")
        if state.get("master_sync_in_progress") == "1":
            raise PredisError(f"{params.replica} is being filled by its primary: it has a part of the data only")
        if state.get("master_link_down_since_seconds") == "-1":
            raise PredisError(f"{params.replica} was never in step with its primary: it may have nothing of the data")
        if params.force:
            return
        place = f"{state['master_host']}:{state['master_port']}"
        if state["master_link_status"] == "up":
            raise PredisError(f"the primary {place} is there: with another there would be two (force = true does it)")
        if params.primary and self._answers(params.primary):
            raise PredisError(f"the primary {params.primary} answers: with another there would be two (force = true)")
        if _age(state) > params.stale:
            raise PredisError(
                f"{params.replica} has lost its primary {_age(state)} s ago, and its data may be as old: more than "
                f"stale = {params.stale:g} s"
            )

    def _facts(self, params: ReplicaParams, state: Mapping[str, str]) -> dict[str, Any]:
        return {
            "replica": self._servers.place(params.replica),
            "primary": f"{state['master_host']}:{state['master_port']}",
            "followers": [self._servers.place(follower) for follower in params.followers],
        }

    def _answers(self, name: str) -> bool:
        self._servers.find(name)
        try:
            with self._servers.connected(name) as client:
                client.ping()
        except PredisError as error:
            return any(word in str(error) for word in _ANSWERS)
        return True

    def _have_followed(self, params: ReplicaParams) -> list[str]:
        """Why those that do not follow do not."""
        failed = []
        for follower in params.followers:
            try:
                host, port = self._servers.address(params.replica)
                with self._servers.connected(follower) as client:
                    client.execute_command("REPLICAOF", host, port)
            except PredisError as error:
                failed.append(str(error))
        return failed


class FailoverOrigin(Action):
    """REPLICAOF the origin: the server is filled from it, and everything else it had is gone."""

    name = "failover.origin"
    help = "Has a server follow the origin, which fills it; what the server alone has is lost."
    Params = OriginParams
    deadline = 300.0

    def __init__(self, servers: Servers) -> None:
        self._servers = servers

    def target(self, params: OriginParams) -> str:
        return f"server:{params.server}"

    def check(self, params: OriginParams) -> None:
        self._servers.check("server", params.server)
        self._servers.check("origin", params.origin, followed=True)

    def plan(self, params: OriginParams, task: Task) -> str:
        host, port = self._servers.address(params.origin)
        with self._servers.connected(params.origin) as origin:
            coming: Any = origin.dbsize()
        with self._servers.connected(params.server) as server:
            going, state = self._check(params, server, host, port), _replication(server)
        text = f"would have {params.server} follow {host}:{port}: its {going} keys give way to {coming} of the origin"
        return Plan(text, {**self._facts(params, state), "keys": going}, _followed(state))

    def run(self, params: OriginParams, task: Task) -> Outcome:
        host, port = self._servers.address(params.origin)
        with self._servers.connected(params.origin) as origin:
            origin.ping()
        notes = Notes(task.host.data_dir)
        with self._servers.connected(params.server) as server:
            before = notes.read(task.intent)
            if before is None or not _follows(_replication(server), host, port):
                going, state = self._check(params, server, host, port), _replication(server)
                hold_to(task, self._facts(params, state), params.server)
                if task.plan is not None and going > task.plan["keys"]:
                    raise PlanOutdated(
                        f"{params.server} has {going} keys to lose: more than the {task.plan['keys']} shown"
                    )
                before = _followed(state)
                notes.write(task.intent, before)
                server.execute_command("REPLICAOF", host, port)
            _await(server, "master_link_status", "up", task)
        return Outcome(True, f"{params.server} follows {host}:{port} and has its data", before)

    def done_before(self, params: OriginParams, task: Task) -> Outcome | None:
        noted = Notes(task.host.data_dir).read(task.intent)
        host, port = self._servers.address(params.origin)
        if noted is None:
            return NOT_BEGUN
        with self._servers.connected(params.server) as server:
            state = _replication(server)
        if not _follows(state, host, port) or state["master_link_status"] != "up":
            return Outcome(False, f"{params.server} does not follow {host}:{port}, or is not in step with it yet")
        return Outcome(True, f"{params.server} follows {host}:{port} and has its data", noted)

    def undo(self, params: OriginParams, undo: Mapping[str, Any], task: Task) -> Outcome:
        host, port = self._servers.address(params.origin)
        before = f"{undo['host']}:{undo['port']}" if undo["host"] else ""
        with self._servers.connected(params.server) as server:
            state = _replication(server)
            if not _follows(state, host, port):
                if _followed(state) == undo:
                    return Outcome(True, f"{params.server} is as it was: it had not begun to follow {host}:{port}")
                return Outcome(
                    False, f"{params.server} does not follow {host}:{port} any more: somebody has changed it"
                )
            server.execute_command("REPLICAOF", *(before.rsplit(":", 1) if before else ("NO", "ONE")))
            if not before:
                _await(server, "role", "master", task)
        follows = f"follows {before} again" if before else "is a primary again, with the data of the origin"
        return Outcome(True, f"{params.server} {follows}")

    def _facts(self, params: OriginParams, state: Mapping[str, str]) -> dict[str, Any]:
        follows = f"{state['master_host']}:{state['master_port']}" if state["role"] != "master" else ""
        return {
            "server": self._servers.place(params.server),
            "origin": self._servers.place(params.origin),
            "follows": follows,
        }

    @staticmethod
    def _check(params: OriginParams, server: Any, host: str, port: int) -> int:
        """How many keys would go."""
        if _follows(_replication(server), host, port):
            raise PredisError(f"{params.server} follows {host}:{port} already")
        keys: Any = server.dbsize()
        if keys and not params.discard:
            raise PredisError(f"{params.server} has {keys} keys, which would be lost: allow it with discard = true")
        return int(keys)


def _replication(client: Any) -> dict[str, str]:
    answer: Any = client.execute_command("INFO", "replication")
    if isinstance(answer, Mapping):  # redis-py reads INFO itself
        return {str(name): str(value) for name, value in answer.items()}
    raise PredisError("its answer to INFO is no information")


def _follows(state: Mapping[str, str], host: str, port: int) -> bool:
    return (state.get("master_host"), state.get("master_port")) == (host, str(port))


def _followed(state: Mapping[str, str]) -> dict[str, Any]:
    """Whom it follows, for the way back; an empty host for nobody."""
    if state["role"] == "master":
        return {"host": ""}
    return {"host": state["master_host"], "port": int(state["master_port"])}


def _age(state: Mapping[str, str]) -> int:
    """Seconds since the replica heard of its primary."""
    return max(0, int(state.get("master_link_down_since_seconds", 0)))


def _await(client: Any, field: str, value: str, task: Task) -> None:
    while (state := _replication(client)).get(field) != value:
        if task.cancelled():
            raise PredisError(f"nobody waits for it any more; {field} is {state.get(field)} still")
        time.sleep(_LOOK)
