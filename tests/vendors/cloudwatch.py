"""A strict proxy before moto's CloudWatch: `python -m tests.vendors.cloudwatch --port 5000`.

moto takes 1,001 metrics, 151 values and 31 dimensions; this checks what AWS publishes before moto sees a request:
- PutMetricData: 1,000 metrics, 1 MB (read strictly: 10^6 bytes, sent and also decompressed), gzip, 150 unique
  values with as many counts, 30 dimensions, -2^360 to 2^360, no NaN nor infinity, timestamps from two weeks ago to
  two hours ahead:
  https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricData.html
- a value, values or statistics, not several of them; units; resolution 1 or 60; names of 255 characters:
  https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_MetricDatum.html
- dimensions in ASCII without control characters, names of 255 that begin with no colon, values of 1,024, neither blank:
  https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_Dimension.html
- Signature Version 4 for the service `monitoring`: that it is there and young, not that it is right, as moto does:
  https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv4-create-signed-request.html
- the protocols that botocore speaks: AWS JSON 1.0 (1.44) and the query form (older ones).

moto keeps all data for good, so only the first metrics are handed on to it; all are in the book.
"""

import argparse
import json
import re
import threading
import time
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlencode
from xml.sax.saxutils import escape

import urllib3
from moto.server import ThreadedMotoServer

from tests.vendors.book import Point, Violation
from tests.vendors.cloudwatch_rules import check_alarm, check_dashboard, check_metrics
from tests.vendors.control import run
from tests.vendors.wire import Refusal, Reply, Request, clip, content_type, strict_json, unpacked

WIRE = RAW = 1_000_000
TO_MOTO = 20_000
SIGNATURE_AGE = 900.0
JSON = "application/x-amz-json-1.0"
FORM = "application/x-www-form-urlencoded"
AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=[\w+/=-]+/\d{8}/[a-z0-9-]+/monitoring/aws4_request, ?"
    r"SignedHeaders=(?P<headers>[a-z0-9;-]+), ?Signature=[0-9a-f]{64}"
)
CODES = {
    400: "InvalidParameterValue",
    403: "SignatureDoesNotMatch",
    404: "UnknownOperation",
    413: "RequestEntityTooLarge",
    429: "ThrottlingException",
    500: "InternalFailure",
    503: "ServiceUnavailable",
}
NUMBERS = ("Value", "StorageResolution", "SampleCount", "Sum", "Minimum", "Maximum", "EvaluationPeriods", "Threshold")


class CloudWatch:
    """The endpoint of one region."""

    def __init__(self) -> None:
        self._moto = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        self._moto.start()
        host, port = self._moto.get_host_and_port()
        self._pool = urllib3.HTTPConnectionPool(host, port, maxsize=4, retries=False)
        self._lock = threading.Lock()
        self._handed = 0
        self.assets: dict[str, dict[str, Any]] = {"dashboards": {}, "alarms": {}}

    def answer(self, request: Request) -> Reply:
        if request.method != "POST" or request.path != "/":
            raise Refusal(404, "path", f"{request.method} {request.path}: this speaks AWS JSON 1.0 and the query form")
        _check_signature(request)
        body = unpacked(request, {"gzip"}, wire=WIRE, raw=RAW)
        operation, parameters = _called(request, body)
        if operation == "PutMetricData":
            return self._metrics(request, body, parameters)
        check = {"PutDashboard": check_dashboard, "PutMetricAlarm": check_alarm}.get(operation)
        if check is not None and (found := check(parameters)):
            return self._refused(request, found)
        reply = self._handed_on(request, body)
        if reply.status == 200 and operation == "PutDashboard":
            self.assets["dashboards"][parameters["DashboardName"]] = json.loads(parameters["DashboardBody"])
        if reply.status == 200 and operation == "PutMetricAlarm":
            self.assets["alarms"][parameters["AlarmName"]] = parameters
        return reply

    def error(self, request: Request, status: int, text: str, code: str = "") -> Reply:
        code = code or CODES.get(status, "InternalFailure")
        headers = {"x-amzn-RequestId": f"{time.time_ns():032x}"}
        if content_type(request) == FORM:
            kind = "Sender" if status < 500 else "Receiver"
            error = f"<Error><Type>{kind}</Type><Code>{code}</Code><Message>{escape(text)}</Message></Error>"
            return Reply(status, f"<ErrorResponse>{error}</ErrorResponse>".encode(), "text/xml", headers)
        headers["x-amzn-query-error"] = f"{code};{'Sender' if status < 500 else 'Receiver'}"
        return Reply(status, json.dumps({"__type": code, "message": text}).encode(), JSON, headers)

    def partial(self, reply: Reply, rejected: int) -> Reply:
        raise NotImplementedError("PutMetricData is taken or refused as a whole")

    def close(self) -> None:
        self._moto.stop()

    def _metrics(self, request: Request, body: bytes, parameters: dict[str, Any]) -> Reply:
        found = check_metrics(parameters, request.now)
        if any(violation.refused and violation.code != "duplicate" for violation in found):
            return self._refused(request, found)
        points = _points(parameters, request.now)
        with self._lock:
            hand_on = self._handed < TO_MOTO
            self._handed += len(points)
        reply = self._handed_on(request, body) if hand_on else _empty(request)
        if reply.status == 200:
            reply.points = points
        else:
            found.append(Violation("moto", f"moto answered {reply.status}: {clip(reply.body, 200)}"))
        reply.violations = found
        return reply

    def _refused(self, request: Request, found: list[Violation]) -> Reply:
        reply = self.error(request, 400, "; ".join(violation.text for violation in found), "InvalidParameterValue")
        reply.violations = found
        return reply

    def _handed_on(self, request: Request, body: bytes) -> Reply:
        """What moto says to it, without compression, which moto does not take."""
        skip = ("content-encoding", "content-length", "host", "connection", "accept-encoding")
        headers = {name: value for name, value in request.headers.items() if name.lower() not in skip}
        answer = self._pool.urlopen("POST", "/", body=body, headers=headers, timeout=30)
        kept = ("x-amzn-requestid", "x-amzn-query-error")
        headers = {name: value for name, value in answer.headers.items() if name.lower() in kept}
        return Reply(answer.status, answer.data, answer.headers.get("Content-Type", "text/xml"), headers)


