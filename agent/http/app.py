"""The routes: /livez, /readyz, /api/v1/…, and / which lists them.

Handlers only read what the agent's loops left for them, or leave them a wish, so they never wait for the cache or for a
plugin.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from agent import __version__
from agent.errors import PredisError
from agent.http.auth import TRUSTED, Guard, bears, needs_token
from agent.http.incident_page import incident_page, no_incident_page
from agent.http.page import status_page
from agent.metrics.document import metrics_document
from agent.metrics.model import Snapshot

_LONGEST_NAME = 100


class AgentView(Protocol):
    """What the HTTP server knows of the agent. All methods return at once and may be called from any thread."""

    def not_live(self) -> list[str]:
        """Why the agent's own loops make no progress; empty when they do."""

    def not_ready(self) -> list[str]:
        """Why the cache cannot be used or metrics are not what they should be; empty when all is well."""

    def status(self) -> dict[str, Any]:
        """The document of /api/v1/status."""

    def upgrade_cache(self) -> int:
        """Begins to upgrade the cache; gives the upgrade's number in status(). Raises PredisError when it cannot be."""

    def plan_config(self) -> list[str]:
        """What a reload of the configuration would change. Raises PredisError. May take seconds: plugins are loaded."""

    def apply_config(self) -> int:
        """Has the configuration reloaded; gives the number of reloads in status() before."""

    def diagnostics(self) -> dict[str, Any]:
        """The newest log lines, and what each thread does."""

    def scrub(self, text: str) -> str:
        """The same without secrets."""

    def snapshot(self) -> Snapshot:
        """All series now."""

    def rules(self) -> dict[str, Any]:
        """What rules do, and each of them. Raises PredisError."""

    def rule(self, name: str) -> dict[str, Any]:
        """Why a rule does or does not act. Raises PredisError."""

    def command_rules(self, what: str, name: str, who: str) -> dict[str, Any]:
        """Stops or resumes all actions, approves, denies or resets. Raises PredisError."""

    def incidents(self) -> list[dict[str, Any]]:
        """The newest incidents in a line each, newest first. May take a moment: disks do."""

    def incident(self, identifier: str) -> dict[str, Any] | None:
        """All of one incident; None where there is none of this name."""

    def history(self, query: Iterable[tuple[str, str]]) -> dict[str, Any]:
        """What series were. Raises PredisError for a query that cannot be answered. May take a second: disks do."""


