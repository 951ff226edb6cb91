"""rollback.aws against a fake of instance refreshes, which moto has not; botocore's model of the service is checked."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from pydantic import ValidationError

from agent.api import Host, Outcome, Plan, PlanOutdated, PredisError
from tests.plugins.aws_credentials import use_nobodys
from tests.plugins.remediation import Used, action_of, host_in
from tests.servers import free_port
from tests.vendors.faults import Step
from tests.vendors.running import Vendor, start_vendor
from tests.waiting import wait_until


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    use_nobodys(monkeypatch)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return host_in(tmp_path)


@pytest.fixture
def aws(tmp_path: Path) -> Iterator[Vendor]:
    with start_vendor("autoscaling", tmp_path) as vendor:
        yield vendor
        assert vendor.violations(altered=True) == []


def rollback(host: Host, aws: Vendor, **keys: Any) -> Used:
    return Used(action_of("rollback.aws", {"aws": {"endpoint": aws.url}}), host, **{"group": "web", **keys})


def client(aws: Vendor) -> Any:
    """As whoever releases something."""
    return boto3.client("autoscaling", endpoint_url=aws.url)


def begin(aws: Vendor, version: str = "9", group: str = "web", **preferences: Any) -> str:
    """Releases this version of the launch template `web`."""
    template = {"LaunchTemplateName": "web", "Version": version}
    begun = client(aws).start_instance_refresh(
        AutoScalingGroupName=group, DesiredConfiguration={"LaunchTemplate": template}, Preferences=preferences
    )
    return str(begun["InstanceRefreshId"])


def status(aws: Vendor, refresh: str, group: str = "web") -> str:
    found = client(aws).describe_instance_refreshes(AutoScalingGroupName=group, InstanceRefreshIds=[refresh])
    return str(found["InstanceRefreshes"][0]["Status"])


def calls(aws: Vendor) -> int:
    return len(aws.requests())


def test_a_refresh_in_progress_is_rolled_back(host: Host, aws: Vendor) -> None:
    refresh = begin(aws)
    aws.clock(offset=305)
    used = rollback(host, aws)
    assert used.action.target(used.params) == "autoscaling:web"
    plan = used.plan()
    assert isinstance(plan, Plan)
    assert plan == (
        f"would roll autoscaling:web back from web version 9 to web version 8: instance refresh {refresh} is "
        "InProgress, 50 % complete"
    )
    # the interface has no dry run, and a plan changes nothing
    assert plan.undo is None
    assert status(aws, refresh) == "InProgress"
    outcome = used.run_as(plan)
    assert outcome.done
    assert outcome.undo is None
    assert f"AWS rolls autoscaling:web back from web version 9 to web version 8: instance refresh {refresh}" in (
        outcome.detail
    )
    assert status(aws, refresh) == "RollbackInProgress"
    with pytest.raises(PredisError, match=r"rollback\.aws cannot be taken back"):
        used.undo(Outcome(True, "", {}))
    # when it has ended, then it is known still, and the group has what it had
    aws.clock(offset=1000)
    assert used.done_before() == Outcome(True, f"the instance refresh {refresh} is RollbackSuccessful")
    (group,) = client(aws).describe_auto_scaling_groups(AutoScalingGroupNames=["web"])["AutoScalingGroups"]
    assert group["LaunchTemplate"]["Version"] == "8"


def test_it_is_rolled_back_once_under_one_intent(host: Host, aws: Vendor) -> None:
    refresh = begin(aws)
    used = rollback(host, aws)
    assert used.was_done() is False
    assert used.run().done
    assert used.was_done()
    assert used.run().detail == f"the instance refresh {refresh} is RollbackInProgress"
    # and not the next one, either
    aws.clock(offset=1000)
    following = begin(aws, "10")
    assert used.run().detail == f"the instance refresh {refresh} is RollbackSuccessful"
    assert status(aws, following) == "Pending"


def test_an_answer_that_was_lost_is_known_afterwards(host: Host, aws: Vendor) -> None:
    # given an answer to the very change that gets lost, after the group and its refreshes were looked at
    begin(aws)
    used = rollback(host, aws)
    aws.script([Step("none", times=2), Step("lost_answer")])
    with pytest.raises(PredisError, match="AWS cannot be asked"):
        used.run()
    assert used.was_done()
    # and one that never arrived
    again = rollback(host, aws, group="failing")
    refresh = begin(aws, group="failing")
    aws.script([Step("none", times=2), Step("reset_before")])
    with pytest.raises(PredisError, match="AWS cannot be asked"):
        again.run("rule-1/0002")
    assert again.done_before("rule-1/0002") == Outcome(False, f"the instance refresh {refresh} is Pending")
    assert again.run("rule-1/0002").done


def test_one_that_bakes_is_rolled_back_and_one_that_has_ended_is_not(host: Host, aws: Vendor) -> None:
    refresh = begin(aws, BakeTime=3600)
    aws.clock(offset=700)
    assert "is Baking, 100 % complete" in rollback(host, aws).plan()
    aws.clock(offset=5000)
    with pytest.raises(PredisError, match=f"no instance refresh in progress.* {refresh} is Successful; begin one with"):
        rollback(host, aws).plan()
    # given several: what is told of is the last
    for offset in (7000, 9000, 11000):
        cancelled = begin(aws)
        client(aws).cancel_instance_refresh(AutoScalingGroupName="web")
        aws.clock(offset=offset)
        with pytest.raises(PredisError, match=f"the instance refresh {cancelled} is Cancelled"):
            rollback(host, aws).plan()
    failed = begin(aws, group="failing")
    aws.clock(offset=13000)
    why = rf"AWS rolls back no other: the instance refresh {failed} is Failed \(The health check failed\)"
    with pytest.raises(PredisError, match=why):
        rollback(host, aws, group="failing").plan()


def test_one_that_ended_otherwise_is_not_done(host: Host, aws: Vendor) -> None:
    refresh = begin(aws)
    used = rollback(host, aws)
    aws.script([Step("none", times=2), Step("reset_before")])
    with pytest.raises(PredisError):
        used.run()
    client(aws).cancel_instance_refresh(AutoScalingGroupName="web")
    assert used.done_before() == Outcome(False, f"the instance refresh {refresh} is Cancelling")
    with pytest.raises(PredisError, match=f"autoscaling:web cannot be rolled back: .* {refresh} is Cancelling"):
        used.run()


def test_what_was_approved_is_rolled_back_or_nothing(host: Host, aws: Vendor) -> None:
    begin(aws)
    used = rollback(host, aws)
    plan = used.plan()
    aws.clock(offset=1000)
    following = begin(aws, "10")
    with pytest.raises(PlanOutdated, match=f"the rollback of autoscaling:web: refresh is '{following}', and was"):
        used.run_as(plan)
    assert status(aws, following) == "Pending"


def test_one_that_slips_in_between_is_told_of(host: Host, aws: Vendor) -> None:
    # given an agent that has just looked, while one refresh ends and somebody begins another
    begin(aws)
    used, said = rollback(host, aws), []
    aws.script([Step("none"), Step("slow_answer", delay=60)])
    before = calls(aws)

    def go() -> None:
        with pytest.raises(PredisError) as caught:
            used.run()
        said.append(str(caught.value))

    thread = threading.Thread(target=go)
    thread.start()
    wait_until(lambda: calls(aws) == before + 2, 20, "the second request of the agent")
    aws.clock(offset=1000)
    following = begin(aws, "10")
    aws.script([])
    thread.join(20)
    assert said
    assert f"AWS rolls back the instance refresh {following} of autoscaling:web and not" in said[0]
    assert used.was_done() is False


def test_refreshes_are_looked_for_on_all_pages(host: Host, aws: Vendor) -> None:
    # given 130 that have ended
    for number in range(130):
        begin(aws)
        aws.clock(offset=1000.0 * (number + 1))
    refresh = begin(aws, "10")
    assert f"instance refresh {refresh} is Pending, 0 % complete" in rollback(host, aws).plan()


def test_a_mixed_group_shows_all_its_templates(host: Host, aws: Vendor) -> None:
    begin(aws, group="mixed")
    assert "back from web version 9 to web version 8, arm version 3:" in rollback(host, aws, group="mixed").plan()
    begin(aws, group="legacy")
    assert "to the launch configuration lc-1:" in rollback(host, aws, group="legacy").plan()


@pytest.mark.parametrize(
    ("group", "why"),
    [
        ("nobody", "there is no Auto Scaling group nobody"),
        ("leaving", "the group leaving is being deleted"),
        ("web", "autoscaling:web has had no instance refresh in the last six weeks"),
    ],
)
def test_a_plan_finds_what_aws_would_refuse(host: Host, aws: Vendor, group: str, why: str) -> None:
    with pytest.raises(PredisError, match=why):
        rollback(host, aws, group=group).plan()


@pytest.mark.parametrize(
    ("group", "why"),
    [("latest", r"has version \$Latest of its launch template"), ("mixed-default", r"has version \$Default of its")],
)
def test_a_version_without_a_number_is_none_to_go_back_to(host: Host, aws: Vendor, group: str, why: str) -> None:
    begin(aws, group=group)
    with pytest.raises(PredisError, match=why):
        rollback(host, aws, group=group).plan()
    # and AWS would have refused it
    with pytest.raises(client(aws).exceptions.IrreversibleInstanceRefreshFault):
        client(aws).rollback_instance_refresh(AutoScalingGroupName=group)


def test_one_without_a_desired_configuration_has_no_way_back(host: Host, aws: Vendor) -> None:
    refresh = client(aws).start_instance_refresh(AutoScalingGroupName="web")["InstanceRefreshId"]
    with pytest.raises(PredisError, match=f"{refresh} of autoscaling:web was begun without a desired configuration"):
        rollback(host, aws).plan()


def test_what_only_aws_can_see_is_said_when_it_refuses(host: Host, aws: Vendor) -> None:
    refresh = begin(aws, group="parameter")
    used = rollback(host, aws, group="parameter")
    with pytest.raises(PredisError, match=r"IrreversibleInstanceRefresh: .*from a parameter of Systems Manager"):
        used.run()
    assert used.done_before() == Outcome(False, f"the instance refresh {refresh} is Pending")


def test_a_key_that_may_not_is_said(host: Host, aws: Vendor, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(aws)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDREADONLY")
    why = "AccessDenied: .*not authorized to perform: autoscaling:RollbackInstanceRefresh"
    with pytest.raises(PredisError, match=why):
        rollback(host, aws).run()


def test_nobody_there(host: Host, aws: Vendor) -> None:
    nowhere = action_of("rollback.aws", {"aws": {"endpoint": f"http://127.0.0.1:{free_port()}"}})
    with pytest.raises(PredisError, match="AWS cannot be asked"):
        Used(nowhere, host, group="web").plan()


@pytest.mark.parametrize("keys", [{}, {"group": ""}, {"group": "a:b"}, {"group": "web", "to": 1}])
def test_keys_that_make_no_sense_are_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        action_of("rollback.aws").Params.model_validate(keys)
