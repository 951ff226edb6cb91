"""What the agent says of itself: health, the status document, and where everything is."""

from __future__ import annotations

import os
import shlex
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from agent import __version__
from agent.analysis import Analysis
from agent.cache.settings import CacheFiles
from agent.collection import Collection
from agent.logs import AgentLog
from agent.metrics.model import Snapshot
from agent.own_metrics import ReloadState
from agent.pulse import Pulse
from agent.reload import Reloader
from agent.supervisor import CacheSupervisor

CACHE_PATIENCE = 8.0  # the cache answered lately when it did so within so many seconds


class Report:
    """Reads the parts of a running agent; methods return at once and may be called from any thread.

    `reloader` and `http_address` tell what is in force at the moment.
    """

    def __init__(
        self,
        pulse: Pulse,
        supervisor: CacheSupervisor,
        collection: Collection,
        reloads: ReloadState,
        reloader: Reloader,
        http_address: Callable[[], tuple[str, int]],
        born: float,
        *,
        ask_for_reload: Callable[[], None],
        agent_log: AgentLog,
        analysis: Analysis,
    ) -> None:
        """`born`: when the process started, on the monotonic clock."""
        self._pulse, self._supervisor, self._collection, self._reloads = pulse, supervisor, collection, reloads
        self._reloader, self._http_address, self._born = reloader, http_address, born
        self._ask_for_reload, self._log = ask_for_reload, agent_log
        self._analysis = analysis
        self.started_in: float | None = None  # seconds until it was ready for the first time
        self.stopping = False

    def not_live(self) -> list[str]:
        """Which of the agent's own loops make no progress."""
        return [f"the {name} has made no progress for {age:.0f} s" for name, age in self._pulse.late().items()]

    def not_ready(self) -> list[str]:
        """Why the cache cannot be used, or which collectors deliver nothing."""
        if self.stopping:
            return ["the agent is stopping"]
        reasons = self._collection.not_delivering()
        trouble = self._supervisor.trouble
        if trouble is None and not self._supervisor.answered_within(CACHE_PATIENCE):
            trouble = "the cache has not answered lately"
        return reasons if trouble is None else [trouble, *reasons]

    def note_ready(self) -> bool:
        """Whether it is ready; the first time, how long that took is kept."""
        if self.started_in is None:
            if self.not_live() or self.not_ready():
                return False
            self.started_in = round(time.monotonic() - self._born, 3)
        return True

    def summary(self) -> str:
        """One line for `systemctl status`."""
        reasons = self.not_live() + self.not_ready()
        if not reasons:
            error = self._reloads.error
            return "ready" if error is None else f"ready; the last reload was refused: {error}"
        more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
        return f"not ready: {reasons[0]}{more}"

    def upgrade_cache(self) -> int:
        """Begins to upgrade the cache; gives the upgrade's number in status(). Raises PredisError when it cannot be."""
        return self._supervisor.upgrade()

    def plan_config(self) -> list[str]:
        """What a reload of the configuration would change. Raises PredisError with what is wrong with it."""
        return self._reloader.plan()

    def apply_config(self) -> int:
        """Has the configuration reloaded; gives how many reloads there were before, by status()."""
        before = self._reloads.count
        self._ask_for_reload()
        return before

    def diagnostics(self) -> dict[str, Any]:
        """What somebody who looks for a mistake wants besides the status: the newest log, and what each thread does."""
        frames = sys._current_frames()
        threads = {
            f"{thread.name} ({thread.native_id})": traceback.format_stack(frames[thread.ident])
            for thread in threading.enumerate()
            if thread.ident in frames
        }
        return {"log": self._log.newest(), "threads": threads}

    def scrub(self, text: str) -> str:
        """The same without secrets."""
        return self._log.scrubber.text(text)

    def snapshot(self) -> Snapshot:
        """All series now."""
        return self._collection.pipeline.snapshot()

    def history(self, query: Iterable[tuple[str, str]]) -> dict[str, Any]:
        """The document of /api/v1/history. Raises PredisError."""
        return self._analysis.history_document(query)

    def rules(self) -> dict[str, Any]:
        """The document of /api/v1/rules. Raises PredisError."""
        return self._analysis.rules.listed()

    def rule(self, name: str) -> dict[str, Any]:
        """The document of /api/v1/rules/NAME. Raises PredisError."""
        return self._analysis.rules.explain(name)

    def command_rules(self, what: str, name: str, who: str) -> dict[str, Any]:
        """Stops or resumes all actions, approves, denies or resets. Raises PredisError."""
        return self._analysis.rules.command(what, name, who)

    def incidents(self) -> list[dict[str, Any]]:
        """The newest incidents in a line each, newest first."""
        return self._analysis.incidents.newest()

    def incident(self, identifier: str) -> dict[str, Any] | None:
        """The document of /api/v1/incidents/ID."""
        return self._analysis.incident_document(identifier)

    def status(self) -> dict[str, Any]:
        """The document of /api/v1/status."""
        loaded = self._reloader.loaded
        self.note_ready()  # whoever saw it ready is also told how long that took
        not_live, not_ready = self.not_live(), self.not_ready()
        host, port = self._http_address()
        return {
            "agent": {
                "version": __version__,
                "pid": os.getpid(),
                "uptime_seconds": round(time.monotonic() - self._born, 1),
                "started_in_seconds": self.started_in,
                "config_file": os.path.abspath(loaded.path) if loaded.path is not None else None,
                "config_reload": self._reloads.status(),
                "data_dir": str(loaded.config.agent.data_dir),
                "http": {"host": host, "port": port},
            },
            "cache": self._supervisor.status(),
            "plugins": self._collection.status(),
            **self._analysis.status(),
            "health": {"live": not not_live, "ready": not (not_live or not_ready), "reasons": not_live + not_ready},
        }

    def banner(self, new_password: str | None) -> str:
        """Where everything is, for the person who started it; `new_password` is shown, as it was made just now."""
        loaded = self._reloader.loaded
        config, files = loaded.config, CacheFiles(loaded.config.agent.data_dir)
        host, port = self._http_address()
        # In the environment, not as an argument: arguments are for everyone on the machine to see.
        password = f'REDISCLI_AUTH="$(cat {_quoted(files.password)})" ' if config.cache.auth else ""
        rows: list[tuple[str, str]] = []
        if config.cache.port:
            at = "" if config.cache.host in ("127.0.0.1", "localhost", "0.0.0.0") else f" -h {config.cache.host}"
            rows.append(("cache", f"{password}redis-cli{at} -p {config.cache.port}"))
        rows.append(("" if rows else "cache", f"{password}redis-cli -s {_quoted(config.unix_socket)}"))
        if new_password is not None:
            rows.append(("password", f"{new_password}   (new; shown once, kept in {_short(files.password)})"))
        rows.append(("status", f"http://{_bracketed(host)}:{port}/api/v1/status   (also /readyz, /livez)"))
        plugins = self._collection.status()
        widest = max((len(str(plugin["name"])) for plugin in plugins), default=0)
        for number, plugin in enumerate(plugins):
            line = (
                f"{plugin['name']:<{widest}}  {plugin['state']:<8}  {plugin['error'] or plugin['note'] or ''}".rstrip()
            )
            rows.append(("" if number else "plugins", line))
        rows.append(("config", _short(loaded.path) if loaded.path is not None else "built-in defaults"))
        rows.append(("data", f"{_short(files.data_dir)}   (the cache's log: {files.log.name})"))
        rows += [("not ready", reason) for reason in self.not_live() + self.not_ready()]
        scrub = self._log.scrubber.text
        rows = [(name, text if name == "password" else scrub(text)) for name, text in rows]
        width = max(len(name) for name, _ in rows)
        head = f"Predis agent {__version__}, pid {os.getpid()}"
        head += f": ready after {self.started_in:.2f} s" if self.started_in is not None else ": up, but not ready"
        return "\n".join([head, *(f"  {name:<{width}}  {text}" for name, text in rows)])


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _short(path: Path) -> str:
    """Relative where that is inside the current folder, as one would type it."""
    absolute, here = Path(os.path.abspath(path)), Path.cwd()
    return str(absolute.relative_to(here)) if absolute.is_relative_to(here) else str(absolute)


def _quoted(path: Path) -> str:
    return shlex.quote(_short(path))