def build_app(view: AgentView, token: str | None, key: str | None = None) -> Starlette:
    """The application; `token` None means that it listens on loopback and is open to who is there, for reading.

    key: the token that changes need everywhere; None: there are none.
    """

    def scrubbed(value: Any) -> Any:
        """Texts without secrets; keys and numbers are the agent's own, whatever a secret looks like."""
        if isinstance(value, str):
            return view.scrub(value)
        if isinstance(value, dict):
            return {key: scrubbed(item) for key, item in value.items()}
        return [scrubbed(item) for item in value] if isinstance(value, (list, tuple)) else value

    def fresh(document: dict[str, Any], status: int = 200) -> Response:
        text = json.dumps(scrubbed(document), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        body = text.encode("utf-8", "replace")  # names of files need not be UTF-8
        return Response(body, status, {"Cache-Control": "no-store"}, "application/json")

    def html(text: str, status: int = 200) -> Response:
        headers = {
            "Cache-Control": "no-store",
            "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
        }
        return Response(text.encode("utf-8", "replace"), status, headers, "text/html")

    def has_key(request: Request) -> bool:
        return bears(request.headers, None if key is None else key.encode())

    def health(request: Request, what: str, reasons: list[str]) -> Response:
        document: dict[str, Any] = {what: not reasons}
        if request.scope[TRUSTED]:
            document["reasons"] = reasons
        return fresh(document, 503 if reasons else 200)

    async def index(request: Request) -> Response:
        paths = {
            "/livez": "200 while the agent itself makes progress, else 503",
            "/readyz": "200 while the cache answers and every collector delivers, else 503 with the reasons",
            "/api/v1/status": "the agent, its cache and its plugins",
            "/api/v1/metrics": "the newest value of every series",
            "/api/v1/incidents": "the newest incidents; /api/v1/incidents/ID: all of one, /incidents/ID: as a page",
            "/api/v1/rules": "what rules do; /api/v1/rules/NAME: why one does or does not act",
            "/status": "the same as a page for people",
        }
        with_query = {
            "/api/v1/history": "?metric=NAME&start=&end=&label.NAME=: what the series of a metric were",
        }
        with_token = {
            "/api/v1/config/plan": "with the token in http.token: what a reload of the configuration would change",
            "/api/v1/diagnostics": "with the token in http.token: the newest log lines and what each thread does",
            "/api/v1/cache/upgrade": "POST, with the token in http.token: a new cache process takes over",
            "/api/v1/rules/do/WHAT": "POST, with the token in http.token: stop or resume all actions, or, with ?name=,"
            " approve, deny or reset",
            "/api/v1/config/apply": "POST, with the token in http.token: reloads the configuration, as SIGHUP does",
        }
        head = {"service": "predis-agent", "version": __version__}
        return fresh({**head, "paths": paths, "with_query": with_query, "with_token": with_token})

    async def livez(request: Request) -> Response:
        return health(request, "live", view.not_live())

    async def readyz(request: Request) -> Response:
        return health(request, "ready", view.not_live() + view.not_ready())

    async def status(request: Request) -> Response:
        return fresh(view.status())

    async def page(request: Request) -> Response:
        return html(status_page(scrubbed(view.status())))

    async def metrics(request: Request) -> Response:
        return fresh(metrics_document(view.snapshot()))

    def rules(request: Request) -> Response:
        return answered(view.rules)

    def rule(request: Request) -> Response:
        return answered(lambda: view.rule(request.path_params["name"]), 404)

    def command_rules(request: Request) -> Response:
        if not has_key(request):
            return needs_token()
        asked, query = request.path_params, request.query_params
        who = query.get("who", "")[:_LONGEST_NAME] or "somebody with the token"
        return answered(lambda: view.command_rules(asked["what"], query.get("name", ""), who))

    def answered(ask: Callable[[], dict[str, Any]], otherwise: int = 409) -> Response:
        try:
            return fresh(ask())
        except PredisError as error:
            return fresh({"error": str(error)}, otherwise)

    def incidents(request: Request) -> Response:
        return fresh({"incidents": view.incidents()})

    def incident(request: Request) -> Response:
        found = view.incident(request.path_params["id"])
        return no_incident(request) if found is None else fresh(found)

    def picture(request: Request) -> Response:
        found = view.incident(request.path_params["id"])
        if found is not None:
            return html(incident_page(scrubbed(found)))
        if "text/html" in request.headers.get("accept", ""):
            return html(no_incident_page(request.path_params["id"]), 404)
        return no_incident(request)

    def no_incident(request: Request) -> Response:
        return fresh({"error": f"there is no incident {request.path_params['id']}; see /api/v1/incidents"}, 404)

    def history(request: Request) -> Response:  # no coroutine: Starlette gives it a thread
        try:
            return fresh(view.history(request.query_params.multi_items()))
        except PredisError as error:
            return fresh({"error": str(error)}, 400)

    async def upgrade(request: Request) -> Response:
        if not has_key(request):
            return needs_token()
        try:
            return fresh({"upgrade": view.upgrade_cache()}, 202)
        except PredisError as error:
            return fresh({"error": str(error)}, 409)

    def plan(request: Request) -> Response:  # no coroutine: Starlette gives it a thread
        if not has_key(request):  # it imports plugins
            return needs_token()
        try:
            return fresh({"changes": view.plan_config()})
        except PredisError as error:
            return fresh({"error": str(error)}, 409)

    async def apply(request: Request) -> Response:
        if not has_key(request):
            return needs_token()
        return fresh({"reloads": view.apply_config()}, 202)

    async def diagnostics(request: Request) -> Response:
        return fresh(view.diagnostics()) if has_key(request) else needs_token()

    routes = [
        Route("/api/v1/diagnostics", diagnostics),
        Route("/api/v1/config/plan", plan),
        Route("/api/v1/config/apply", apply, methods=["POST"]),
        Route("/api/v1/cache/upgrade", upgrade, methods=["POST"]),
        Route("/", index),
        Route("/livez", livez),
        Route("/readyz", readyz),
        Route("/api/v1/status", status),
        Route("/status", page),
        Route("/api/v1/metrics", metrics),
        Route("/api/v1/history", history),
        Route("/api/v1/rules", rules),
        Route("/api/v1/rules/{name}", rule),
        Route("/api/v1/rules/do/{what}", command_rules, methods=["POST"]),
        Route("/api/v1/incidents", incidents),
        Route("/api/v1/incidents/{id}", incident),
        Route("/incidents/{id}", picture),
    ]
    return Starlette(routes=routes, middleware=[Middleware(Guard, token=token)])
