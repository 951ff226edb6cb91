"""Starts, watches and restarts the cache process, and takes over one that outlived the agent before.

One thread does all of it. The cache is never started while its lock is held: at most one process writes an arena.
What goes wrong with the cache never ends the agent; it is counted, named in `status` and tried again, later each time.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from agent.cache import process as cache_process
from agent.cache.adoption import Adoption, Found
from agent.cache.backoff import Backoff
from agent.cache.changes import LiveChanges, check_certificates, taken_live
from agent.cache.health import CacheHealth
from agent.cache.process import CacheProcess
from agent.cache.settings import CacheFiles, CacheSettings, CommandLine, command_line, in_terms_of_keys
from agent.cache.state import State
from agent.cache.timings import Timings
from agent.cache.upgrade import Outcome, Upgrades, discard, facts_of, wait_for_take_over, why
from agent.cache.waker import Waker
from agent.cache.wanted import CacheRefused, WantedSettings
from agent.errors import EX_CONFIG, EX_FAILURE, PredisError
from agent.export.model import Event
from agent.incidents.cache import CacheIncidents

log = logging.getLogger(__name__)


class CacheSupervisor:
    """`start` returns at once; `first` is done when the cache answers for the first time, or has failed to.

    restarted: told the reason when the process was started again. beat: called at least every second while the loop
    makes progress. heartbeat: see CacheHealth. emit: told of incidents, as events.
    """

    def __init__(
        self,
        settings: CacheSettings,
        files: CacheFiles,
        *,
        restarted: Callable[[str], None] = lambda reason: None,
        beat: Callable[[], None] = lambda: None,
        heartbeat: Callable[[], float | None] = lambda: None,
        emit: Callable[[Event], None] = lambda event: None,
        command: CommandLine = command_line,
        timings: Timings | None = None,
    ) -> None:
        self.files = files
        self.first: Future[None] = Future()
        self._wanted = WantedSettings(settings)
        self._restarted, self._command = restarted, command
        self._t = timings or Timings()
        self._health = CacheHealth(settings, files, heartbeat, self._t.answer)
        self._waker = Waker(beat)
        self._thread = threading.Thread(target=self._run, name="cache-supervisor", daemon=True)
        self._stop = False
        self._process: CacheProcess | None = None
        self._reason: str | None = None  # why the next start is a restart
        self._backoff = Backoff(self._t.first_delay, self._t.longest_delay)
        self._changes = LiveChanges(files, self._t)
        self._incidents = CacheIncidents(emit)
        self.upgrades = Upgrades()
        # For status; single values that one thread writes.
        self._state = State.starting
        self._since = time.monotonic()
        self._error: str | None = None
        self._last_exit: str | None = None
        self._restarts: Counter[str] = Counter()
        self._unresponsive = 0

    # --- from other threads

    def start(self) -> None:
        """Begins to supervise."""
        self._thread.start()

    def stop(self, timeout: float | None = None) -> bool:
        """Ends the cache process gracefully and stops supervising; whether that was done within `timeout` seconds."""
        self._stop = True
        self._waker.wake()
        if self._thread.is_alive():
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def kill(self) -> None:
        """Ends the cache process at once. Its data stay: a later start finds them."""
        self._stop = True
        process = self._process
        if process is not None:
            process.signal(signal.SIGKILL)
        self._waker.wake()

    def apply(self, settings: CacheSettings) -> Future[str]:
        """Runs the cache with other settings from now on.

        The result says how ("unchanged", "changed while running" or "restarted"). A cache that does not start with the
        new settings is started with the old ones again, and the result is CacheRefused.
        """
        return self._request(settings)

    def adjust(self, change: Callable[[CacheSettings], CacheSettings]) -> Future[str]:
        """As `apply`, with what `change` makes of the newest settings, whoever asked for those."""
        return self._request(change)

    def restart(self) -> Future[str]:
        """Ends the cache process gracefully and starts it again; done once the new one answers.

        Raises PredisError where there is none to end, or one that has only begun.
        """
        if self._state not in (State.running, State.unresponsive):
            raise PredisError(f"the cache is {self._state}: only one that runs can be restarted")
        return self._request(lambda settings: settings, anew=True)

    def _request(
        self, change: CacheSettings | Callable[[CacheSettings], CacheSettings], *, anew: bool = False
    ) -> Future[str]:
        answer = self._wanted.request(change, anew=anew)
        self._waker.wake()
        return answer

    def foresee(self, settings: CacheSettings) -> str:
        """How `apply` would do it, in the same words, as far as that is known before the cache is asked."""
        changes = self.settings.changes(settings)
        if not changes:
            return "unchanged"
        return "changed while running" if taken_live(changes, self._changes.capacity) else "restarted"

    def upgrade(self) -> int:
        """Has a new process take the cache over; gives the number by which status()["upgrade"] tells of it.

        Raises PredisError when that cannot be now.
        """
        if self._state is not State.running:
            raise PredisError(f"the cache is {self._state}: only one that runs can be upgraded")
        number = self.upgrades.request()
        self._waker.wake()
        return number

    def answered_within(self, seconds: float) -> bool:
        """Whether the cache answered in the last so many seconds."""
        return self._health.answered_within(seconds)

    @property
    def settings(self) -> CacheSettings:
        """What the cache runs with, or is to run with."""
        return self._wanted.newest

    @property
    def capacity(self) -> int:
        """Bytes that the running process can use at most, whatever its memory is set to; 0 before the first start."""
        return self._changes.capacity

    @property
    def state(self) -> State:
        """What it is at."""
        return self._state

    @property
    def pid(self) -> int | None:
        """Of the cache process, if there is one."""
        process = self._process
        return None if process is None else process.pid

    @property
    def trouble(self) -> str | None:
        """What is wrong with the cache at the moment, in a sentence; None when it runs and answers."""
        if self._state is State.running:
            return None
        because = f": {self._health.error}" if self._health.error else ""
        return self._error or f"the cache is {self._state}{because}"

    def status(self) -> dict[str, Any]:
        """For people and programs: state, process, settings, restarts, what went wrong last."""
        process, health, answered = self._process, self._health, self._health.answered_ago
        settings = self._wanted.now
        return {
            "state": str(self._state),
            "for_seconds": round(time.monotonic() - self._since, 1),
            "pid": process.pid if process is not None else None,
            "adopted": process.adopted if process is not None else None,
            "version": health.version,
            "host": settings.host,
            "port": settings.port,
            "unix_socket": settings.unix_socket,
            "memory": settings.memory,
            "policy": settings.policy,
            "auth": settings.auth,
            "max_clients": settings.max_clients,
            "arena": str(self.files.arena),
            "log": str(self.files.log),
            "answered_seconds_ago": None if answered is None else round(answered, 1),
            "ping_seconds": health.ping_seconds,
            "restarts": sum(self._restarts.values()),
            "restarts_by_reason": dict(self._restarts),
            "times_unresponsive": self._unresponsive,
            "last_exit": self._last_exit,
            "error": self._error,
            "upgrades": self.upgrades.done,
            "upgrade": self.upgrades.status(),
        }

    # --- the supervising thread

    def _run(self) -> None:
        try:
            while not self._stop:
                try:
                    self._take_request(running=False)
                    process = self._adopt() if cache_process.is_locked(self.files.lock) else self._start()
                    if process is not None:
                        self._watch(process)
                except (OSError, PredisError) as error:  # the data folder is gone, no more processes, …
                    self._fail(f"the cache cannot be started: {error}")
                except Exception as error:
                    log.exception("the supervisor failed unexpectedly and goes on")
                    self._fail(f"the supervisor failed unexpectedly: {type(error).__name__}: {error}")
                if not self._stop:
                    self._back_off()
            if self._process is not None:
                self._set(State.stopping)
                self._end(self._process)
        finally:
            self._health.close()
            self._set(State.stopped)
            self._wanted.give_up(CacheRefused("the agent stops"))
            self.upgrades.fail("the agent stops")

    def _start(self) -> CacheProcess | None:
        """A new process that answers, or None."""
        self._set(State.starting)
        if self._reason is not None:
            self._restarts[self._reason] += 1
            self._restarted(self._reason)
            self._incidents.restarting()
            self._reason = None
        if self._wanted.now.auth:
            self.files.make_password()  # by now there is one, unless a reload asks for it or somebody removed it
        self.files.write_tenants(self._wanted.now)
        process = cache_process.spawn(self._command(self._wanted.now, self.files), self.files.log)
        self._process = process
        self._changes.capacity = self._wanted.now.memory
        self._changes.note(process.pid, self._wanted.now)
        return process if self._await_answer(process) else None

    def _await_answer(self, process: CacheProcess) -> bool:
        """Until a new process answers; False when it has ended, or had to be ended."""
        deadline, pause = time.monotonic() + self._t.start, 0.005
        while not self._waker.wait(pause, process.pidfd):
            if self._stop:
                return False
            if self._health.look(process.pid, identify=True):
                self._ready(process)
                return True
            if time.monotonic() > deadline:
                self._replace(process, "unresponsive")
                because = f": {self._health.error}" if self._health.error else ""
                sentence = f"the cache process {process.pid} did not answer within {self._t.start:g} s of its start"
                self._fail(f"{sentence}{because}", count=False)
                return False
            if self._wanted.requested and not self._wanted.take(same=True):
                self._replace(process, "requested", drain=False)  # it serves nobody yet
                return False
            pause = min(pause * 1.3, 0.1)
        self._ended(process)
        return False

    def _adopt(self) -> CacheProcess | None:
        """The process that holds the lock, once it answers; None when there is none any more."""
        self._set(State.starting)
        adoption = Adoption(self.files, self._health, self._waker, self._t, self._seen)
        holder = adoption.wait(self._wanted.now, lambda: self._stop or self._wanted.requested)
        process = holder.process
        if holder.found is Found.answers and process is not None:
            return self._keep(process, holder.noted)
        if holder.found is Found.silent:
            self._give_up_on_holder(process)
            return None
        if self._stop:
            return None
        self._health.use(self._wanted.now)
        if holder.found is Found.interrupted:  # by a request for other settings: it is found again with those
            if process is not None:
                process.reap()
                self._forget()
            return None
        if process is not None:
            self._ended(process, expected=True)
        self._reason = None  # nobody holds the lock now: a first start, without delay
        self._backoff.reset()
        return None

    def _seen(self, process: CacheProcess) -> None:
        self._process = process

    def _keep(self, process: CacheProcess, noted: tuple[CacheSettings, int] | None) -> CacheProcess | None:
        """An adopted process with the wanted settings; None when it has to be started anew for that."""
        log.info("took over the cache process %d, which runs on from before", process.pid)
        if noted is not None:
            current, self._changes.capacity = noted
            if self._changes.make(process.pid, current, self._wanted.now):
                self._ready(process)
                return process
        log.info("restarting the cache process %d, warm, since it runs with other settings", process.pid)
        self._replace(process, "requested")
        self._health.use(self._wanted.now)
        return None

    def _give_up_on_holder(self, process: CacheProcess | None) -> None:
        """The lock is held, but nobody answers."""
        if process is not None:
            self._unresponsive += 1
            sentence = f"the cache process {process.pid} from before does not answer at {self._health.unix_socket}"
            self._replace(process, "unresponsive")
            self._health.use(self._wanted.now)
            self._fail(sentence, count=False)
            return
        pids = ", ".join(map(str, cache_process.lock_holders(self.files.lock))) or "unknown"
        self._fail(f"{self.files.lock} is held by process {pids}, no cache: stop it, or set another agent.data_dir")

    def _watch(self, process: CacheProcess) -> None:
        """Until the process ends, has to be replaced, or the agent stops."""
        next_look = time.monotonic() + self._t.look
        while not self._stop:
            if self._waker.wait(max(0.0, next_look - time.monotonic()), process.pidfd):
                self._ended(process)
                return
            if not self._take_request(running=True):
                self._replace(process, "requested")
                return
            if self.upgrades.requested:
                successor = self._upgrade(process)
                if successor is None:
                    return
                process = successor
            if time.monotonic() < next_look:
                continue
            self._health.look(process.pid)
            with contextlib.suppress(OSError):  # a log that grows is no reason to end the cache
                cache_process.limit_log(self.files.log)
            next_look = time.monotonic() + self._t.look
            if self._judge(process):
                self._replace(process, "unresponsive")
                return

    def _upgrade(self, old: CacheProcess) -> CacheProcess | None:
        """The process that serves after it; None when none does."""
        settings = self._wanted.now
        self.upgrades.begin(old.pid, self._health.version)
        try:
            self.files.write_tenants(settings)
            new = cache_process.spawn([*self._command(settings, self.files), "--take-over"], self.files.log)
        except OSError as error:
            self.upgrades.fail(f"a new cache process cannot be started: {error}")
            return old
        self._changes.note(old.pid, settings, new.pid)
        outcome = wait_for_take_over(old, new, self._waker, self._t, lambda: self._stop)
        if outcome is Outcome.interrupted:
            discard(new)
            said = f"it had not taken over after {self._t.take_over:g} s" if not self._stop else "the agent stops"
            outcome = Outcome.refused if old.alive() else Outcome.handed_over
        elif outcome is Outcome.refused:
            said = why(self.files, new, new.reap())
        if outcome is Outcome.refused:
            self._changes.note(old.pid, settings)
            self.upgrades.fail(said)
            return old
        old.reap()
        self._forget()
        self._process = new
        self._set(State.starting)
        self._changes.capacity = settings.memory
        self._changes.note(new.pid, settings)
        if not self._await_answer(new):
            self.upgrades.fail("the new cache process took over and then failed: the cache is restarted")
            return None
        self.upgrades.succeed(new.pid, facts_of(settings, self.files, self._t.answer))
        log.info("the cache process %d has taken over from %d", new.pid, old.pid)
        self._incidents.upgraded(f"process {new.pid}, {self._health.version}, has taken over from {old.pid}")
        return new

    def _judge(self, process: CacheProcess) -> bool:
        """Sets running or unresponsive; whether the process has been silent for so long that it must go."""
        if self._health.answered_within(self._t.unresponsive_after):
            if self._state is State.unresponsive:
                log.info("the cache process %d answers again", process.pid)
                self._incidents.answers()
            self._error = None
            self._set(State.running)
            return False
        self._error = self._health.error
        if self._state is not State.unresponsive:
            self._unresponsive += 1
            self._set(State.unresponsive)
            log.error("%s", self._error)
            self._incidents.down("unresponsive", self._error or "")
        return self._health.silent_for > self._t.restart_after

    def _ready(self, process: CacheProcess) -> None:
        self._error = None
        self._set(State.running)
        log.info("the cache process %d answers", process.pid)
        self._incidents.answers()
        self._wanted.proved("restarted")
        if not self.first.done():
            self.first.set_result(None)

    def _ended(self, process: CacheProcess, *, expected: bool = False, reason: str | None = None) -> None:
        """The process is gone: say what is known about it, and what that means for the settings it ran with."""
        was_ready = self._state in (State.running, State.unresponsive)
        stable = was_ready and time.monotonic() - self._since >= self._t.stable_after
        status = process.reap()
        self._forget()
        self._reason = reason or ("killed" if status is not None and status < 0 else "exited")
        if expected:
            if reason is not None:
                self._incidents.down(reason, f"the cache process {process.pid} was ended, to be started again")
            return
        words = cache_process.last_words(self.files.log, process.log_start) if not process.adopted else []
        what = f"the cache process {process.pid} {cache_process.describe_exit(status)}"
        words = [in_terms_of_keys(line) for line in words]
        self._last_exit = "\n".join([what, *words])
        self._incidents.down(self._reason, what)
        if stable:
            self._backoff.reset()
        self._backoff.failed()
        if not was_ready and status in (EX_FAILURE, EX_CONFIG) and not cache_process.is_locked(self.files.lock):
            self._refused(words[-1] if words else what, status)
        self._fail(f"{what}: {words[-1]}" if words and not was_ready else what, count=False)

    def _refused(self, sentence: str, status: int) -> None:
        """It says that it cannot run like this."""
        refusal = CacheRefused(sentence, status)
        if not self.first.done():
            self.first.set_exception(refusal)
        self._take_back(refusal)

    def _fail(self, sentence: str, *, count: bool = True) -> None:
        self._error = sentence
        if count:
            self._backoff.failed()
        log.error("%s", sentence)
        if not self.first.done():
            self.first.set_exception(PredisError(sentence))
        self._take_back(CacheRefused(sentence))

    def _take_back(self, refusal: CacheRefused) -> None:
        """The cache did not start. If that is with settings that a reload brought, those before are taken again."""
        if self._wanted.take_back(refusal):
            self._health.use(self._wanted.now)
            self._backoff.reset()  # these are good
            log.warning("the cache is started with the settings from before")

    def _back_off(self) -> None:
        """Nothing for the first failure, then longer each time."""
        delay = self._backoff.delay
        if delay > 0:
            self._set(State.waiting)
            log.info("the cache is started again in %.1f s", delay)
        deadline = time.monotonic() + delay
        while not self._stop and not self._wanted.requested and (left := deadline - time.monotonic()) > 0:
            self._waker.wait(left)

    # --- settings

    def _take_request(self, *, running: bool) -> bool:
        """Takes up a request for other settings; False when the running process has to be replaced for it."""
        current = self._wanted.now
        if not self._wanted.take():
            return True
        wanted = self._wanted.now
        self._health.use(wanted)
        if running and not self._possible(current, wanted):
            return True
        if running and self._wanted.anew:
            self._backoff.reset()
            return False
        if running and not current.changes(wanted):
            self._wanted.proved("certificates read again" if wanted.tls_port else "unchanged")
            return True
        if running and self._process is not None and self._changes.make(self._process.pid, current, wanted):
            self._wanted.proved("changed while running")
            return True
        self._backoff.reset()
        return False

    def _possible(self, current: CacheSettings, wanted: CacheSettings) -> bool:
        """Whether it can be done, as far as that is known before anything is ended; else it is answered."""
        try:
            check_certificates(wanted)
            if wanted.tls_port and not current.changes(wanted):
                self._changes.read_certificates_again(wanted)
            if wanted.auth and not current.auth:
                self.files.make_password()
        except PredisError as error:
            self._wanted.take_back(error if isinstance(error, CacheRefused) else CacheRefused(str(error)))
            self._health.use(self._wanted.now)
            return False
        return True

    # --- the process

    def _replace(self, process: CacheProcess, reason: str, *, drain: bool = True) -> None:
        """Ends the process, so that another can be started; that is no failure unless it was unresponsive."""
        state = self._state
        self._end(process, drain=drain and reason == "requested")
        self._set(state)
        self._ended(process, expected=True, reason=reason)
        if reason == "requested":
            self._backoff.reset()
        else:
            self._backoff.failed()

    def _end(self, process: CacheProcess, *, drain: bool = True) -> None:
        self._health.close()
        patience = self._t.drain if drain else min(1.0, self._t.drain)
        if drain and self._wanted.now.snapshot_on_shutdown:
            patience += self._t.last_snapshot
        process.signal(signal.SIGTERM)
        deadline = time.monotonic() + patience
        while process.alive() and time.monotonic() < deadline:
            self._waker.wait(deadline - time.monotonic(), process.pidfd)
        if process.alive():
            log.warning("the cache process %d did not end within %g s of SIGTERM: killed", process.pid, patience)
            process.signal(signal.SIGKILL)
            while process.alive():
                self._waker.wait(1.0, process.pidfd)
        if self._stop:
            process.reap()
            self._forget()

    def _forget(self) -> None:
        self._process = None
        self._health.forget()

    def _set(self, state: State) -> None:
        if state is not self._state:
            self._state, self._since = state, time.monotonic()
