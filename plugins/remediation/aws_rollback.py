"""rollback.aws: an instance refresh of an Auto Scaling group that is in progress, back to what the group had before.

https://docs.aws.amazon.com/autoscaling/ec2/userguide/instance-refresh-rollback.html: one that has ended cannot be
rolled back, nor one without a desired configuration, nor a group whose launch template has the version $Latest or
$Default or takes its AMI from a parameter of Systems Manager. The interface has neither a dry run nor a precondition:
which refresh is in progress is looked at just before, and which one was rolled back is looked at afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import Field

from agent.api import Outcome, Plan, PredisError, Task
from plugins.remediation.action import NOT_BEGUN, Action, Params, hold_to
from plugins.remediation.aws_api import AutoScaling, AwsError, GroupName, target_of
from plugins.remediation.notes import Notes

_IN_PROGRESS = ("Pending", "InProgress", "Baking")
_IRREVERSIBLE = (
    "AWS does not roll back an instance refresh without a desired configuration, nor one of a group whose launch "
    "template has the version $Latest or $Default or takes its AMI from a parameter of Systems Manager"
)


class RollbackAwsParams(Params):
    """rollback.aws"""

    group: GroupName = Field(examples=["workers"])


class RollbackAws(Action):
    """Starts the rollback; AWS replaces the instances in its own time."""

    name = "rollback.aws"
    help = "Rolls back the instance refresh of an Auto Scaling group of AWS that is in progress."
    Params = RollbackAwsParams
    deadline = 60.0

    def __init__(self, aws: AutoScaling) -> None:
        self._aws = aws

    def target(self, params: RollbackAwsParams) -> str:
        return target_of(params.group)

    def plan(self, params: RollbackAwsParams, task: Task) -> str:
        refresh, text, facts = self._intended(params)
        percent = refresh.get("PercentageComplete", 0)
        state = f"instance refresh {refresh['InstanceRefreshId']} is {refresh['Status']}, {percent} % complete"
        return Plan(f"would roll {text}: {state}", facts)

    def run(self, params: RollbackAwsParams, task: Task) -> Outcome:
        done = self.done_before(params, task)
        if done is not None and done.done:
            return done
        _, text, facts = self._intended(params)
        hold_to(task, facts, f"the rollback of {self.target(params)}")
        Notes(task.host.data_dir).write(task.intent, facts)
        try:
            rolled = self._aws.call("rollback_instance_refresh", AutoScalingGroupName=params.group)
        except AwsError as error:
            if error.code.startswith("IrreversibleInstanceRefresh"):
                raise PredisError(f"{error}; {_IRREVERSIBLE}") from None
            raise
        if (other := rolled.get("InstanceRefreshId")) != facts["refresh"]:
            raise PredisError(
                f"AWS rolls back the instance refresh {other} of {self.target(params)} and not {facts['refresh']}, "
                "which has ended meanwhile: somebody else has begun another"
            )
        return Outcome(True, f"AWS rolls {text}: instance refresh {other}, whose instances are replaced from now on")

    def done_before(self, params: RollbackAwsParams, task: Task) -> Outcome | None:
        noted = Notes(task.host.data_dir).read(task.intent)
        if noted is None:
            return NOT_BEGUN
        refresh = next(iter(self._refreshes(params, InstanceRefreshIds=[noted["refresh"]])), None)
        if refresh is None:
            return None
        rolled_back = refresh["Status"] in ("RollbackInProgress", "RollbackSuccessful")
        return Outcome(rolled_back, _state_of(refresh))

    def _intended(self, params: RollbackAwsParams) -> tuple[dict[str, Any], str, dict[str, Any]]:
        """The refresh to roll back, from what to what as a part of a sentence, and the facts of that."""
        target, group = self.target(params), self._aws.group(params.group)
        if group.get("Status"):
            raise PredisError(f"the group {params.group} is being deleted")
        refresh = self._in_progress(params)
        wanted = refresh.get("DesiredConfiguration") or {}
        if not _templates(wanted):
            raise PredisError(
                f"the instance refresh {refresh['InstanceRefreshId']} of {target} was begun without a desired "
                "configuration, so AWS does not know where to go back to: begin one with the former configuration"
            )
        for template in _templates(group):
            if (version := template.get("Version", "$Default")).startswith("$"):
                raise PredisError(
                    f"the group {params.group} has version {version} of its launch template, which AWS does not roll "
                    "back to: give the group a version by its number, before a release"
                )
        old, new = _shown(wanted), _shown(group)
        facts = {"refresh": refresh["InstanceRefreshId"], "old": old, "new": new}
        return refresh, f"{target} back from {old} to {new}", facts

    def _in_progress(self, params: RollbackAwsParams) -> dict[str, Any]:
        target, refreshes = self.target(params), self._refreshes(params)
        if not refreshes:
            raise PredisError(f"{target} has had no instance refresh in the last six weeks")
        found = next((one for one in refreshes if one["Status"] in _IN_PROGRESS), None)
        if found is not None:
            return found
        busy = next((one for one in refreshes if one["Status"] in ("RollbackInProgress", "Cancelling")), None)
        if busy is not None:
            raise PredisError(f"{target} cannot be rolled back: {_state_of(busy)}")
        # One that has not begun has no time, and one that has ended has one.
        last = max(refreshes, key=lambda one: one.get("StartTime", datetime.min.replace(tzinfo=UTC)))
        raise PredisError(
            f"{target} has no instance refresh in progress, and AWS rolls back no other: {_state_of(last)}; begin one "
            "with the former configuration"
        )

    def _refreshes(self, params: RollbackAwsParams, **more: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while True:
            page = self._aws.call("describe_instance_refreshes", AutoScalingGroupName=params.group, **more)
            found += page["InstanceRefreshes"]
            if not (token := page.get("NextToken")):
                return found
            more["NextToken"] = token


def _state_of(refresh: Mapping[str, Any]) -> str:
    reason = f" ({refresh['StatusReason']})" if refresh.get("StatusReason") else ""
    return f"the instance refresh {refresh['InstanceRefreshId']} is {refresh['Status']}{reason}"


def _templates(configuration: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The launch templates of a group, or of a desired configuration, the one for all instances first."""
    if configuration.get("LaunchTemplate"):
        return [configuration["LaunchTemplate"]]
    mixed = (configuration.get("MixedInstancesPolicy") or {}).get("LaunchTemplate") or {}
    specifications = [mixed, *(mixed.get("Overrides") or ())]
    return [one["LaunchTemplateSpecification"] for one in specifications if one.get("LaunchTemplateSpecification")]


def _shown(configuration: Mapping[str, Any]) -> str:
    templates = _templates(configuration)
    if not templates:
        return f"the launch configuration {configuration.get('LaunchConfigurationName')}"
    shown = [
        f"{one.get('LaunchTemplateName') or one.get('LaunchTemplateId')} version {one.get('Version', '$Default')}"
        for one in templates
    ]
    return ", ".join(dict.fromkeys(shown))
