"""Reload: read, check, plan, swap. What cannot be used leaves what runs as it is, and says why.

The order is the one in which things can fail: the configuration, the plugins, the HTTP port, the cache. Only then comes
what cannot fail: plugins are stopped and started. What did not change keeps running, with its counters and its state.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotDone
from contextlib import contextmanager
from typing import Any

from agent.cache.settings import CacheSettings
from agent.collection import Collection
from agent.config.diff import plan
from agent.config.load import LoadedConfig, Look
from agent.errors import ConfigError, PredisError
from agent.export.model import Event
from agent.own_metrics import ReloadState
from agent.plugin.host import Host
from agent.plugin.loaded import LoadedPlugin
from agent.plugin.manager import PluginChanges
from agent.supervisor import CacheSupervisor

log = logging.getLogger(__name__)


class Reloader:
    """Brings new configurations into force, one at a time, on a thread that may take its time.

    `learn` is shown each new configuration before anybody can say what is wrong with it, so that its secrets are known.
    `move_http` makes the HTTP server listen elsewhere, or raises PredisError and leaves it where it is. `use_log`
    cannot fail. `prepare` reads what else there is, such as rules, with the plugins that are to run, or raises
    PredisError; `use` puts that in force, and cannot fail. `host` makes what plugins are told. `emit` is told of the
    outcome, as an event. `loaded` is the configuration in force.
    """

    def __init__(
        self,
        loaded: LoadedConfig,
        supervisor: CacheSupervisor,
        collection: Collection,
        state: ReloadState,
        *,
        learn: Look,
        move_http: Callable[[LoadedConfig], None],
        use_log: Callable[[LoadedConfig], None],
        host: Callable[[LoadedConfig], Host],
        emit: Callable[[Event], None] = lambda event: None,
        prepare: Callable[[LoadedConfig, list[LoadedPlugin]], Any] = lambda loaded, plugins: None,
        use: Callable[[LoadedConfig, Any], None] = lambda loaded, prepared: None,
    ) -> None:
        self.loaded = loaded
        self.state = state
        self._supervisor, self._collection = supervisor, collection
        self._learn, self._move_http, self._use_log, self._host = learn, move_http, use_log, host
        self._emit, self._prepare_rest, self._use = emit, prepare, use
        self._thread: threading.Thread | None = None
        self._one_by_one = threading.Lock()
        self._stopping, self._superseded = threading.Event(), threading.Event()

    @property
    def busy(self) -> bool:
        """Whether a reload is under way."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Begins a reload; not while one is busy."""
        self._superseded.clear()
        self._thread = threading.Thread(target=self._run, name="reload", daemon=True)
        self._thread.start()

    def supersede(self) -> None:
        """Another reload is to follow: one under way waits for the cache no longer."""
        self._superseded.set()

    def stop(self, timeout: float) -> None:
        """Waits for a reload under way, at most so many seconds, and tells it not to wait for the cache."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout)

    def _run(self) -> None:
        try:
            changed = self._reload()
        except PredisError as error:
            self._refused(str(error))
            log.error("the new configuration is not used, the old one goes on:\n%s", error)
        except Exception as error:
            self._refused(f"unexpected {type(error).__name__}: {error}")
            log.exception("the reload failed unexpectedly")
        else:
            self.state.applied(changed)
            log.info("configuration reloaded: %s", "; ".join(changed) or "nothing has changed")
            self._emit(Event(time.time(), "config_applied", "A configuration came into force", "\n".join(changed)))

    def _refused(self, error: str) -> None:
        self.state.refused(error)
        self._emit(Event(time.time(), "config_refused", "A configuration was refused", error, "warning"))

    def plan(self) -> list[str]:
        """What a reload would change now, in sentences; empty when nothing. Raises PredisError where it would."""
        with self._alone():
            old = self.loaded
            new, changes, _ = self._prepare(old)
        how = self._supervisor.foresee(CacheSettings.of(new.config))
        ways = {
            "changed while running": ["cache changed while running"],
            "restarted": ["cache restarted, its keys stay"],
        }
        return [*map(str, plan(old, new)), *ways.get(how, []), *_what_became_of_plugins(changes)]

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Plans and a reload prepare, and a reload puts in force, one after the other. Raises PredisError."""
        while not self._one_by_one.acquire(timeout=0.2):
            if self._stopping.is_set():
                raise PredisError("the agent stops")
        try:
            yield
        finally:
            self._one_by_one.release()

    def _prepare(self, old: LoadedConfig) -> tuple[LoadedConfig, PluginChanges, Any]:
        """Reads and checks, plugins included, what is to come after `old`."""
        new = old.reload(self._learn)
        if os.path.abspath(new.config.agent.data_dir) != os.path.abspath(old.config.agent.data_dir):
            raise PredisError(
                f"agent.data_dir ({new.locate('agent.data_dir')}) cannot change while the agent runs: restart the agent"
            )
        while not self._collection.wait_for_plugins(0.2):
            if self._stopping.is_set():
                raise PredisError("the agent stops")
        elsewhere = self._host(old).cache != self._host(new).cache  # then no plugin finds the cache where it was
        changes = self._collection.manager.prepare(new, anew=elsewhere)
        known = {(problem.key, problem.what) for problem in self._collection.manager.problems}
        problems = [problem for problem in changes.problems if (problem.key, problem.what) not in known]
        if problems:
            raise ConfigError(problems)
        plugins = [plugin for plugin in changes.plugins.values() if plugin.instance is not None]
        return new, changes, self._prepare_rest(new, plugins)

    def _reload(self) -> list[str]:
        with self._alone():
            old = self.loaded
            new, changes, rest = self._prepare(old)
        moved = (old.config.http.host, old.config.http.port) != (new.config.http.host, new.config.http.port)
        if moved:
            self._move_http(new)
        try:
            how = self._change_cache(CacheSettings.of(old.config), CacheSettings.of(new.config))
        except PredisError:
            if moved:
                self._move_http(old)
            raise
        changed = [*map(str, plan(old, new)), *how, *_what_became_of_plugins(changes)]
        with self._alone():
            self.loaded = new
            self._use_log(new)
            self._collection.change(changes, self._host(new), new.config.agent.interval)
            self._collection.manager.remember()
            self._use(new, rest)
        return changed

    def _change_cache(self, in_force: CacheSettings, wanted: CacheSettings) -> list[str]:
        # A reload before this one may have left the cache on its way to settings that never came into force.
        # With TLS it is asked all the same: the files of the certificates may have changed.
        if in_force == wanted == self._supervisor.settings and not wanted.tls_port:
            return []
        how = self._await(self._supervisor.apply(wanted))
        return [] if how == "unchanged" else [f"cache {how}"]

    def _await(self, answer: Future[str]) -> str:
        while not self._stopping.is_set():
            try:
                return answer.result(timeout=0.2)
            except NotDone:
                if self._superseded.is_set():
                    raise PredisError("another reload came before the cache answered with these settings") from None
        raise PredisError("the agent stops")


def _what_became_of_plugins(changes: PluginChanges) -> list[str]:
    stopped = {plugin.name for plugin in changes.stopped}
    started = {plugin.name for plugin in changes.started}
    parts = (
        ("restarted", stopped & started),
        ("stopped", stopped - started),
        ("started", started - stopped),
    )
    return [f"plugins {word}: {', '.join(sorted(names))}" for word, names in parts if names]
