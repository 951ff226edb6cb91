"""Rules in a real agent: from a number to an action on the real cache, with all that may hold it back."""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.incidents.audit import log_path, records, verify
from agent.rules.settings import STATE_FILE
from tests.agent.foreign import Foreign, foreign
from tests.agent.test_cli import predis_agent
from tests.servers import Server, start_agent, stop_cache_of
from tests.system.test_incidents import SOURCE, ask
from tests.waiting import wait_until

__all__ = ["foreign"]

RESIZE = """
[[rule]]
name = "load"
when.threshold = { metric = "predis_test_load", by = [], join = "max", value = 50 }
then = [{ action = "cache.memory", to = "48MiB" }]
dry_run = %s
cooldown = "2s"
"""
TELL = """
[[rule]]
name = "load"
when.threshold = { metric = "predis_test_load", by = [], join = "max", value = 50 }
then = [{ action = "event", title = "the load is high" }]
cooldown = "1h"
"""


@pytest.fixture
def world(foreign: Foreign, tmp_path: Path) -> Iterator[World]:
    made = World(foreign, tmp_path)
    yield made
    made.end()


class World:
    """An agent with a configuration file and a folder of rules, and a number that a test sets."""

    def __init__(self, foreign: Foreign, folder: Path) -> None:
        foreign.package("source", SOURCE)
        self.packages, self.folder = foreign.folder, folder
        self.level = folder / "level"
        self.level.write_text("10")
        (folder / "rules.d").mkdir()
        (folder / "agent.toml").write_text(
            '[agent]\ninterval = "200ms"\n[plugins.gpu_metrics]\nenabled = false\n'
            f'[plugins.source]\nfile = "{self.level}"\n'
        )
        self.agents: list[Server] = []

    def rules(self, text: str) -> None:
        (self.folder / "rules.d" / "own.toml").write_text(text)

    def start(self, *overrides: str) -> Server:
        agent = start_agent(self.folder, "rules.packs=false", *overrides, packages=self.packages)
        self.agents.append(agent)
        wait_until(lambda: self.status()["last_step_seconds_ago"] is not None or self.status()["error"], 20, "a step")
        return agent

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = ask(self.agents[-1], "/api/v1/status")["rules"]
        return found

    def post(self, path: str) -> dict[str, Any]:
        agent = self.agents[-1]
        token = (agent.data_dir / "http.token").read_text().strip()
        url = f"http://127.0.0.1:{agent.extra['http']}{path}"
        request = urllib.request.Request(url, b"", {"Authorization": f"Bearer {token}"})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                found: dict[str, Any] = json.load(answer)
        except urllib.error.HTTPError as error:
            found = json.load(error)
        return found

    def audit(self) -> list[str]:
        return [record["kind"] for record in records(log_path(self.agents[-1].data_dir))]

    def reload(self) -> dict[str, Any]:
        before = self.post("/api/v1/config/apply")["reloads"]

        def done() -> dict[str, Any] | None:
            found: dict[str, Any] = ask(self.agents[-1], "/api/v1/status")["agent"]["config_reload"]
            return found if found["reloads"] > before else None

        return wait_until(done, 30, "the reload")

    def end(self) -> None:
        for agent in self.agents:
            if agent.process.poll() is None:
                agent.stop()
            stop_cache_of(agent)


def test_a_rule_fires_once_and_all_of_it_is_in_the_audit_log(world: World) -> None:
    world.rules(TELL)
    agent = world.start()
    assert world.status()["rules"] == 1
    found = ask(agent, "/api/v1/rules/load")
    assert found["holds"] is False
    world.level.write_text("90")
    wait_until(lambda: ask(agent, "/api/v1/rules/load")["holds"], 20, "the condition holds")
    wait_until(lambda: "action done" in " ".join(world.audit()) or len(world.audit()) >= 3, 20, "it has acted")
    assert verify(log_path(agent.data_dir)).problems == []
    (shown,) = ask(agent, "/api/v1/rules")["rules"]
    assert shown["rule"] == "load"
    metrics = {metric["name"]: metric["samples"] for metric in ask(agent, "/api/v1/metrics")["metrics"]}
    assert metrics["predis_rules"][0]["value"] == 1
    assert metrics["predis_rules_stopped"][0]["value"] == 0


