"""What overlaps: a whole and its parts are the same thing to cooldowns, limits and blast radius."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.rules.runner import ThreadRunner
from agent.rules.settings import EngineSettings
from agent.rules.topology import Topology
from tests.agent.rule_world import World
from tests.agent.test_rules_crash import until
from tests.agent.test_rules_engine import TENANTS, tenants

KNOWN = Topology(
    {"pod:shop-*": "deployment:shop", "deployment:*": "cluster:eu", "host:local": "rack:7"},
    {"shop": "shop:", "all": ""},
)


@pytest.mark.parametrize(
    ("one", "other", "overlap"),
    [
        ("cache:local", "tenant:shop", True),
        ("tenant:shop", "tenant:other", False),
        ("host:local", "tenant:shop", True),  # by steps
        ("rack:7", "prefix:a:", True),  # of what ships and what is configured
        ("pod:shop-1", "cluster:eu", True),
        ("pod:shop-1", "pod:shop-2", False),
        ("pod:other", "cluster:eu", False),
        ("prefix:session:", "prefix:session:eu:", True),
        ("prefix:session:", "prefix:basket:", False),
        ("tenant:shop", "prefix:shop:cart:", True),
        ("tenant:shop", "prefix:sh", True),
        ("tenant:shop", "prefix:news:", False),
        ("tenant:all", "prefix:news:", False),  # of one whose prefix nobody knows nothing is claimed
        ("server:a", "cache:local", False),
    ],
)
def test_two_targets_overlap_when_one_contains_the_other(one: str, other: str, overlap: bool) -> None:
    assert KNOWN.overlap(one, other) is overlap
    assert KNOWN.overlap(other, one) is overlap


TARGETS = st.sampled_from([f"k:{letter}" for letter in "abcdef"])


@given(st.dictionaries(TARGETS, TARGETS), TARGETS, TARGETS, TARGETS)
def test_containment_is_reflexive_and_transitive_also_where_somebody_made_a_circle(
    within: dict[str, str], one: str, two: str, three: str
) -> None:
    topology = Topology(within)
    assert topology.contains(one, one)
    if topology.contains(one, two) and topology.contains(two, three):
        assert topology.contains(one, three)


def test_a_cooldown_covers_the_whole_and_its_parts(tmp_path: Path) -> None:
    within = EngineSettings(max_actions_per_hour=1000, topology=Topology({"thing:a": "thing:b"}))
    world = World(tmp_path, TENANTS, settings=within)
    tenants(world, 10, "a", "bcde")
    tenants(world, 10, "b", "acde")
    assert [target for _, target, _ in world.act.ran] == ["thing:a"]
    reason = next(item["reason"] for item in world.engine.explain("quota")["subjects"] if item["subject"] == "tenant:b")
    assert reason == "thing:a, which overlaps with thing:b, was acted on less than 10m ago (cooldown)"
    tenants(world, 10, "c", "abde")  # beside it
    assert [target for _, target, _ in world.act.ran] == ["thing:a", "thing:c"]


TWO = """
[[rule]]
name = "whole"
when.threshold = { metric = "predis_cpu_busy_ratio", value = "90%" }
then = [{ action = "test.act", name = "whole" }]
[[rule]]
name = "part"
when.threshold = { metric = "predis_tenant_memory_bytes", value = 90 }
then = [{ action = "test.act", name = "{tenant}" }]
limit = { share = "50%" }
"""


def at_work_on_the_whole(folder: Path, topology: Topology, text: str = TWO) -> World:
    """A rule is at work on thing:whole."""
    settings = EngineSettings(max_actions_per_hour=1000, topology=topology)
    world = World(folder, text, settings=settings, runner=ThreadRunner())
    world.act.gate = threading.Event()
    world.put("predis_cpu_busy_ratio", 0.95)
    world.step(1)
    until(world, world.act.began.is_set, "the action runs")
    return world


def part_is_held(world: World) -> str:
    """Why nothing is done to the tenant a, of four; empty when it is."""
    for name, used in zip("abcd", (95.0, 10.0, 10.0, 10.0), strict=True):
        world.put("predis_tenant_memory_bytes", used, name)
    world.step(1)
    (found,) = [item for item in world.engine.explain("part")["subjects"] if item["subject"] == "tenant:a"]
    return str(found["reason"])


def test_nobody_works_on_a_part_while_another_rule_is_at_work_on_the_whole(tmp_path: Path) -> None:
    world = at_work_on_the_whole(tmp_path, Topology({"thing:?": "thing:whole"}))
    assert part_is_held(world) == "the rule whole is at work on thing:whole, which overlaps with thing:a,"
    assert world.act.gate is not None
    world.act.gate.set()


def test_a_part_is_left_alone_while_an_action_hangs_at_the_whole(tmp_path: Path) -> None:
    world = at_work_on_the_whole(tmp_path, Topology({"thing:?": "thing:whole"}))
    world.step(100)
    until(world, lambda: world.state("whole") == "undoing", "it is overdue")
    world.step(100)
    until(world, lambda: world.state("whole") == "resting", "it is given up")
    assert "may still be at work on thing:whole, which overlaps with thing:a," in part_is_held(world)
    assert world.act.gate is not None
    world.act.gate.set()


@pytest.mark.parametrize(
    ("within", "why"),
    [
        ({"thing:whole": "tenant:b"}, ""),  # two of four: the one that is ill, and the one whose part is worked on
        ({"thing:whole": "tenant:b", "tenant:b": "tenant:c"}, "3 of 4 targets are ill or being worked on"),
        ({"tenant:?": "thing:whole"}, "thing:whole, of which all of them are parts, is being worked on"),
    ],
)
def test_what_another_rule_works_on_counts_for_the_share(tmp_path: Path, within: dict[str, str], why: str) -> None:
    world = at_work_on_the_whole(tmp_path, Topology(within))
    assert part_is_held(world).startswith(why)
    assert bool(why) is (world.state("part", "tenant:a") == "held")
    assert world.act.gate is not None
    world.act.gate.set()
