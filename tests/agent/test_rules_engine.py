"""The rule engine: from a condition that holds to what was done, and everything that may hold it back."""

from __future__ import annotations

from pathlib import Path

from tests.agent.rule_world import World

HIGH = """
[[rule]]
name = "memory-high"
when.threshold = { metric = "predis_memory_used_bytes", of = "predis_memory_max_bytes", value = "90%" }
for = "30s"
cooldown = "10m"
then = [{ action = "test.tell" }]
"""


def high(world: World, seconds: float) -> None:
    """Memory is nearly full for so long."""
    world.run(seconds, predis_memory_used_bytes=95.0, predis_memory_max_bytes=100.0)


def low(world: World, seconds: float) -> None:
    """Memory is half empty for so long."""
    world.run(seconds, predis_memory_used_bytes=50.0, predis_memory_max_bytes=100.0)


def test_a_rule_fires_once_its_condition_held_long_enough_and_rests_for_its_cooldown(tmp_path: Path) -> None:
    world = World(tmp_path, HIGH)
    high(world, 30)
    assert world.state("memory-high") == "pending"
    assert world.tell.texts == []
    high(world, 10)
    assert world.tell.texts == ["predis_memory_used_bytes / predis_memory_max_bytes is 95.0%, > 90%"]
    assert world.state("memory-high") == "resting"
    high(world, 580)
    assert world.tell.count() == 1
    high(world, 60)
    assert world.tell.count() == 2
    assert world.notes.kinds()[:4] == ["fired", "telling", "told", "ended"]
