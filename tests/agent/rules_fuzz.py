"""Remediation under fire: random events, and an agent that is killed again and again.

    python -m tests.agent.rules_fuzz 1000000 [SEED]

Each event is one of: time passes and the engine looks; series fall ill or get well; an action ends, well or not, or
goes on hanging; what plans rest on changes; a person approves, denies, resets, stops, resumes, or edits a rule, removes
one or brings it back, by a reload or while the agent is off; the wall clock jumps; the agent is killed, at a random
moment or between an intent and its outcome, inside a commit, inside a write to the audit log. What is then done is
judged by rules_judge.py.
"""

from __future__ import annotations

import json
import logging
import random
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from agent.config.models import Section
from agent.errors import PredisError
from agent.incidents.model import Incident
from agent.metrics.model import Snapshot
from agent.plugin.host import CacheAddress, Host
from agent.rules.engine import RuleEngine
from agent.rules.extension import Now, Outcome, Plan, PlanOutdated, Task, Verdict
from agent.rules.model import Rule
from agent.rules.reading import RuleReader
from agent.rules.settings import EngineSettings
from agent.rules.store import RuleStore
from agent.rules.topology import Topology
from tests.agent.rule_world import Act, ActParams, Tell, catalogue
from tests.agent.rules_judge import Deed, Judge, Law

SUBJECTS = [f"tenant:{name}" for name in "abcdef"]
PER_HOUR, STORM_INCIDENTS, APPROVAL = 40, 5, 500.0
LAWS = {
    "quota": Law(cooldown=60.0, per_hour=20, share=0.5),
    "asked": Law(cooldown=300.0, per_hour=12, share=1.0, approval=APPROVAL),
    "dry": Law(cooldown=30.0, per_hour=100, share=1.0, dry_run=True),
    "verified": Law(cooldown=120.0, per_hour=16, share=0.7),
    "rival": Law(cooldown=45.0, per_hour=20, share=0.5),
    "whole": Law(cooldown=200.0, per_hour=8, share=1.0),
}
RULES = """
[[rule]]
name = "quota"
when.ill = { rule = "quota" }
then = [{ action = "test.act", name = "{tenant}" }]
cooldown = "60s"
limit = { share = "50%", actions_per_hour = 20 }
[[rule]]
name = "asked"
when.ill = { rule = "asked" }
for = "20s"
then = [{ action = "test.tell" }, { action = "test.act", name = "{tenant}", size = 2 }]
approval = "required"
approval_timeout = "500s"
cooldown = "300s"
limit = { share = "100%", actions_per_hour = 12 }
[[rule]]
name = "dry"
when.ill = { rule = "dry" }
then = [{ action = "test.act", name = "{tenant}", size = 3 }]
dry_run = true
cooldown = "30s"
limit = { share = "100%", actions_per_hour = 100 }
[[rule]]
name = "verified"
when.ill = { rule = "verified" }
then = [{ action = "test.act", name = "first-{tenant}" }, { action = "test.act", name = "second" }]
verify = { cleared = true, within = "200s", after = "2s" }
escalate = [{ action = "test.tell" }]
cooldown = "120s"
limit = { share = "70%", actions_per_hour = 16 }
[[rule]]
name = "rival"
when.ill = { rule = "rival" }
then = [{ action = "test.act", name = "{tenant}", size = 5, deadline = "40s" }]
cooldown = "45s"
limit = { share = "50%", actions_per_hour = 20 }
[[rule]]
name = "whole"
when.ill = { rule = "whole" }
then = [{ action = "test.act", name = "second", size = 6 }]
escalate = [{ action = "test.tell" }]
cooldown = "200s"
limit = { share = "100%", actions_per_hour = 8 }
"""


class Killed(BaseException):
    """The agent is killed here."""


class IllParams(Section):
    """Which rule asks."""

    rule: str


class Ill:
    """Holds for what the fuzzer made ill."""

    name = "ill"
    help = "for tests"
    Params: type[BaseModel] = IllParams

    def __init__(self, fuzz: Fuzz) -> None:
        self._fuzz = fuzz

    def metrics(self, params: IllParams) -> Iterable[str]:
        return ()

    def evaluate(self, params: IllParams, now: Now) -> Verdict:
        ill = sorted(self._fuzz.ill[params.rule])
        self._fuzz.judge.holds[params.rule] = set(ill)
        return Verdict(bool(ill), f"{len(ill)} ill", tuple(ill), len(SUBJECTS))


