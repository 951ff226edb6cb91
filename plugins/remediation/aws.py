"""scale.aws: the desired capacity of an Auto Scaling group.

https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_SetDesiredCapacity.html. The interface has no precondition:
that nobody has changed the capacity is looked at just before.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from agent.api import PredisError, Task
from plugins.remediation.action import Dial, Effects
from plugins.remediation.amount import CountParams
from plugins.remediation.config import Aws


class AwsParams(CountParams):
    """scale.aws. honor_cooldown: AWS refuses while the group's own cooldown lasts."""

    group: str = Field(min_length=1, max_length=255, pattern=r"^[^:\x00-\x1f]+$", examples=["workers"])
    honor_cooldown: bool = False


class ScaleAws(Dial[int]):
    """Changes the desired capacity, within the limits of the rule and of the group."""

    name = "scale.aws"
    help = "Scales an Auto Scaling group of AWS, within limits."
    Params = AwsParams
    deadline = 60.0

    def __init__(self, config: Aws) -> None:
        self._config = config

    def target(self, params: AwsParams) -> str:
        return f"autoscaling:{params.group}"

    def what(self, params: AwsParams) -> str:
        return f"the desired capacity of {self.target(params)}"

    def read(self, params: AwsParams, task: Task) -> int:
        return int(self._group(params)["DesiredCapacity"])

    def decide(self, params: AwsParams, old: int, task: Task) -> int:
        return params.from_(old)

    def check(self, params: AwsParams, old: int, new: int, task: Task) -> Effects:
        group = self._group(params)
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
        self._call("set_desired_capacity", params, DesiredCapacity=new, HonorCooldown=params.honor_cooldown)
        return ""

    def _group(self, params: AwsParams) -> dict[str, Any]:
        found = self._call("describe_auto_scaling_groups", params)["AutoScalingGroups"]
        if not found:
            raise PredisError(f"there is no Auto Scaling group {params.group} in this account and region")
        return dict(found[0])

    def _call(self, method: str, params: AwsParams, **given: Any) -> dict[str, Any]:
        try:
            import boto3
            from botocore.config import Config
            from botocore.exceptions import BotoCoreError, ClientError
        except ImportError:
            raise PredisError("boto3 is not installed: pip install 'predis-agent[cloudwatch]'") from None
        config = self._config
        group: dict[str, Any] = (
            {"AutoScalingGroupNames": [params.group]}
            if method.startswith("describe")
            else {"AutoScalingGroupName": params.group}
        )
        try:
            client = boto3.session.Session(region_name=config.region or None).client(
                "autoscaling",
                endpoint_url=config.endpoint or None,
                verify=None if config.ca_file is None else str(config.ca_file),
                # Sent once: after a timeout nobody knows whether it was done, and the next look tells.
                config=Config(
                    retries={"total_max_attempts": 1}, connect_timeout=config.timeout, read_timeout=config.timeout
                ),
            )
            return dict(getattr(client, method)(**group, **given))
        except ClientError as error:
            said = error.response.get("Error", {})
            raise PredisError(f"AWS refuses {method}: {said.get('Code')}: {said.get('Message')}") from None
        except (BotoCoreError, ValueError) as error:
            raise PredisError(f"AWS cannot be asked: {error}; see [plugins.remediation] aws, or AWS_REGION") from None
