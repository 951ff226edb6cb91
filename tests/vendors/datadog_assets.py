"""Datadog's dashboards and monitors, as far as something that installs them goes.

https://docs.datadoghq.com/api/latest/dashboards/ and https://docs.datadoghq.com/api/latest/monitors/: the application
key is in DD-APPLICATION-KEY; a dashboard has title, widgets and layout_type ordered or free; a monitor has a query and
a type of the published list.
"""

import re
from typing import Any

from tests.vendors.book import Violation
from tests.vendors.wire import Refusal, Reply, Request, as_json, clip, strict_json

APPLICATION_KEY = re.compile(r"[0-9A-Za-z_]{40,}")
MONITOR_TYPES = (
    *("composite", "event alert", "log alert", "metric alert", "process alert", "query alert", "rum alert"),
    *("service check", "synthetics alert", "trace-analytics alert", "slo alert", "event-v2 alert", "audit alert"),
)
MONITOR_QUERY = re.compile(r".+\(.*\):.+[<>]=?\s*-?[\d.]+(e-?\d+)?", re.DOTALL)


class Assets:
    """What was installed. Not thread-safe."""

    def __init__(self) -> None:
        self._dashboards: dict[str, dict[str, Any]] = {}
        self._monitors: dict[str, dict[str, Any]] = {}
        self._numbers = 0

    def listing(self) -> dict[str, Any]:
        """Copies of the assets by kind and id."""
        return {"dashboards": dict(self._dashboards), "monitors": dict(self._monitors)}

    def answer(self, request: Request) -> Reply:
        """Serve /api/v1/dashboard and /api/v1/monitor; refuses other paths."""
        found = re.fullmatch(r"/api/v1/(dashboard|monitor)(?:/([\w-]+))?", request.path)
        if found is None:
            raise Refusal(404, "path", f"there is no {request.path}")
        key = request.headers.get("DD-APPLICATION-KEY")
        if key is None or not APPLICATION_KEY.fullmatch(key):
            raise Refusal(403, "application_key", "DD-APPLICATION-KEY is missing or no application key")
        kind, identity = found.groups()
        shelf = self._dashboards if kind == "dashboard" else self._monitors
        checked = {"dashboard": _dashboard, "monitor": _monitor}[kind]
        if request.method == "POST" and (kind, identity) == ("monitor", "validate"):
            checked(_body(request))
            return as_json({})
        if request.method == "POST" and identity is None:
            value = _body(request)
            checked(value)
            self._numbers += 1
            value["id"] = f"abc-def-{self._numbers:03}" if kind == "dashboard" else self._numbers
            if kind == "dashboard":
                value["url"] = f"/dashboard/{value['id']}"
            shelf[str(value["id"])] = value
            return as_json(value)
        if request.method == "GET" and identity is None:
            return as_json({"dashboards": list(shelf.values())} if kind == "dashboard" else _wanted(shelf, request))
        if identity not in shelf:
            known = Violation("id", f"there is no {kind} {identity}", refused=False)
            return as_json({"errors": [f"{kind} not found"]}, 404, violations=[known])
        if request.method == "PUT":
            value = _body(request)
            if kind == "dashboard":
                checked(value)
            shelf[identity] = {**shelf[identity], **value}
        elif request.method == "DELETE":
            del shelf[identity]
            return as_json({f"deleted_{kind}_id": identity})
        elif request.method != "GET":
            raise Refusal(405, "method", f"{request.method} {request.path}")
        return as_json(shelf[identity])


def _body(request: Request) -> dict[str, Any]:
    value = strict_json(request.body)
    if not isinstance(value, dict):
        raise Refusal(400, "schema", "the body is no object")
    return value


def _wanted(shelf: dict[str, dict[str, Any]], request: Request) -> list[dict[str, Any]]:
    tags = {tag for tag in request.query.get("monitor_tags", "").split(",") if tag}
    name = request.query.get("name", "")
    return [
        monitor
        for monitor in shelf.values()
        if tags <= set(monitor.get("tags", [])) and name in monitor.get("name", "")
    ]


def _dashboard(value: dict[str, Any]) -> None:
    if not isinstance(value.get("title"), str) or not value["title"]:
        raise Refusal(400, "schema", "a dashboard lacks its title")
    if value.get("layout_type") not in ("ordered", "free"):
        raise Refusal(400, "schema", f"layout_type {clip(value.get('layout_type'))} is neither ordered nor free")
    widgets = value.get("widgets")
    if not isinstance(widgets, list):
        raise Refusal(400, "schema", "a dashboard lacks its list of widgets")
    for widget in widgets:
        definition = widget.get("definition") if isinstance(widget, dict) else None
        if not isinstance(definition, dict) or not isinstance(definition.get("type"), str):
            raise Refusal(400, "schema", f"a widget has no definition with a type: {clip(widget)}")
        if definition["type"] == "group":
            _dashboard({"title": "group", "layout_type": "ordered", "widgets": definition.get("widgets")})
        if value["layout_type"] == "free" and "layout" not in widget:
            raise Refusal(400, "schema", "a widget of a free dashboard has no layout")
    names = [variable.get("name") for variable in value.get("template_variables") or ()]
    if len(set(names)) < len(names):
        raise Refusal(400, "schema", f"a template variable comes twice in {names}")


def _monitor(value: dict[str, Any]) -> None:
    if value.get("type") not in MONITOR_TYPES:
        raise Refusal(400, "schema", f"a monitor has the type {clip(value.get('type'))}, which is not published")
    query = value.get("query")
    if not isinstance(query, str) or not query:
        raise Refusal(400, "schema", "a monitor lacks its query")
    if value["type"] in ("metric alert", "query alert") and not MONITOR_QUERY.fullmatch(query):
        raise Refusal(400, "query", f"{clip(query)} is not TIME(WINDOW):QUERY COMPARISON THRESHOLD")
    critical = (value.get("options") or {}).get("thresholds", {}).get("critical")
    if critical is not None and value["type"] in ("metric alert", "query alert"):
        threshold = float(re.split(r"[<>]=?", query)[-1])
        if threshold != critical:
            raise Refusal(400, "query", f"the query's threshold is {threshold}, options.thresholds.critical {critical}")
