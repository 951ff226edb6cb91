"""The rules of a running agent: read with its configuration, looked at on a thread of their own, asked over HTTP.

What is wrong with rules at the start leaves those rules out and is shown; at a reload it refuses the reload, as all
mistakes of a configuration do. A state file or an audit log that cannot be used stops all rules and nothing else: what
is not remembered must not be done.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import agent
from agent.config.load import LoadedConfig
from agent.errors import ConfigError, PredisError, Problem
from agent.forecast.model import Forecast
from agent.incidents.audit import AuditLog, log_path
from agent.incidents.audit_files import Limits
from agent.incidents.model import Incident
from agent.metrics.catalogue import Catalogue
from agent.metrics.history import History
from agent.metrics.model import Kind, MetricSpec, Sample, SeriesKey, Snapshot
from agent.plugin.guard import Guarded, Overdue, Raised, describe
from agent.plugin.host import Host
from agent.plugin.loaded import LoadedPlugin
from agent.rules.bounded import BoundedAction, BoundedCondition, Looks, Round
from agent.rules.engine import RuleEngine
from agent.rules.extension import ActionType, ConditionType, Now
from agent.rules.machines import ReadAgain
from agent.rules.model import Rule
from agent.rules.reading import Defaults, RuleReader, RuleSet
from agent.rules.settings import KILL_SWITCH, STATE_FILE, EngineSettings
from agent.rules.store import RuleStore
from agent.rules.topology import Topology

SETTLE = 1.0  # seconds between looks at actions that are under way
RETRY = 30.0  # seconds after which files that could not be used are tried again
_PATIENCE = 3.0  # seconds that the end waits
_DEADLINE = 5.0  # seconds for a plugin to say what it adds

SPECS = (
    MetricSpec("predis_rules", Kind.gauge, "Rules in force."),
    MetricSpec("predis_rules_stopped", Kind.gauge, "1 while rules may begin no action: the kill switch, or trouble."),
    MetricSpec(
        "predis_rules_step_duration_seconds", Kind.gauge, "How long the newest look at all rules took.", "seconds"
    ),
    MetricSpec("predis_rules_errors_total", Kind.counter, "Looks at the rules that failed."),
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Parts:
    """What rules look at and work with, in a running agent."""

    snapshot: Callable[[], Snapshot]
    history: History
    incidents: Callable[[], tuple[Incident, ...]]
    host: Callable[[LoadedConfig], Host]
    catalogue: Catalogue
    forecasts: Callable[[Mapping[str, float]], Mapping[SeriesKey, Forecast]] = lambda wanted: {}
    learn: Callable[[Iterable[str]], None] = lambda secrets: None  # what is to be masked in all that leaves the agent
    scrub: Callable[[str], str] = str


@dataclass(frozen=True)
class PreparedRules:
    """Rules that were read and can be put in force."""

    loaded: LoadedConfig
    found: RuleSet
    reader: RuleReader | None = None  # None: rules are off


class Rules:
    """May be used from any thread. `begin` once the plugins run, `prepare` and `use` at a reload, then `stop`."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._lock = threading.Lock()
        self._engine: RuleEngine | None = None
        self._audit: AuditLog | None = None
        self._closes: list[Callable[[], None]] = []
        self._prepared: PreparedRules | None = None
        self._error: str | None = None
        self._errors, self._took, self._stepped = 0, 0.0, 0.0
        # The engine's status as of the newest look: to ask the engine itself may take as long as the disk does.
        self._shown: dict[str, Any] = {"rules": 0}
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self, loaded: LoadedConfig, plugins: Iterable[LoadedPlugin]) -> None:
        """Read the rules, and look at them from now on. Never raises."""
        try:
            prepared = self.prepare(loaded, plugins, self._parts.catalogue, strict=False)
        except Exception as error:  # noqa: BLE001  # a plugin's kinds of conditions are its code
            self._lose(f"the rules cannot be read: {describe(error)}")
        else:
            for problem in prepared.found.problems:
                log.error("a rule is left out: %s", problem)
            if self._prepared is None:  # a reload may have been faster, and knows better
                self.use(prepared)
        self._thread = threading.Thread(target=self._loop, name="rules", daemon=True)
        self._thread.start()

    def prepare(
        self, loaded: LoadedConfig, plugins: Iterable[LoadedPlugin], catalogue: Catalogue, *, strict: bool = True
    ) -> PreparedRules:
        """The rules of a configuration, with what these plugins add, for `use`. Raises ConfigError with what is wrong
        unless not `strict`: then what is wrong is left out."""
        if not loaded.config.rules.enabled:
            return PreparedRules(loaded, RuleSet())
        reader, found = read(loaded, plugins, catalogue)
        self._parts.learn(found.secrets)
        if strict and found.problems:
            raise ConfigError(found.problems)
        return PreparedRules(loaded, found, reader)

    def use(self, prepared: PreparedRules) -> None:
        """Put rules in force. Never raises: files that cannot be used are tried again later."""
        with self._lock:
            self._prepared = prepared
            try:
                if self._engine is None:
                    self._engine = self._make(prepared) if prepared.loaded.config.rules.enabled else None
                else:
                    if self._audit is not None:
                        self._audit.limits = audit_limits_of(prepared.loaded)
                    rules, settings = prepared.found.rules, settings_of(prepared.loaded)
                    self._engine.use(rules, settings, self._reading_again(prepared.reader))
                self._error = None
                self._show()
            except Exception as error:  # noqa: BLE001  # whatever it is, the agent goes on without rules
                self._lose(str(error) if isinstance(error, PredisError) else describe(error))

    def stop(self) -> None:
        """Begin nothing any more."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(2.0)
        if self._thread is not None and self._thread.is_alive():
            log.warning("a look at the rules does not end: it is left behind")
            return
        with suppress(Overdue, Raised):  # a disk that hangs is not waited for
            Guarded(self._close, "stop the rules").result(_PATIENCE)

    def _close(self) -> None:
        with self._lock:
            engine, self._engine = self._engine, None
            if engine is not None:
                engine.close()
            for close in self._closes:
                close()
            self._closes = []

    def status(self) -> dict[str, Any]:
        """For the status document, as of the newest look; returns at once."""
        prepared = self._prepared
        found = prepared.found if prepared is not None else RuleSet()
        return {
            "enabled": prepared is not None and prepared.loaded.config.rules.enabled,
            "error": self._error,
            "problems": [str(problem) for problem in found.problems],
            "skipped": [f"{name}: {why}" for name, why in found.skipped],
            "disabled": list(found.disabled),
            "errors": self._errors,
            "step_seconds": round(self._took, 4),
            "last_step_seconds_ago": round(time.monotonic() - self._stepped, 1) if self._stepped else None,
            **self._shown,
        }

    def listed(self) -> dict[str, Any]:
        """The answer of /api/v1/rules: the status, and each rule as `explain` has it. Raises PredisError."""
        engine = self._running()
        return {"status": self.status(), "rules": [engine.explain(name) for name in engine.names()]}

    def explain(self, name: str) -> dict[str, Any]:
        """Why a rule does or does not act. Raises PredisError."""
        return self._running().explain(name)

    def command(self, what: str, name: str, who: str) -> dict[str, Any]:
        """Do as a person asks: stop, resume, or, with a name, approve, deny or reset. Raises PredisError."""
        engine = self._running()
        match what:
            case "stop":
                engine.stop(who)
            case "resume":
                engine.resume(who)
            case "approve":
                engine.approve(name, who)
            case "deny":
                engine.deny(name, who)
            case "reset":
                engine.reset(name, who)
            case _:
                raise PredisError(f"rules know no {what}; they know stop, resume, approve, deny and reset")
        self._show()
        return {"done": what, "name": name}

    def collect(self) -> Iterable[Sample]:
        """The samples of SPECS."""
        status = self.status()
        yield Sample("predis_rules", status["rules"])
        yield Sample("predis_rules_stopped", int(bool(status.get("stopped") or status.get("trouble") or self._error)))
        yield Sample("predis_rules_step_duration_seconds", self._took)
        yield Sample("predis_rules_errors_total", self._errors)

    def _running(self) -> RuleEngine:
        if self._engine is None:
            if self._prepared is not None and not self._prepared.loaded.config.rules.enabled:
                raise PredisError("rules are off: rules.enabled = false")
            raise PredisError(f"no rule is in force: {self._error}" if self._error else "the rules are not read yet")
        return self._engine

    def _make(self, prepared: PreparedRules) -> RuleEngine:
        data_dir = prepared.loaded.config.agent.data_dir
        store = RuleStore(data_dir / STATE_FILE)
        try:
            audit = AuditLog(log_path(data_dir), limits=audit_limits_of(prepared.loaded))
        except PredisError:
            store.close()
            raise
        try:
            audit.begin({"version": agent.__version__})
            host = self._parts.host(prepared.loaded)
            scrubbed = _Scrubbed(audit, self._parts.scrub)
            rules, settings = prepared.found.rules, settings_of(prepared.loaded)
            read = self._reading_again(prepared.reader)
            engine = RuleEngine(rules, host, scrubbed, store, settings, read=read)
        except Exception:
            audit.close()
            store.close()
            raise
        self._audit = audit
        self._closes = [audit.close, store.close]
        return engine

    def _reading_again(self, reader: RuleReader | None) -> ReadAgain | None:
        """What reads rules that something under way goes by though they are not in force any more."""
        if reader is None:
            return None

        def read(text: str) -> Rule:
            found = reader.read_again(text)
            self._parts.learn(found.secrets)
            if found.problems:
                raise ConfigError(found.problems)
            return found.rules[0]

        return read

    def _loop(self) -> None:
        retry = time.monotonic()
        due = retry + SETTLE  # by then collectors have given something to look at
        while not self._stopping.is_set():
            prepared, engine = self._prepared, self._engine
            now = time.monotonic()
            if engine is None and prepared is not None and now >= retry:
                retry = now + RETRY
                self.use(prepared)
            if engine is not None and prepared is not None:
                try:
                    if now >= due:
                        due = max(due + prepared.loaded.config.agent.interval, now)
                        self._step(engine)
                    else:
                        engine.settle()
                        self._show()
                except Exception as error:  # this thread must live
                    self._errors += 1
                    self._error = f"the rules could not be looked at: {describe(error)}"
                    log.exception("looking at the rules failed")
            self._stopping.wait(min(SETTLE, max(0.01, due - time.monotonic())))

    def _step(self, engine: RuleEngine) -> None:
        began = time.monotonic()
        snapshot = self._parts.snapshot()
        forecasts = self._parts.forecasts(engine.forecasts_wanted())
        now = Now(time.time(), snapshot, self._parts.history, self._parts.incidents(), forecasts)
        engine.step(now)
        self._stepped = time.monotonic()
        self._took, self._error = self._stepped - began, None
        self._show()

    def _show(self) -> None:
        engine = self._engine
        self._shown = {"rules": 0} if engine is None else engine.status()

    def _lose(self, what: str) -> None:
        self._errors += 1
        if what != self._error:
            log.error("rules: %s", what)
        self._error = what


class _Scrubbed:
    """An audit log without secrets: it is copied, and kept for long."""

    def __init__(self, audit: AuditLog, scrub: Callable[[str], str]) -> None:
        self._audit, self._scrub = audit, scrub

    def append(self, kind: str, fields: Mapping[str, Any]) -> None:
        self._audit.append(kind, {name: self._scrubbed(value) for name, value in fields.items()})

    def _scrubbed(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._scrubbed(item) for item in value]
        return self._scrub(value) if isinstance(value, str) else value


def read(loaded: LoadedConfig, plugins: Iterable[LoadedPlugin], catalogue: Catalogue) -> tuple[RuleReader, RuleSet]:
    """The rules that a configuration names, with what these plugins add, and all that is wrong with either; and what
    has read them."""
    reader, problems = reader_of(loaded, plugins, catalogue)
    found = reader.read(files_of(loaded), packs_of(loaded))
    found.problems += problems
    return reader, found


def reader_of(
    loaded: LoadedConfig, plugins: Iterable[LoadedPlugin], catalogue: Catalogue, *, configured: bool = True
) -> tuple[RuleReader, list[Problem]]:
    """What reads rules, with what these plugins add and the configuration's defaults; what is wrong with plugins.
    `configured`: see RuleReader."""
    section = loaded.config.rules
    actions, conditions, problems = added(plugins)
    defaults = Defaults(section.dry_run, section.share, section.actions_per_hour, section.approval_timeout)
    environ = loaded.environ
    return RuleReader(
        catalogue, actions, conditions, defaults=defaults, environ=environ, configured=configured
    ), problems


def files_of(loaded: LoadedConfig) -> list[Path]:
    """The files of rules that a configuration names: all *.toml of its folder, by name."""
    return sorted(loaded.config.rules.folder.glob("*.toml"))


def packs_of(loaded: LoadedConfig) -> list[Path]:
    """The files of rules that come with the agent, if they are wanted."""
    folder = Path(agent.__file__).parent.parent / "rules"
    return sorted(folder.glob("*.toml")) if loaded.config.rules.packs else []


def settings_of(loaded: LoadedConfig) -> EngineSettings:
    """The limits over all rules, and the kill switch."""
    section = loaded.config.rules
    return EngineSettings(
        kill_switch=loaded.config.agent.data_dir / KILL_SWITCH,
        max_actions_per_hour=section.max_actions_per_hour,
        storm_firing=section.storm_firing,
        storm_incidents=section.storm_incidents,
        storm_window=section.storm_window,
        approval_timeout=section.approval_timeout,
        topology=Topology(
            section.within, {name: tenant.prefix for name, tenant in loaded.config.cache.tenants.items()}
        ),
    )


def audit_limits_of(loaded: LoadedConfig) -> Limits:
    """How long the audit log may get."""
    return Limits(loaded.config.rules.audit_file_size, loaded.config.rules.audit_files)


def added(plugins: Iterable[LoadedPlugin]) -> tuple[list[ActionType], list[ConditionType], list[Problem]]:
    """What plugins add to rules; what is wrong with one is its problem alone."""
    actions: list[ActionType] = []
    conditions: list[ConditionType] = []
    problems: list[Problem] = []
    round_ = Round()
    for plugin in plugins:
        try:
            if plugin.implements("predis_actions"):
                actions += Guarded(partial(_actions, plugin), f"actions of {plugin.name}").result(_DEADLINE)
            if plugin.implements("predis_conditions"):
                conditions += Guarded(partial(_conditions, plugin, round_), f"conditions of {plugin.name}").result(
                    _DEADLINE
                )
        except (Overdue, Raised) as error:
            what = describe(error.error) if isinstance(error, Raised) else f"not done after {_DEADLINE:g} s"
            mend = "mend the plugin, or disable it"
            problems.append(Problem(None, None, f"plugins.{plugin.name}", f"cannot say what it adds: {what}", mend))
    return actions, conditions, problems


def _actions(plugin: LoadedPlugin) -> list[ActionType]:
    looks = Looks(plugin.name, plugin.config.deadline, "actions")
    return [BoundedAction(kind, looks) for kind in plugin.actions()]


def _conditions(plugin: LoadedPlugin, round_: Round) -> list[ConditionType]:
    looks = Looks(plugin.name, plugin.config.deadline, "conditions", round_)
    return [BoundedCondition(kind, looks) for kind in plugin.conditions()]
