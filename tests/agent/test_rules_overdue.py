"""An action that is past its deadline is taken back once its thread has ended, never before, and not for ever."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from agent.rules import course
from agent.rules.extension import Outcome
from agent.rules.runner import ThreadRunner
from agent.rules.settings import EngineSettings
from tests.agent.rule_world import World
from tests.agent.test_rules_crash import restart, until

GROW = """
[[rule]]
name = "grow"
when.threshold = { metric = "predis_cpu_busy_ratio", value = "90%" }
then = [{ action = "test.act", name = "first" }, { action = "test.act", deadline = "30s" }]
escalate = [{ action = "test.tell" }]
cooldown = "10m"
"""


class Overdue:
    """A world in which the second action of a rule hangs until `let_go`."""

    def __init__(self, folder: Path, text: str = GROW, **given: Any) -> None:
        self.world = World(folder, text, runner=ThreadRunner(), **given)
        self.gate, self.began = threading.Event(), threading.Event()
        self.left: Outcome | Exception = Outcome(True, "at last", {"was": 2})
        self.undone: list[tuple[str, Any]] = []
        self._ran = self.world.act.run
        self.world.act.way_back = {"was": 1}
        self.world.act.run = self._run  # type: ignore[method-assign]
        self.world.act.undo = self._undo  # type: ignore[assignment,method-assign]
        self.busy(10)
        self.until(self.began.is_set, "the second action runs")
        self.busy(40)
        self.until(lambda: self.world.state("grow") == "undoing", "it is overdue")

    def busy(self, seconds: float) -> None:
        """The CPU is busy for so long."""
        self.world.run(seconds, predis_cpu_busy_ratio=0.95)

    def until(self, predicate: Any, what: str) -> None:
        """The engine goes on, until it is so."""
        until(self.world, predicate, what)

    def rests(self) -> None:
        """The engine goes on, until the remedy is over."""
        self.until(lambda: self.world.state("grow") == "resting", "it is over")

    def _run(self, params: Any, task: Any) -> Outcome:
        if params.name == "first":
            return Outcome(True, "acted", {"was": 0})
        self._ran(params, task)
        self.began.set()
        self.gate.wait(30)
        if isinstance(self.left, Exception):
            raise self.left
        return self.left

    def _undo(self, params: Any, undo: Any, task: Any) -> Outcome:
        self.undone.append((params.name, undo))
        return Outcome(True, "as before")


FIRST = ("first", {"was": 0})


@pytest.mark.parametrize(
    ("left", "back"),
    [
        (Outcome(True, "at last", {"was": 2}), [("local", {"was": 2})]),
        (Outcome(False, "half", {"was": 3}), [("local", {"was": 3})]),
        (RuntimeError("broke off"), [("local", {"was": 1})]),
        (Outcome(False, "nothing was changed"), []),
    ],
)
def test_what_ends_late_is_taken_back_with_what_it_left(tmp_path: Path, left: Any, back: list[Any]) -> None:
    overdue = Overdue(tmp_path)
    overdue.left = left
    # while it may be at work nothing is taken back, not even what was done before it
    overdue.busy(20)
    assert overdue.world.state("grow") == "undoing"
    assert overdue.undone == []
    assert overdue.world.tell.texts == []
    overdue.gate.set()
    overdue.rests()
    assert overdue.undone == [*back, FIRST]
    assert "did not end within 30 s" in overdue.world.tell.texts[0]
    kinds = overdue.world.notes.kinds()
    assert kinds.index("overdue") < kinds.index("late") < kinds.index("undone") < kinds.index("escalated")
    assert overdue.world.engine.status()["blocked_targets"] == []


def test_what_does_not_end_is_not_taken_back_and_a_person_is_told(tmp_path: Path) -> None:
    overdue = Overdue(tmp_path)
    overdue.busy(40)
    overdue.rests()
    assert overdue.undone == [FIRST]  # another target
    (told,) = overdue.world.tell.texts
    assert "test.act was not undone: it did not end within 30 s more either, and may still be at work" in told
    assert overdue.world.engine.status()["blocked_targets"] == ["thing:local"]
    # nor is it taken back when it ends after all: a person has it in hand
    overdue.gate.set()
    overdue.until(lambda: overdue.world.engine.status()["blocked_targets"] == [], "it ends")
    overdue.busy(10)
    assert overdue.undone == [FIRST]


def test_an_action_that_may_take_long_is_not_waited_for_as_long_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(course, "MOST_PATIENCE", 15.0)
    overdue = Overdue(tmp_path)
    overdue.busy(20)
    overdue.rests()
    assert "did not end within 15 s more" in overdue.world.tell.texts[0]
    overdue.gate.set()


def test_a_rule_that_undoes_nothing_waits_for_nothing(tmp_path: Path) -> None:
    world = World(tmp_path, GROW + "undo = false\n", runner=ThreadRunner())
    world.act.gate = threading.Event()
    world.run(50, predis_cpu_busy_ratio=0.95)
    world.act.gate.set()
    until(world, lambda: world.state("grow") == "resting", "it is over")
    assert world.act.count("undo") == 0


def test_the_wait_outlives_a_restart_and_the_action_is_asked(tmp_path: Path) -> None:
    overdue = Overdue(tmp_path, store=tmp_path / "rules.sqlite")
    world = overdue.world
    (hangs,) = [intent.id for intent in world.store.unfinished() if intent.blocks]
    world.act.known[hangs] = Outcome(True, "was done", {"was": 7})
    restart(world)
    world.step()
    overdue.rests()
    assert overdue.undone == [("local", {"was": 7}), FIRST]
    assert world.act.count() == 1
    overdue.gate.set()


def test_when_nobody_can_tell_after_a_restart_it_is_waited_for_no_longer_than_else(tmp_path: Path) -> None:
    overdue = Overdue(tmp_path, store=tmp_path / "rules.sqlite")
    restart(overdue.world)
    overdue.world.step()
    overdue.until(lambda: overdue.world.act.count("asked") == 1, "it is asked")
    overdue.busy(40)
    overdue.rests()
    assert overdue.undone == [FIRST]
    assert "test.act was not undone" in overdue.world.tell.texts[0]
    overdue.gate.set()


def test_a_person_who_vouches_for_what_hangs_need_not_wait(tmp_path: Path) -> None:
    overdue = Overdue(tmp_path)
    overdue.world.engine.reset("grow", "ann")
    overdue.rests()
    assert overdue.undone == [("local", {"was": 1}), FIRST]  # as planned
    overdue.gate.set()
    overdue.until(lambda: "late" in overdue.world.notes.kinds(), "it ends")
    overdue.busy(10)
    assert len(overdue.undone) == 2


def test_the_kill_switch_ends_the_wait_and_nothing_is_taken_back(tmp_path: Path) -> None:
    overdue = Overdue(tmp_path, settings=EngineSettings(kill_switch=tmp_path / "stop"))
    (tmp_path / "stop").write_text("")
    overdue.world.engine.settle()
    overdue.gate.set()
    overdue.until(lambda: "late" in overdue.world.notes.kinds(), "it ends")
    overdue.busy(10)
    assert overdue.undone == []
