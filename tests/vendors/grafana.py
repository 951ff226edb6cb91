"""A strict fake of Grafana, as far as something that installs dashboards goes: `python -m tests.vendors.grafana`.

https://grafana.com/docs/grafana/latest/developers/http_api/dashboard/ and …/http_api/folder_dashboard_search/:
- a service account's token (glsa_...) as bearer, else 401;
- POST /api/dashboards/db: a title; a uid of 40 letters, digits, - and _; an id that is null or known (404); an existing
  uid without `overwrite` and of another version is 412 (version-mismatch), and without folderUid it moves to the root;
- GET /api/search: by type and dashboardUIDs;
- it does not fill in `__inputs`, as /api/dashboards/import does. That a variable that is used is defined, and one that
  is defined is used, Grafana does not check; here it is a violation.
"""

import argparse
import json
import re
import threading
from typing import Any

from tests.vendors.book import Violation
from tests.vendors.control import run
from tests.vendors.wire import Refusal, Reply, Request, as_json, clip, content_type, strict_json

FOLDERS = {"": "General", "caches": "Caches"}
"""Folders that there are, by uid."""
USED = re.compile(r"\$\{(\w+)(?::\w+)?\}|\[\[(\w+)\]\]|\$([A-Za-z_]\w*)")
BUILT_IN = re.compile(r"__\w+|timeFilter")
_UID = re.compile(r"[A-Za-z0-9_-]{1,40}")


class Grafana:
    """One organisation."""

    def __init__(self, token: str) -> None:
        self._token = token
        self._lock = threading.Lock()
        self._dashboards: dict[str, dict[str, Any]] = {}

    @property
    def assets(self) -> dict[str, Any]:
        """Dashboards by uid, each with its folder's uid."""
        return {"dashboards": dict(self._dashboards)}

    def answer(self, request: Request) -> Reply:
        if request.headers.get("Authorization") != f"Bearer {self._token}":
            raise Refusal(401, "token", "the header Authorization has not the service account's token as bearer")
        with self._lock:
            if (request.method, request.path) == ("GET", "/api/search"):
                return self._search(request)
            if (request.method, request.path) == ("POST", "/api/dashboards/db"):
                return self._save(request)
        raise Refusal(404, "path", f"there is no {request.method} {request.path}")

    def error(self, request: Request, status: int, text: str, code: str = "") -> Reply:
        return as_json({"message": text, "status": code or "error"}, status)

    def partial(self, reply: Reply, rejected: int) -> Reply:
        raise NotImplementedError("a dashboard is taken or refused as a whole")

    def close(self) -> None:
        """Nothing was started."""

    def _search(self, request: Request) -> Reply:
        wanted = request.query.get("dashboardUIDs")
        if request.query.get("type", "dash-db") != "dash-db":
            raise Refusal(400, "type", f"this fake searches dashboards, not {request.query['type']}")
        found = []
        for uid, saved in self._dashboards.items():
            if wanted in (None, uid):
                hit = {"uid": uid, "title": saved["dashboard"]["title"], "type": "dash-db", "url": f"/d/{uid}/predis"}
                if saved["folder"]:
                    hit |= {"folderUid": saved["folder"], "folderTitle": FOLDERS[saved["folder"]]}
                found.append(hit)
        return as_json(found)

    def _save(self, request: Request) -> Reply:
        if content_type(request) != "application/json":
            raise Refusal(415, "content_type", f"Content-Type {content_type(request)!r} is not application/json")
        value = strict_json(request.body)
        dashboard = value.get("dashboard") if isinstance(value, dict) else None
        if not isinstance(dashboard, dict) or not isinstance(dashboard.get("title"), str) or not dashboard["title"]:
            raise Refusal(400, "schema", "the body has no dashboard with a title")
        folder = value.get("folderUid", "")
        if folder not in FOLDERS:
            raise Refusal(400, "folder", f"there is no folder {clip(folder)}")
        uid = dashboard.get("uid") or f"made{len(self._dashboards)}"
        if not _UID.fullmatch(uid):
            raise Refusal(400, "uid", f"{clip(uid)} is no uid: 40 letters, digits, - and _")
        before = self._dashboards.get(uid)
        if dashboard.get("id") is not None and (before is None or before["dashboard"]["id"] != dashboard["id"]):
            raise Refusal(404, "id", f"there is no dashboard with the id {clip(dashboard['id'])}")
        version = 1
        if before is not None:
            version = before["dashboard"]["version"] + 1
            if not value.get("overwrite") and dashboard.get("version") != before["dashboard"]["version"]:
                reply = self.error(request, 412, "The dashboard has been changed by someone else", "version-mismatch")
                reply.violations = [Violation("version", f"{uid} is there already, and overwrite is not set")]
                return reply
        saved = {**dashboard, "uid": uid, "id": len(self._dashboards) + 1, "version": version}
        self._dashboards[uid] = {"dashboard": saved, "folder": folder}
        made = {"id": saved["id"], "uid": uid, "url": f"/d/{uid}/predis", "status": "success", "version": version}
        return as_json({**made, "slug": "predis"}, violations=dangling(dashboard))


def dangling(dashboard: dict[str, Any]) -> list[Violation]:
    """Variables that are used and not defined, or defined and not used, and inputs that nobody fills in."""
    defined = {variable["name"] for variable in dashboard.get("templating", {}).get("list", [])}
    used = {next(filter(None, match.groups())) for match in USED.finditer(json.dumps(dashboard))}
    used = {name for name in used if not BUILT_IN.fullmatch(name)}
    found = [Violation("variable", f"${name} is used and not defined") for name in sorted(used - defined)]
    found += [Violation("variable", f"${name} is defined and not used") for name in sorted(defined - used)]
    if dashboard.get("__inputs"):
        found.append(Violation("inputs", "__inputs are for /api/dashboards/import"))
    return found


def _make(options: argparse.Namespace) -> Grafana:
    return Grafana(options.api_key)


if __name__ == "__main__":
    run(_make, __doc__)