class Fuzzed(Act):
    """Ends as the fuzzer drew it."""

    def __init__(self, fuzz: Fuzz) -> None:
        super().__init__()
        self._fuzz = fuzz

    def plan(self, params: ActParams, task: Task) -> str:
        at = self._fuzz.world[params.name]
        return Plan(f"{params.name} from {at}", {"at": at}, {"was": 1} if at % 2 else None)

    def run(self, params: ActParams, task: Task) -> Outcome:
        assert task.plan is not None
        if task.plan["at"] != self._fuzz.world[params.name]:
            self._fuzz.judge.withdraws(task.intent)
            raise PlanOutdated("it is elsewhere by now")
        self._fuzz.judge.carries_out(task.intent, f"{params.name} from {task.plan['at']}")
        return self._fuzz.outcome(task.intent)

    def undo(self, params: ActParams, undo: Mapping[str, Any], task: Task) -> Outcome:
        return self._fuzz.outcome(task.intent)

    def done_before(self, params: ActParams, task: Task) -> Outcome | None:
        begun = self._fuzz.judge.was_begun(task.intent)  # what was not cannot have been done
        answer = self._fuzz.random.choice([None, Outcome(begun, "", {"was": 1}), Outcome(False, "")])
        self._fuzz.judge.told(task.intent, None if answer is None else answer.done)
        return answer


class FuzzedTell(Tell):
    """Sometimes nobody can be reached."""

    def __init__(self, fuzz: Fuzz) -> None:
        super().__init__()
        self._fuzz = fuzz

    def run(self, params: ActParams, task: Task) -> Outcome:
        return Outcome(self._fuzz.random.random() < 0.9, "")


class Audit:
    """May die in the middle of a write."""

    def __init__(self, fuzz: Fuzz) -> None:
        self._fuzz = fuzz

    def append(self, kind: str, fields: Mapping[str, Any]) -> None:
        self._fuzz.judge.counts[f"audit {kind}"] += 1
        self._fuzz.perhaps_die()


class Mortal(RuleStore):
    """May die in the middle of a commit."""

    def __init__(self, path: Path, fuzz: Fuzz) -> None:
        self._fuzz = fuzz
        super().__init__(path, sync=False)

    def put_machine(self, rule: str, subject: str, state: Mapping[str, Any] | None) -> None:
        super().put_machine(rule, subject, state)
        self._fuzz.perhaps_die()


