"""Rules that are changed or removed while what they began is under way: by a reload, or while the agent is off."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.errors import PredisError
from agent.rules.extension import Outcome
from agent.rules.model import Rule
from agent.rules.runner import ThreadRunner
from tests.agent.rule_world import World
from tests.agent.test_rules_crash import until

GROW = """
[[rule]]
name = "grow"
when.threshold = { metric = "predis_cpu_busy_ratio", value = "90%" }
then = [{ action = "test.act", name = "old" }]
verify = { cleared = true, within = "60s", after = "10s" }
escalate = [{ action = "test.tell" }]
cooldown = "10m"
"""
OTHER = GROW.replace("grow", "other").replace("90%", "100%")
CHANGED = GROW.replace('"old"', '"new"').replace("90%", "94%").replace("10m", "1m")

Change = Callable[[World, str], None]


def reload(world: World, text: str) -> None:
    """The file is changed, and the agent reads it again."""
    world.file.write_text(text)
    world.set_ = world.read()
    world.engine.use(world.set_.rules, world.settings, world.read_again)


def restart(world: World, text: str) -> None:
    """The agent is killed, the file is changed, and another agent starts."""
    world.file.write_text(text)
    world.set_ = world.read()
    world.store.close()
    world.open()


WAYS = pytest.mark.parametrize("change", [reload, restart])


def made(folder: Path, text: str = GROW, **given: Any) -> World:
    """A world whose state outlives a restart."""
    return World(folder, text, store=folder / "rules.sqlite", **given)


def busy(world: World, seconds: float, ratio: float = 0.95) -> None:
    """The CPU is so busy for so long."""
    world.run(seconds, predis_cpu_busy_ratio=ratio)


def noted(world: World, kind: str) -> list[dict[str, Any]]:
    """The records of a kind in the audit log."""
    return [fields for name, fields in world.notes.records if name == kind]


@WAYS
@pytest.mark.parametrize(("text", "why"), [(CHANGED, "its rule was changed"), (OTHER, "its rule was removed")])
def test_what_is_verified_goes_on_by_the_old_text_and_is_undone_and_escalated(
    tmp_path: Path, change: Change, text: str, why: str
) -> None:
    world = made(tmp_path)
    busy(world, 20)
    assert world.state("grow") == "verifying"
    change(world, text)
    # then it is verified by the old text: by the new one 93 % would do
    busy(world, 50, 0.93)
    assert [item["state"] for item in world.engine.status()["under_way"]] == ["verifying"]
    busy(world, 20, 0.93)
    assert [(target, kind) for _, target, kind in world.act.ran] == [("thing:old", "run"), ("thing:old", "undo")]
    assert "did not help within 60 s" in world.tell.texts[0]
    (record,) = noted(world, "goes on")
    assert (record["rule"], record["state"], record["why"]) == ("grow", "verifying", f"{why}: by its old text")
    assert noted(world, "abandoned") == []
    kinds = world.notes.kinds()
    assert kinds.index("goes on") < kinds.index("not verified") < kinds.index("undone") < kinds.index("escalated")
    # and nothing of it is left
    busy(world, 20, 0.93)
    assert world.engine._remedies.kept.superseded == {}
    assert world.engine.status()["under_way"] == [] or text == CHANGED


@WAYS
def test_what_helped_by_the_old_text_is_verified_and_then_the_new_one_counts(tmp_path: Path, change: Change) -> None:
    world = made(tmp_path)
    busy(world, 20)
    change(world, CHANGED)
    busy(world, 20, 0.5)
    assert noted(world, "verified")
    assert world.act.count("undo") == 0
    # it rests as long as the old text says, then the new one acts
    busy(world, 580)
    assert world.act.count() == 1
    busy(world, 60)
    assert [target for _, target, kind in world.act.ran if kind == "run"] == ["thing:old", "thing:new"]
    assert len(noted(world, "goes on")) == 1


@WAYS
@pytest.mark.parametrize(("text", "why"), [(CHANGED, "its rule was changed"), (OTHER, "its rule was removed")])
def test_what_waits_for_approval_is_given_up_and_asked_for_anew_where_there_is_still_a_rule(
    tmp_path: Path, change: Change, text: str, why: str
) -> None:
    approval = 'approval = "required"\n'
    world = made(tmp_path, GROW + approval)
    busy(world, 20)
    (waiting,) = world.engine.status()["waiting_for_approval"]
    change(world, text + approval)
    (record,) = noted(world, "abandoned")
    assert (record["run"], record["state"], record["why"]) == (waiting["id"], "waiting", why)
    with pytest.raises(PredisError, match="waits for approval"):
        world.engine.approve(waiting["id"], "ann")
    busy(world, 20)
    anew = [item["plan"] for item in world.engine.status()["waiting_for_approval"]]
    assert anew == ([["act on new"]] if text == CHANGED else [])
    assert world.act.ran == []
    assert world.events[-1].kind != "remediation", "nothing was changed: nobody needs to look after it"


@WAYS
def test_over_several_changes_and_restarts_it_goes_by_the_text_that_it_began_with(
    tmp_path: Path, change: Change
) -> None:
    world = made(tmp_path)
    busy(world, 20)
    for text in (CHANGED, OTHER, CHANGED.replace("new", "newer")):
        change(world, text)
        restart(world, text)
        busy(world, 10)
    busy(world, 40)
    assert [(target, kind) for _, target, kind in world.act.ran] == [("thing:old", "run"), ("thing:old", "undo")]
    assert len(noted(world, "goes on")) == 1


def test_a_rule_that_is_as_it_was_again_is_the_one_in_force(tmp_path: Path) -> None:
    world = made(tmp_path)
    busy(world, 20)
    reload(world, CHANGED)
    reload(world, GROW)
    (subject,) = world.engine.explain("grow")["subjects"]
    assert subject["superseded"] is False
    assert world.engine._remedies.kept.superseded == {}


def test_an_action_that_runs_meanwhile_is_waited_for_and_its_remedy_goes_on(tmp_path: Path) -> None:
    world = made(tmp_path, runner=ThreadRunner())
    world.act.gate = threading.Event()
    world.act.outcomes = [Outcome(False, "no", {"was": 1})]
    busy(world, 10)
    until(world, world.act.began.is_set, "the action runs")
    reload(world, OTHER)
    assert noted(world, "goes on")[0]["state"] == "acting"
    world.act.gate.set()
    until(world, lambda: world.act.count("undo") == 1 and len(world.tell.texts) == 1, "it is undone and escalated")
    assert world.engine.status()["blocked_targets"] == []


def test_what_was_under_way_when_the_agent_died_is_asked_though_its_rule_is_gone(tmp_path: Path) -> None:
    world = made(tmp_path, runner=ThreadRunner())
    world.act.gate = threading.Event()
    busy(world, 10)
    until(world, world.act.began.is_set, "the action runs")
    (intent,) = [intent.id for intent in world.store.unfinished()]
    world.act.known[intent] = Outcome(True, "was done", {"was": 7})
    restart(world, OTHER)
    until(world, lambda: world.act.count("asked") == 1, "it is asked")
    world.act.gate.set()
    busy(world, 80)
    until(world, lambda: world.act.count("undo") == 1, "it did not help, and is undone")


def test_nothing_begins_anew_by_an_old_text(tmp_path: Path) -> None:
    """Its plan is outdated: of a rule that is in force another remedy would begin."""
    world = made(tmp_path, runner=ThreadRunner())
    world.act.world = {"size": 1}
    gate, began = threading.Event(), threading.Event()
    run = world.act.run

    def late(params: Any, task: Any) -> Outcome:
        began.set()
        gate.wait(30)
        return run(params, task)

    world.act.run = late  # type: ignore[method-assign]
    busy(world, 10)
    until(world, began.is_set, "the action runs")
    reload(world, OTHER)
    busy(world, 10)
    world.act.world = {"size": 2}
    gate.set()
    until(world, lambda: bool(noted(world, "plan outdated")), "it sees that its plan is outdated")
    assert len(noted(world, "planned")) == 1
    busy(world, 30)
    assert world.act.ran == []
    assert [record["state"] for record in noted(world, "abandoned")] == ["held"]
    assert world.engine.status()["under_way"] == []


@WAYS
def test_where_the_old_text_cannot_be_used_any_more_a_person_is_told(tmp_path: Path, change: Change) -> None:
    world = made(tmp_path)
    busy(world, 20)

    def cannot(text: str) -> Rule:
        raise PredisError("there is no action test.act")

    world.read_again = cannot  # type: ignore[method-assign]
    change(world, OTHER)
    world.step()
    (record,) = noted(world, "abandoned")
    assert "its rule was removed, and the old text cannot be used: PredisError: there is no action" in record["why"]
    (event,) = [event for event in world.events if event.kind == "remediation"]
    assert (event.severity, event.title) == ("error", "Rule grow does not end what it began")
    assert "neither verified nor undone" in event.text
    assert world.act.count("undo") == 0


def test_where_rules_are_switched_off_all_is_given_up(tmp_path: Path) -> None:
    world = made(tmp_path)
    busy(world, 20)
    world.engine.use([], world.settings)
    assert [record["why"] for record in noted(world, "abandoned")] == ["rules are off"]


def test_old_texts_are_kept_no_longer_than_something_goes_by_them(tmp_path: Path) -> None:
    world = made(tmp_path)
    busy(world, 20)
    (rule,) = world.set_.rules
    assert world.store.text(*rule.key) == rule.text
    reload(world, CHANGED)
    restart(world, CHANGED)
    assert world.store.text(*rule.key) == rule.text
    busy(world, 20, 0.5)
    reload(world, OTHER)
    restart(world, OTHER)
    assert world.store.text(*rule.key) is None


def test_a_text_is_read_again_as_it_was_read_with_the_defaults_of_then(tmp_path: Path) -> None:
    world = made(tmp_path)
    world.defaults = replace(world.defaults, dry_run=True, share=0.25, actions_per_hour=3, approval_timeout=7.0)
    (rule,) = world.read().rules
    again = world.read_again(rule.text)
    assert (again.version, again.text, again.where) == (rule.version, rule.text, rule.where)
    assert (again.dry_run, again.limit, again.approval_timeout) == (True, rule.limit, 7.0)
    assert again.limit.share == 0.25
