"""The agent's life: start → run → reload (SIGHUP) → drain → stop (SIGTERM, SIGINT; a second one stops at once).

The main thread only takes signals, feeds the watchdog and says how things are; all work is done by the loops of the
supervisor, the scheduler, the plugins and the HTTP server. The cache process is started first, since it takes longest.
"""

from __future__ import annotations

import fcntl
import logging
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TextIO

from agent import __version__, notify
from agent.analysis import Analysis
from agent.cache.control import SupervisedCache
from agent.cache.link import arena_heartbeat
from agent.cache.settings import CacheFiles, CacheSettings, CommandLine, command_line
from agent.cache.timings import Timings
from agent.cache.wanted import CacheRefused
from agent.collection import Collection
from agent.config.load import LoadedConfig
from agent.errors import PredisError
from agent.export.model import Event
from agent.http.site import HttpSite
from agent.incidents.events import EventLog
from agent.logs import AgentLog, is_journal
from agent.metrics.catalogue import Catalogue
from agent.metrics.model import Sample
from agent.metrics.pipeline import Pipeline
from agent.metrics.self_metrics import PLUGIN_NAME, SelfMetrics
from agent.own_metrics import ReloadState
from agent.own_specs import SPECS
from agent.plugin import importing
from agent.plugin.host import CacheAddress, Host
from agent.plugin.importing import ImportMark
from agent.plugin.manager import PluginManager
from agent.pulse import Pulse
from agent.reload import Reloader
from agent.report import Report
from agent.supervisor import CacheSupervisor

log = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
LIMITS = {"main loop": 15.0, "scheduler": 20.0, "supervisor": 15.0}  # seconds without progress
STARTING_TICK = 0.02
TICK = 1.0
STATUS_INTERVAL = 5.0
EXTENSION = 60.0  # what systemd is asked to wait longer for a start or a reload, each STATUS_INTERVAL
SHOW_AFTER = 5.0  # seconds after which it says where everything is, though not all of it works
STOP_TIMEOUT = 15.0  # for the cache process, which is killed when it takes longer to drain
LAST_SNAPSHOT_TIMEOUT = 60.0  # more, where it is to write a snapshot first
RELOAD_TIMEOUT = 8.0  # for a reload under way


