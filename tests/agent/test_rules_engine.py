"""The rule engine: from a condition that holds to what was done, and everything that may hold it back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.errors import PredisError
from agent.incidents.model import Incident
from agent.rules.extension import Outcome
from agent.rules.reading import Defaults
from agent.rules.settings import EngineSettings
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


ACT = """
[[rule]]
name = "grow"
when.threshold = { metric = "predis_memory_used_bytes", of = "predis_memory_max_bytes", value = "90%", clear = "80%" }
then = [{ action = "test.act" }, { action = "test.tell" }]
verify = { cleared = true, within = "60s" }
escalate = [{ action = "test.tell", name = "oncall" }]
cooldown = "10m"
"""


def test_an_action_that_helped_is_verified(tmp_path: Path) -> None:
    world = World(tmp_path, ACT)
    high(world, 10)
    assert world.act.count() == 1
    assert world.state("grow") == "verifying"
    low(world, 20)
    assert world.state("grow") == "resting"
    assert world.notes.kinds() == [
        *("fired", "planned", "acting", "acted", "telling", "told", "verified", "ended"),
    ]
    assert [event.kind for event in world.events] == ["remediation"]
    assert world.events[0].duration == 20.0


def test_what_was_measured_before_the_action_proves_nothing(tmp_path: Path) -> None:
    world = World(tmp_path, ACT)
    high(world, 10)
    low(world, 10)  # within verify.after
    assert world.state("grow") == "verifying"


def test_an_action_that_did_not_help_is_undone_and_escalated(tmp_path: Path) -> None:
    world = World(tmp_path, ACT)
    high(world, 80)
    assert world.act.count("undo") == 1
    assert world.notes.kinds()[6:] == ["not verified", "undoing", "undone", "escalated", "telling", "told", "ended"]
    assert "did not help within 60 s" in world.tell.texts[-1]
    assert world.tell.ran[-1][1] == "person:oncall"


def test_with_hysteresis_a_rule_that_fired_is_over_only_past_its_clear_value(tmp_path: Path) -> None:
    world = World(tmp_path, ACT)
    high(world, 10)
    world.run(50, predis_memory_used_bytes=85.0, predis_memory_max_bytes=100.0)
    assert world.state("grow") == "verifying"
    world.run(10, predis_memory_used_bytes=79.0, predis_memory_max_bytes=100.0)
    assert world.engine.explain("grow")["subjects"][0]["last_result"] == "verified"


def test_an_action_that_fails_is_escalated_and_after_two_failures_waits_for_a_person(tmp_path: Path) -> None:
    world = World(tmp_path, ACT)
    world.act.outcomes = [Outcome(False, "no room"), ValueError("broken")]
    high(world, 3600)
    assert world.act.count() == 2
    assert world.act.count("undo") == 0
    assert "failed 2 times in a row" in world.engine.explain("grow")["subjects"][0]["reason"]
    assert sum("nothing is done" in text for text in world.tell.texts) == 1
    # until a person says so
    world.engine.reset("grow", "ann")
    high(world, 20)
    assert world.act.count() == 3


def test_a_success_in_between_makes_earlier_failures_count_no_more(tmp_path: Path) -> None:
    world = World(tmp_path, ACT)
    for failing in (True, False, True, False):
        world.act.outcomes = [Outcome(not failing, "…")]
        high(world, 10)
        low(world, 700)
    assert world.act.count() == 4


def test_changing_something_is_a_dry_run_unless_the_rule_says_otherwise(tmp_path: Path) -> None:
    world = World(tmp_path, ACT, defaults=Defaults())
    high(world, 100)
    assert world.act.ran == []
    assert "dry run" in world.notes.kinds()
    assert world.tell.texts == [
        "predis_memory_used_bytes / predis_memory_max_bytes is 95.0%, > 90%; would be done (dry run): act on local"
    ]
    assert world.engine.explain("grow")["subjects"][0]["last_result"] == "dry run"


def test_with_approval_nothing_happens_before_a_person_says_so(tmp_path: Path) -> None:
    world = World(tmp_path, ACT + 'approval = "required"\n')
    high(world, 60)
    assert world.act.ran == []
    (waiting,) = world.engine.status()["waiting_for_approval"]
    assert waiting["plan"] == ["act on local"]
    assert waiting["id"] in world.tell.texts[0]
    assert [event.kind for event in world.events] == ["rule_approval"]
    with pytest.raises(PredisError, match="waits for approval; these do: "):
        world.engine.approve("nothing", "ann")
    world.engine.approve(waiting["id"], "ann")
    assert world.act.count() == 1
    assert ("approved", "ann") in [(kind, fields.get("who")) for kind, fields in world.notes.records]
    with pytest.raises(PredisError, match="nothing does"):
        world.engine.approve(waiting["id"], "ann")


def test_what_is_denied_or_not_answered_is_not_done(tmp_path: Path) -> None:
    world = World(tmp_path, ACT + 'approval = "required"\napproval_timeout = "5m"\n')
    high(world, 10)
    world.engine.deny(world.engine.status()["waiting_for_approval"][0]["id"], "ann")
    assert world.state("grow") == "resting"
    high(world, 600)
    assert world.state("grow") == "waiting"
    high(world, 310)
    assert world.state("grow") == "resting"
    assert "approval expired" in world.notes.kinds()
    assert world.act.ran == []


def test_what_waits_for_approval_is_withdrawn_when_the_condition_is_over(tmp_path: Path) -> None:
    world = World(tmp_path, ACT + 'approval = "required"\n')
    high(world, 10)
    low(world, 10)
    assert world.engine.status()["waiting_for_approval"] == []
    assert world.act.ran == []


TENANTS = """
[[rule]]
name = "quota"
when.threshold = { metric = "predis_tenant_memory_bytes", of = "predis_tenant_memory_max_bytes", value = "90%" }
then = [{ action = "test.act", name = "{tenant}" }]
cooldown = "10m"
limit = { share = "50%", actions_per_hour = 3 }
"""


def tenants(world: World, seconds: float, full: str, well: str = "") -> None:
    """Some tenants are full and some are well, for so long."""
    for _ in range(round(seconds / 10)):
        for names, used in ((full, 95.0), (well, 10.0)):
            for name in names:
                world.put("predis_tenant_memory_bytes", used, name)
                world.put("predis_tenant_memory_max_bytes", 100.0, name)
        world.step(10)


def test_each_series_is_a_subject_of_its_own_and_its_labels_fill_the_action(tmp_path: Path) -> None:
    world = World(tmp_path, TENANTS)
    tenants(world, 10, "ab", "cdef")
    assert [target for _, target, _ in world.act.ran] == ["thing:a", "thing:b"]
    assert world.state("quota", "tenant:a") == "resting"


def test_when_too_large_a_share_is_ill_nothing_is_done_to_any(tmp_path: Path) -> None:
    world = World(tmp_path, TENANTS)
    tenants(world, 30, "abc", "de")
    assert world.act.ran == []
    assert "3 of 5 targets are ill" in world.engine.explain("quota")["subjects"][0]["reason"]
    tenants(world, 10, "a", "bcde")
    assert world.act.count() == 1


def test_what_is_being_worked_on_counts_as_ill_though_it_looks_well(tmp_path: Path) -> None:
    text = TENANTS + 'verify = { cleared = true, within = "300s", after = "200s" }\n'
    world = World(tmp_path, text)
    tenants(world, 10, "ab", "cd")
    assert world.act.count() == 2
    tenants(world, 10, "c", "abd")  # a and b are well again, and still being verified
    assert world.act.count() == 2
    assert "3 of 4 targets are ill" in world.engine.explain("quota")["subjects"][2]["reason"]


def test_actions_per_hour_are_limited_for_a_rule_and_for_all(tmp_path: Path) -> None:
    world = World(tmp_path, TENANTS)
    for name in "abcd":
        tenants(world, 10, name, "efghij")
    assert world.act.count() == 3
    assert "actions per hour" in world.engine.explain("quota")["subjects"][-1]["reason"]
    tenants(world, 3600, "d", "efghij")
    assert world.act.ran[3][1] == "thing:d"
    both = World(
        tmp_path,
        TENANTS.replace("actions_per_hour = 3", "actions_per_hour = 99"),
        settings=EngineSettings(max_actions_per_hour=2),
    )
    for name in "abcd":
        tenants(both, 10, name, "efghij")
    assert both.act.count() == 2


def test_two_rules_never_work_on_the_same_target_at_once(tmp_path: Path) -> None:
    again = ACT.replace('"grow"', '"grow-too"')
    world = World(tmp_path, ACT + again)
    high(world, 10)
    assert world.act.count() == 1
    assert "is at work on thing:local" in world.engine.explain("grow-too")["subjects"][0]["reason"]
    low(world, 40)
    assert world.act.count() == 1


def test_in_a_storm_rules_only_tell(tmp_path: Path) -> None:
    told = TENANTS.replace("then = [", 'then = [{ action = "test.tell", name = "{tenant}" }, ').replace(
        '"50%"', '"100%"'
    )
    world = World(tmp_path, told, settings=EngineSettings(max_actions_per_hour=1000, storm_firing=4))
    tenants(world, 10, "abcd")
    assert world.act.ran == []
    assert world.tell.count() == 4
    assert world.notes.kinds().count("storm began") == 1
    # until a whole window was calm
    tenants(world, 300, "a")
    assert world.act.ran == []
    tenants(world, 320, "a")
    assert world.act.count() == 1
    assert world.tell.count() == 4


def test_many_open_incidents_are_a_storm_too(tmp_path: Path) -> None:
    world = World(tmp_path, ACT, settings=EngineSettings(storm_incidents=2))
    world.incidents = tuple(Incident(str(n), 0.0, "…", ()) for n in range(2))
    high(world, 20)
    assert world.act.ran == []
    assert "2 incidents are open" in world.engine.status()["storm"]


def test_the_kill_switch_stops_everything_at_once_and_can_be_taken_back(tmp_path: Path) -> None:
    switch = tmp_path / "rules.stop"
    world = World(tmp_path, ACT, settings=EngineSettings(kill_switch=switch))
    switch.write_text("ann: something is wrong\n")
    high(world, 60)
    assert world.act.ran == world.tell.ran == []
    assert world.engine.status()["stopped"] == "ann: something is wrong"
    assert world.engine.explain("grow")["subjects"][0]["reason"] == "ann: something is wrong"
    world.engine.resume("ann")
    assert not switch.exists()
    high(world, 10)
    assert world.act.count() == 1
    # and what was done is not undone while it is used
    world.engine.stop("bob")
    assert switch.read_text() == "stopped by bob\n"
    high(world, 100)
    assert world.act.count("undo") == 0
    assert world.tell.count() == 1
    assert world.engine.explain("grow")["subjects"][0]["last_result"] == "stopped by the kill switch"
    kinds = world.notes.kinds()
    assert kinds.count("kill switch") == 2
    assert kinds.count("kill switch taken back") == 1


def test_when_nobody_knows_whether_the_condition_holds_a_rule_begins_anew(tmp_path: Path) -> None:
    world = World(tmp_path, HIGH.replace("30s", "60s"))
    high(world, 10)
    world.run(60, predis_keyspace_hits_total=1.0)  # no memory metrics any more
    assert world.state("memory-high") == "idle"
    assert "too little is known of predis_memory_used_bytes" in world.engine.explain("memory-high")["why"]
    high(world, 60)
    assert world.state("memory-high") == "pending"
    assert world.tell.ran == []


def test_an_action_that_cannot_be_planned_is_not_run(tmp_path: Path) -> None:
    world = World(tmp_path, ACT)
    world.act.refuses_to_plan = "there is no such thing"
    high(world, 20)
    assert world.act.ran == []
    assert "cannot be done: ValueError: there is no such thing" in world.tell.texts[-1]


def test_a_wall_clock_that_jumps_shortens_no_cooldown(tmp_path: Path) -> None:
    world = World(tmp_path, HIGH)
    high(world, 40)
    assert world.tell.count() == 1
    world.time += 86400.0
    high(world, 500)
    assert world.tell.count() == 1
    world.time -= 5 * 86400.0
    world.values.clear()
    high(world, 200)
    assert world.tell.count() == 2


def test_a_thousand_subjects_more_than_the_cap_are_left_out(tmp_path: Path) -> None:
    world = World(tmp_path, TENANTS, settings=EngineSettings(max_subjects=10))
    for number in range(500):
        world.put("predis_tenant_memory_bytes", 95.0, f"t{number}")
        world.put("predis_tenant_memory_max_bytes", 100.0, f"t{number}")
    world.step()
    assert len(world.engine.explain("quota")["subjects"]) == 10


def test_other_rules_can_be_used_and_what_is_under_way_of_changed_ones_is_given_up(tmp_path: Path) -> None:
    world = World(tmp_path, ACT)
    high(world, 10)
    assert world.state("grow") == "verifying"
    other = World(tmp_path, HIGH)
    world.engine.use(other.set_.rules, world.settings)
    assert world.engine.names() == ["memory-high"]
    assert world.notes.kinds()[-1] == "abandoned"
    assert world.store.machines() == []


@pytest.mark.parametrize("detail", ["a file \udcff", b"bytes", 5, None, {"a": 1}, ["x"] * 100_000])
def test_whatever_an_action_says_of_itself_the_rules_go_on(tmp_path: Path, detail: Any) -> None:
    world = World(tmp_path, ACT)
    world.act.outcomes = [Outcome(True, detail)]
    high(world, 20)
    low(world, 30)
    assert world.engine.trouble == ""
    assert world.state("grow") == "resting"
    assert world.act.count() == 1
    (said,) = [fields["detail"] for kind, fields in world.notes.records if kind == "acted"]
    assert len(said.encode()) < 10_000


def test_an_action_whose_round_was_not_kept_does_not_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path, ACT)
    low(world, 10)
    put = world.store.put_machine

    def fails(rule: str, subject: str, state: Any) -> None:
        if state is not None and state["current"]:
            raise ValueError("it cannot be written")
        put(rule, subject, state)

    monkeypatch.setattr(world.store, "put_machine", fails)
    with pytest.raises(ValueError, match="cannot be written"):
        high(world, 30)
    monkeypatch.setattr(world.store, "put_machine", put)
    world.engine.settle()
    assert world.act.count() == len([one for one in world.store.since(-1e9) if one.changes])
    high(world, 20)
    assert world.act.count() == 1


def test_what_nothing_depends_on_is_forgotten_while_the_agent_runs(tmp_path: Path) -> None:
    world = World(tmp_path, HIGH)
    high(world, 60)
    assert len(world.store.since(-1e9)) == 1
    low(world, 30)
    world.monotonic += 32 * 86400
    low(world, 20)
    assert world.store.since(-1e9) == []
