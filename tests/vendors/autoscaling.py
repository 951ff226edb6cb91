"""A strict fake of EC2 Auto Scaling's instance refreshes, which moto has not: `python -m tests.vendors.autoscaling`.

What is checked against botocore's model of the service, in the query protocol: the operation and its parameters (known,
needed, of their types and lengths), and the fake's own answers, which moto writes and botocore's client reads. The
signature is looked at for its form and the key, not computed. What follows is from AWS's documents, not from AWS:
- https://docs.aws.amazon.com/autoscaling/ec2/userguide/instance-refresh-rollback.html and …/APIReference/
  API_RollbackInstanceRefresh.html: what is rolled back is in progress; without a desired configuration, or with a
  launch template of version $Latest or $Default or with an AMI from a parameter of Systems Manager in the group, it
  is IrreversibleInstanceRefresh; with none in progress ActiveInstanceRefreshNotFound;
- …/API_InstanceRefresh.html: the states. Here one begins after 10 s, has replaced the instances after 600 s, bakes for
  its BakeTime and is then successful, when the group gets the desired configuration; in the group `failing` it fails
  after 300 s. A rollback takes as long as what it takes back did, a cancellation 30 s. The clock is the test's;
- …/API_DescribeInstanceRefreshes.html: pages of 50, or MaxRecords up to 100. What runs comes last here;
- one at a time: InstanceRefreshInProgress. A group that is not there is a ValidationError.
The key AKIDREADONLY may only describe (AccessDenied).
"""

import argparse
import re
import threading
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from botocore.serialize import create_serializer
from botocore.validate import ParamValidator
from moto.core.model import OperationModel
from moto.core.parse import QueryParser
from moto.core.serialize import QuerySerializer
from moto.core.utils import get_service_model

from tests.vendors.control import run
from tests.vendors.wire import Refusal, Reply, Request, content_type

AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>\w+)/\d{8}/[a-z0-9-]+/autoscaling/aws4_request, ?"
    r"SignedHeaders=[a-z0-9;-]+, ?Signature=[0-9a-f]{64}"
)
BEGINS, REPLACED, FAILS, CANCELLED = 10.0, 600.0, 300.0, 30.0
IN_PROGRESS = ("Pending", "InProgress", "Baking")


def _template(version: str, name: str = "web") -> dict[str, str]:
    return {"LaunchTemplateId": f"lt-{name}", "LaunchTemplateName": name, "Version": version}


def _mixed(version: str) -> dict[str, Any]:
    overrides = [{"InstanceType": "c7g.large", "LaunchTemplateSpecification": _template(version, "arm")}]
    return {"LaunchTemplate": {"LaunchTemplateSpecification": _template("8"), "Overrides": overrides}}


GROUPS: dict[str, dict[str, Any]] = {
    "web": {"LaunchTemplate": _template("8")},
    "failing": {"LaunchTemplate": _template("8")},
    "latest": {"LaunchTemplate": _template("$Latest")},
    "mixed": {"MixedInstancesPolicy": _mixed("3")},
    "mixed-default": {"MixedInstancesPolicy": _mixed("$Default")},
    "legacy": {"LaunchConfigurationName": "lc-1"},
    "parameter": {"LaunchTemplate": _template("2", "ssm")},
    "leaving": {"LaunchTemplate": _template("8"), "Status": "Delete in progress"},
}
"""What the groups have. The AMI of the launch template `ssm` is a parameter of Systems Manager."""


