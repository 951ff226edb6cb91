"""The rules' part of the agent: what holds the engine up holds up nobody else."""

from __future__ import annotations

import dataclasses
import logging
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agent.config import load_config
from agent.config.models import PluginConfig
from agent.config.scrub import Scrubber
from agent.config.show import MASK
from agent.errors import ConfigError, PredisError
from agent.history.store import HistoryStore
from agent.incidents.audit import records, verify
from agent.incidents.audit_files import all_of
from agent.metrics.catalogue import Catalogue
from agent.metrics.model import Kind, MetricSpec, Sample, Snapshot
from agent.plugin.host import CacheAddress, Host
from agent.plugin.loaded import LoadedPlugin
from agent.rules.actions import EventAction
from agent.rules.service import Parts, Rules
from agent.rules.settings import KILL_SWITCH
from tests.agent.rule_world import Act
from tests.waiting import wait_until

LOAD = MetricSpec("predis_test_load", Kind.gauge, "A load.")
RULE = """
[[rule]]
name = "tell"
when.threshold = { metric = "predis_test_load", value = 50 }
then = [{ action = "event", title = "high" }]
"""


class World:
    def __init__(self, folder: Path) -> None:
        self.folder, self.value, self.looks = folder, 10.0, 0
        (folder / "rules.d").mkdir()
        self.write(RULE)
        (folder / "agent.toml").write_text(
            '[agent]\ndata_dir = "."\ninterval = "100ms"\n[rules]\npacks = false\ndry_run = false\n'
        )
        self.loaded = load_config(folder / "agent.toml", (), {})
        self.catalogue = Catalogue()
        self.catalogue.add("test", (LOAD,))
        address = CacheAddress(folder / "cache.sock", "127.0.0.1", 0, None, folder / "arena")
        self.host = Host(folder, address, "0", logging.getLogger("test"))
        self.rules = Rules(Parts(self.snapshot, HistoryStore(), lambda: (), lambda loaded: self.host, self.catalogue))

    def write(self, text: str) -> None:
        (self.folder / "rules.d" / "own.toml").write_text(text)

    def snapshot(self) -> Snapshot:
        self.looks += 1
        sample = Sample(LOAD.name, self.value)
        return Snapshot(time.time(), {sample.key: sample}, {LOAD.name: LOAD})


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.rules.stop()


def test_an_engine_that_is_held_up_holds_up_neither_status_nor_the_end(world: World) -> None:
    world.rules.begin(world.loaded, [])
    wait_until(lambda: world.rules.status()["last_step_seconds_ago"] is not None, what="a look at the rules")
    engine = world.rules._engine
    assert engine is not None
    held, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        with engine._lock:  # as while the disk hangs in the middle of a commit
            held.set()
            let_go.wait(30)

    threading.Thread(target=hold, daemon=True).start()
    held.wait()
    began = time.monotonic()
    assert world.rules.status()["rules"] == 1
    assert len(list(world.rules.collect())) == 4
    assert time.monotonic() - began < 0.5
    world.rules.stop()
    assert time.monotonic() - began < 8
    let_go.set()


def test_a_look_that_raises_is_counted_and_the_next_one_comes(world: World) -> None:
    world.rules.begin(world.loaded, [])
    wait_until(lambda: world.looks >= 1, what="a look")
    broken = [RuntimeError("no snapshot")]

    def snapshot() -> Snapshot:
        if broken:
            raise broken.pop()
        return world.snapshot()

    object.__setattr__(world.rules._parts, "snapshot", snapshot)
    wait_until(lambda: not broken, what="a look that raises")
    before = world.looks
    wait_until(lambda: world.looks > before, what="the look after that")
    assert world.rules.status()["errors"] == 1


def test_a_reload_that_is_faster_than_the_start_has_the_last_word(world: World) -> None:
    old = world.loaded
    world.write(RULE.replace('"tell"', '"newer"'))
    world.rules.use(world.rules.prepare(old, [], world.catalogue))
    world.write(RULE)
    world.rules.begin(old, [])
    assert [rule["rule"] for rule in world.rules.listed()["rules"]] == ["newer"]


def test_what_a_plugin_adds_badly_is_its_problem_alone(world: World) -> None:
    class Bad(LoadedPlugin):
        def implements(self, hook: str) -> bool:
            return hook == "predis_actions"

        def actions(self) -> list[object]:  # type: ignore[override]
            raise OSError("no socket")

    with pytest.raises(ConfigError, match=r"plugins.bad: cannot say what it adds: OSError: no socket"):
        world.rules.prepare(world.loaded, [Bad("bad", "", "")], world.catalogue)
    world.rules.begin(world.loaded, [Bad("bad", "", "")])
    assert world.rules.status()["rules"] == 1
    assert "no socket" in world.rules.status()["problems"][0]


def test_nothing_can_be_asked_before_the_rules_are_read(world: World) -> None:
    with pytest.raises(Exception, match="the rules are not read yet"):
        world.rules.listed()


