"""The demonstration's course: learn, break, watch, measure. What it tells is what was measured."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from statistics import fmean

from agent.demo.faults import Fault
from agent.demo.watch import Moment, Watch
from agent.demo.world import Second, World
from agent.errors import PredisError

TICK = 0.2
DETECTION = 30.0  # seconds from the onset within which it must be noticed
EXPLAINED = 35.0  # for so long it is waited for a cause that is a known pattern
RECOVERY = 150.0  # and within which it must be over
NOTICED = {("audit", "fired"), ("incident", "opened"), ("supervisor", "restarted")}
SPAN = 5  # seconds over which the application's numbers are averaged


@dataclass
class Measured:
    """The numbers of one fault; seconds count from its onset, None: it did not happen."""

    fault: str
    onset: float
    detected: float | None = None
    acted: float | None = None
    verified: float | None = None
    recovered: float | None = None
    felt: bool = False  # the application noticed
    before: float = 0.0  # hit ratio
    worst: float = 1.0
    after: float = 0.0
    fetch: tuple[float, float, float] = (0.0, 0.0, 0.0)  # from the origin: before, worst, after
    tenant: tuple[int, int, int] = (0, 0, 0)  # commands a second of the other one: before, most, after
    errors: int = 0
    wrong: int = 0
    incident: str = ""  # what was off when it opened
    cause: str = ""
    signature: str = ""  # of the probable cause
    changed: list[str] = field(default_factory=list)  # that were not to be
    unchanged: list[str] = field(default_factory=list)  # that were to be
    actions: list[str] = field(default_factory=list)

    @property
    def problems(self) -> list[str]:
        """What was promised and not kept."""
        found = []
        if self.detected is None or self.detected > DETECTION:
            found.append(f"not noticed within {DETECTION:.0f} s")
        if self.recovered is None:
            found.append("not recovered")
        if self.wrong:
            found.append(f"{self.wrong} reads gave a wrong value")
        if self.changed:
            found.append(f"settings are not what they were: {', '.join(self.changed)}")
        if self.unchanged:
            found.append(f"settings are still what they were: {', '.join(self.unchanged)}")
        if len(self.actions) > 1:
            found.append(f"more was done than was called for: {', '.join(self.actions)}")
        return found


class Story:
    """Runs faults one after the other. `show` is told of every moment, `tick` of every second of the application."""

    def __init__(
        self, world: World, show: Callable[[Moment], None], tick: Callable[[Second], None], *, learn: float = 60.0
    ) -> None:
        self._world, self._show, self._tick, self._learn = world, show, tick, learn
        assert world.loaded is not None
        self._watch = Watch(world.loaded.config)
        self._recent: deque[Second] = deque(maxlen=SPAN)
        self._settings: dict[str, str] = {}

    def prepare(self) -> None:
        """Wait until the cache serves what the application reads, and detectors know what is usual."""
        self._say("learning", f"the application reads; the agent learns what is usual, for {self._learn:.0f} s")
        # Asked now, long before the fault: it is a new client with new commands, which the detector would notice.
        self._settings = self._world.settings()
        until = time.monotonic() + self._learn
        while time.monotonic() < until:
            self._look()
        if not self._recent or self._ratio() < 0.5:
            raise PredisError("the demonstration's application does not get going: is the machine very busy?")

    def run(self, fault: Fault) -> Measured:
        """Break something and watch until it is well again, or for RECOVERY seconds."""
        measured = Measured(fault.name, 0.0, before=self._ratio())
        calm = self._usual()
        self._say("fault", fault.what)
        measured.onset = time.time()
        seconds: list[Second] = []
        fault.inject(self._world)
        while time.time() < measured.onset + RECOVERY and not self._over(measured, fault):
            for second in self._look(lambda moment: self._note(measured, moment, fault)):
                seconds.append(second)
                measured.errors += second.errors
                measured.felt = measured.felt or not fault.is_well(second, measured.before)
                if second.reads:
                    measured.worst = min(measured.worst, second.hit_ratio or 0.0)
        measured.after, end = self._ratio(), self._usual()
        measured.fetch = (calm[0], max((second.fetch for second in seconds), default=0.0), end[0])
        measured.tenant = (calm[1], max((second.tenant for second in seconds), default=0), end[1])
        measured.wrong = self._recent[-1].wrong if self._recent else 0
        changed = {name for name, value in self._world.settings().items() if self._settings.get(name) != value}
        measured.changed, measured.unchanged = sorted(changed - fault.leaves), sorted(fault.leaves - changed)
        fault.lift(self._world)
        return measured

    def _over(self, measured: Measured, fault: Fault) -> bool:
        """Whether it was felt and has been well for SPAN seconds, and what was to be done is done and verified."""
        span = list(self._recent)
        well = len(span) == SPAN and span[0].at > measured.onset
        if not (measured.felt and well and all(fault.is_well(second, measured.before) for second in span)):
            measured.recovered = None
        elif measured.recovered is None:
            measured.recovered = span[0].at - measured.onset
        done = fault.action is None or measured.verified is not None
        explained = measured.signature or time.time() > measured.onset + EXPLAINED
        return bool(done and explained and measured.recovered is not None and measured.detected is not None)

    def _note(self, measured: Measured, moment: Moment, fault: Fault) -> None:
        since = moment.at - measured.onset
        noticed = (moment.source, moment.kind) in NOTICED and since > 0  # else it is of something before
        if noticed and measured.detected is None:
            measured.detected = since
        if noticed and moment.kind == "opened" and not measured.incident:
            measured.incident = moment.text
        if moment.source == "audit" and moment.kind == "acted":
            measured.actions.append(str(moment.fields.get("action", "")))
            if moment.fields.get("action") == fault.action and measured.acted is None:
                measured.acted = since
        if moment.source == "audit" and moment.kind == "verified" and measured.verified is None:
            measured.verified = since
        if moment.source == "incident" and moment.kind == "cause":  # the newest: it knows most
            measured.cause, measured.signature = moment.text, str(moment.fields.get("signature") or "")

    def _look(self, note: Callable[[Moment], None] = lambda moment: None) -> Iterable[Second]:
        """One turn: what was said, and how the application does."""
        time.sleep(TICK)
        for moment in self._watch.moments():
            self._show(moment)
            note(moment)
        seconds = list(self._world.seconds())
        for second in seconds:
            self._recent.append(second)
            self._tick(second)
        return seconds

    def _ratio(self) -> float:
        ratios = [second.hit_ratio for second in self._recent if second.hit_ratio is not None]
        return fmean(ratios) if ratios else 0.0

    def _usual(self) -> tuple[float, int]:
        """How long a fetch takes, and what the other tenant sends a second."""
        fetches = [second.fetch for second in self._recent if second.fetch]
        tenant = round(fmean(second.tenant for second in self._recent)) if self._recent else 0
        return (fmean(fetches) if fetches else 0.0, tenant)

    def _say(self, kind: str, text: str) -> None:
        self._show(Moment(time.time(), "story", kind, text))
