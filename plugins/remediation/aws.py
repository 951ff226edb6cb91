"""scale.aws: the desired capacity of an Auto Scaling group.

https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_SetDesiredCapacity.html. The interface has no precondition:
that nobody has changed the capacity is looked at just before.
"""

from __future__ import annotations

from pydantic import Field

from agent.api import PredisError, Task
from plugins.remediation.action import Dial, Effects
from plugins.remediation.amount import CountParams
from plugins.remediation.aws_api import AutoScaling, GroupName, target_of


class AwsParams(CountParams):
    """scale.aws. honor_cooldown: AWS refuses while the group's own cooldown lasts."""

    group: GroupName = Field(examples=["workers"])
    honor_cooldown: bool = False


class ScaleAws(Dial[int]):
    """Changes the desired capacity, within the limits of the rule and of the group."""

    name = "scale.aws"
    help = "Scales an Auto Scaling group of AWS, within limits."
    Params = AwsParams
    deadline = 60.0

    def __init__(self, aws: AutoScaling) -> None:
        self._aws = aws

    def target(self, params: AwsParams) -> str:
        return target_of(params.group)

    def what(self, params: AwsParams) -> str:
        return f"the desired capacity of {self.target(params)}"

    def read(self, params: AwsParams, task: Task) -> int:
        return int(self._aws.group(params.group)["DesiredCapacity"])

    def decide(self, params: AwsParams, old: int, task: Task) -> int:
        return params.from_(old)

    def foresee(self, params: AwsParams, old: int, new: int, task: Task) -> Effects:
        group = self._aws.group(params.group)
        if not group["MinSize"] <= new <= group["MaxSize"]:
            raise PredisError(
                f"the group {params.group} takes a capacity from {group['MinSize']} to {group['MaxSize']}, not {new}"
            )
        if group.get("Status"):
            raise PredisError(f"the group {params.group} is being deleted")
        process = "Launch" if new > old else "Terminate"
        if process in {suspended["ProcessName"] for suspended in group["SuspendedProcesses"]}:
            raise PredisError(f"the process {process} of the group {params.group} is suspended: resume it first")
        return Effects()

    def set(self, params: AwsParams, old: int, new: int, task: Task) -> str:
        if (now := self.read(params, task)) != old:
            raise PredisError(f"{self.what(params)} is {now} and not {old} any more: somebody else has changed it")
        self._aws.call(
            "set_desired_capacity",
            AutoScalingGroupName=params.group,
            DesiredCapacity=new,
            HonorCooldown=params.honor_cooldown,
        )
        return ""
