"""A plugin with `isolation = "process"`: the host calls its hooks as it calls any plugin's, and they run elsewhere.

Its code is never imported here. What takes longer than the deadline, needs too much memory, crashes or floods costs its
process, which is started again at the next turn that the runner's backing off allows.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from agent.config.load import LoadedConfig
from agent.config.models import PluginConfig
from agent.config.secrets import Secrets
from agent.dashboards.model import Asset, Dashboards
from agent.errors import PluginError, Problem
from agent.export.config import ExportConfig
from agent.export.model import Destination, Event, Temporality
from agent.forecast.model import Forecast, ForecastRequest
from agent.incidents.model import Anomaly, Cause, Incident
from agent.metrics.bill import Charge
from agent.metrics.history import History
from agent.metrics.model import Sample, Snapshot
from agent.plugin import remote_dashboards, wire, wire_analysis
from agent.plugin.guard import Told
from agent.plugin.host import Host
from agent.plugin.listener import Listener, Said
from agent.plugin.loaded import LoadedPlugin
from agent.plugin.process import ChildProcess, HookRaised
from agent.plugin.remote import RemoteDestination
from agent.plugin.remote_dashboards import RemoteDashboards
from agent.plugin.snapshots import SnapshotSender

_CALLED = frozenset(
    f"predis_{call}"
    for call in (
        "metric_specs",
        "start",
        "collect",
        "export",
        "destination",
        "detect",
        "causes",
        "forecast",
        "dashboards",
        "bill",
        "stop",
    )
)
_METHODS = frozenset({"encode", "send", "close", "assets", "find", "put", "shut"})  # of what a hook gave
_PATIENCE = 1.0  # seconds; an estimate is worth no longer wait for what the process is busy with
_ON_TOP = 5.0  # seconds that a process may take to start, besides the deadline for loading

log = logging.getLogger("predis.plugins")


@dataclass(frozen=True)
class Setup:
    """All that a process needs to be the plugin; two that are equal need not be told apart."""

    message: dict[str, Any] = field(repr=False)  # has secrets in it
    passed: tuple[str, ...] = ()  # as the user wrote it: no plugin asks for a secret by a default of its own


@dataclass
class IsolatedPlugin(LoadedPlugin):
    """A plugin in a process of its own. `load` first; then as any other."""

    load_deadline: float = 20.0
    restarts: int = 0
    _hooks: frozenset[str] = frozenset()
    _host: Host | None = field(default=None, repr=False)
    _child: ChildProcess | None = field(default=None, repr=False)
    _snapshots: SnapshotSender = field(default_factory=SnapshotSender, repr=False)  # what its process has of them
    _begun: bool = False
    _ships: bool = False  # its destination is in use
    _asked: bool = False  # for it, in this process
    _temporality: Temporality | None = None
    _given_up: threading.Event = field(default_factory=threading.Event, repr=False)
    _note: str | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @classmethod
    def of(cls, plugin: LoadedPlugin, keys: PluginConfig, config: LoadedConfig, load_deadline: float) -> IsolatedPlugin:
        """The same plugin in a process of its own, which is not started yet; `keys` has what is known of its table."""
        secrets: dict[str, str] = {}
        table = config.sources.data.get("plugins", {}).get(plugin.name, {})
        prefix = ("plugins", plugin.name)
        message = {
            "name": plugin.name,
            "value": plugin.entry_point,
            "base": str(config.sources.base),
            "table": Secrets(config.environ, config.sources.base).carry(table, secrets),
            "secrets": secrets,
            "alternatives": [item for item in config.sources.alternatives.items() if item[0][:2] == prefix],
            "path": list(sys.path),
            "load_deadline": load_deadline,
        }
        return cls(
            plugin.name,
            plugin.entry_point,
            plugin.distribution,
            package=plugin.package,
            config=keys,
            instance=Setup(message, keys.pass_environment),
            load_deadline=load_deadline,
        )

    def load(self, *, keep: bool = False) -> list[Problem]:
        """Try whether the plugin can be used, in a process that ends with that. Gives what is wrong with it.

        keep: where it can be used the process stays, for `start`.
        """
        mend = f"mend or uninstall {self.distribution or 'its package'}, or set plugins.{self.name}.enabled = false"
        key = f"plugins.{self.name}"
        limit, child = self.config.memory_limit, None
        try:
            child, described = self._spawn()
            self.specs = wire.load_specs(described["specs"])
            model = ExportConfig if "queue" in described["config"] else PluginConfig
            self.config = model.model_validate(described["config"])
            self._hooks = frozenset(map(str, described["hooks"])) & _CALLED
            self.state = "active" if described["state"] == "active" else "failed"
            problems = [_problem(**problem) for problem in described["problems"]]
            if not self.config.enabled:
                self.state = "disabled"
            # Its own default of the limit was not known before.
            if keep and self.state == "active" and not problems and self.config.memory_limit == limit:
                self._child, child = child, None
        except Told as told:
            self.state = "failed"
            return [Problem(None, None, key, f"cannot be loaded: {told}", mend)]
        except (wire.WireError, KeyError, TypeError, ValueError):
            self.state = "failed"
            return [Problem(None, None, key, "cannot be loaded: its process gives no sensible answer", mend)]
        finally:
            if child is not None:
                child.close()
        return problems

    def implements(self, hook: str) -> bool:
        """Whether the plugin has this hook."""
        return hook in self._hooks

    def note(self) -> str | None:
        """What it said of itself after its last run."""
        return self._note

    def start(self, host: Host) -> None:
        """Start its process, and call predis_start there."""
        self._host = host
        with self._turn():
            self._ready()

    def collect(self) -> Iterator[Sample]:
        """Call predis_collect; all samples are there before the first is given."""
        said = Said()
        with self._turn():
            self._ask({"call": "collect"}, said)
        yield from said.samples

    def export(self, snapshot: Snapshot) -> None:
        """Call predis_export."""
        if self.implements("predis_export"):
            with self._turn():
                child = self._ready()  # first: a new process knows nothing yet
                self._send(child, {"call": "export", "snapshot": self._snapshots.dump(snapshot)})

    def detect(self, snapshot: Snapshot) -> list[Anomaly]:
        """Call predis_detect."""
        said = Said()
        with self._turn():
            child = self._ready()
            self._send(child, {"call": "detect", "snapshot": self._snapshots.dump(snapshot)}, said)
        return said.anomalies

    def causes(self, incident: Incident, history: History) -> list[Cause]:
        """Call predis_causes; what it asks of the history is answered from here."""
        said = Said(history)
        with self._turn():
            self._ask({"call": "causes", "incident": wire_analysis.dump(incident)}, said)
        return said.causes

    def forecast(self, request: ForecastRequest) -> Forecast:
        """Call predis_forecast. Raises PluginError when it gives none."""
        said = Said()
        with self._turn():
            self._ask({"call": "forecast", "request": wire_analysis.dump(request)}, said)
        if said.forecast is None:
            raise PluginError(self.name, "predis_forecast gave nothing", "return a Forecast")
        return said.forecast

    def destination(self) -> Destination:
        """Call predis_destination, and give what stands for it here."""
        with self._turn():
            self._ships = True
            self._ready()
            assert self._temporality is not None
        config = self.config if isinstance(self.config, ExportConfig) else ExportConfig()
        return RemoteDestination(self, config, self._temporality)

    def bill(self, snapshot: Snapshot, interval: float) -> list[Charge]:
        """Call predis_bill; in a process for this alone, where the plugin does not run."""
        request, said = {"call": "bill", "interval": interval}, Said()
        if self._host is None:
            child = self._spawn_for("predis_bill")
            try:
                self._send(child, {**request, "snapshot": SnapshotSender().dump(snapshot)}, said)
            finally:
                child.close()
        else:
            with _Turn(self._lock, min(_PATIENCE, self.config.deadline)):
                child = self._ready()
                self._send(child, {**request, "snapshot": self._snapshots.dump(snapshot)}, said)
        return said.charges

    def dashboards(self, url: str) -> Dashboards:
        """Call predis_dashboards, in a process that lives until what it gives is closed."""
        child = self._spawn_for("predis_dashboards")

        def call(request: Mapping[str, Any]) -> tuple[Mapping[str, Any], list[Asset]]:
            said = Said()
            return self._send(child, request, said, deadline=remote_dashboards.DEADLINE), said.assets

        return RemoteDashboards(call, child.close, url)

    def _spawn_for(self, hook: str) -> ChildProcess:
        try:
            return self._spawn()[0]
        except Told as told:
            raise PluginError(self.name, f"its process cannot be started for {hook}: {told}") from None

    def request(self, request: Mapping[str, Any], deadline: float | None = None) -> tuple[Mapping[str, Any], bytes]:
        """Have its destination do something; gives the answer, and the data that came before it. Raises Told."""
        said = Said()
        with self._turn():
            answer = self._send(self._usable(), request, said, deadline=deadline)
        return answer, bytes(said.data)

    def question(self, question: Mapping[str, Any]) -> Mapping[str, Any]:
        """Ask its destination something, also while that is busy. Raises Told."""
        child = self._child
        if child is None or not child.alive or not self._asked:
            with self._turn():
                child = self._usable()
        return child.ask(question, self.config.deadline)

    def _usable(self) -> ChildProcess:
        """As `_ready`, but what predis_start raises is no fault of who asks for something else."""
        try:
            return self._ready()
        except HookRaised as raised:
            raise Told(f"its process cannot be used: {raised}") from None

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        child = self._child
        return child is not None and child.alive

    def stop(self) -> None:
        """Call predis_stop, if its process lives; it ends with that."""
        with self._turn():
            if self._child is not None and self._child.alive and self._begun:
                self._send(self._child, {"call": "stop"})
        self.abandon()

    def abandon(self) -> None:
        """End its process, whatever it does."""
        self._given_up.set()
        child = self._child
        if child is not None:
            child.kill("the plugin was stopped")
            if self._lock.acquire(timeout=1.0):
                child.close()
                self._child = None
                self._lock.release()

    def details(self) -> dict[str, Any]:
        """Its process, and how often that had to be started again."""
        child = self._child
        pid = child.pid if child is not None else None
        return {"process": {"pid": pid, "restarts": self.restarts, "memory_limit": self.config.memory_limit}}

    def _turn(self) -> _Turn:
        return _Turn(self._lock, self.config.deadline)

    def _ask(self, request: Mapping[str, Any], said: Said) -> None:
        self._send(self._ready(), request, said)

    def _ready(self) -> ChildProcess:
        """The process, started if need be, with the plugin started in it. The lock is held."""
        if self._given_up.is_set() or self._host is None:
            raise Told("it was stopped")
        if self._child is not None and not self._child.alive:
            self._child.close()
            self._child = None
            self.restarts += 1
        if self._child is None:
            try:
                self._child, _ = self._spawn()
            except Told as told:
                raise Told(f"its process cannot be started: {told}") from None
            self._begun = self._asked = False
            self._snapshots = SnapshotSender()
            if self._given_up.is_set():  # meanwhile; whoever stopped it could not see this process
                self._child.close()
                raise Told("it was stopped")
        if not self._begun:
            self._send(self._child, {"call": "start", **_dump_host(self._host)})
            self._begun = True
        if self._ships and not self._asked:
            answer = self._send(self._child, {"call": "destination"})
            try:
                self._temporality = Temporality(answer["temporality"])
            except (KeyError, ValueError):
                raise Told("its destination does not say whether it wants deltas") from None
            self._asked = True
        return self._child

    def _spawn(self) -> tuple[ChildProcess, Mapping[str, Any]]:
        assert isinstance(self.instance, Setup)
        memory_limit = self.config.memory_limit
        child = ChildProcess(memory_limit, self.instance.passed)
        level = logging.getLogger(f"predis.plugins.{self.name}").getEffectiveLevel()
        setup = {**self.instance.message, "memory_limit": memory_limit, "log_level": level}
        try:
            answer = child.call(setup, self.load_deadline + _ON_TOP, self._listener(child))
            described = answer["plugin"]
            if not isinstance(described, dict):
                raise TypeError
        except (Told, KeyError, TypeError):
            child.close()
            raise
        return child, described

    def _listener(self, child: ChildProcess, said: Said | None = None) -> Listener:
        return Listener(self.name, child, self._emit, said)

    def _emit(self, event: Event) -> None:
        if self._host is not None:
            self._host.emit(event)

    def _send(
        self,
        child: ChildProcess,
        request: Mapping[str, Any],
        said: Said | None = None,
        *,
        deadline: float | None = None,
    ) -> Mapping[str, Any]:
        listener = self._listener(child, said)
        try:
            answer = child.call(request, deadline or self.config.deadline, listener)
        except Told as told:
            if child.alive:  # its code raised: it goes on
                raise
            hook = request["call"] if request["call"] in _METHODS else f"predis_{request['call']}"
            raise Told(f"its process was ended in {hook}: {told}") from None
        finally:
            listener.end()
        note = answer.get("note")
        self._note = note if isinstance(note, str) else None
        return answer


class _Turn:
    """The process does one thing at a time; who cannot have it within the deadline has failed."""

    def __init__(self, lock: threading.Lock, deadline: float) -> None:
        self._lock, self._deadline = lock, deadline

    def __enter__(self) -> None:
        began = time.monotonic()
        if not self._lock.acquire(timeout=self._deadline):
            raise Told(f"its process has been busy for {time.monotonic() - began:.1f} s")

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def _problem(file: Any, line: Any, key: Any, what: Any, mend: Any) -> Problem:
    return Problem(file and str(file), line and int(line), str(key), str(what), str(mend))


def _dump_host(host: Host) -> dict[str, Any]:
    cache = host.cache
    return {
        "data_dir": str(host.data_dir),
        "version": host.version,
        "cache": {
            "unix_socket": str(cache.unix_socket),
            "host": cache.host,
            "port": cache.port,
            "password_file": None if cache.password_file is None else str(cache.password_file),
            "arena": str(cache.arena),
        },
    }
