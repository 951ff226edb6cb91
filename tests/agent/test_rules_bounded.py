"""A plugin's condition that hangs holds up no other rule."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import BaseModel

from agent.config.models import PluginConfig, Section
from agent.rules.engine import RuleEngine
from agent.rules.extension import Now, Verdict
from agent.rules.reading import Defaults, RuleReader
from agent.rules.service import added
from agent.rules.store import RuleStore
from tests.agent.rule_world import World
from tests.waiting import wait_until

RULES = """
[[rule]]
name = "one"
when.stuck = { name = "one" }
then = [{ action = "test.tell" }]
[[rule]]
name = "two"
when.stuck = { name = "two" }
then = [{ action = "test.tell" }]
[[rule]]
name = "sound"
when.threshold = { metric = "predis_cpu_busy_ratio", value = "90%" }
then = [{ action = "test.tell" }]
cooldown = "1s"
"""
DEADLINE = 0.2


class StuckParams(Section):
    """Which rule asks."""

    name: str


class Stuck:
    """Hangs while it is told to."""

    name = "stuck"
    help = "for tests"
    Params: type[BaseModel] = StuckParams

    def __init__(self) -> None:
        self.hangs: set[str] = set()
        self.let_go = threading.Event()
        self.asked: list[str] = []
        self.exits = False
        self.slow = 0.0

    def metrics(self, params: StuckParams) -> Iterable[str]:
        return ()

    def evaluate(self, params: StuckParams, now: Now) -> Verdict:
        self.asked.append(params.name)
        if self.exits:
            sys.exit(3)
        time.sleep(self.slow)  # as one that waits for somebody
        if params.name in self.hangs:
            self.let_go.wait(30)
        return Verdict(False, "well")


@pytest.fixture
def stuck() -> Iterator[Stuck]:
    found = Stuck()
    yield found
    found.let_go.set()


@pytest.fixture
def world(tmp_path: Path, stuck: Stuck) -> World:
    plugin: Any = SimpleNamespace(
        name="stuck",
        config=PluginConfig(deadline=DEADLINE),
        implements=lambda hook: hook == "predis_conditions",
        conditions=lambda: [stuck],
    )
    _, conditions, problems = added([plugin])
    assert problems == []
    made = World(tmp_path, RULES[RULES.rindex("[[rule]]") :])
    (tmp_path / "all.toml").write_text(RULES)
    reader = RuleReader(made.catalogue, made.actions, conditions, defaults=Defaults(dry_run=False))
    read = reader.read([tmp_path / "all.toml"])
    assert read.problems == []
    made.engine = RuleEngine(
        read.rules,
        made.host,
        made.notes,
        RuleStore(":memory:", sync=False),
        made.settings,
        clock=lambda: made.monotonic,
        boot="",
        wall=lambda: made.time,
        runner=made.runner,
    )
    return made


def look(world: World) -> float:
    """One look at the rules while the CPU is busy; how many seconds it took."""
    world.put("predis_cpu_busy_ratio", 0.95)
    began = time.monotonic()
    world.step(10)
    return time.monotonic() - began


def why(world: World, rule: str) -> str:
    return str(world.engine.explain(rule)["why"])


def test_a_condition_that_hangs_costs_one_deadline_and_the_other_rules_go_on(world: World, stuck: Stuck) -> None:
    stuck.hangs = {"one"}
    assert DEADLINE <= look(world) < DEADLINE + 5
    assert world.tell.count() == 1
    assert why(world, "one") == why(world, "two") == "the plugin stuck does not say within its deadline of 0.2 s"
    # it is not asked again, nor is anything else of its plugin, while that look has not ended
    assert look(world) < DEADLINE
    assert stuck.asked == ["one"]
    assert world.tell.count() == 2
    # once it has, all is well again
    stuck.hangs = set()
    stuck.let_go.set()

    def is_well() -> bool:
        look(world)
        return why(world, "one") == why(world, "two") == "well"

    wait_until(is_well, what="it is asked again")


def test_conditions_that_are_slow_share_one_deadline(world: World, stuck: Stuck) -> None:
    stuck.slow = 0.15
    look(world)
    assert why(world, "one") == "well"
    assert "within its deadline" in why(world, "two")
    assert world.tell.count() == 1


def test_a_condition_that_ends_the_process_ends_nothing(world: World, stuck: Stuck) -> None:
    stuck.exits = True
    look(world)
    assert "it called sys.exit(3)" in why(world, "one")
    assert world.tell.count() == 1
