"""What AWS publishes about the parameters of PutMetricData, PutDashboard and PutMetricAlarm.

The sources are named in `tests.vendors.cloudwatch`.
"""

import json
import re
from datetime import datetime
from typing import Any

from tests.vendors.book import Violation
from tests.vendors.wire import clip, is_number

MAX_METRICS, MAX_VALUES, MAX_DIMENSIONS = 1000, 150, 30
LARGEST = 2.0**360
OLDEST, NEWEST = 14 * 86400.0, 7200.0
MAX_TOLD = 20
_SIZES = ("Bytes", "Kilobytes", "Megabytes", "Gigabytes", "Terabytes", "Bits", "Kilobits", "Megabits", "Gigabits")
UNITS = frozenset(
    {
        *("Seconds", "Microseconds", "Milliseconds", "Percent", "Count", "Count/Second", "None", "Terabits"),
        *_SIZES,
        *(f"{size}/Second" for size in (*_SIZES, "Terabits")),
    }
)
DATUM = frozenset(
    {
        *("MetricName", "Dimensions", "Timestamp", "Value", "StatisticValues"),
        *("Values", "Counts", "Unit", "StorageResolution"),
    }
)
PRINTABLE = re.compile(r"[\x20-\x7e]+")
OPERATORS = re.compile(r"(GreaterThanOrEqualTo|GreaterThan|LessThan|LessThanOrEqualTo)Threshold|.*UpperThreshold")


class _Found(list[Violation]):
    def add(self, code: str, text: str) -> None:
        if len(self) < MAX_TOLD:
            self.append(Violation(code, text))


def check_metrics(parameters: dict[str, Any], now: float) -> list[Violation]:
    """The broken rules of a PutMetricData at Unix time `now`."""
    found = _Found()
    for key in parameters.keys() - {"Namespace", "MetricData"}:
        found.add("schema", f"PutMetricData has the parameter {key!r}, which this fake does not know")
    space = parameters.get("Namespace")
    if not _text(space, 255) or str(space).startswith(":"):
        found.add("namespace", f"{clip(space)} is no namespace of 1 to 255 ASCII characters without a leading colon")
    elif str(space).startswith("AWS/"):
        found.add("namespace", "namespaces that begin with AWS/ are Amazon's")
    data = parameters.get("MetricData")
    if not isinstance(data, list) or not data:
        found.add("schema", "MetricData is no filled list")
        return found
    if len(data) > MAX_METRICS:
        found.add("metrics", f"{len(data)} metrics in one request; {MAX_METRICS} are taken")
    places = set()
    for datum in data:
        if not isinstance(datum, dict):
            found.add("schema", f"a datum is an object, not {clip(datum)}")
            continue
        _datum(datum, now, found)
        dimensions = datum.get("Dimensions") or ()
        named = frozenset((clip(d.get("Name")), clip(d.get("Value"))) for d in dimensions if isinstance(d, dict))
        place = (clip(datum.get("MetricName")), named, str(datum.get("Timestamp")))
        if place in places:
            found.add("duplicate", f"{place[0]} comes twice with the same dimensions and time")
        places.add(place)
    return found


def _datum(datum: dict[str, Any], now: float, found: _Found) -> None:
    name = datum.get("MetricName")
    if not _text(name, 255):
        found.add("metric_name", f"{clip(name)} is no name of 1 to 255 ASCII characters")
    for key in datum.keys() - DATUM:
        found.add("schema", f"{name} has the key {key!r}, which a datum has not")
    if datum.get("Unit", "None") not in UNITS:
        found.add("unit", f"{name} has the unit {clip(datum['Unit'])}, which is not published")
    if datum.get("StorageResolution", 60) not in (1, 60):
        found.add("resolution", f"{name} has the resolution {clip(datum['StorageResolution'])}; 1 and 60 are")
    given = [key for key in ("Value", "Values", "StatisticValues") if key in datum]
    if len(given) != 1:
        found.add("combination", f"{name} has {given or 'no value'}; it takes one of Value, Values, StatisticValues")
    if "Value" in datum:
        _value(datum["Value"], name, found)
    if "Values" in datum:
        _values(datum, name, found)
    elif "Counts" in datum:
        found.add("combination", f"{name} has Counts and no Values")
    if "StatisticValues" in datum:
        statistics = datum["StatisticValues"]
        if not isinstance(statistics, dict) or statistics.keys() != {"SampleCount", "Sum", "Minimum", "Maximum"}:
            found.add("schema", f"{name}: StatisticValues has SampleCount, Sum, Minimum and Maximum")
        else:
            for value in statistics.values():
                _value(value, name, found)
    _dimensions(datum.get("Dimensions"), name, found)
    _timestamp(datum.get("Timestamp"), name, now, found)


def _value(value: Any, name: Any, found: _Found) -> None:
    if not is_number(value) or abs(value) > LARGEST:
        found.add("value", f"{name} has the value {clip(value)}, no finite number from -2^360 to 2^360")


