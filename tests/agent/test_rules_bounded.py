"""A plugin's condition that hangs holds up no other rule, nor does an action that does not say what it works on."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import BaseModel, field_validator

from agent.config.models import PluginConfig, Section
from agent.rules.engine import RuleEngine
from agent.rules.extension import Now, Outcome, Verdict
from agent.rules.reading import Defaults, RuleReader
from agent.rules.service import added
from agent.rules.store import RuleStore
from tests.agent.rule_world import Act, ActParams, World
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
    return using(tmp_path, RULES, conditions=[stuck])


def reader_of(world: World, **kinds: list[Any]) -> RuleReader:
    """What reads rules with what a plugin adds."""
    plugin: Any = SimpleNamespace(
        name="stuck",
        config=PluginConfig(deadline=DEADLINE),
        implements=lambda hook: hook.removeprefix("predis_") in kinds,
        **{name: lambda found=found: found for name, found in kinds.items()},
    )
    actions, conditions, problems = added([plugin])
    assert problems == []
    return RuleReader(world.catalogue, (*world.actions, *actions), conditions, defaults=Defaults(dry_run=False))


def using(folder: Path, rules: str, **kinds: list[Any]) -> World:
    """A world with these rules, and what a plugin adds."""
    made = World(folder, RULES[RULES.rindex("[[rule]]") :])
    (folder / "all.toml").write_text(rules)
    read = reader_of(made, **kinds).read([folder / "all.toml"])
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
    assert why(world, "one") == "the plugin stuck does not say within its deadline of 0.2 s"
    assert why(world, "two") == "the plugin stuck has used up its deadline of 0.2 s in this look at the rules"
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
    assert "has used up its deadline" in why(world, "two")
    assert world.tell.count() == 1


def test_a_condition_that_ends_the_process_ends_nothing(world: World, stuck: Stuck) -> None:
    stuck.exits = True
    look(world)
    assert "it called sys.exit(3)" in why(world, "one")
    assert world.tell.count() == 1


ACTING = """
[[rule]]
name = "acts"
when.threshold = { metric = "predis_cpu_busy_ratio", value = "90%" }
then = [{ action = "dumb.act", name = "one" }]
cooldown = "1s"
[[rule]]
name = "acts-too"
when.threshold = { metric = "predis_cpu_busy_ratio", value = "90%" }
then = [{ action = "dumb.act", name = "two" }]
cooldown = "1s"
[[rule]]
name = "tells"
when.threshold = { metric = "predis_cpu_busy_ratio", value = "90%" }
then = [{ action = "dumb.tell", name = "three" }]
cooldown = "1s"
""" + RULES[RULES.rindex("[[rule]]") :]
VERIFY = 'verify = { cleared = true, within = "15s", after = "1s" }\n'


class Dumb(Act):
    """Does not say what it works on while it is told to hang: in `target`, or where its keys are checked."""

    def __init__(self, name: str, where: str) -> None:
        super().__init__(name)
        self.changes_state = name == "dumb.act"
        self.hangs, self.let_go = False, threading.Event()
        self.asked = 0
        self.slow = 0.0

        class Params(ActParams):
            @field_validator("name")
            @classmethod
            def check(cls, name: str) -> str:
                if where == "keys":
                    self.ask()
                return name

        self.Params = Params
        self._where = where

    def target(self, params: ActParams) -> str:
        if self._where == "target" and threading.current_thread().name == "actions of stuck":
            self.ask()
        return super().target(params)

    def ask(self) -> None:
        """As one that waits for somebody."""
        self.asked += 1
        time.sleep(self.slow)
        if self.hangs:
            self.let_go.wait(30)


@pytest.mark.parametrize("where", ["target", "keys"])
def test_an_action_that_does_not_say_what_it_works_on_holds_up_no_other_rule(tmp_path: Path, where: str) -> None:
    act, tell = Dumb("dumb.act", where), Dumb("dumb.tell", where)
    world = using(tmp_path, ACTING, actions=[act, tell])
    act.hangs = tell.hangs = True
    asked = act.asked + tell.asked
    assert DEADLINE <= look(world) < DEADLINE + 5
    # then it is held and told of, a message is not sent, and all else goes on
    assert world.tell.count() == 1
    assert act.count() == tell.count() == 0
    for rule in ("acts", "acts-too"):
        assert world.state(rule) == "held"
        (subject,) = world.engine.explain(rule)["subjects"]
        assert "the plugin stuck does not say within its deadline of 0.2 s" in subject["reason"]
    assert ("refused", "plugin") in [(kind, fields.get("guard")) for kind, fields in world.notes.records]
    assert "what it works on is not known" in next(
        fields["detail"] for kind, fields in world.notes.records if kind == "message failed"
    )
    # nor is it asked again while that question has not ended
    assert look(world) < DEADLINE
    assert act.asked + tell.asked == asked + 1
    # once it has, it is done
    act.hangs = tell.hangs = False
    act.let_go.set()
    tell.let_go.set()

    def is_done() -> bool:
        look(world)
        return act.count() >= 2 and tell.count() >= 1

    wait_until(is_done, what="they are done")


def test_what_slow_actions_say_of_themselves_shares_one_deadline(tmp_path: Path) -> None:
    act, tell = Dumb("dumb.act", "target"), Dumb("dumb.tell", "target")
    world = using(tmp_path, ACTING, actions=[act, tell])
    act.slow = tell.slow = 0.15
    assert look(world) < DEADLINE + 0.15
    assert world.tell.count() == 1


def test_what_an_action_works_on_is_asked_once_in_a_look(tmp_path: Path) -> None:
    act = Dumb("dumb.act", "target")
    rules = ACTING[: ACTING.index('[[rule]]\nname = "acts-too"')] + RULES[RULES.rindex("[[rule]]") :]
    world = using(tmp_path, rules, actions=[act])
    asked = act.asked
    act.outcomes = [Outcome(False, "half", {"was": 1})]
    look(world)
    assert (act.count(), act.count("undo")) == (1, 1)
    assert act.asked == asked + 1


def test_what_is_to_be_taken_back_does_not_wait_for_others_of_its_plugin(tmp_path: Path) -> None:
    act = Dumb("dumb.act", "target")
    sound = RULES[RULES.rindex("[[rule]]") :]
    world = using(tmp_path, ACTING[: ACTING.index('[[rule]]\nname = "tells"')] + VERIFY + sound, actions=[act])
    look(world)
    assert act.count() == 2
    act.slow = DEADLINE * 0.8  # the first rule's question leaves too little for the second's
    look(world)
    look(world)
    assert act.count("undo") == 1


def test_an_action_whose_keys_cannot_be_checked_is_left_out_when_rules_are_read(tmp_path: Path) -> None:
    act = Dumb("dumb.act", "keys")
    act.hangs = True
    (tmp_path / "all.toml").write_text(ACTING.replace("dumb.tell", "test.tell"))
    began = time.monotonic()
    made = World(tmp_path, RULES[RULES.rindex("[[rule]]") :])
    read = reader_of(made, actions=[act]).read([tmp_path / "all.toml"])
    assert time.monotonic() - began < DEADLINE + 5
    act.let_go.set()
    assert [rule.name for rule in read.rules] == ["tells", "sound"]
    assert len(read.problems) == 2
    assert "dumb.act cannot say whether its keys are right: the plugin stuck does not say" in str(read.problems[0])
