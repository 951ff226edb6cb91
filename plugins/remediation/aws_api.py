"""How the actions speak to EC2 Auto Scaling: https://docs.aws.amazon.com/autoscaling/ec2/APIReference/."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from agent.api import PredisError
from plugins.remediation.config import Aws

GroupName = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^:\x00-\x1f]+$")]


class AwsError(PredisError):
    """AWS says no: `code` is its word for why, such as "ValidationError"."""

    def __init__(self, code: str, what: str) -> None:
        self.code = code
        super().__init__(what)


class AutoScaling:
    """Auto Scaling where the SDK finds it. Raises AwsError for what AWS refuses, else PredisError."""

    def __init__(self, config: Aws) -> None:
        self._config = config

    def group(self, name: str) -> dict[str, Any]:
        """The Auto Scaling group of this name."""
        found = self.call("describe_auto_scaling_groups", AutoScalingGroupNames=[name])["AutoScalingGroups"]
        if not found:
            raise PredisError(f"there is no Auto Scaling group {name} in this account and region")
        return dict(found[0])

    def call(self, method: str, **given: Any) -> dict[str, Any]:
        """One call of boto3's client."""
        try:
            import boto3
            from botocore.config import Config
            from botocore.exceptions import BotoCoreError, ClientError
        except ImportError:
            raise PredisError("boto3 is not installed: pip install 'predis-agent[cloudwatch]'") from None
        config = self._config
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
            return dict(getattr(client, method)(**given))
        except ClientError as error:
            said = error.response.get("Error", {})
            code = said.get("Code", "")
            raise AwsError(code, f"AWS refuses {method}: {code}: {said.get('Message')}") from None
        except (BotoCoreError, ValueError) as error:
            raise PredisError(f"AWS cannot be asked: {error}; see [plugins.remediation] aws, or AWS_REGION") from None


def target_of(group: str) -> str:
    """An Auto Scaling group as a target of rules."""
    return f"autoscaling:{group}"
