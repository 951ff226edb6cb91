"""Slow conditions of plugins: each gets its turn, the others are looked at in time, and a look has an end."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pydantic import BaseModel

from agent.config.models import PluginConfig, Section
from agent.rules.engine import RuleEngine
from agent.rules.extension import Now, Verdict
from agent.rules.reading import Defaults, RuleReader
from agent.rules.service import added
from agent.rules.store import RuleStore
from tests.agent.rule_world import World
from tests.waiting import wait_until

DEADLINE = 0.1
SOUND = """
[[rule]]
name = "sound"
when.threshold = { metric = "predis_cpu_busy_ratio", value = "90%" }
then = [{ action = "test.tell" }]
cooldown = "1s"
"""
VERIFYING = """
[[rule]]
name = "verified"
when.threshold = { metric = "predis_tenant_memory_bytes", value = "1B" }
then = [{ action = "test.act", name = "{tenant}" }]
verify = { slow = { name = "verify" }, within = "60s", after = "1s" }
limit = { share = "100%" }
"""


class AskParams(Section):
    """Which rule asks."""

    name: str


class Slow:
    """A kind of condition: what is in `stuck` takes longer than its deadline, and all take `takes` seconds."""

    help = "for tests"
    Params: type[BaseModel] = AskParams

    def __init__(self, name: str = "slow") -> None:
        self.name = name
        self.stuck: set[str] = set()
        self.takes = 0.0
        self.holds: set[str] = set()
        self.asked: Counter[str] = Counter()
        self.idle, self.look_is_over = threading.Event(), threading.Event()
        self.idle.set()

    def metrics(self, params: AskParams) -> Iterable[str]:
        return ()

    def evaluate(self, params: AskParams, now: Now) -> Verdict:
        self.idle.clear()
        self.asked[params.name] += 1
        time.sleep(self.takes)
        if params.name in self.stuck:
            self.look_is_over.wait(30)
        self.idle.set()
        return Verdict(params.name in self.holds, "well")


class Watched:
    """An engine with the rules of some plugins, one each; `rules` of them each, and a sound one after them."""

    def __init__(
        self, folder: Path, kinds: list[Slow], rules: int, deadline: float = DEADLINE, verifying: bool = False
    ) -> None:
        self.kinds = kinds
        self.world = world = World(folder, SOUND)
        self.names = [f"{kind.name}-{number}" for kind in kinds for number in range(rules)]
        text = "".join(
            f'[[rule]]\nname = "{name}"\nwhen.{name.split("-")[0]} = {{ name = "{name}" }}\n'
            'then = [{ action = "test.tell" }]\n'
            for name in self.names
        )
        (folder / "all.toml").write_text(text + SOUND + (VERIFYING if verifying else ""))
        plugins: list[Any] = [
            SimpleNamespace(
                name=kind.name,
                config=PluginConfig(deadline=deadline),
                implements=lambda hook: hook == "predis_conditions",
                conditions=lambda kind=kind: [kind],
            )
            for kind in kinds
        ]
        actions, conditions, problems = added(plugins)
        reader = RuleReader(world.catalogue, (*world.actions, *actions), conditions, defaults=Defaults(dry_run=False))
        read = reader.read([folder / "all.toml"])
        assert [*problems, *read.problems] == []
        world.engine = RuleEngine(
            read.rules,
            world.host,
            world.notes,
            RuleStore(":memory:", sync=False),
            world.settings,
            clock=lambda: world.monotonic,
            boot="",
            wall=lambda: world.time,
            runner=world.runner,
        )

    def look(self) -> float:
        """One look at the rules; how many seconds it took. What hung in it has ended before the next one."""
        self.world.put("predis_cpu_busy_ratio", 0.95)
        for kind in self.kinds:
            kind.look_is_over.clear()
        began = time.monotonic()
        self.world.step(10)
        took = time.monotonic() - began
        for kind in self.kinds:
            kind.look_is_over.set()
            wait_until(kind.idle.is_set, what="what hung has ended")
        wait_until(
            lambda: not any("conditions of" in thread.name for thread in threading.enumerate()), what="no thread"
        )
        return took

    def unknown(self) -> list[str]:
        """The rules of which the newest look does not know whether they hold."""
        return [name for name in self.names if self.world.engine.holds(name) is None]

    def why(self, name: str) -> str:
        """What the newest look says of one."""
        return str(self.world.engine.explain(name)["why"])


def test_one_that_takes_its_deadline_at_each_look_costs_the_others_one_look(tmp_path: Path) -> None:
    slow = Slow()
    watched = Watched(tmp_path, [slow], 20, deadline=4 * DEADLINE)
    first = watched.names[0]
    slow.stuck = {first}
    watched.look()
    assert watched.unknown() == watched.names
    unknown = []
    for _ in range(20):
        watched.look()
        unknown.append(watched.unknown())
    assert unknown == [[first]] * 20
    assert watched.world.tell.count() == 21
    # it is asked again, less and less often
    assert slow.asked[first] == len([1, 3, 7, 15])


def test_when_all_take_their_deadline_each_gets_its_turn_and_the_other_rules_are_looked_at(tmp_path: Path) -> None:
    slow = Slow()
    watched = Watched(tmp_path, [slow], 20)
    slow.stuck = set(watched.names)
    for _ in range(32):
        assert watched.look() < DEADLINE + 1
    assert set(slow.asked) == set(watched.names)
    assert watched.world.tell.count() == 32


def test_those_that_are_nearly_too_slow_take_turns(tmp_path: Path) -> None:
    slow = Slow()
    watched = Watched(tmp_path, [slow], 4, deadline=4 * DEADLINE)
    slow.takes = 4 * DEADLINE * 0.7
    known: Counter[str] = Counter()
    for _ in range(8):
        watched.look()
        known.update(set(watched.names) - set(watched.unknown()))
    assert known == dict.fromkeys(watched.names, 2)


def test_many_slow_plugins_take_no_longer_in_one_look_than_one(tmp_path: Path) -> None:
    kinds = [Slow(f"slow{number}") for number in range(10)]
    watched = Watched(tmp_path, kinds, 2)
    for kind in kinds:
        kind.stuck = {f"{kind.name}-0"}
    took = [watched.look() for _ in range(30)]
    assert max(took) < DEADLINE * 5, "of 10"
    assert all(kind.asked[f"{kind.name}-0"] >= 2 for kind in kinds)
    assert watched.world.tell.count() == 30


def test_one_that_is_well_again_is_known_again(tmp_path: Path) -> None:
    slow = Slow()
    watched = Watched(tmp_path, [slow], 2)
    one, two = watched.names
    slow.stuck = {one}
    watched.look()
    assert watched.why(one) == "the plugin slow does not say within its deadline of 0.1 s"
    assert watched.why(two) == "the plugin slow has used up its deadline of 0.1 s in this look at the rules"
    watched.look()
    assert watched.why(one) == "the plugin slow did not say within its deadline of 0.1 s: it is asked again later"
    slow.stuck = set()
    watched.look()
    assert watched.unknown() == []
    asked = slow.asked[one]
    for _ in range(3):
        watched.look()
        assert watched.unknown() == []
    assert slow.asked[one] == asked + 3


def test_what_verifies_has_its_turn_among_slow_conditions_and_is_asked_once_for_all_subjects(tmp_path: Path) -> None:
    slow = Slow()
    watched = Watched(tmp_path, [slow], 3, deadline=4 * DEADLINE, verifying=True)
    world = watched.world
    slow.takes = 4 * DEADLINE * 0.7  # for one of them in a look
    slow.holds = {"verify"}
    for _ in range(8):
        for tenant in ("a", "b", "c"):
            world.put("predis_tenant_memory_bytes", 2.0, tenant)
        watched.look()
    assert slow.asked["verify"] >= 2
    assert world.notes.kinds().count("verified") == 3
    assert world.act.count("undo") == 0
