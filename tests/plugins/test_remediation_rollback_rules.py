"""A rule that rolls a release back, through the real engine: approval, verification, the way back, a crash."""

from pathlib import Path
from typing import Any

import pytest

from agent.rules.runner import InlineRunner
from tests.agent.rule_world import World
from tests.agent.test_rules_crash import DyingRunner, Gone, restart
from tests.plugins.kubectl import TOKEN, cluster, image, release, revision
from tests.plugins.remediation import action_of
from tests.vendors.running import Vendor

__all__ = ["cluster"]

RULE = """
[[rule]]
name = "shop-roll-back"
when.threshold = { metric = "predis_cpu_busy_ratio", value = "90%" }
then = [{ action = "rollback.kubernetes", cluster = "eu", namespace = "prod", name = "shop" }]
verify = { cleared = true, within = "5m", after = "10s" }
escalate = [{ action = "test.tell" }]
cooldown = "10m"
limit = { actions_per_hour = 5 }
"""
ASKS = f'{RULE}approval = "required"\n'


def world_of(folder: Path, cluster: Vendor, text: str, **more: Any) -> World:
    place = {"eu": {"url": cluster.url, "token": TOKEN, "ca_file": str(cluster.ca_file)}}
    return World(folder, text, actions=(action_of("rollback.kubernetes", {"clusters": place}),), **more)


def busy(world: World, seconds: float) -> None:
    """The release is bad for so long."""
    world.run(seconds, predis_cpu_busy_ratio=0.95)


def waiting(world: World) -> dict[str, Any]:
    """The only thing that waits for approval."""
    (found,) = world.engine.status()["waiting_for_approval"]
    return dict(found)


def test_what_a_person_approved_is_rolled_back_and_helps(tmp_path: Path, cluster: Vendor) -> None:
    release(cluster, "shop:1.1")
    world = world_of(tmp_path, cluster, ASKS)
    busy(world, 10)
    assert image(cluster) == "shop:1.1"
    world.engine.approve(waiting(world)["id"], "ann")
    assert image(cluster) == "shop:1.0"
    (acting,) = [fields for kind, fields in world.notes.records if kind == "acting"]
    assert acting["plan"] == (
        "would roll deployment:eu/prod/shop back from revision 2 (shop:1.1) to revision 1 (shop:1.0)"
    )
    world.run(60, predis_cpu_busy_ratio=0.1)
    assert world.state("shop-roll-back") == "resting"
    assert world.tell.texts == []
    assert image(cluster) == "shop:1.0"


def test_a_release_between_plan_and_approval_is_asked_about_anew(tmp_path: Path, cluster: Vendor) -> None:
    release(cluster, "shop:1.1")
    world = world_of(tmp_path, cluster, ASKS)
    busy(world, 10)
    first = waiting(world)["id"]
    release(cluster, "shop:1.2")
    world.engine.approve(first, "ann")
    assert image(cluster) == "shop:1.2"
    assert "plan outdated" in world.notes.kinds()
    world.engine.approve(waiting(world)["id"], "ann")
    assert image(cluster) == "shop:1.1"


def test_what_does_not_help_is_put_back_and_a_person_is_told(tmp_path: Path, cluster: Vendor) -> None:
    release(cluster, "shop:1.1")
    world = world_of(tmp_path, cluster, RULE)
    busy(world, 20)
    assert image(cluster) == "shop:1.0"
    busy(world, 400)
    assert (image(cluster), revision(cluster)) == ("shop:1.1", "4")
    assert len(world.tell.texts) == 1


@pytest.mark.parametrize("where", ["before", "after"])
def test_after_a_crash_the_cluster_tells_whether_it_was_done(tmp_path: Path, cluster: Vendor, where: str) -> None:
    release(cluster, "shop:1.1")
    world = world_of(tmp_path, cluster, RULE, runner=DyingRunner(1, where), store=tmp_path / "rules.sqlite")
    with pytest.raises(Gone):
        busy(world, 20)
    world.runner = InlineRunner()
    restart(world)
    world.run(30, predis_cpu_busy_ratio=0.1)
    done = where == "after"
    assert image(cluster) == ("shop:1.0" if done else "shop:1.1")
    # it was done once, or not at all, and it is known which
    assert [r["method"] for r in cluster.requests()].count("PATCH") == (4 if done else 2)
    assert len(world.tell.texts) == (0 if done else 1)
