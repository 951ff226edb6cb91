"""A strict fake of Datadog's API: `python -m tests.vendors.datadog --port 8126`.

Rules, as published:
- POST /api/v2/series: at most 512,000 bytes sent and less than 5,242,880 decompressed; types 0 to 3; points are objects
  of an integer timestamp and a number, at most 10 minutes ahead and 1 hour old; counts and rates have an interval;
  Content-Encoding deflate, gzip or zstd1: https://docs.datadoghq.com/api/latest/metrics/submit-metrics/. Points of
  other ages are not ingested, which no answer tells:
  https://docs.datadoghq.com/metrics/custom_metrics/historical_metrics/
- POST /api/v1/distribution_points: points are pairs of a timestamp and a list of numbers; Content-Encoding deflate
  alone: https://docs.datadoghq.com/api/latest/metrics/submit-distribution-points/. Ages and sizes are not published for
  it; those of the series are asked for here.
- POST /api/v1/check_run: check, host_name, status 0 to 3 and tags are required, messages show 500 characters:
  https://docs.datadoghq.com/api/latest/service-checks/submit-a-service-check/
- POST /api/v1/events: text of 4,000 characters, aggregation keys of 100, not older than 18 hours; and /api/v2/events:
  https://docs.datadoghq.com/api/latest/events/post-an-event/
- Names begin with a letter and have letters, digits, `_` and `.`, at most 200; tags begin with a letter and have 200
  characters; other characters than letters, digits, `_-:./` become `_` and capitals small letters, which is told as
  altered, not as refused:
  https://docs.datadoghq.com/developers/guide/what-best-practices-are-recommended-for-naming-metrics-and-tags/
- The key is in the header DD-API-KEY; 403 {"errors": ["Forbidden"]} without. Rate limits:
  https://docs.datadoghq.com/api/latest/rate-limits/
"""

import argparse
import re
import threading
from collections.abc import Callable
from typing import Any

from tests.vendors.book import Point, Violation
from tests.vendors.control import run
from tests.vendors.datadog_assets import Assets
from tests.vendors.wire import (
    Refusal,
    Reply,
    Request,
    as_json,
    clip,
    content_type,
    is_integer,
    is_number,
    strict_json,
    unpacked,
)

WIRE, RAW = 512_000, 5_242_879
OLDEST, NEWEST = 3600.0, 600.0
OLDEST_EVENT = 18 * 3600.0
METRIC = re.compile(r"[A-Za-z][A-Za-z0-9_.]{0,199}")
TAG_KEPT = re.compile(r"[\w:./-]*")
KEY = re.compile(r"[0-9a-f]{32}")
TYPES = {0: "unspecified", 1: "count", 2: "rate", 3: "gauge"}
SERIES_KEYS = frozenset(
    {"interval", "metadata", "metric", "points", "resources", "source_type_name", "tags", "type", "unit"}
)
EVENT_KEYS = frozenset(
    {
        *("aggregation_key", "alert_type", "date_happened", "device_name", "host", "priority"),
        *("related_event_id", "source_type_name", "tags", "text", "title"),
    }
)
ALERT_TYPES = ("error", "warning", "info", "success", "user_update", "recommendation", "snapshot")
DROPPED = ("duplicate", "too_old", "too_new")
MAX_TOLD = 20
"""Broken rules that one request is blamed for, at most."""


class Findings:
    """The broken rules of one request, and the points that it has beside them."""

    def __init__(self) -> None:
        self.violations: list[Violation] = []
        self.points: list[Point] = []
        self._places: set[tuple[Any, ...]] = set()

    def add(self, code: str, text: str, *, refused: bool = True) -> None:
        if len(self.violations) < MAX_TOLD:
            self.violations.append(Violation(code, text, refused))

    def point(self, point: Point) -> None:
        """A point of the request; the same series and time twice would leave only one of them."""
        place = (point.lane, point.name, tuple(sorted(point.tags)), point.host, point.time)
        if place in self._places:
            self.add("duplicate", f"{point.name} has two points of the time {point.time} and the same tags")
        self._places.add(place)
        self.points.append(point)

    def refused(self) -> list[str]:
        """What the vendor answers 400 for. Duplicates and points of a wrong age it drops without a word."""
        return [found.text for found in self.violations if found.refused and found.code not in DROPPED]