class AutoScaling:
    """One account in one region."""

    def __init__(self) -> None:
        self._model = get_service_model("autoscaling")
        self._lock = threading.Lock()
        self._groups = {name: dict(given) for name, given in GROUPS.items()}
        self._refreshes: list[dict[str, Any]] = []

    def answer(self, request: Request) -> Reply:
        if request.method != "POST" or request.path != "/" or not content_type(request).endswith("urlencoded"):
            raise Refusal(404, "UnknownOperation", "this speaks the query form")
        signed = AUTHORIZATION.fullmatch(request.headers.get("Authorization") or "")
        if signed is None:
            raise Refusal(403, "signature", "Authorization is no AWS4-HMAC-SHA256 for the service autoscaling")
        operation, given = self._called(request.body.decode())
        if signed["key"] == "AKIDREADONLY" and not operation.name.startswith("Describe"):
            what = f"is not authorized to perform: autoscaling:{operation.name}"
            return self.error(request, 403, f"User: arn:aws:iam::123456789012:user/reader {what}", "AccessDenied")
        handler = getattr(self, f"_{operation.name}", None)
        if handler is None:
            raise Refusal(404, "UnknownOperation", f"this fake has no {operation.name}")
        with self._lock:
            self._pass_time(request.now)
            try:
                result = handler(given, request.now)
            except _Fault as fault:
                return self.error(request, fault.status, str(fault), fault.code)
        if report := ParamValidator().validate(result, operation.output_shape).generate_report():
            raise AssertionError(f"the fake's answer to {operation.name} is none: {report}")
        body = QuerySerializer(operation).serialize(result)["body"]
        return Reply(200, body.encode() if isinstance(body, str) else body, "text/xml")

    def error(self, request: Request, status: int, text: str, code: str = "") -> Reply:
        kind = "Sender" if status < 500 else "Receiver"
        error = f"<Type>{kind}</Type><Code>{code or 'InternalFailure'}</Code><Message>{escape(text)}</Message>"
        body = f"<ErrorResponse><Error>{error}</Error><RequestId>{uuid.uuid4()}</RequestId></ErrorResponse>"
        return Reply(status, body.encode(), "text/xml")

    def partial(self, reply: Reply, rejected: int) -> Reply:
        raise NotImplementedError("an operation is done or refused as a whole")

    def close(self) -> None:
        """Nothing was started."""

    def _called(self, body: str) -> tuple[OperationModel, dict[str, Any]]:
        flat = dict(parse_qsl(body, keep_blank_values=True, strict_parsing=True))
        if flat.get("Version") != self._model.api_version or flat.get("Action") not in self._model.operation_names:
            raise Refusal(404, "UnknownOperation", f"{flat.get('Action')} of {flat.get('Version')} is not known")
        operation = self._model.operation_model(flat["Action"])
        given = QueryParser(operation).parse({"values": flat})
        if report := ParamValidator().validate(given, operation.input_shape).generate_report():
            raise Refusal(400, "ValidationError", report)
        known = create_serializer("query").serialize_to_request(given, operation)["body"]
        if odd := flat.keys() - known.keys():
            raise Refusal(400, "ValidationError", f"{operation.name} has no {sorted(odd)}")
        return operation, given

    def _pass_time(self, now: float) -> None:
        for one in self._refreshes:
            age, bake = now - one["began"], one["shown"].get("Preferences", {}).get("BakeTime", 0)
            shown = one["shown"]
            if shown["Status"] in IN_PROGRESS:
                done = min(100, max(0, int(100 * (age - BEGINS) / (REPLACED - BEGINS))))
                shown |= {"PercentageComplete": done, "InstancesToUpdate": round(4 * (100 - done) / 100)}
                if one["group"] == "failing" and age >= FAILS:
                    self._end(one, "Failed", one["began"] + FAILS)
                    shown["StatusReason"] = "The health check failed"
                elif age >= REPLACED + bake:
                    self._end(one, "Successful", one["began"] + REPLACED + bake)
                    for key in ("LaunchTemplate", "MixedInstancesPolicy", "LaunchConfigurationName"):
                        if shown.get("DesiredConfiguration"):
                            self._groups[one["group"]].pop(key, None)
                    self._groups[one["group"]] |= shown.get("DesiredConfiguration", {})
                elif age >= BEGINS:
                    shown["Status"] = "Baking" if age >= REPLACED else "InProgress"
                    shown["StartTime"] = _time(one["began"] + BEGINS)
            elif shown["Status"] == "RollbackInProgress" and now >= one["until"]:
                self._end(one, "RollbackSuccessful", one["until"])
            elif shown["Status"] == "Cancelling" and now >= one["until"]:
                self._end(one, "Cancelled", one["until"])

    @staticmethod
    def _end(one: dict[str, Any], status: str, at: float) -> None:
        one["shown"] |= {"Status": status, "EndTime": _time(at)}
        one["shown"].setdefault("StartTime", _time(one["began"]))

    def _DescribeAutoScalingGroups(self, given: Mapping[str, Any], now: float) -> dict[str, Any]:
        names = given.get("AutoScalingGroupNames") or list(self._groups)
        common = {"MinSize": 1, "MaxSize": 8, "DesiredCapacity": 4, "DefaultCooldown": 300, "HealthCheckType": "EC2"}
        common |= {"AvailabilityZones": ["eu-west-1a"], "CreatedTime": _time(0), "SuspendedProcesses": []}
        shown = [
            {"AutoScalingGroupName": name, **common, **self._groups[name]} for name in names if name in self._groups
        ]
        return {"AutoScalingGroups": shown}

    def _StartInstanceRefresh(self, given: Mapping[str, Any], now: float) -> dict[str, Any]:
        name = self._group(given)
        if self._active(name) is not None:
            raise _Fault(
                "InstanceRefreshInProgress", "An Instance Refresh is already in progress and blocks the execution"
            )
        shown: dict[str, Any] = {
            "InstanceRefreshId": str(uuid.uuid4()),
            "AutoScalingGroupName": name,
            "Status": "Pending",
        }
        shown |= {key: given[key] for key in ("DesiredConfiguration", "Preferences") if key in given}
        self._refreshes.append({"group": name, "began": now, "shown": shown})
        return {"InstanceRefreshId": shown["InstanceRefreshId"]}

    def _DescribeInstanceRefreshes(self, given: Mapping[str, Any], now: float) -> dict[str, Any]:
        name, most = self._group(given), int(given.get("MaxRecords", 50))
        if most > 100:
            raise _Fault("ValidationError", "MaxRecords is greater than 100")
        wanted = given.get("InstanceRefreshIds")
        found = [one["shown"] for one in self._refreshes if one["group"] == name]
        found = sorted(found, key=lambda shown: (shown["Status"] in IN_PROGRESS, str(shown["InstanceRefreshId"])))
        found = [shown for shown in found if not wanted or shown["InstanceRefreshId"] in wanted]
        begin = int(given.get("NextToken", "0"))
        more = {"NextToken": str(begin + most)} if begin + most < len(found) else {}
        return {"InstanceRefreshes": found[begin : begin + most], **more}

    def _RollbackInstanceRefresh(self, given: Mapping[str, Any], now: float) -> dict[str, Any]:
        name = self._group(given)
        one = self._active(name)
        if one is None or one["shown"]["Status"] not in IN_PROGRESS:
            raise _Fault("ActiveInstanceRefreshNotFound", f"No in progress instance refresh found for {name}")
        versions = re.findall(r"'LaunchTemplateName': '(\w+)', 'Version': '([^']+)'", str(self._groups[name]))
        if not one["shown"].get("DesiredConfiguration") or any(v[0] == "$" or t == "ssm" for t, v in versions):
            raise _Fault("IrreversibleInstanceRefresh", "The instance refresh cannot be rolled back")
        details = {"RollbackReason": "Manually initiated", "RollbackStartTime": _time(now)}
        details["PercentageCompleteOnRollback"] = one["shown"].get("PercentageComplete", 0)
        one["shown"] |= {"Status": "RollbackInProgress", "RollbackDetails": details}
        one["until"] = now + max(BEGINS, min(now - one["began"], REPLACED))
        return {"InstanceRefreshId": one["shown"]["InstanceRefreshId"]}

    def _CancelInstanceRefresh(self, given: Mapping[str, Any], now: float) -> dict[str, Any]:
        name = self._group(given)
        one = self._active(name)
        if one is None or one["shown"]["Status"] == "Cancelling":
            raise _Fault("ActiveInstanceRefreshNotFound", f"No in progress instance refresh found for {name}")
        one["shown"]["Status"], one["until"] = "Cancelling", now + CANCELLED
        return {"InstanceRefreshId": one["shown"]["InstanceRefreshId"]}

    def _group(self, given: Mapping[str, Any]) -> str:
        name = str(given["AutoScalingGroupName"])
        if name not in self._groups:
            raise _Fault("ValidationError", f"AutoScalingGroup name not found - AutoScalingGroup '{name}' not found")
        return name

    def _active(self, name: str) -> dict[str, Any] | None:
        states = (*IN_PROGRESS, "RollbackInProgress", "Cancelling")
        return next((one for one in self._refreshes if one["group"] == name and one["shown"]["Status"] in states), None)


class _Fault(Exception):
    """A fault of the service's model, which no rule is broken by: `code` is AWS's."""

    def __init__(self, code: str, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.code, self.status = code, status


def _time(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)


def _make(options: argparse.Namespace) -> AutoScaling:
    return AutoScaling()


if __name__ == "__main__":
    run(_make, __doc__)