def _values(datum: dict[str, Any], name: Any, found: _Found) -> None:
    values, counts = datum["Values"], datum.get("Counts")
    if not isinstance(values, list) or not values:
        found.add("schema", f"{name}: Values is no filled list")
        return
    if len(values) > MAX_VALUES:
        found.add("values", f"{name} has {len(values)} values; {MAX_VALUES} are taken")
    for value in values:
        _value(value, name, found)
    if len(set(map(str, values))) < len(values):
        found.add("values", f"{name} lists a value twice; each unique value is listed once, with its count")
    if counts is not None:
        if not isinstance(counts, list) or len(counts) != len(values):
            found.add("counts", f"{name} has not as many Counts as Values")
        elif not all(is_number(count) and count > 0 for count in counts):
            found.add("counts", f"{name} has a count that is no number above 0: {clip(counts)}")


def _dimensions(dimensions: Any, name: Any, found: _Found) -> None:
    if dimensions is None:
        return
    if not isinstance(dimensions, list) or not all(isinstance(one, dict) for one in dimensions):
        found.add("schema", f"{name}: Dimensions is no list of objects")
        return
    if len(dimensions) > MAX_DIMENSIONS:
        found.add("dimensions", f"{name} has {len(dimensions)} dimensions; {MAX_DIMENSIONS} are taken")
    for one in dimensions:
        key, value = one.get("Name"), one.get("Value")
        if one.keys() != {"Name", "Value"}:
            found.add("schema", f"{name}: a dimension has Name and Value; this is {clip(one)}")
        if not _text(key, 255) or str(key).startswith(":"):
            found.add("dimension", f"{name}: {clip(key)} is no dimension name: 1 to 255 ASCII characters, no leading :")
        if not _text(value, 1024):
            found.add("dimension", f"{name}: {clip(value)} is no value of {key}: 1 to 1,024 ASCII characters")
    names = [str(one.get("Name")) for one in dimensions]
    if len(set(names)) < len(names):
        found.add("dimensions", f"{name}: a dimension comes twice in {names}")


def _timestamp(at: Any, name: Any, now: float, found: _Found) -> None:
    if at is None:
        return
    try:
        seconds = datetime.fromisoformat(at).timestamp() if isinstance(at, str) else float(at)
    except (ValueError, TypeError):
        found.add("timestamp", f"{name} has the timestamp {clip(at)}, neither seconds nor ISO 8601")
        return
    if seconds < now - OLDEST:
        found.add("too_old", f"{name} is {now - seconds:.0f} s old; two weeks are taken")
    elif seconds > now + NEWEST:
        found.add("too_new", f"{name} is {seconds - now:.0f} s in the future; two hours are taken")


def _text(value: Any, most: int) -> bool:
    return isinstance(value, str) and len(value) <= most and bool(PRINTABLE.fullmatch(value)) and bool(value.strip())


def check_dashboard(parameters: dict[str, Any]) -> list[Violation]:
    """The broken rules of a PutDashboard: a name of letters, digits, - and _; a body of JSON with widgets.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/CloudWatch-Dashboard-Body-Structure.html
    """
    found = _Found()
    if not re.fullmatch(r"[\w-]{1,255}", str(parameters.get("DashboardName")), re.ASCII):
        found.add("dashboard", f"{clip(parameters.get('DashboardName'))} is no name of letters, digits, - and _")
    try:
        widgets = json.loads(parameters.get("DashboardBody", ""))["widgets"]
        for widget in widgets:
            if widget["type"] not in ("metric", "text", "alarm", "log", "explorer"):
                found.add("dashboard", f"there is no widget of the type {clip(widget['type'])}")
            if not 1 <= widget.get("width", 6) <= 24 or not 1 <= widget.get("height", 6) <= 1000:
                found.add("dashboard", f"a widget is 1 to 24 wide and 1 to 1,000 high; this is {clip(widget)}")
            if widget["type"] == "metric" and "region" not in widget["properties"]:
                found.add("dashboard", f"a metric widget has no region: {clip(widget)}")
    except (ValueError, KeyError, TypeError) as error:
        found.add("dashboard", f"DashboardBody is no JSON with widgets of a type: {error!r}")
    return found


def check_alarm(parameters: dict[str, Any]) -> list[Violation]:
    """The broken rules of a PutMetricAlarm.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
    """
    found = _Found()
    if not _text(parameters.get("AlarmName"), 255):
        found.add("alarm", f"{clip(parameters.get('AlarmName'))} is no name of 1 to 255 characters")
    for key in ("ComparisonOperator", "EvaluationPeriods"):
        if key not in parameters:
            found.add("alarm", f"the alarm lacks {key}")
    if not OPERATORS.fullmatch(str(parameters.get("ComparisonOperator"))):
        found.add("alarm", f"{clip(parameters.get('ComparisonOperator'))} is no comparison")
    if "MetricName" in parameters:
        period = int(parameters.get("Period", 0))
        if period not in (10, 20, 30) and (period < 60 or period % 60):
            found.add("alarm", f"the period {period} is none of 10, 20, 30 or a multiple of 60 s")
        if ("Statistic" in parameters) == ("ExtendedStatistic" in parameters):
            found.add("alarm", "the alarm has not exactly one of Statistic and ExtendedStatistic")
    elif "Metrics" not in parameters:
        found.add("alarm", "the alarm has neither MetricName nor Metrics")
    return found
