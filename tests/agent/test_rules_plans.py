"""What runs is what was planned, and where a person approves, what that one was shown: or nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.rules.extension import Outcome
from agent.rules.runner import ThreadRunner
from tests.agent.rule_world import Act, World
from tests.agent.test_rules_crash import DyingRunner, Gone, restart, until

GROW = """
[[rule]]
name = "grow"
when.threshold = { metric = "predis_cpu_busy_ratio", value = "90%" }
then = [{ action = "test.act" }, { action = "test.tell" }]
cooldown = "10m"
limit = { actions_per_hour = 5 }
"""
ASK = GROW + 'approval = "required"\n'


def busy(world: World, seconds: float) -> None:
    """The CPU is busy for so long."""
    world.run(seconds, predis_cpu_busy_ratio=0.95)


def waiting(world: World) -> dict[str, Any]:
    """The only thing that waits for approval."""
    (found,) = world.engine.status()["waiting_for_approval"]
    return dict(found)


def test_the_facts_that_were_approved_are_those_that_run(tmp_path: Path) -> None:
    world = World(tmp_path, ASK)
    world.act.world = {"old": 1, "new": 2}
    busy(world, 10)
    world.engine.approve(waiting(world)["id"], "ann")
    assert world.act.count() == 1
    assert [fields["plan"] for kind, fields in world.notes.records if kind == "acting"] == ["act on local"]


def test_a_plan_that_does_not_fit_any_more_is_not_run_and_a_person_is_asked_anew(tmp_path: Path) -> None:
    # given a plan that a person looks at while the state that it rests on changes
    world = World(tmp_path, ASK)
    world.act.world = {"old": 1, "new": 2}
    busy(world, 10)
    first = waiting(world)
    world.act.world, world.act.says = {"old": 5, "new": 6}, "go on with"
    # when it is approved
    world.engine.approve(first["id"], "ann")
    # then nothing is done, the log says why, and there is another request, by another name, with the plan as of now
    assert world.act.ran == []
    (outdated,) = [fields for kind, fields in world.notes.records if kind == "plan outdated"]
    assert outdated["plan"] == ["act on local"]
    assert "it is {'old': 5, 'new': 6} and not {'old': 1, 'new': 2}" in outdated["detail"]
    second = waiting(world)
    assert second["id"] == outdated["anew"] != first["id"]
    assert second["plan"] == ["go on with local"]
    assert second["id"] in world.tell.texts[-1]
    # the old approval is worth nothing, the new one is, and nothing rests for what was not done
    busy(world, 30)
    assert world.act.ran == []
    world.engine.approve(second["id"], "ann")
    assert world.act.count() == 1


def test_an_approved_plan_that_is_only_a_text_must_say_the_same_just_before(tmp_path: Path) -> None:
    world = World(tmp_path, ASK)
    busy(world, 10)
    world.act.says = "act twice on"
    world.engine.approve(waiting(world)["id"], "ann")
    assert world.act.ran == []
    assert waiting(world)["plan"] == ["act twice on local"]
    world.engine.approve(waiting(world)["id"], "ann")
    assert world.act.count() == 1


def test_without_approval_it_is_planned_anew_and_only_so_often(tmp_path: Path) -> None:
    # given a world that is another one at each look
    class Restless(Act):
        def plan(self, params: Any, task: Any) -> Any:
            assert self.world is not None
            self.world["old"] += 1
            found = super().plan(params, task)
            self.world["old"] += self.steps
            return found

        steps = 1

    restless = Restless("test.restless")
    restless.world = {"old": 0}
    world = World(tmp_path, GROW.replace("test.act", "test.restless"), actions=(restless,))
    busy(world, 100)
    # then it is never run, and the limit of the hour ends the attempts
    assert restless.ran == []
    assert world.notes.kinds().count("plan outdated") == 5
    assert "5 actions per hour" in world.engine.explain("grow")["subjects"][0]["reason"]
    restless.steps = 0
    busy(world, 3600)
    assert restless.count() == 1


def test_when_an_earlier_step_was_done_an_outdated_plan_is_a_failure(tmp_path: Path) -> None:
    text = GROW.replace("then = [", 'then = [{ action = "test.first" }, ')
    first = Act("test.first")
    world = World(tmp_path, text, actions=(first,))
    world.act.world = {"old": 1}

    def moves(params: Any, task: Any) -> Outcome:
        world.act.world = {"old": 2}
        return Outcome(True, "moved", {"was": 1})

    first.run = moves  # type: ignore[method-assign]
    busy(world, 10)
    assert world.act.ran == []
    assert first.count("undo") == 1
    assert "its plan is outdated" in world.engine.explain("grow")["subjects"][0]["last_result"]


def test_the_plan_and_its_facts_outlive_a_restart(tmp_path: Path) -> None:
    world = World(tmp_path, ASK, store=tmp_path / "rules.sqlite")
    world.act.world = {"old": 1}
    busy(world, 10)
    restart(world)
    world.step()
    world.act.world = {"old": 7}
    world.engine.approve(waiting(world)["id"], "ann")
    assert world.act.ran == []
    restart(world)
    world.step()
    world.engine.approve(waiting(world)["id"], "ann")
    assert world.act.count() == 1


@pytest.mark.parametrize("broken", [RuntimeError("broke off"), Outcome(False, "half", {"was": 3})])
def test_what_fails_after_it_has_changed_something_is_taken_back(tmp_path: Path, broken: Outcome | Exception) -> None:
    world = World(tmp_path, GROW)
    undone: list[Any] = []
    world.act.way_back = {"was": 3}
    world.act.undo = lambda params, undo, task: undone.append(undo) or Outcome(True, "back")  # type: ignore[assignment,func-returns-value,method-assign]
    world.act.outcomes = [broken]
    busy(world, 10)
    assert undone == [{"was": 3}]
    assert ("undone", "back") in [(kind, fields.get("detail")) for kind, fields in world.notes.records]


def test_what_says_that_nothing_is_left_to_take_back_is_not_taken_back(tmp_path: Path) -> None:
    world = World(tmp_path, GROW)
    world.act.way_back = {"was": 3}
    world.act.outcomes = [Outcome(False, "not begun")]
    busy(world, 10)
    assert world.act.count("undo") == 0


def test_the_way_back_is_on_the_disk_before_the_action_begins(tmp_path: Path) -> None:
    # given an agent that dies while an action is at work that cannot tell afterwards whether it was done
    world = World(tmp_path, GROW, runner=DyingRunner(1, "before"), store=tmp_path / "rules.sqlite")
    world.act.way_back = {"was": 3}
    with pytest.raises(Gone):
        busy(world, 10)
    assert world.store.unfinished()[0].undo == {"was": 3}
    world.runner = ThreadRunner()
    restart(world)
    until(world, lambda: world.act.count("asked") == 1, "it is asked")
    world.step()
    # then the next agent goes the way back
    until(world, lambda: world.act.count("undo") == 1, "it is taken back")