class Datadog:
    """The interfaces of the site, by method and path."""

    def __init__(self, api_key: str = "") -> None:
        self._api_key = api_key
        self._lock = threading.Lock()
        self._good_tags: dict[tuple[str, ...], tuple[tuple[str, str], ...]] = {}
        self._assets = Assets()
        self._intakes: dict[str, tuple[frozenset[str], Callable[[Any, float, Findings], Reply]]] = {
            "/api/v2/series": (frozenset({"deflate", "gzip", "zstd1", "zstd"}), self._series),
            "/api/v1/distribution_points": (frozenset({"deflate"}), self._distributions),
            "/api/v1/check_run": (frozenset({"deflate"}), self._checks),
            "/api/v1/events": (frozenset({"deflate"}), self._event),
            "/api/v2/events": (frozenset({"deflate"}), self._event_v2),
        }

    @property
    def assets(self) -> dict[str, Any]:
        """Dashboards and monitors, by id."""
        return self._assets.listing()

    def answer(self, request: Request) -> Reply:
        self._check_key(request)
        if request.path == "/api/v1/validate":
            if request.method != "GET":
                raise Refusal(405, "method", f"{request.method} {request.path}")
            return as_json({"valid": True})
        if request.path in self._intakes:
            return self._intake(request)
        with self._lock:
            return self._assets.answer(request)

    def error(self, request: Request, status: int, text: str, code: str = "") -> Reply:
        known = {403: "Forbidden", 413: "Payload too large", 429: "Too many requests"}
        return as_json({"errors": [known.get(status, text)]}, status)

    def partial(self, reply: Reply, rejected: int) -> Reply:
        raise NotImplementedError("Datadog takes a body or does not; it has no partial success")

    def close(self) -> None:
        """It started nothing."""

    def _check_key(self, request: Request) -> None:
        if "api_key" in request.query or "application_key" in request.query:
            raise Refusal(403, "key_in_url", "a key is in the URL, where logs keep it")
        key = request.headers.get("DD-API-KEY")
        if key is None:
            raise Refusal(403, "api_key", "the header DD-API-KEY is missing")
        if key != self._api_key if self._api_key else not KEY.fullmatch(key):
            raise Refusal(403, "api_key", "the key in DD-API-KEY is not valid")

    def _intake(self, request: Request) -> Reply:
        if request.method != "POST":
            raise Refusal(405, "method", f"{request.method} {request.path}")
        encodings, read = self._intakes[request.path]
        allowed = ("application/json", "text/json")
        if content_type(request) not in allowed:
            raise Refusal(415, "content_type", f"Content-Type {content_type(request)!r} is none of {allowed}")
        value = strict_json(unpacked(request, encodings, wire=WIRE, raw=RAW))
        findings = Findings()
        reply = read(value, request.now, findings)
        refused = findings.refused()
        if refused:
            reply = as_json({"errors": refused}, 400)
        else:
            reply.points = findings.points
        reply.violations = findings.violations
        return reply

    def _series(self, value: Any, now: float, findings: Findings) -> Reply:
        for series in _listed(value, "series"):
            if not isinstance(series, dict):
                findings.add("schema", f"a series is an object, not {clip(series)}")
                continue
            name = self._name(series, "metric", findings)
            for key in series.keys() - SERIES_KEYS:
                findings.add("schema", f"{name} has the key {key!r}, which a series has not")
            kind = series.get("type", 0)
            if not is_integer(kind) or kind not in TYPES:
                findings.add("type", f"{name} has the type {clip(kind)}; 0, 1, 2 and 3 are")
                continue
            interval = series.get("interval")
            if interval is not None and not (is_integer(interval) and interval > 0):
                findings.add("interval", f"{name} has the interval {clip(interval)}, no number of seconds above 0")
            elif kind in (1, 2) and interval is None:
                findings.add("interval", f"{name} is a {TYPES[kind]} and has no interval")
            host = _host(series.get("resources"), name, findings)
            unit = series.get("unit", "")
            if not isinstance(unit, str):
                findings.add("schema", f"{name} has the unit {clip(unit)}")
            tags = self._tags(series.get("tags"), name, findings)
            points = series.get("points")
            if not isinstance(points, list) or not points:
                findings.add("schema", f"{name} has no list of points")
                continue
            for point in points:
                if not isinstance(point, dict) or point.keys() != {"timestamp", "value"}:
                    findings.add("schema", f"{name}: a point has timestamp and value; this is {clip(point)}")
                elif not is_number(point["value"]):
                    findings.add("value", f"{name} has the value {clip(point['value'])}, no finite number")
                elif _timely(point["timestamp"], name, now, findings):
                    findings.point(
                        Point(
                            "series", name, tags, point["timestamp"], TYPES[kind], point["value"], interval,
                            unit=str(unit), host=host,
                        )
                    )  # fmt: skip
        return as_json({"errors": []}, 202)

    def _distributions(self, value: Any, now: float, findings: Findings) -> Reply:
        for series in _listed(value, "series"):
            if not isinstance(series, dict):
                findings.add("schema", f"a series is an object, not {clip(series)}")
                continue
            name = self._name(series, "metric", findings)
            for key in series.keys() - {"host", "metric", "points", "tags", "type"}:
                findings.add("schema", f"{name} has the key {key!r}, which a distribution has not")
            if series.get("type", "distribution") != "distribution":
                findings.add("type", f"{name} has the type {clip(series['type'])}, not distribution")
            tags = self._tags(series.get("tags"), name, findings)
            points = series.get("points")
            if not isinstance(points, list) or not points:
                findings.add("schema", f"{name} has no list of points")
                continue
            for point in points:
                if not (isinstance(point, list) and len(point) == 2 and isinstance(point[1], list) and point[1]):
                    findings.add("schema", f"{name}: a point is a timestamp and a list of values, not {clip(point)}")
                elif not all(map(is_number, point[1])):
                    findings.add("value", f"{name} has values that are no finite numbers: {clip(point[1])}")
                elif _timely(_whole(point[0]), name, now, findings):
                    host = str(series.get("host", ""))
                    findings.point(Point("distribution", name, tags, point[0], "distribution", point[1], host=host))
        return as_json({"errors": []}, 202)

    def _checks(self, value: Any, now: float, findings: Findings) -> Reply:
        for check in value if isinstance(value, list) else [value]:
            if not isinstance(check, dict):
                findings.add("schema", f"a check is an object, not {clip(check)}")
                continue
            name = self._name(check, "check", findings)
            for key in check.keys() - {"check", "host_name", "message", "status", "tags", "timestamp"}:
                findings.add("schema", f"{name} has the key {key!r}, which a check has not")
            for key in {"host_name", "status", "tags"} - check.keys():
                findings.add("schema", f"{name} lacks {key}")
            status = check.get("status")
            if not is_integer(status) or not 0 <= status <= 3:
                findings.add("status", f"{name} has the status {clip(status)}; 0 to 3 are")
            message = check.get("message", "")
            if not isinstance(message, str):
                findings.add("schema", f"{name} has the message {clip(message)}")
            elif len(message) > 500:
                findings.add("message", f"{name} has a message of {len(message)} characters; 500 show", refused=False)
            tags = self._tags(check.get("tags"), name, findings)
            at = check.get("timestamp", int(now))
            if _timely(at, name, now, findings):
                findings.point(Point("check", name, tags, at, "check", status, host=str(check.get("host_name", ""))))
        return as_json({"status": "ok"}, 202)

    def _event(self, value: Any, now: float, findings: Findings) -> Reply:
        if not isinstance(value, dict):
            raise Refusal(400, "schema", "an event is an object")
        for key in value.keys() - EVENT_KEYS:
            findings.add("schema", f"an event has no {key!r}")
        title = value.get("title")
        for key, most in (("title", 500), ("text", 4000)):
            text = value.get(key)
            if not isinstance(text, str) or not text:
                findings.add("schema", f"an event lacks {key}")
            elif len(text) > most:
                findings.add("length", f"{key} has {len(text)} characters; {most} are taken")
        if len(str(value.get("aggregation_key", ""))) > 100:
            findings.add("length", "aggregation_key has more than 100 characters")
        if value.get("alert_type", "info") not in ALERT_TYPES:
            findings.add("alert_type", f"{clip(value['alert_type'])} is none of {ALERT_TYPES}")
        if value.get("priority", "normal") not in ("normal", "low", None):
            findings.add("priority", f"{clip(value['priority'])} is neither normal nor low")
        tags = self._tags(value.get("tags"), "the event", findings)
        at = value.get("date_happened", int(now))
        if _timely(at, "the event", now, findings, OLDEST_EVENT):
            kind = value.get("alert_type", "info")
            findings.point(
                Point("event", str(title), tags, at, kind, value.get("text"), host=str(value.get("host", "")))
            )
        return as_json(
            {"status": "ok", "event": {"id": int(now * 1000), "title": title, "text": value.get("text")}}, 202
        )

    def _event_v2(self, value: Any, now: float, findings: Findings) -> Reply:
        data = value.get("data") if isinstance(value, dict) else None
        event = data.get("attributes") if isinstance(data, dict) else None
        if not isinstance(event, dict) or data.get("type") != "event":
            raise Refusal(400, "schema", "the body is not {data: {type: event, attributes: ...}}")
        if event.get("category") not in ("change", "alert"):
            findings.add("category", f"{clip(event.get('category'))} is neither change nor alert")
        if not isinstance(event.get("attributes"), dict):
            findings.add("schema", "the event has no attributes")
        for key, most in (("title", 500), ("message", 4000), ("aggregation_key", 100), ("host", 255)):
            text = event.get(key, "")
            if not isinstance(text, str) or len(text) > most or (key == "title" and not text):
                findings.add("length", f"{key} is no text of at most {most} characters")
        tags = self._tags(event.get("tags"), "the event", findings)
        findings.point(
            Point("event", str(event.get("title")), tags, now, str(event.get("category")), event.get("message"))
        )
        return as_json({"data": {"type": "event", "attributes": {"attributes": {"evt": {"id": "1"}}}}}, 202)

    def _name(self, value: dict[str, Any], key: str, findings: Findings) -> str:
        name = value.get(key)
        if not isinstance(name, str) or not METRIC.fullmatch(name):
            findings.add(
                "metric_name",
                f"{clip(name)} is no name: at most 200 ASCII letters, digits, _ and ., beginning with a letter",
            )
        return str(name)

    def _tags(self, value: Any, name: str, findings: Findings) -> tuple[tuple[str, str], ...]:
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(tag, str) for tag in value):
            findings.add("schema", f"{name}: tags are a list of texts, not {clip(value)}")
            return ()
        known = self._good_tags.get(tuple(value))
        if known is not None:
            return known
        before = len(findings.violations)
        for tag in value:
            if not tag[:1].isalpha():
                findings.add("tag", f"{name}: the tag {clip(tag)} does not begin with a letter")
            elif len(tag) > 200:
                findings.add("tag", f"{name}: the tag {clip(tag)} has {len(tag)} characters; 200 are taken")
            elif tag.endswith(":"):
                findings.add("tag", f"{name}: the tag {clip(tag)} has no value after its colon")
            elif not TAG_KEPT.fullmatch(tag) or tag != tag.lower() or tag.endswith("_") or "__" in tag:
                findings.add("tag_altered", f"{name}: the tag {clip(tag)} is stored as another", refused=False)
        keys = [tag.partition(":")[0] for tag in value]
        if len(set(value)) < len(value):
            findings.add("tag", f"{name}: a tag comes twice in {clip(value)}")
        tags = tuple(zip(keys, (tag.partition(":")[2] for tag in value), strict=True))
        if len(findings.violations) == before and len(self._good_tags) < 200_000:
            self._good_tags[tuple(value)] = tags
        return tags


