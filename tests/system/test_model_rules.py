"""Policy models in a real agent: a rule retrains, the next one takes it back, and the audit log tells."""

from __future__ import annotations

from typing import Any

import pytest

from agent.incidents.audit import log_path, records, verify
from core_cache.policy.place import in_place
from core_cache.policy.registry import ModelRegistry
from tests.agent.foreign import foreign
from tests.core_cache.model_load import names, write_log
from tests.servers import Server
from tests.system.test_incidents import ask
from tests.system.test_rules import World, world
from tests.waiting import wait_until

__all__ = ["foreign", "world"]

RETRAIN = """
[[rule]]
name = "retrain"
when.threshold = { metric = "predis_test_load", by = [], join = "max", value = 50 }
then = [{ action = "model.retrain" }]
dry_run = false
cooldown = "1h"
verify = { threshold = { metric = "predis_test_load", op = "<", value = 50 }, within = "5s", after = "1s" }
"""
ROLL_BACK = """
[[rule]]
name = "roll-back"
when.threshold = { metric = "predis_test_load", by = [], join = "max", value = 50 }
then = [{ action = "model.rollback" }]
dry_run = false
cooldown = "1h"
"""


def start(world: World) -> Server:
    agent = world.start("cache.memory=16MiB", "cache.policy=learned", "cache.access_log=0")
    write_log(agent.data_dir, names(300_000))
    return agent


def model_of(agent: Server) -> str:
    with agent.client() as client:
        return in_place(client)


def loaded_at(agent: Server) -> float:
    metrics = {metric["name"]: metric["samples"] for metric in ask(agent, "/api/v1/metrics")["metrics"]}
    return float(metrics["predis_policy_model_time_seconds"][0]["value"])


def told(agent: Server) -> list[dict[str, Any]]:
    return list(records(log_path(agent.data_dir)))


@pytest.mark.timeout(240)
def test_a_rule_retrains_and_another_one_rolls_back(world: World) -> None:
    world.rules(RETRAIN.replace("verify", "# verify"))
    agent = start(world)
    assert loaded_at(agent) == 0
    world.level.write_text("90")
    wait_until(lambda: model_of(agent), 120, "a model that was trained is in place")
    (version,) = ModelRegistry(agent.data_dir / "models").versions()
    assert (version.checksum, version.origin) == (model_of(agent), "retrained by the rule retrain")
    wait_until(lambda: loaded_at(agent) > version.created - 1, 20, "the metric tells when")
    wait_until(lambda: "put version 1 in the place of plain s3fifo" in str(told(agent)), 20, "the audit log tells it")
    world.rules(ROLL_BACK)
    assert world.reload()["success"] is True
    wait_until(lambda: model_of(agent) == "", 60, "it is rolled back")
    wait_until(lambda: "(version 1 to plain s3fifo)" in str(told(agent)), 20, "the audit log tells it")
    assert verify(log_path(agent.data_dir)).problems == []
    assert not (agent.data_dir / "policy.model").exists()


@pytest.mark.timeout(240)
def test_what_did_not_help_is_taken_back(world: World) -> None:
    world.rules(RETRAIN)
    agent = start(world)
    world.level.write_text("90")
    wait_until(lambda: model_of(agent), 120, "a model that was trained is in place")
    wait_until(lambda: model_of(agent) == "", 60, "it is taken back")
    wait_until(lambda: "changed the cache's policy model back" in str(told(agent)), 20, "the audit log tells it")
    assert verify(log_path(agent.data_dir)).problems == []
