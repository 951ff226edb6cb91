"""cache.restart and cache.upgrade: another process in the place of the cache process; keys stay."""

from __future__ import annotations

from typing import Any

from agent.api import CacheControl, Outcome, Plan, PredisError, Task
from plugins.remediation.action import Action, Params, hold_to
from plugins.remediation.local import hosted_cache
from plugins.remediation.notes import Notes


class RestartParams(Params):
    """cache.restart has no keys."""


class UpgradeParams(Params):
    """cache.upgrade has no keys."""


class _Renewal(Action):
    """Notes which process runs; when another answers after a crash, the work was done, whoever finished it."""

    deadline = 420.0

    def target(self, params: Any) -> str:
        return "cache:local"

    def run(self, params: Any, task: Task) -> Outcome:
        control, notes = _control(task), Notes(task.host.data_dir)
        done = self.done_before(params, task)
        if done is not None and done.done:
            return done
        hold_to(task, self.facts(control, task), "the cache process")
        if control.facts().state == "running":  # one that hangs cannot be asked who it is
            notes.write(task.intent, {"run_id": _server(task)["run_id"]})
        said = self.renew(control, task)
        server = _server(task)
        return Outcome(True, f"{said}; process {server['process_id']}, version {server['predis_version']}, answers")

    def done_before(self, params: Any, task: Task) -> Outcome | None:
        noted = Notes(task.host.data_dir).read(task.intent)
        if noted is None:
            return None
        server = _server(task)
        if server["run_id"] == noted["run_id"]:
            return Outcome(False, f"the same cache process, {server['process_id']}, runs still")
        return Outcome(True, f"another cache process, {server['process_id']}, runs since this was begun")

    def facts(self, control: CacheControl, task: Task) -> dict[str, Any]:
        """Which process it is that gives way."""
        facts = control.facts()
        return {"pid": facts.pid, "state": facts.state}

    def renew(self, control: CacheControl, task: Task) -> str:
        """Do it; says what was done. Raises PredisError."""
        raise NotImplementedError


class CacheRestart(_Renewal):
    """A warm restart: the new process finds the arena, with all keys."""

    name = "cache.restart"
    help = "Restarts the cache process, warm: keys stay, clients have to connect anew."
    Params = RestartParams
    moves = (
        "predis_supervisor_restarts_total",
        "predis_cache_up",
        "predis_cache_start_time_seconds",
        "predis_connections",
    )

    def plan(self, params: RestartParams, task: Task) -> str:
        control = _control(task)
        facts, bound = control.facts(), self.facts(control, task)
        if facts.state not in ("running", "unresponsive"):
            raise PredisError(f"the cache is {facts.state}: only one that runs can be restarted")
        if facts.state == "unresponsive":
            return Plan(f"would restart the cache process {facts.pid}, which does not answer", bound)
        with hosted_cache(task) as client:
            clients = int(client.information("clients")["connected_clients"]) - 1
            keys = client.command("DBSIZE")
        text = f"would restart the cache process {facts.pid}, warm: {keys!r} keys stay, {clients} connections end"
        return Plan(text, bound)

    def renew(self, control: CacheControl, task: Task) -> str:
        control.restart(task.cancelled)
        return "restarted the cache process, warm"


class CacheUpgrade(_Renewal):
    """A new process, of the version that is installed now, takes over; nobody who connects is refused."""

    name = "cache.upgrade"
    help = "Has a cache process of the version that is installed now take over from the one that runs."
    Params = UpgradeParams
    moves = ("predis_upgrades_total", "predis_cache_start_time_seconds", "predis_connections")

    def plan(self, params: UpgradeParams, task: Task) -> str:
        control = _control(task)
        facts, bound = control.facts(), self.facts(control, task)
        if facts.state != "running":
            raise PredisError(f"the cache is {facts.state}: only one that runs can be upgraded")
        version = _server(task)["predis_version"]
        text = f"would have a new process take over from the cache process {facts.pid}, which is of version {version}"
        return Plan(text, bound)

    def renew(self, control: CacheControl, task: Task) -> str:
        return control.upgrade(task.cancelled)


def _control(task: Task) -> CacheControl:
    if task.host.cache_control is None:
        raise PredisError("the cache process is started anew by the agent that supervises it, and here is none")
    return task.host.cache_control


def _server(task: Task) -> dict[str, str]:
    with hosted_cache(task) as client:
        return client.information("server")