def _listed(value: Any, key: str) -> list[Any]:
    if not isinstance(value, dict) or value.keys() != {key} or not isinstance(value[key], list) or not value[key]:
        raise Refusal(400, "schema", f"the body is not an object with a filled list {key!r} and nothing else")
    return list(value[key])


def _whole(at: Any) -> Any:
    """Datadog's own client writes the timestamps of distributions as 1.0; the type in its schema is a double."""
    return int(at) if isinstance(at, float) and at.is_integer() else at


def _host(resources: Any, name: str, findings: Findings) -> str:
    if resources is None:
        return ""
    good = isinstance(resources, list) and all(
        isinstance(resource, dict)
        and resource.keys() == {"name", "type"}
        and all(isinstance(text, str) and text for text in resource.values())
        for resource in resources
    )
    if not good:
        findings.add("schema", f"{name}: resources are a list of objects with name and type, not {clip(resources)}")
        return ""
    return next((resource["name"] for resource in resources if resource["type"] == "host"), "")


def _timely(at: Any, name: str, now: float, findings: Findings, oldest: float = OLDEST) -> bool:
    if not is_integer(at):
        findings.add("timestamp", f"{name} has the timestamp {clip(at)}, no integer of seconds")
    elif at < now - oldest:
        findings.add("too_old", f"{name} is {now - at:.0f} s old; {oldest:.0f} s are taken")
    elif at > now + NEWEST:
        findings.add("too_new", f"{name} is {at - now:.0f} s in the future; {NEWEST:.0f} s are taken")
    else:
        return True
    return False


def _make(options: argparse.Namespace) -> Datadog:
    return Datadog(options.api_key)


if __name__ == "__main__":
    run(_make, __doc__)