def test_what_changes_the_cache_is_a_dry_run_until_the_rule_says_otherwise(world: World) -> None:
    world.rules(RESIZE % "true")
    agent = world.start("cache.memory=64MiB")
    world.level.write_text("90")
    wait_until(lambda: ask(agent, "/api/v1/rules/load")["subjects"], 20, "it fires")
    wait_until(lambda: any("dry" in kind for kind in world.audit()), 20, "a dry run in the audit log")
    assert ask(agent, "/api/v1/status")["cache"]["memory"] == 64 << 20
    # when the rule is changed and the configuration is reloaded
    world.rules(RESIZE % "false")
    assert world.reload()["success"] is True
    wait_until(lambda: ask(agent, "/api/v1/status")["cache"]["memory"] == 48 << 20, 60, "the cache has another size")
    with agent.client() as client:
        assert str(48 << 20) in str(client.command("CONFIG", "GET", "maxmemory"))


def test_a_mistake_in_a_rule_refuses_the_reload_and_what_was_in_force_goes_on(world: World) -> None:
    world.rules(TELL)
    world.start()
    world.rules(TELL.replace("predis_test_load", "predis_tset_load"))
    reload = world.reload()
    assert reload["success"] is False
    assert "own.toml:4" in reload["error"]
    assert "predis_test_load" in reload["error"]
    assert (world.status()["rules"], world.status()["problems"]) == (1, [])
    plan = world.post("/api/v1/config/apply")
    assert "reloads" in plan


def test_at_the_start_a_mistake_leaves_out_that_rule_alone(world: World) -> None:
    world.rules(TELL + TELL.replace('"load"', '"other"').replace("predis_test_load", "predis_nothing"))
    agent = world.start()
    status = world.status()
    assert status["rules"] == 1
    assert len(status["problems"]) == 1
    assert "predis_nothing" in status["problems"][0]
    shown = predis_agent("status", "--set", f"http.port={agent.extra['http']}", folder=world.folder).stdout
    assert "left out: " in shown


def test_the_kill_switch_needs_the_token_and_survives_a_restart(world: World) -> None:
    world.rules(TELL)
    agent = world.start()
    url = f"http://127.0.0.1:{agent.extra['http']}/api/v1/rules/do/stop"
    with pytest.raises(urllib.error.HTTPError, match=r"40[13]"):
        urllib.request.urlopen(urllib.request.Request(url, b""), timeout=10)
    assert world.post("/api/v1/rules/do/stop?who=anna") == {"done": "stop", "name": ""}
    assert "stopped by anna" in world.status()["stopped"]
    agent.process.send_signal(signal.SIGKILL)
    agent.process.wait()
    stop_cache_of(agent)
    agent = world.start()
    assert "stopped by anna" in world.status()["stopped"]
    world.level.write_text("90")
    wait_until(lambda: ask(agent, "/api/v1/rules/load")["holds"], 20, "the condition holds")
    before = len(world.audit())
    assert world.post("/api/v1/rules/do/resume") == {"done": "resume", "name": ""}
    wait_until(lambda: len(world.audit()) > before + 1, 20, "now it acts")
    assert "there is no rule x" in world.post("/api/v1/rules/do/reset?name=x")["error"]
    assert "rules know no explode" in world.post("/api/v1/rules/do/explode")["error"]


def test_state_that_cannot_be_read_stops_all_rules_and_nothing_else(world: World) -> None:
    world.rules(TELL)
    data = world.folder / "data"
    data.mkdir(mode=0o700)
    (data / STATE_FILE).write_bytes(b"rubbish" * 1000)
    agent = world.start()
    status = world.status()
    assert status["rules"] == 0
    assert STATE_FILE in status["error"]
    assert "cannot be used" in status["error"]
    assert ask(agent, "/api/v1/status")["health"]["ready"] is True
    assert STATE_FILE in world.post("/api/v1/rules/do/stop")["error"]
    shutil.move(data / STATE_FILE, data / "aside")
    world.reload()
    wait_until(lambda: world.status()["rules"] == 1, 20, "the rules are in force")
    with sqlite3.connect(data / STATE_FILE) as connection:
        assert connection.execute("SELECT count(*) FROM meta").fetchone()[0] >= 0


def test_rules_can_be_off(world: World) -> None:
    world.rules("this is no TOML")
    agent = start_agent(world.folder, "rules.enabled=false", packages=world.packages)
    world.agents.append(agent)
    wait_until(lambda: world.status()["enabled"] is False, 20, "they are off")
    assert world.post("/api/v1/rules/do/stop") == {"error": "rules are off: rules.enabled = false"}
    assert not (agent.data_dir / STATE_FILE).exists()
