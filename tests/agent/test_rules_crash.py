"""Actions that hang, agents that die, disks that are full: nothing is done twice, nothing is forgotten."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from agent.errors import PredisError
from agent.incidents import audit
from agent.rules.extension import Outcome
from agent.rules.runner import ThreadRunner
from agent.rules.settings import EngineSettings
from agent.rules.store import RuleStore
from tests.agent.rule_world import World
from tests.servers import ROOT
from tests.waiting import wait_until

ACT = """
[[rule]]
name = "grow"
when.threshold = { metric = "predis_cpu_busy_ratio", value = "90%" }
then = [{ action = "test.act", deadline = "30s" }]
escalate = [{ action = "test.tell" }]
cooldown = "1m"
"""
TWO_STEPS = ACT.replace("then = [", 'then = [{ action = "test.act", name = "first" }, ')


class Gone(BaseException):
    """The process dies here."""


class DyingRunner(ThreadRunner):
    """Runs actions at once; the process dies before or after one of them."""

    def __init__(self, number: int, where: str) -> None:
        super().__init__()
        self.left, self.where = number, where

    def start(self, name: str, work: object) -> None:
        if name.startswith("plan"):
            work()  # type: ignore[operator]
            return
        self.left -= 1
        if self.left == 0 and self.where == "before":
            raise Gone
        work()  # type: ignore[operator]
        if self.left == 0:
            raise Gone


def until(world: World, predicate: Callable[[], bool], what: str) -> None:
    """The engine goes on, until it is so."""

    def so() -> bool:
        world.engine.settle()
        return predicate()

    wait_until(so, what=what)


def busy(world: World, seconds: float) -> None:
    """The CPU is busy for so long."""
    world.run(seconds, predis_cpu_busy_ratio=0.95)


def restart(world: World, *, off: float | None = None) -> None:
    """The agent dies and another one starts, ten seconds later; with `off`, the machine was off for so long."""
    world.store.close()
    world.time += 10.0 if off is None else off
    world.monotonic += 10.0
    if off is not None:
        world.monotonic, world.boot = 50_000.0, f"{world.boot} and another"  # the agent was started late on that one
    world.open()


def test_a_hanging_action_is_given_up_and_its_target_left_alone_until_its_thread_ends(tmp_path: Path) -> None:
    world = World(tmp_path, ACT, runner=ThreadRunner())
    world.act.gate = threading.Event()
    busy(world, 10)
    until(world, lambda: world.act.began.is_set(), "the action runs")
    busy(world, 20)
    assert world.state("grow") == "acting"
    busy(world, 20)
    # then it is told, a person is told, and nothing else is done to its target
    until(world, world.act.saw_cancelled.is_set, "it sees that nobody waits for it")
    busy(world, 40)
    until(world, lambda: world.state("grow") == "resting", "it is escalated")
    assert world.engine.status()["blocked_targets"] == ["thing:local"]
    assert "did not end within 30 s" in world.tell.texts[0]
    busy(world, 200)
    assert world.act.count() == 1
    assert "may still be at work on thing:local" in world.engine.explain("grow")["subjects"][0]["reason"]
    # what it does later is only logged
    world.act.gate.set()
    until(world, lambda: world.engine.status()["blocked_targets"] == [], "it ends")
    assert ("late", "done") in [(kind, fields.get("outcome")) for kind, fields in world.notes.records]
    busy(world, 100)
    until(world, lambda: world.act.count() == 2, "it may act again")


def test_the_kill_switch_tells_a_running_action(tmp_path: Path) -> None:
    world = World(tmp_path, ACT, runner=ThreadRunner(), settings=EngineSettings(kill_switch=tmp_path / "stop"))
    world.act.gate = threading.Event()
    busy(world, 10)
    until(world, lambda: world.act.began.is_set(), "the action runs")
    (tmp_path / "stop").write_text("")
    world.engine.settle()
    until(world, world.act.saw_cancelled.is_set, "it is told")
    world.act.gate.set()
    until(world, lambda: world.state("grow") != "acting", "it ends")
    assert world.tell.ran == []


@pytest.mark.parametrize("where", ["before", "after"])
@pytest.mark.parametrize("knows", [True, False])
def test_after_a_crash_an_action_is_asked_and_never_blindly_repeated(tmp_path: Path, where: str, knows: bool) -> None:
    world = World(tmp_path, ACT, runner=DyingRunner(1, where), store=tmp_path / "rules.sqlite")
    with pytest.raises(Gone):
        busy(world, 10)
    done = world.act.count()
    assert done == (where == "after")
    world.runner = ThreadRunner()
    if where == "after":  # its outcome was not written down either
        sqlite3.connect(tmp_path / "rules.sqlite").execute("update intents set outcome = null").connection.commit()
    intent = world.store.unfinished()[0].id
    if knows:
        world.act.known[intent] = Outcome(True, "was done", {"was": 2})
    restart(world)
    until(world, lambda: world.act.count("asked") == 1, "it is asked")
    world.step()
    until(world, lambda: world.state("grow") == "resting", "it goes on")
    assert world.act.count() == done
    result = world.engine.explain("grow")["subjects"][0]["last_result"]
    assert result == "done" if knows else "whether it was done is not known" in result
    assert len(world.tell.texts) == (0 if knows else 1)


def test_an_outcome_that_was_written_down_needs_no_asking(tmp_path: Path) -> None:
    world = World(tmp_path, TWO_STEPS, runner=DyingRunner(1, "after"), store=tmp_path / "rules.sqlite")
    with pytest.raises(Gone):
        busy(world, 10)
    world.runner = ThreadRunner()
    restart(world)
    world.step()
    until(world, lambda: world.state("grow") == "resting", "it goes on")
    assert [(target, kind) for _, target, kind in world.act.ran] == [("thing:first", "run"), ("thing:local", "run")]


def test_a_cooldown_outlives_a_restart_and_so_do_failures_and_what_hangs(tmp_path: Path) -> None:
    world = World(tmp_path, ACT.replace("1m", "1h"), store=tmp_path / "rules.sqlite")
    world.act.outcomes = [Outcome(False, "…")]
    busy(world, 10)
    restart(world)
    busy(world, 3000)
    assert world.act.count() == 1
    restart(world)
    world.act.outcomes = [Outcome(False, "…")]
    busy(world, 600)
    assert world.act.count() == 2
    restart(world)
    busy(world, 8000)
    assert world.act.count() == 2


@pytest.mark.parametrize("jump", [0.0, -90_000.0, 90_000.0, 20 * 365 * 86400.0])
def test_whatever_the_wall_clock_says_a_cooldown_lasts_as_long_as_it_does_over_a_restart(
    tmp_path: Path, jump: float
) -> None:
    world = World(tmp_path, ACT.replace("1m", "1h"), store=tmp_path / "rules.sqlite")
    busy(world, 10)
    world.values.clear()
    world.time += jump
    restart(world)  # ten seconds
    busy(world, 3580)
    assert world.act.count() == 1
    busy(world, 20)
    assert world.act.count() == 2


@pytest.mark.parametrize("jump", [0.0, -90_000.0, 20 * 365 * 86400.0])
def test_what_the_machine_is_off_does_not_count_for_a_cooldown_and_it_ends_all_the_same(
    tmp_path: Path, jump: float
) -> None:
    # given a machine that boots again and again, with whatever its clock says then
    world = World(tmp_path, ACT.replace("1m", "1h"), store=tmp_path / "rules.sqlite")
    busy(world, 10)
    for _ in range(2):
        busy(world, 1500)
        world.values.clear()
        restart(world, off=7200.0 + jump)
    # then only the time in which it was up counts, of which a minute may be lost at each boot
    busy(world, 600 - 20)
    assert world.act.count() == 1
    busy(world, 20 + 2 * 70)
    assert world.act.count() == 2


def test_an_approval_is_not_kept_fresh_by_a_machine_that_is_off(tmp_path: Path) -> None:
    world = World(tmp_path, ACT + 'approval = "required"\n', store=tmp_path / "rules.sqlite")
    busy(world, 10)
    (waiting,) = world.engine.status()["waiting_for_approval"]
    world.put("predis_cpu_busy_ratio", 0.95)
    stop = tmp_path / "stop"
    stop.write_text("")
    world.settings = replace(world.settings, kill_switch=stop)  # so that it is approved and cannot begin
    restart(world)
    busy(world, 10)
    world.engine.approve(waiting["id"], "ann")
    stop.unlink()
    restart(world, off=7200.0)
    busy(world, 10)
    assert world.act.count() == 0
    assert "could not be done while the approval counted" in world.tell.texts[-1]


def test_what_waits_for_approval_waits_on_after_a_restart(tmp_path: Path) -> None:
    world = World(tmp_path, ACT + 'approval = "required"\n', store=tmp_path / "rules.sqlite")
    busy(world, 10)
    (waiting,) = world.engine.status()["waiting_for_approval"]
    restart(world)
    world.step()
    world.engine.approve(waiting["id"], "ann")
    assert world.act.count() == 1


def test_without_a_place_to_write_intents_down_nothing_is_done(tmp_path: Path) -> None:
    world = World(tmp_path, ACT, store=tmp_path / "rules.sqlite")
    other = sqlite3.connect(tmp_path / "rules.sqlite", isolation_level=None)
    world.store._db.execute("pragma busy_timeout = 1")
    other.execute("begin immediate")
    busy(world, 30)
    assert world.act.ran == []
    assert "cannot be kept" in world.engine.status()["trouble"]
    other.execute("rollback")
    busy(world, 10)
    assert world.act.count() == 1
    assert world.engine.status()["trouble"] == ""


def test_a_state_file_of_another_format_is_refused_with_the_mend(tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "rules.sqlite").execute("pragma user_version = 99").connection.close()
    with pytest.raises(PredisError, match="another version of the agent"):
        RuleStore(tmp_path / "rules.sqlite")
    (tmp_path / "broken.sqlite").write_bytes(b"no database at all" * 1000)
    with pytest.raises(PredisError, match=r"cannot be used.*move it away to start anew"):
        RuleStore(tmp_path / "broken.sqlite")


def test_killed_by_the_kernel_in_the_middle_of_an_action_it_is_not_repeated(tmp_path: Path) -> None:
    """A real process, a real SIGKILL, durable writes: four rounds."""
    for round_ in range(4):
        folder = tmp_path / str(round_)
        folder.mkdir()
        command = [sys.executable, "-m", "tests.agent.rules_victim", str(folder)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as victim:
            assert victim.stdout is not None
            line = victim.stdout.readline()
            assert line.startswith("acting "), line
            os.kill(victim.pid, signal.SIGKILL)
        # the next agent asks and does not repeat
        done = subprocess.run([*command, "again"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
        assert done.stdout.splitlines() == [f"asked {line.split()[1]}", "not known", "told"]
        assert (folder / "acts").read_text().count("\n") == 1
        found = audit.verify(folder / "audit.jsonl")
        assert found.problems == []