class Fuzz:
    """One long life of rules, cut short many times."""

    def __init__(self, folder: Path, seed: int, kill_rate: float = 0.002) -> None:
        self.random = random.Random(seed)
        self.judge = Judge(LAWS, PER_HOUR, STORM_INCIDENTS, totals=dict.fromkeys(LAWS, len(SUBJECTS)))
        self.world: Counter[str] = Counter()  # where each target is, on which plans rest
        self.ill: dict[str, set[str]] = {name: set() for name in LAWS}
        self._folder, self._kill_rate = folder, kill_rate
        self._path, self._switch = folder / "rules.sqlite", folder / "rules.stop"
        self._time, self._offset, self._booted = 0.0, 1_700_000_000.0, 0.0
        self._boots = 0
        self._approved: dict[str, float] = {}  # approval → by how much the wall clock was ahead then
        self._lost: dict[str, float] = {}  # approval → for how long the machine was off since
        self._seen = 0.0, 0.0  # when the engine looked last, and by how much the wall clock was ahead then
        self.judge.slack = self._slack
        self._pending: dict[str, Callable[[], None]] = {}
        self._mortal = False
        self._file = folder / "rules.toml"
        self._reader_of_rules = RuleReader(catalogue(), (Fuzzed(self), FuzzedTell(self)), (Ill(self),))
        self._texts = {name: f"[[rule]]{text}" for name, text in zip(LAWS, RULES.split("[[rule]]")[1:], strict=True)}
        self._rules = self._read()
        address = CacheAddress(folder / "s", "", 0, None, folder / "a")
        self._host = Host(folder, address, "0", logging.getLogger("fuzz"))
        self._settings = EngineSettings(
            kill_switch=self._switch,
            max_actions_per_hour=PER_HOUR,
            storm_incidents=STORM_INCIDENTS,
            storm_firing=1000,
            storm_window=60.0,
            topology=Topology({"thing:[a-c]": "thing:second", "thing:a": "thing:d"}),
        )
        self._open()

    def run(self, events: int) -> None:
        """So many of them."""
        for _ in range(events):
            self._mortal = True
            try:
                self._event()
            except Killed:
                self._die()
            self._mortal = False

    # what the engine is given

    def start(self, name: str, work: Callable[[], None]) -> None:
        """As a runner: what was begun ends when the fuzzer says so."""
        if name.startswith("plan"):
            work()
            return
        row = self._reader.execute(
            "select rule, subject, target, action || key, kind, changes, deadline, outcome from intents where id = ?",
            (name,),
        ).fetchone()
        if row is None:
            self.judge.violations.append(f"{name} was begun before its intent was committed")
            return
        rule, subject, target, action, kind, changes, deadline, outcome = row
        self.perhaps_die(40)  # between the intent and the action
        if name in self._asked or outcome is not None or (name in self._known):
            work()  # it asks what became of it
            return
        self._known.add(name)
        if changes and not self._switch.exists():
            deed = Deed(rule, subject, target, action, name.rsplit("-", 1)[0], self._time, kind, deadline)
            self.judge.begins(name, deed)
        self._pending[name] = work
        self.perhaps_die(40)  # between the intent and its outcome

    def runs(self, name: str) -> bool:
        return name in self._pending

    def outcome(self, intent: str) -> Outcome:
        """What came of an action."""
        often = 0.15 if self.judge.target_of(intent) == "thing:a" else 0.75
        done = self.random.random() < often
        self.judge.ends(intent, done, self._time)
        if not done and self.random.random() < 0.5:
            raise RuntimeError("broken")
        return Outcome(done, "", {"was": 1} if self.random.random() < 0.8 else None)

    def perhaps_die(self, times: float = 1.0) -> None:
        """Now and then, so many times as often as usual."""
        if self._mortal and self.random.random() < times * self._kill_rate / 4:
            raise Killed

    # events

    def _event(self) -> None:
        draw = self.random.random()
        if draw < 0.4:
            self._pass(self.random.choice([0.5, 1.0, 1.0, 3.0, 3.0, 10.0, 10.0, 60.0]))
        elif draw < 0.5:
            rule = self.random.choice(list(LAWS))
            self.ill[rule] ^= {self.random.choice(SUBJECTS)}
            if self.random.random() < (0.5 if rule == "verified" else 0.15):
                self.ill[rule].clear()
        elif draw < 0.85:
            self._end_one()
        elif draw < 0.93:
            self._answer()
        elif draw < 0.95:
            self._switch_over()
        elif draw < 0.96:
            self.judge.incidents = self.random.choice([0, 0, 0, 1, STORM_INCIDENTS - 1, STORM_INCIDENTS])
            self._step()  # shown at once, since the judge counts it from now on
        elif draw < 0.97:
            self._jump()
        elif draw < 0.9705:
            self.judge.reset(self._time)
            for name in LAWS:
                with suppress(PredisError):  # it was removed
                    self._engine.reset(name, "a person")
        elif draw < 0.9705 + self._kill_rate:
            raise Killed
        elif draw < 0.974 + self._kill_rate:
            self._edit()
            self._engine.use(self._rules, self._settings, self._read_again)
        else:
            self._time += self.random.random()
            self._engine.settle()

    def _edit(self) -> None:
        """A rule is removed, or brought back, or says another thing that makes no difference."""
        name = self.random.choice(list(LAWS))
        text = self._texts[name]
        if self.random.random() < 0.3:
            text = text.replace("enabled = false\n", "") if "enabled" in text else f"{text}enabled = false\n"
        else:
            text = f'{text}# so\ndescription = "so"\n' if "# so" not in text else text[: text.index("# so")]
        self._texts[name] = text
        self._rules = self._read()

    def _read(self) -> list[Rule]:
        self._file.write_text("".join(self._texts.values()))
        read = self._reader_of_rules.read([self._file])
        assert not read.problems, read.problems
        return [self._really(rule) for rule in read.rules]

    def _read_again(self, text: str) -> Rule:
        (rule,) = self._reader_of_rules.read_again(text).rules
        return self._really(rule)

    @staticmethod
    def _really(rule: Rule) -> Rule:
        return rule if rule.name == "dry" else replace(rule, dry_run=False)

    def _pass(self, seconds: float) -> None:
        self._time += seconds
        if self.random.random() < 0.3:
            self.world[self.random.choice([*"abcdef", "second"])] += 1
        self._step()

    def _step(self) -> None:
        wall = self._time + self._offset
        self._seen = self._time, self._offset
        incidents = tuple(Incident(str(number), 0.0, "", ()) for number in range(self.judge.incidents))
        self._engine.step(Now(wall, Snapshot(wall), None, incidents))  # type: ignore[arg-type]

    def _end_one(self) -> None:
        if self._pending:
            self._time += self.random.random() * 5
            name = self.random.choice(list(self._pending))
            self._pending.pop(name)()
            self.judge.ends(name, None, self._time)  # if the kill switch kept it from beginning
            self._engine.settle()

    def _answer(self) -> None:
        waiting = self._engine.status()["waiting_for_approval"]
        if waiting:
            asked = self.random.choice(waiting)
            approval = asked["id"]
            if self.random.random() < 0.7:
                self.judge.approvals[approval], self._approved[approval] = self._time, self._offset
                self._lost[approval] = 0.0
                self.judge.shown[approval] = asked["plan"]
                with suppress(PredisError):
                    self._engine.approve(approval, "a person")
            else:
                with suppress(PredisError):
                    self._engine.deny(approval, "a person")
                    self.judge.denied.add(approval)  # a denial that was killed before it was kept was never taken

    def _switch_over(self) -> None:
        if not self.judge.killed and self.random.random() < 0.8:
            return  # mostly it is not used
        self.judge.killed = not self.judge.killed
        if not self.judge.killed:
            self._engine.resume("a person")
        elif self.random.random() < 0.5:
            self._engine.stop("a person")
        else:
            self._switch.write_text("by hand")

    def _slack(self, approval: str) -> float:
        """How long the machine was off can no clock tell that was set back: an approval lasts as much longer."""
        time_, offset = self._seen
        return max(0.0, min(self._lost[approval], self._approved[approval] - offset + self._time - time_))

    def _jump(self) -> None:
        self._offset += self.random.choice([-86400.0, -3600.0, -30.0, 30.0, 3600.0, 86400.0])

    def _die(self) -> None:
        self.judge.dies(self._time)
        died = self._time
        self._time += self.random.choice([0.1, 5.0, 60.0, 1000.0])
        if self.random.random() < 0.3:  # what the clock says may be anything by then
            self._offset += self.random.choice([-7200.0, -30.0, 30.0, 7200.0, 1e9])
        if self.random.random() < 0.3:
            self._boot()
            kept = self._reader.execute("select value from meta where key = 'clock'").fetchone()
            known = died - self._engine._clock.now() + json.loads(kept[0])[0] if kept else died
            for approval in self._lost:
                self._lost[approval] += self._time - known
        while True:
            self._pending.clear()
            if self.random.random() < 0.3:
                self._edit()
            self._store.close()
            self._reader.close()
            try:
                self._open()
                return
            except Killed:  # while it took up what the one before left
                self.judge.dies(self._time)

    def _boot(self) -> None:
        """The machine begins anew."""
        self._booted, self._boots = self._time, self._boots + 1

    def _open(self) -> None:
        self._asked: set[str] = set()
        self._store = Mortal(self._path, self)
        self._reader = sqlite3.connect(self._path, isolation_level=None)
        self._known = {row[0] for row in self._reader.execute("select id from intents")}
        self._engine = RuleEngine(
            self._rules,
            self._host,
            Audit(self),
            self._store,
            self._settings,
            clock=lambda: self._time - self._booted,
            boot=f"boot {self._boots}",
            wall=lambda: self._time + self._offset,
            runner=self,
            read=self._read_again,
        )


def main(events: int, seed: int) -> int:
    """Prints what happened; the exit status says whether anything was against the law."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        fuzz = Fuzz(Path(folder), seed)
        fuzz.run(events)
    judge = fuzz.judge
    counts = ", ".join(f"{name} {count:,}" for name, count in sorted(judge.counts.items()))
    sys.stdout.write(f"{events:,} events in {time.monotonic() - began:.0f} s, seed {seed}: {counts}\n")
    sys.stdout.write(f"violations: {len(judge.violations)}\n")
    sys.stdout.writelines(f"  {what}\n" for what in judge.violations[:20])
    return 1 if judge.violations else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1))