def test_the_kill_switch_works_while_a_look_hangs(world: World) -> None:
    world.rules.begin(world.loaded, [])
    wait_until(lambda: world.rules.status()["last_step_seconds_ago"] is not None, what="a look at the rules")
    engine = world.rules._engine
    assert engine is not None
    held, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        with engine._lock:  # as a plugin's condition that hangs
            held.set()
            let_go.wait(30)

    threading.Thread(target=hold, daemon=True).start()
    held.wait()
    stopping = threading.Thread(target=world.rules._running().stop, args=("ann",), daemon=True)
    stopping.start()
    wait_until((world.folder / KILL_SWITCH).exists, 1.5, "the file of the kill switch")
    wait_until(lambda: engine._remedies.killed == "stopped by ann", 1.5, "actions are told")
    stopping.join(10)
    assert not stopping.is_alive()
    with pytest.raises(PredisError, match="busy"):  # nor do those who ask take all threads of the HTTP server
        world.rules.listed()
    let_go.set()
    wait_until(lambda: world.rules.status()["stopped"] == "stopped by ann", what="it is shown")


def test_what_references_in_rules_stand_for_is_in_no_audit_log(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    (world.folder / "key").write_text("very-hidden-key")
    world.write(RULE.replace('title = "high"', 'title = "high ${file:../key}"') + 'description = "x"\n')
    monkeypatch.setattr(EventAction, "changes_state", True)
    monkeypatch.setattr(EventAction, "plan", lambda self, params, task: f"tell {params.title.split()[-1]}")
    learned: list[str] = []
    parts = dataclasses.replace(
        world.rules._parts, learn=learned.extend, scrub=lambda text: Scrubber(learned).text(text)
    )
    world.rules, world.value = Rules(parts), 90.0
    world.rules.begin(world.loaded, [])
    log = world.folder / "audit.jsonl"
    wait_until(lambda: log.exists() and '"ended"' in log.read_text(), what="it acted")
    assert f"tell {MASK}" in log.read_text()
    assert "very-hidden-key" not in log.read_text()


def test_the_audit_log_says_where_it_begins(world: World) -> None:
    """Rules that have done nothing yet have a whole log; one that was taken away begins anew for all to see."""
    world.rules.begin(world.loaded, [])
    wait_until(lambda: world.looks > 0, 10, "the rules run")
    log = world.folder / "audit.jsonl"
    assert [record["kind"] for record in records(log)][:1] == ["audit_begun"]
    assert verify(log).problems == []


def test_limits_of_the_audit_log_and_what_overlaps_are_in_force_after_a_reload(world: World) -> None:
    world.rules.begin(world.loaded, [])
    wait_until(lambda: world.looks > 0, 10, "the rules run")
    settings = (
        'audit_file_size = "64KiB"\naudit_files = 2\nwithin = { "pod:a-*" = "node:a" }\n'
        '[cache.tenants.shop]\nprefix = "shop:"\nmemory = "8MiB"\n'
    )
    with (world.folder / "agent.toml").open("a") as file:
        file.write(settings)
    loaded = load_config(world.folder / "agent.toml", (), {})
    world.rules.use(world.rules.prepare(loaded, [], world.catalogue))
    engine, audit = world.rules._engine, world.rules._audit
    assert engine is not None
    assert audit is not None
    for _ in range(200):
        audit.append("told", {"rule": "tell", "detail": "x" * 1500})
    assert 2 * 60_000 < sum(file.stat().st_size for file in all_of(world.folder / "audit.jsonl")) < 3 * 65_536
    assert verify(world.folder / "audit.jsonl").problems == []
    topology = engine._remedies.ledger.topology
    assert topology.overlap("pod:a-1", "node:a")
    assert topology.overlap("tenant:shop", "prefix:shop:cart:")


def test_what_a_rule_has_begun_goes_on_by_its_old_text_after_a_reload_and_a_restart(world: World) -> None:
    act = Act()
    plugin: Any = SimpleNamespace(
        name="acting",
        config=PluginConfig(),
        implements=lambda hook: hook == "predis_actions",
        actions=lambda: [act],
    )
    rule = (
        RULE.replace('action = "event", title = "high"', 'action = "test.act"')
        + 'verify = { cleared = true, within = "2s", after = "100ms" }\n'
    )
    log = world.folder / "audit.jsonl"

    def kinds() -> list[str]:
        return [record["kind"] for record in records(log)]

    world.write(rule)
    world.value = 90.0
    world.rules.begin(world.loaded, [plugin])
    wait_until(lambda: log.exists() and "acted" in kinds(), what="it acts")
    world.write(rule.replace('"test.act"', '"test.act", name = "other"').replace("50", "95"))
    world.rules.use(world.rules.prepare(world.loaded, [plugin], world.catalogue))
    assert kinds()[-1] == "goes on"
    world.rules.stop()
    world.write(RULE)
    world.rules = Rules(world.rules._parts)
    world.rules.begin(world.loaded, [plugin])
    wait_until(lambda: "escalated" in kinds(), what="it did not help")
    assert [(target, kind) for _, target, kind in act.ran] == [("thing:local", "run"), ("thing:local", "undo")]
    assert kinds().count("goes on") == 1
    assert verify(log).problems == []


@pytest.mark.parametrize(
    ("within", "what"),
    [
        ('{ "pods" = "node:a" }', '"pods" is no target; write KIND:NAME'),
        ('{ "pod:a" = "node" }', '"node" is no target'),
        ('{ "pod:a" = "node:*" }', "is a pattern; name the one target"),
    ],
)
def test_what_lies_within_what_is_checked(world: World, within: str, what: str) -> None:
    with (world.folder / "agent.toml").open("a") as file:
        file.write(f"within = {within}\n")
    with pytest.raises(ConfigError, match=re.escape(what)):
        load_config(world.folder / "agent.toml", (), {})
