"""The rule engine: looks at each rule's condition, and takes what fired through guards, approval, action and check.

`step` is called with the newest state at every interval, on one thread; it never waits. Actions run on threads of their
own. What must not be forgotten is in the store before it is done, so that the engine can be killed at any moment and
goes on where it was: see store.py. How a remedy goes is in remedy.py, what may hold it back in guards.py.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Protocol

from agent.errors import PredisError
from agent.export.model import Event
from agent.metrics.model import Snapshot
from agent.plugin.host import Host
from agent.rules.extension import Now
from agent.rules.ledger import Ledger
from agent.rules.machine import Machine
from agent.rules.machines import ReadAgain
from agent.rules.model import Condition, Found, Rule, RuleKey
from agent.rules.recorded import Recorded
from agent.rules.remedy import Remedies
from agent.rules.runner import Runner, ThreadRunner
from agent.rules.settings import EngineSettings
from agent.rules.store import RuleStore
from agent.rules.storm import Storm
from agent.rules.timekeeping import EngineClock, boot_id, since_boot

log = logging.getLogger(__name__)

_NOT_YET = Found(None, "was not looked at yet")
_PATIENCE = 2.0  # seconds that people wait for a step that hangs; the kill switch works before that
_KEEP_CLOCK = 60.0  # seconds after which the engine's time is kept: so much of it a reboot may take away
_ROUNDS = 100  # of progress in one step: more means that something goes in circles


class Audit(Protocol):
    """Where decisions are written down: agent.incidents.audit.AuditLog."""

    def append(self, kind: str, fields: Mapping[str, Any]) -> None:
        """Add a record."""


class RuleEngine:
    """All rules of an agent. Methods may be called from any thread; only `step` looks at conditions.

    clock: seconds since the boot of this name. runner: where actions run. `close` leaves hanging actions behind.
    """

    def __init__(
        self,
        rules: Iterable[Rule],
        host: Host,
        audit: Audit,
        store: RuleStore,
        settings: EngineSettings,
        *,
        clock: Callable[[], float] = since_boot,
        boot: str | None = None,
        wall: Callable[[], float] = time.time,
        runner: Runner | None = None,
        read: ReadAgain | None = None,
    ) -> None:
        self._lock = threading.RLock()
        self._audit, self._store, self._host, self._wall = audit, store, host, wall
        self._rules = {rule.name: rule for rule in rules}
        self._settings = settings
        self._clock = EngineClock(clock, boot_id() if boot is None else boot)
        self._clock.resume(store.meta("clock"))
        self._clock_kept = 0.0  # engine time, in this process
        self._found: dict[RuleKey, Found] = {}
        self._now: Now | None = None
        self._killed = ""  # why no action is begun
        self._storm = Storm(settings, bool(store.meta("storm")))
        self.trouble = ""  # why decisions cannot be kept at the moment
        self._remedies = self._take_up(runner or ThreadRunner(), read)
        self._look_for_kill_switch()

    def step(self, now: Now) -> None:
        """Look at all conditions as of `now`, and go on with what is under way."""
        with self._lock:
            self._now = now
            self._look_for_kill_switch()
            self._look_at_all(now)
            self._progress(now, fresh=True)

    def settle(self) -> None:
        """Go on with what is under way, without a look at conditions: actions that ended need not wait for a step."""
        with self._lock:
            if self._now is not None:
                self._look_for_kill_switch()
                self._progress(self._now, fresh=False)

    def approve(self, approval: str, who: str) -> None:
        """Let a remedy be done that waits for that. Raises PredisError when none of this name waits."""
        self._answer(approval, who, yes=True)

    def deny(self, approval: str, who: str) -> None:
        """Let it not be done. Raises PredisError when none of this name waits."""
        self._answer(approval, who, yes=False)

    def stop(self, who: str) -> None:
        """The kill switch: no action is begun from now on, what runs is told, nothing is undone."""
        path, why, failure = self._settings.kill_switch, f"stopped by {who}", ""
        try:
            if path is not None:
                path.write_text(f"{why}\n")
        except OSError as error:
            failure = f"all actions are stopped, but {path} cannot be written: {error.strerror}"
        # At once, whoever has the lock: a plugin's condition or a disk may hang in the middle of a step.
        self._remedies.killed = why
        if self._lock.acquire(timeout=_PATIENCE):
            try:
                if path is None or failure:
                    self._kill(why)
                else:
                    self._look_for_kill_switch()
            finally:
                self._lock.release()
        if failure:
            raise PredisError(failure)

    def resume(self, who: str) -> None:
        """Take the kill switch back."""
        path = self._settings.kill_switch
        with self._soon():
            try:
                if path is not None:
                    path.unlink(missing_ok=True)
            except OSError as error:
                raise PredisError(f"{path} cannot be removed: {error.strerror}") from None
            self._note("resume asked", {"who": who})
            if path is None:
                self._kill("")
            self._look_for_kill_switch()

    def reset(self, rule: str, who: str) -> None:
        """Let a rule try again what failed twice, and work on what an action hangs at. Raises PredisError."""
        with self._soon():
            self._rule(rule)
            with self._store.changes():
                self._remedies.reset(rule)
                self._note("reset", {"rule": rule, "who": who})

    def use(self, rules: Iterable[Rule], settings: EngineSettings, read: ReadAgain | None = None) -> None:
        """Other rules from now on. What a rule that is gone or was changed was about to do is given up; what it has
        begun goes on by the old text, as `read` reads it with the plugins of today, or without `read` is given up, too.
        """
        with self._lock:
            self._rules = {rule.name: rule for rule in rules}
            self._settings = settings
            self._storm.settings = settings
            self._found = {}
            self._remedies.use(self._rules, settings, read, self._wall())
            self._look_for_kill_switch()

    def forecasts_wanted(self) -> dict[str, float]:
        """The metrics whose forecasts rules ask for, with how far ahead, in seconds."""
        wanted: dict[str, float] = {}
        with self._lock:
            for rule in self._all():
                for condition in (rule.when, rule.verify and rule.verify.condition):
                    for metric, horizon in condition.horizons().items() if condition else ():
                        wanted[metric] = max(horizon, wanted.get(metric, 0.0))
        return wanted

    def status(self) -> dict[str, Any]:
        """What rules do at the moment, as JSON."""
        with self._lock:
            machines = [m for m in self._remedies.machines.values() if m.state not in ("idle", "pending")]
            return {
                "rules": len(self._rules),
                "dry_run": sum(rule.changes_state and rule.dry_run for rule in self._rules.values()),
                "stopped": self._killed,
                "storm": self._storm.why,
                "trouble": self.trouble,
                "under_way": [self._shown(machine) for machine in machines],
                "waiting_for_approval": [
                    {"id": m.approval, "rule": m.rule, "subject": m.subject, "plan": m.plan}
                    for m in machines
                    if m.state == "waiting"
                ],
                "actions_last_hour": self._remedies.ledger.within_hour(self._clock.now()),
                **self._remedies.ledger.counts(),
            }

    def explain(self, name: str) -> dict[str, Any]:
        """Why a rule does or does not act, as JSON. Raises PredisError for an unknown rule."""
        with self._soon():
            rule = self._rule(name)
            found = self._found.get(rule.key, _NOT_YET)
            return {
                "rule": name,
                "where": rule.where,
                "description": rule.description,
                "dry_run": rule.dry_run and rule.changes_state,
                "for": rule.hold,
                "cooldown": rule.cooldown,
                "holds": found.holds,
                "why": found.why,
                "stopped": self._killed,
                "storm": self._storm.why,
                "actions_last_hour": self._remedies.ledger.within_hour(self._clock.now(), name),
                "actions_per_hour": rule.limit.actions_per_hour,
                "subjects": [self._shown(m) for m in self._remedies.machines.values() if m.rule == name],
            }

    def holds(self, name: str) -> bool | None:
        """Whether a rule's condition held when it was looked at last."""
        rule = self._rules.get(name)
        return None if rule is None else self._found.get(rule.key, _NOT_YET).holds

    def names(self) -> list[str]:
        """The rules' names."""
        return list(self._rules)

    def close(self) -> None:
        """Begin nothing any more; actions that run are told. The store and the audit log are the caller's."""
        with self._lock:
            self._killed = self._killed or "the agent stops"
            self._remedies.killed = self._killed

    def _all(self) -> list[Rule]:
        """The rules in force, and those that something under way goes by."""
        return [*self._rules.values(), *self._remedies.kept.superseded.values()]

    def _take_up(self, runner: Runner, read: ReadAgain | None) -> Remedies:
        remedies = Remedies(
            self._rules,
            self._settings,
            store=self._store,
            ledger=self._counted(),
            clock=self._clock,
            host=self._host,
            note=self._note,
            runner=runner,
            read=read,
        )
        now = Now(self._wall(), Snapshot(self._wall()), Recorded({}))  # before the first step nothing is known
        with self._store.changes():
            remedies.recover(now)
            remedies.kept.save()
        remedies.launch()
        return remedies

    def _counted(self) -> Ledger:
        return Ledger(self._store, self._clock.now(), self._settings.topology)

    def _progress(self, now: Now, *, fresh: bool) -> None:
        """All machines as far as they get now. One commit per round, after which the actions of that round begin."""
        for round_ in range(_ROUNDS):
            try:
                with self._store.changes():
                    moved = self._remedies.collect(now)
                    if fresh and round_ == 0:
                        self._remedies.look(self._found, now)
                        self._weather(now)
                    moved |= self._remedies.advance(self._found, now, self._storm.why, fresh=fresh)
                    if self._remedies.kept.save() or self._clock.now() - self._clock_kept >= _KEEP_CLOCK:
                        self._clock_kept = self._clock.now()
                        self._store.set_meta("clock", self._clock.kept())
                        self._store.set_meta("storm", bool(self._storm.why))
                self.trouble = ""
            except (sqlite3.Error, OSError) as error:
                self._lose(error)
                return
            except Exception as error:
                self._lose(error)  # nothing of this round was committed: none of its actions may begin
                raise
            self._remedies.launch()
            if not moved:
                return
        log.error("rules make no end of progress in one step: %s", self._remedies.kept.busy())

    def _lose(self, error: Exception) -> None:
        """Nothing can be kept, so nothing may be done: back to what was kept last."""
        if not self.trouble:
            log.error("decisions of rules cannot be kept, so that no action is begun: %s", error)
        self.trouble = f"decisions cannot be kept: {error}"
        with suppress(sqlite3.Error):
            self._remedies.fall_back(self._counted())

    def _look_at_all(self, now: Now) -> None:
        """Each condition in its turn, and those that verify as well: slow plugins may leave time for some only."""
        course = self._remedies.course
        looks: list[tuple[tuple[int, int], Rule, Condition | None]] = [
            (rule.when.turn(), rule, None) for rule in self._all()
        ]
        looks += [(condition.turn(), rule, condition) for rule, condition in course.to_check()]
        self._found = {}
        for _, rule, condition in sorted(looks, key=lambda look: look[0]):
            if condition is None:
                self._found[rule.key] = self._look(rule, now)
            else:
                course.check(rule, condition, now)

    def _look(self, rule: Rule, now: Now) -> Found:
        try:
            found = rule.when.evaluate(now)
            if rule.when.has_clear() and self._remedies.kept.is_on(rule):
                found = self._remedies.kept.with_hysteresis(rule, found, rule.when.evaluate(now, staying=True))
            return found
        except Exception as error:
            log.exception("the condition of the rule %s failed", rule.name)
            return Found(None, f"cannot be looked at: {type(error).__name__}: {error}")

    def _weather(self, now: Now) -> None:
        fired = self._remedies.kept.fired_within(self._settings.storm_window)
        incidents = sum(incident.closed is None for incident in now.incidents)
        before = self._storm.why
        why = self._storm.look(fired, incidents, self._clock.now())
        if why and not before:
            self._note("storm began", {"why": why})
            self._host.emit(Event(now.time, "rules_storm", "Rules only send messages: a storm", why, "warning"))
        elif before and not why:
            self._note("storm ended", {})

    def _look_for_kill_switch(self) -> None:
        path = self._settings.kill_switch
        if path is None:
            return
        try:
            why = path.read_text(errors="replace").strip()[:200] or f"{path} is there"
        except FileNotFoundError:
            why = ""
        except OSError as error:
            why = f"{path} cannot be read: {error.strerror}"  # better too careful
        self._kill(why)

    def _kill(self, why: str) -> None:
        before, self._killed = self._killed, why
        self._remedies.killed = why
        if bool(why) != bool(before):
            try:
                self._note("kill switch" if why else "kill switch taken back", {"why": why} if why else {})
            except OSError as error:
                log.error("the audit log cannot be written: %s", error)  # stopping comes first
            title = "All actions of rules are stopped" if why else "Rules may act again"
            self._host.emit(Event(self._wall(), "rules_stopped" if why else "rules_resumed", title, why, "warning"))

    def _answer(self, approval: str, who: str, *, yes: bool) -> None:
        with self._soon():
            with self._store.changes():
                if not self._remedies.answer(approval, who, self._wall(), yes=yes):
                    waiting = [m.approval for m in self._remedies.machines.values() if m.state == "waiting"]
                    known = f"these do: {', '.join(waiting)}" if waiting else "nothing does"
                    raise PredisError(f"nothing of the name {approval} waits for approval; {known}")
                self._remedies.kept.save()
            self.settle()

    @contextmanager
    def _soon(self) -> Iterator[None]:
        """The lock, for who asks and must not wait for ever. Raises PredisError where a step hangs."""
        if not self._lock.acquire(timeout=_PATIENCE):
            raise PredisError(
                "the rules are busy: a look at them does not end, since a plugin's condition or the disk hangs; "
                "predis-agent rules stop works all the same"
            )
        try:
            yield
        finally:
            self._lock.release()

    def _rule(self, name: str) -> Rule:
        from agent.config.explain import nearest

        if name not in self._rules:
            guess = nearest(name, list(self._rules))
            raise PredisError(f"there is no rule {name}" + (f"; did you mean {guess}?" if guess else ""))
        return self._rules[name]

    def _note(self, kind: str, fields: Mapping[str, Any]) -> None:
        self._audit.append(kind, fields)

    def _shown(self, machine: Machine) -> dict[str, Any]:
        now = self._clock.now()
        return {
            "rule": machine.rule,
            "subject": machine.subject,
            "state": machine.state,
            "superseded": machine.superseded,
            "since": round(now - machine.since, 3),  # seconds
            "why": machine.why,
            "reason": machine.reason,
            "plan": machine.plan,
            "approval": machine.approval if machine.state == "waiting" else "",
            "last_result": machine.result,
            "last_result_at": machine.result_at,
            "rests_for": round(max(0.0, machine.rest_until - now), 3) if machine.state == "resting" else 0.0,
        }
