"""What no remediation may ever do, judged from what was really done: written from the rules' documentation, knowing
nothing of the engine. Times are true seconds, which no clock shows to the engine."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

HOUR = 3600.0


PARTS = {("thing:a", "thing:second"), ("thing:b", "thing:second"), ("thing:c", "thing:second"), ("thing:a", "thing:d")}
"""What lies within what in the fuzzed world."""


def overlap(one: str, other: str) -> bool:
    """Whether what is done to one is done to the other, or to a part of it."""
    return one == other or (one, other) in PARTS or (other, one) in PARTS


@dataclass(frozen=True, slots=True)
class Law:
    """What a rule promises. Times are seconds."""

    cooldown: float
    per_hour: int
    share: float
    approval: float | None = None  # for how long an approval counts
    dry_run: bool = False


@dataclass(slots=True)
class Deed:
    """One action that was begun: a run or an undo."""

    rule: str
    subject: str
    target: str
    action: str
    run: str
    began: float
    kind: str
    deadline: float
    ended: float | None = None


@dataclass
class Judge:
    """Told of everything that happens; `violations` says what was against the law."""

    laws: dict[str, Law]
    per_hour: int
    storm_incidents: int
    violations: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    killed: bool = False
    incidents: int = 0
    holds: dict[str, set[str]] = field(default_factory=dict)  # rule → subjects, as last shown to the engine
    totals: dict[str, int] = field(default_factory=dict)
    approvals: dict[str, float] = field(default_factory=dict)
    slack: Callable[[str], float] = lambda approval: 0.0  # by how much longer it counts, since no clock can tell
    shown: dict[str, list[str]] = field(default_factory=dict)  # approval → what the person who gave it saw
    denied: set[str] = field(default_factory=set)
    runs: set[str] = field(default_factory=set)  # remedies of which something was begun
    _begun: dict[str, Deed] = field(default_factory=dict)
    _open: dict[str, Deed] = field(default_factory=dict)
    _last: dict[tuple[str, str], Deed] = field(default_factory=dict)
    _recent: deque[Deed] = field(default_factory=deque)
    _failures: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))

    def begins(self, intent: str, deed: Deed) -> None:
        """An action that changes something begins."""
        now = deed.began
        self.counts[deed.kind] += 1
        law = self.laws[deed.rule]
        self._check(intent not in self._begun, f"{intent} was begun twice")
        self._check(not self.killed, f"{intent} was begun though the kill switch was used")
        self._check(not law.dry_run, f"{intent}: a dry run changed something")
        for other in self._open.values():
            apart = not overlap(other.target, deed.target)
            self._check(apart, f"{intent}: another action is at work on {other.target}, and this on {deed.target}")
        while self._recent and self._recent[0].began <= now - HOUR:
            self._recent.popleft()
        if deed.kind == "run":
            self._check_run(intent, deed, law, now)
        self._recent.append(deed)
        self.runs.add(deed.run)
        self._begun[intent] = self._open[intent] = deed

    def ends(self, intent: str, done: bool | None, now: float) -> None:
        """It came to its end; None: it was never really begun."""
        deed = self._open.pop(intent, None)
        if deed is None:
            return
        deed.ended = now
        if deed.kind != "run":
            return
        self._last[(deed.rule, deed.target)] = deed
        place = (deed.action, deed.target)
        if done is not None:
            self._failures[place] = 0 if done else self._failures[place] + 1

    def withdraws(self, intent: str) -> None:
        """It saw that its plan was outdated, and changed nothing: it counts for the hour, and for nothing else."""
        self.counts["withdrawn"] += 1
        self._open.pop(intent, None)

    def carries_out(self, intent: str, plan: str) -> None:
        """It does what this plan says."""
        deed = self._begun[intent]
        if self.laws[deed.rule].approval is not None:
            seen = self.shown.get(deed.run, [])
            self._check(plan in seen, f"{intent}: {plan!r} is done, and {seen!r} was approved")

    def told(self, intent: str, done: bool | None) -> None:
        """After a kill, the action's own word on whether it was done; None: it cannot tell. It is taken as true."""
        self.runs.add(intent.rsplit("-", 1)[0])
        deed = self._begun.get(intent)
        if done and deed is not None and deed.kind == "run":
            self._failures[(deed.action, deed.target)] = 0

    def was_begun(self, intent: str) -> bool:
        """Whether an action really began."""
        return intent in self._begun

    def target_of(self, intent: str) -> str:
        """What an action is at work on; "" for one that is over."""
        deed = self._open.get(intent)
        return "" if deed is None else deed.target

    def dies(self, now: float) -> None:
        """The agent is killed, and with it what it ran."""
        self.counts["kills"] += 1
        for intent in list(self._open):
            deed = self._open.pop(intent)
            deed.ended = now
            if deed.kind == "run":
                self._last[(deed.rule, deed.target)] = deed

    def reset(self, now: float) -> None:
        """A person lets everything be tried again, and vouches that what hangs does nothing any more."""
        self._failures.clear()
        for intent, deed in list(self._open.items()):
            if now - deed.began > deed.deadline:
                self.ends(intent, None, deed.began + deed.deadline)

    def _check_run(self, intent: str, deed: Deed, law: Law, now: float) -> None:
        for (rule, target), last in self._last.items():
            if rule != deed.rule or last.run == deed.run or not overlap(target, deed.target):
                continue
            assert last.ended is not None
            rested = now - last.ended
            self._check(
                rested >= law.cooldown - 1e-6, f"{intent}: {deed.target} rested {rested:.3f} s of {law.cooldown}"
            )
        own = sum(other.rule == deed.rule for other in self._recent)
        self._check(own < law.per_hour, f"{intent}: {own + 1} actions of {deed.rule} in an hour, over {law.per_hour}")
        everyone = len(self._recent)
        self._check(everyone < self.per_hour, f"{intent}: {everyone + 1} actions in an hour, over {self.per_hour}")
        if law.approval is not None:
            given = self.approvals.get(deed.run)
            self._check(given is not None and deed.run not in self.denied, f"{intent}: nobody approved it")
            if given is not None and deed.run not in self.runs:
                slack = self.slack(deed.run)
                self._check(
                    now - given <= law.approval + slack + 1e-6, f"{intent}: the approval was {now - given:.0f} s old"
                )
        failures = self._failures[(deed.action, deed.target)]
        self._check(failures < 2, f"{intent}: {deed.action} on {deed.target} failed {failures} times before")
        self._check(self.incidents < self.storm_incidents, f"{intent}: begun in a storm of {self.incidents} incidents")
        ill = set(self.holds.get(deed.rule, ()))
        working = {other.subject for other in self._open.values() if other.rule == deed.rule}
        if deed.run not in self.runs:  # a second step goes on with what was begun
            self._check(deed.subject in ill, f"{intent}: its condition does not hold for {deed.subject}")
            allowed = max(1, int(law.share * self.totals[deed.rule]))
            count = len(ill | working)
            self._check(
                count <= allowed, f"{intent}: {count} of {self.totals[deed.rule]} are ill, over {law.share:.0%}"
            )

    def _check(self, right: bool, what: str) -> None:
        if not right:
            self.violations.append(what)
