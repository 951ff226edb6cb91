"""A small world for tests of rules: a catalogue, series that a test sets, actions that note what is asked of them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from agent.config.models import Section
from agent.export.model import Event
from agent.incidents.model import Incident
from agent.metrics.catalogue import Catalogue
from agent.metrics.model import Kind, MetricSpec, SeriesKey
from agent.plugin.host import CacheAddress, Host
from agent.rules.engine import RuleEngine
from agent.rules.extension import Now, Outcome, Plan, PlanOutdated, Task
from agent.rules.model import Rule
from agent.rules.reading import Defaults, RuleReader, RuleSet
from agent.rules.recorded import Recorded, Value
from agent.rules.runner import InlineRunner, Runner
from agent.rules.settings import EngineSettings
from agent.rules.store import RuleStore

SPECS = (
    MetricSpec("predis_memory_used_bytes", Kind.gauge, "Memory in use.", "bytes"),
    MetricSpec("predis_memory_max_bytes", Kind.gauge, "The limit.", "bytes"),
    MetricSpec("predis_tenant_memory_bytes", Kind.gauge, "Of a tenant.", "bytes", ("tenant",)),
    MetricSpec("predis_tenant_memory_max_bytes", Kind.gauge, "Of a tenant.", "bytes", ("tenant",)),
    MetricSpec("predis_keyspace_hits_total", Kind.counter, "Hits."),
    MetricSpec("predis_keyspace_misses_total", Kind.counter, "Misses."),
    MetricSpec("predis_cpu_busy_ratio", Kind.gauge, "CPU.", "ratio"),
    MetricSpec("predis_command_duration_seconds", Kind.histogram, "How long.", "seconds", ("command",)),
    MetricSpec("predis_certificate_expiry_time_seconds", Kind.gauge, "When it ends.", "seconds"),
)


def catalogue() -> Catalogue:
    """The metrics of this world."""
    found = Catalogue()
    found.add("world", SPECS)
    return found


class ActParams(Section):
    """What `test.act` takes."""

    name: str = Field(default="local", description="of the target")
    size: int = 0


class Act:
    """An action that changes something: it notes the intents it is given, and does as it is told to."""

    name = "test.act"
    help = "for tests"
    Params: type[BaseModel] = ActParams
    changes_state = True
    deadline = 10.0
    moves: tuple[str, ...] = ()

    def __init__(self, name: str = "test.act", moves: tuple[str, ...] = ()) -> None:
        self.name, self.moves = name, moves
        self.ran: list[tuple[str, str, str]] = []  # (intent, target, kind)
        self.outcomes: list[Outcome | Exception] = []  # of the next runs; then done
        self.undo_outcomes: list[Outcome] = []
        self.known: dict[str, Outcome] = {}  # what done_before says
        self.gate: threading.Event | None = None  # a run waits for it
        self.began = threading.Event()
        self.saw_cancelled = threading.Event()
        self.refuses_to_plan = ""
        self.world: dict[str, Any] | None = None  # the state that plans rest on; None: they are only a text
        self.way_back: dict[str, Any] | None = None  # in its plans
        self.says = "act on"  # in its plans

    def target(self, params: ActParams) -> str:
        return f"thing:{params.name}"

    def plan(self, params: ActParams, task: Task) -> str:
        assert not task.cancelled()
        if self.refuses_to_plan:
            raise ValueError(self.refuses_to_plan)
        return Plan(f"{self.says} {params.name}", None if self.world is None else dict(self.world), self.way_back)

    def run(self, params: ActParams, task: Task) -> Outcome:
        if self.world is not None and task.plan != self.world:
            raise PlanOutdated(f"it is {self.world} and not {task.plan}")
        self.ran.append((task.intent, self.target(params), "run"))
        self.began.set()
        if self.gate is not None:
            while not self.gate.wait(0.01):
                if task.cancelled():
                    self.saw_cancelled.set()
        outcome = self.outcomes.pop(0) if self.outcomes else Outcome(True, "acted", {"was": 1})
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def done_before(self, params: ActParams, task: Task) -> Outcome | None:
        self.ran.append((task.intent, self.target(params), "asked"))
        return self.known.get(task.intent)

    def undo(self, params: ActParams, undo: Mapping[str, Any], task: Task) -> Outcome:
        self.ran.append((task.intent, self.target(params), "undo"))
        return self.undo_outcomes.pop(0) if self.undo_outcomes else Outcome(True, "as before")

    def count(self, kind: str = "run") -> int:
        """How often it was asked that."""
        return sum(what == kind for _, _, what in self.ran)


class Tell(Act):
    """One that only tells."""

    changes_state = False

    def __init__(self, name: str = "test.tell") -> None:
        super().__init__(name)
        self.texts: list[str] = []

    def target(self, params: ActParams) -> str:
        return f"person:{params.name}"

    def run(self, params: ActParams, task: Task) -> Outcome:
        self.texts.append(task.event)
        return super().run(params, task)


class Notes:
    """An audit log in memory."""

    def __init__(self) -> None:
        self.records: list[tuple[str, dict[str, Any]]] = []

    def append(self, kind: str, fields: Mapping[str, Any]) -> None:
        self.records.append((kind, dict(fields)))

    def kinds(self) -> list[str]:
        """What was decided, in order."""
        return [kind for kind, _ in self.records]


class World:
    """Rules from a text, an engine, and a clock that a test sets forward."""

    def __init__(
        self,
        folder: Path,
        text: str,
        *,
        settings: EngineSettings | None = None,
        runner: Runner | None = None,
        store: Path | str = ":memory:",
        defaults: Defaults | None = None,
        actions: tuple[Any, ...] = (),
    ) -> None:
        self.act, self.tell = Act(), Tell()
        self.actions = (self.act, self.tell, *actions)
        self.catalogue = catalogue()
        file = folder / "rules.toml"
        file.write_text(text)
        self.file, self.defaults = file, defaults or Defaults(dry_run=False, share=1.0)
        self.set_ = self.read()
        self.time = 1_000_000.0  # Unix seconds
        self.monotonic, self.boot = 0.0, "first"
        self.values: dict[SeriesKey, list[tuple[float, Value]]] = {}
        self.incidents: tuple[Incident, ...] = ()
        self.events: list[Event] = []
        address = CacheAddress(folder / "cache.sock", "127.0.0.1", 0, None, folder / "arena")
        self.host = Host(folder, address, "0", logging.getLogger("test"), self.events.append)
        self.notes = Notes()
        self.settings = settings or EngineSettings(max_actions_per_hour=1000)
        self.runner = runner or InlineRunner()
        self.path = store
        self.engine = self.open()

    def read(self) -> RuleSet:
        """The rules of its file."""
        found = RuleReader(self.catalogue, self.actions, defaults=self.defaults).read([self.file])
        assert not found.problems, "\n".join(map(str, found.problems))
        return found

    def read_again(self, text: str) -> Rule:
        """A rule that is not in the file any more."""
        found = RuleReader(self.catalogue, self.actions).read_again(text)
        assert not found.problems, "\n".join(map(str, found.problems))
        return found.rules[0]

    def open(self) -> RuleEngine:
        """Another engine on the same state: as after a restart."""
        self.store = RuleStore(self.path, sync=False)
        self.engine = RuleEngine(
            self.set_.rules,
            self.host,
            self.notes,
            self.store,
            self.settings,
            clock=lambda: self.monotonic,
            boot=self.boot,
            wall=lambda: self.time,
            runner=self.runner,
            read=self.read_again,
        )
        return self.engine

    def put(self, metric: str, value: Value, *labels: str) -> None:
        """A series has a value now."""
        self.values.setdefault((metric, labels), []).append((self.time, value))

    def now(self) -> Now:
        """What there is to see."""
        recorded = Recorded(self.values)
        recorded.until = self.time
        return Now(self.time, recorded.snapshot(self.time, 10.0, self.catalogue), recorded, self.incidents)

    def step(self, seconds: float = 10.0) -> None:
        """Time goes on, then the engine looks."""
        self.time += seconds
        self.monotonic += seconds
        self.engine.step(self.now())

    def run(self, seconds: float, every: float = 10.0, **series: float) -> None:
        """Steps for so long, with these metrics at these values each time."""
        for _ in range(round(seconds / every)):
            self.time += every
            self.monotonic += every
            for metric, value in series.items():
                self.put(metric, value)
            self.engine.step(self.now())

    def state(self, rule: str, subject: str = "") -> str:
        """Where a rule stands."""
        found = {item["subject"]: item["state"] for item in self.engine.explain(rule)["subjects"]}
        return str(found.get(subject, "idle"))