def _empty(request: Request) -> Reply:
    """The answer to PutMetricData, which says nothing."""
    if content_type(request) == FORM:
        return Reply(200, b"<PutMetricDataResponse></PutMetricDataResponse>", "text/xml")
    return Reply(200, b"{}", JSON)


def _check_signature(request: Request) -> None:
    found = AUTHORIZATION.fullmatch(request.headers.get("Authorization") or "")
    if found is None:
        raise Refusal(403, "signature", "Authorization is no AWS4-HMAC-SHA256 for the service monitoring")
    signed = found["headers"].split(";")
    if "host" not in signed or "x-amz-date" not in signed:
        raise Refusal(403, "signature", f"host and x-amz-date must be signed; these are: {signed}")
    try:
        at = datetime.strptime(request.headers.get("X-Amz-Date") or "", "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise Refusal(403, "signature", "X-Amz-Date is missing or no date like 20261127T180000Z") from None
    if abs(at.timestamp() - time.time()) > SIGNATURE_AGE:
        raise Refusal(403, "signature", f"signed at {at}, more than {SIGNATURE_AGE / 60:.0f} minutes from now")


def _called(request: Request, body: bytes) -> tuple[str, dict[str, Any]]:
    """Operation and parameters, the same for both protocols but for numbers, which the query form has as texts."""
    if content_type(request) == JSON:
        prefix, _, operation = (request.headers.get("X-Amz-Target") or "").rpartition(".")
        if prefix != "GraniteServiceVersion20100801":
            raise Refusal(404, "target", f"X-Amz-Target {request.headers.get('X-Amz-Target')!r} is not CloudWatch's")
        value = strict_json(body)
        if not isinstance(value, dict):
            raise Refusal(400, "schema", "the body is no object")
        return operation, value
    if content_type(request) != FORM:
        raise Refusal(415, "content_type", f"Content-Type {content_type(request)!r} is neither {JSON} nor {FORM}")
    flat = dict(parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=True))
    if flat.pop("Version", "") != "2010-08-01":
        raise Refusal(400, "version", "Version is not 2010-08-01")
    return flat.pop("Action", ""), nested(flat)


def nested(flat: dict[str, str]) -> dict[str, Any]:
    """The query form's `A.member.1.B` as lists and maps, numbers as numbers where AWS has numbers."""
    tree: dict[str, Any] = {}
    for path, text in flat.items():
        steps = path.split(".")
        place = tree
        for step in steps[:-1]:
            place = place.setdefault(step, {})
        place[steps[-1]] = _typed(steps, text)
    return {key: _listed(value) for key, value in tree.items()}


def _typed(steps: list[str], text: str) -> Any:
    number = steps[-1] in NUMBERS or steps[-3:-1] in (["Values", "member"], ["Counts", "member"])
    number = number and not (steps[-1] == "Value" and "Dimensions" in steps)
    if number:
        try:
            return float(text)
        except ValueError:
            return text
    return text


def _listed(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if value.keys() == {"member"}:
        members = value["member"]
        return [_listed(members[number]) for number in sorted(members, key=int)]
    return {key: _listed(item) for key, item in value.items()}


def _points(parameters: dict[str, Any], now: float) -> list[Point]:
    points = []
    for datum in parameters["MetricData"]:
        at = datum.get("Timestamp")
        seconds = now if at is None else at if isinstance(at, int | float) else datetime.fromisoformat(at).timestamp()
        if "Value" in datum:
            kind, value = "value", datum["Value"]
        elif "Values" in datum:
            counts = datum.get("Counts") or [1] * len(datum["Values"])
            kind, value = "values", {"values": datum["Values"], "counts": counts, "count": sum(counts)}
        else:
            statistics = datum["StatisticValues"]
            kind, value = "statistics", {**statistics, "count": statistics["SampleCount"]}
        tags = tuple((dimension["Name"], dimension["Value"]) for dimension in datum.get("Dimensions") or ())
        unit, lane = datum.get("Unit", "None"), parameters["Namespace"]
        interval = datum.get("StorageResolution")
        points.append(Point(lane, datum["MetricName"], tags, seconds, kind, value, interval, unit=unit))
    return points


def query_form(operation: str, flat: dict[str, str]) -> bytes:
    """A call in the query form, for tests that speak as older botocores do."""
    return urlencode({"Action": operation, "Version": "2010-08-01", **flat}).encode()


def _make(options: argparse.Namespace) -> CloudWatch:
    return CloudWatch()


if __name__ == "__main__":
    run(_make, __doc__)