class Service:
    """One agent. `run` is called once, in the main thread, and returns the exit status."""

    def __init__(
        self,
        loaded: LoadedConfig,
        *,
        out: TextIO | None = None,
        command: CommandLine = command_line,
        timings: Timings | None = None,
    ) -> None:
        self._born = time.monotonic() - _process_age()
        self._out = out or sys.stdout
        self._signals: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._stopping = False
        self._files = CacheFiles(loaded.config.agent.data_dir)
        self._loaded = loaded
        self._log = AgentLog()
        self._pulse = Pulse(LIMITS)
        self._catalogue = Catalogue()
        self._events = EventLog(scrub=lambda text: self._log.scrubber.text(text))
        self._analysis = Analysis(
            self._catalogue,
            self._events.emit,
            self._host,
            learn=self._log.learn_texts,
            scrub=lambda text: self._log.scrubber.text(text),
        )
        self._pipeline = Pipeline(
            self._catalogue, interval=loaded.config.agent.interval, accepted=self._analysis.history.accept
        )
        self._self_metrics = SelfMetrics(__version__, self._pipeline)
        self._catalogue.add(PLUGIN_NAME, SPECS)
        self._reloads = ReloadState()
        self._supervisor = CacheSupervisor(
            CacheSettings.of(loaded.config),
            self._files,
            restarted=self._self_metrics.restart,
            beat=lambda: self._pulse.beat("supervisor"),
            heartbeat=arena_heartbeat(self._files.arena),
            emit=self._events.emit,
            command=command,
            timings=timings,
        )
        self._cache_control = SupervisedCache(self._supervisor)

    def run(self) -> int:
        """Runs until SIGTERM or SIGINT. Raises PredisError, with nothing left running, when it cannot start."""
        config = self._loaded.config
        with ExitStack() as stack:
            stack.enter_context(self._log.attached(self._loaded))
            stack.callback(log.info, "stopped")
            notifier, period = notify.from_environment(os.environ)
            stack.callback(notifier.close)
            stack.enter_context(_data_dir_taken(self._files.data_dir))
            site = HttpSite(self._loaded)
            stack.callback(site.stop)
            new_password = self._files.make_password() if config.cache.auth else None
            stack.enter_context(self._signals_taken())
            self._supervisor.start()
            stack.callback(lambda: self._supervisor.stop(self._stop_timeout()))
            manager = PluginManager(self._loaded, mark=ImportMark(self._files.data_dir / importing.FILE))
            collection = Collection(
                manager,
                self._pipeline,
                self._self_metrics,
                own=self._own_samples,
                beat=lambda: self._pulse.beat("scheduler"),
                events=self._events,
                found=self._analysis.incidents.found,
                explained=self._analysis.incidents.explained,
            )
            reloader = Reloader(
                self._loaded,
                self._supervisor,
                collection,
                self._reloads,
                learn=self._log.learn,
                move_http=site.move,
                use_log=self._log.use,
                host=self._host,
                emit=self._events.emit,
                prepare=self._analysis.prepare,
                use=self._analysis.use,
            )
            report = Report(
                self._pulse,
                self._supervisor,
                collection,
                self._reloads,
                reloader,
                lambda: site.address,
                self._born,
                ask_for_reload=lambda: self._signals.put(signal.SIGHUP),
                agent_log=self._log,
                analysis=self._analysis,
            )
            stack.callback(self._analysis.stop)
            self._analysis.start(self._loaded, collection)
            stack.callback(collection.stop)
            collection.start(config.agent.interval)
            # The cache process starts while this one imports plugins, on a thread: an import may hang.
            threading.Thread(target=self._run_plugins, args=(manager, collection), name="plugins", daemon=True).start()
            site.serve(report)
            self._log.use(self._loaded)  # the passwords and tokens that were made just now are secrets, too
            watchdog = notify.Watchdog(notifier, self._pulse, period)
            self._start_up(report, collection, watchdog, new_password)
            self._events.emit(Event(time.time(), "agent_started", "The agent was started", f"version {__version__}"))
            if not self._stopping:
                # Not into the journal: there a password would stay, for others to read.
                banner = report.banner(None if is_journal(self._out) else new_password)
                with suppress(OSError):  # nobody reads it
                    print(banner, file=self._out, flush=True)
            self._main_loop(report, notifier, watchdog, reloader, collection)
            report.stopping = True
            self._events.emit(Event(time.time(), "agent_stopping", "The agent is stopping"))
            notifier.stopping("draining")
            log.info("stopping: the cache answers what it has received, plugins end their runs")
            self._supervisor.stop(timeout=0)  # begins to drain, while the plugins are stopped
            reloader.stop(RELOAD_TIMEOUT)
        return 0

    def _stop_timeout(self) -> float:
        return STOP_TIMEOUT + (LAST_SNAPSHOT_TIMEOUT if self._supervisor.settings.snapshot_on_shutdown else 0.0)

    def _run_plugins(self, manager: PluginManager, collection: Collection) -> None:
        manager.load(starts=True)
        for warning in manager.warnings:
            log.warning("%s", warning)
        manager.remember()
        collection.run_plugins(self._host(self._loaded))
        self._analysis.rules.begin(self._loaded, manager.active)

    def _start_up(
        self, report: Report, collection: Collection, watchdog: notify.Watchdog, new_password: str | None
    ) -> None:
        """Until all works or SHOW_AFTER is over. Raises CacheRefused when the cache cannot run like this."""
        deadline = time.monotonic() + SHOW_AFTER
        first, seen = self._supervisor.first, False
        while time.monotonic() < deadline and not self._stopping:
            if first.done() and not seen:
                seen = True
                if isinstance(error := first.exception(), CacheRefused):
                    self._supervisor.stop(STOP_TIMEOUT)
                    if new_password is not None:  # nobody has seen it: the next start shows its own
                        self._files.password.unlink(missing_ok=True)
                    raise error
                collection.collect()  # what was collected before tells of no cache
            if report.note_ready():
                return
            self._pulse.beat("main loop")
            watchdog.tick()
            time.sleep(STARTING_TICK)

    def _main_loop(
        self,
        report: Report,
        notifier: notify.Notifier,
        watchdog: notify.Watchdog,
        reloader: Reloader,
        collection: Collection,
    ) -> None:
        ready, reload_wanted, reloading, next_status = False, False, False, time.monotonic()
        tick = TICK if watchdog.interval is None else min(TICK, watchdog.interval / 2)
        clock = _clock_offset()
        while not self._stopping:
            self._pulse.beat("main loop")
            watchdog.tick()
            before, clock = clock, _clock_offset()
            if clock < before - 1.0:
                log.warning("the clock was set back by %.0f s: all collections are planned anew", before - clock)
                collection.clock_was_set_back()
            if not ready and self._supervisor.trouble is None:
                ready = True  # what waits for this service waits for the cache
                notifier.ready(report.summary())
            if reloading and not reloader.busy:
                reloading = False
                if ready:
                    notifier.ready(report.summary())
            if reload_wanted and reloading:
                reloader.supersede()
            if reload_wanted and not reloading:
                reload_wanted, reloading = False, True
                if ready:  # before that, systemd waits for the start to end, and for nothing else
                    notifier.reloading()
                reloader.start()
            if time.monotonic() >= next_status:
                report.note_ready()
                if ready and not reloading:
                    notifier.status(report.summary())
                elif not report.not_live():
                    notifier.not_yet(report.summary(), EXTENSION)
                next_status = time.monotonic() + STATUS_INTERVAL
            try:
                number = self._signals.get(timeout=STARTING_TICK if reloading else tick if ready else tick / 5)
            except queue.Empty:
                continue
            reload_wanted = reload_wanted or number == signal.SIGHUP

    @contextmanager
    def _signals_taken(self) -> Iterator[None]:
        previous = [(number, signal.signal(number, self._on_signal)) for number in SIGNALS]
        try:
            yield
        finally:
            for number, handler in previous:
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if number != signal.SIGHUP:
            if self._stopping:
                self._stop_at_once(number)
            self._stopping = True
        self._signals.put(number)  # SimpleQueue may be used in a signal handler

    def _stop_at_once(self, number: int) -> None:
        """The cache's data are safe from SIGKILL; runs of plugins and answers in the making are not waited for."""
        self._supervisor.kill()
        os.write(2, b"stopped at once\n")  # the logging's lock may be held by what was interrupted
        os._exit(128 + number)

    def _own_samples(self) -> Iterator[Sample]:
        yield from self._self_metrics.collect()
        yield from self._reloads.collect()
        yield from self._analysis.collect()

    def _host(self, loaded: LoadedConfig) -> Host:
        config, files = loaded.config, self._files
        address = CacheAddress(
            unix_socket=config.unix_socket,
            host=config.cache.host,
            port=config.cache.port,
            password_file=files.password if config.cache.auth else None,
            arena=files.arena,
        )
        logger = logging.getLogger("predis.plugins")
        return Host(
            files.data_dir,
            address,
            __version__,
            logger,
            cache_control=self._cache_control,
            forecasts=self._analysis.forecasts,
        )


def _clock_offset() -> float:
    """The wall clock against one that nobody sets; in seconds."""
    return time.time() - time.monotonic()


def _process_age() -> float:
    """Seconds since this process was started, its imports included."""
    after_name = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    return time.clock_gettime(time.CLOCK_BOOTTIME) - int(after_name[19]) / os.sysconf("SC_CLK_TCK")


@contextmanager
def _data_dir_taken(data_dir: Path) -> Iterator[None]:
    """Makes the data folder and holds it: two agents would fight over one cache process. Raises PredisError."""
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(data_dir / "agent.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise PredisError(
            f"the data folder {data_dir} cannot be used: {reason}; set agent.data_dir to a folder of yours"
        ) from None
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(lock, 32).decode(errors="replace").strip() or "unknown"
            raise PredisError(
                f"another agent (pid {holder}) runs with the data folder {data_dir}: stop it, or set agent.data_dir"
            ) from None
        os.ftruncate(lock, 0)
        os.write(lock, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(lock)
