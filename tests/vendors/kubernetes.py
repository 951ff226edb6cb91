"""A strict fake of a Kubernetes API server, as far as something that scales goes: `python -m tests.vendors.kubernetes`.

From https://kubernetes.io/docs/reference/using-api/api-concepts/ and …/kubernetes-api/common-definitions/:
- a bearer token, else 401; RBAC: 403 with the verb, the resource and the namespace. The account may not patch in the
  namespace `readonly`, and nothing at all in `secret`;
- GET and PATCH of /apis/apps/v1/namespaces/NS/{deployments,statefulsets,replicasets}/NAME/scale give a Scale
  (autoscaling/v1), whose `spec.replicas` is left out where it is 0; GET and PATCH of the object itself;
- a patch has one of the media types of patches, else 415; this fake takes merge patches (RFC 7386) alone;
- a patch with another resourceVersion than the object's is 409; without one it is taken, which here is a violation,
  since then two who scale at once overwrite each other;
- replicas below zero are 422 with the cause; unknown fields are dropped, which here is a violation;
- dryRun=All checks all of that and changes nothing; another value is 422;
- each change gives the object another resourceVersion, an opaque text;
- errors are Status objects with reason and code.
"""

import argparse
import json
import re
import threading
import uuid
from typing import Any, NoReturn

from tests.vendors.book import Violation
from tests.vendors.control import run
from tests.vendors.wire import Refusal, Reply, Request, as_json, content_type, is_integer, strict_json

OBJECTS = {
    ("deployments", "prod", "cache"): 3,
    ("deployments", "prod", "idle"): 0,
    ("statefulsets", "prod", "db"): 2,
    ("replicasets", "prod", "old"): 1,
    ("deployments", "readonly", "cache"): 3,
    ("deployments", "secret", "cache"): 3,
}
"""Replicas by resource, namespace and name."""
USER = "system:serviceaccount:predis:agent"
PATCHES = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
)
REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    409: "Conflict",
    415: "UnsupportedMediaType",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
}
_PATH = re.compile(r"/apis/apps/v1/namespaces/([^/]+)/([a-z]+)/([^/]+)(/scale)?")


class Kubernetes:
    """One cluster."""

    def __init__(self, token: str) -> None:
        self._token, self._lock, self._version = token, threading.Lock(), 41_000
        self._objects: dict[tuple[str, str, str], dict[str, Any]] = {}
        for (resource, namespace, name), replicas in OBJECTS.items():
            self._objects[resource, namespace, name] = {
                "metadata": {"name": name, "namespace": namespace, "uid": str(uuid.uuid4()), "annotations": {}},
                "spec": {"replicas": replicas},
            }
            self._touch(self._objects[resource, namespace, name])

    @property
    def assets(self) -> dict[str, Any]:
        """Replicas by RESOURCE/NAMESPACE/NAME."""
        return {"/".join(key): found["spec"]["replicas"] for key, found in self._objects.items()}

    def answer(self, request: Request) -> Reply:
        if request.headers.get("Authorization") != f"Bearer {self._token}":
            raise Refusal(401, "token", "Unauthorized")
        path = _PATH.fullmatch(request.path)
        if path is None or path[2] not in ("deployments", "statefulsets", "replicasets"):
            raise Refusal(404, "path", "the server could not find the requested resource")
        namespace, resource, name, scale = path[1], path[2], path[3], path[4] is not None
        if request.method not in ("GET", "PATCH"):
            raise Refusal(405, "method", "the server does not allow this method on the requested resource")
        self._authorise(request.method.lower(), namespace, resource, name, scale)
        with self._lock:
            found = self._objects.get((resource, namespace, name))
            if found is None:
                raise Refusal(404, "object", f'{resource}.apps "{name}" not found')
            if request.method == "GET":
                return as_json(_shown(found, resource, scale))
            return self._patch(request, found, resource, scale)

    def error(self, request: Request, status: int, text: str, code: str = "") -> Reply:
        reason = code or REASONS.get(status, "")
        document = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": text}
        return as_json({**document, "reason": reason, "code": status}, status)

    def partial(self, reply: Reply, rejected: int) -> Reply:
        raise NotImplementedError("a change is made or refused as a whole")

    def close(self) -> None:
        """Nothing was started."""

    @staticmethod
    def _authorise(verb: str, namespace: str, resource: str, name: str, scale: bool) -> None:
        if namespace == "secret" or (namespace == "readonly" and verb == "patch"):
            what = f"{resource}/scale" if scale else resource
            raise Refusal(
                403,
                "rbac",
                f'{resource}.apps "{name}" is forbidden: User "{USER}" cannot {verb} resource "{what}" in API group '
                f'"apps" in the namespace "{namespace}"',
            )

    def _patch(self, request: Request, found: dict[str, Any], resource: str, scale: bool) -> Reply:
        kind, name = content_type(request), found["metadata"]["name"]
        if kind not in PATCHES:
            accepted = ", ".join(PATCHES)
            raise Refusal(
                415,
                "content_type",
                f"the body of the request was in an unknown format - accepted media types include: {accepted}",
            )
        if kind != "application/merge-patch+json":
            raise Refusal(415, "content_type", f"this fake takes merge patches, not {kind}")
        dry = request.query.get("dryRun")
        if dry not in (None, "All"):
            raise Refusal(422, "dry_run", f'dryRun: Unsupported value: "{dry}": supported values: "All"')
        patch = strict_json(request.body)
        if not isinstance(patch, dict):
            raise Refusal(400, "patch", "the patch is no object")
        violations = [Violation("field", f"{path} is unknown", refused=False) for path in _unknown(patch)]
        version = patch.get("metadata", {}).get("resourceVersion")
        if version is None:
            violations.append(Violation("precondition", "the patch has no resourceVersion", refused=False))
        elif not isinstance(version, str):
            raise Refusal(400, "patch", "json: cannot unmarshal number into Go struct field of type string")
        elif version != found["metadata"]["resourceVersion"]:
            raise Refusal(
                409,
                "conflict",
                f'Operation cannot be fulfilled on {resource}.apps "{name}": the object has been modified; please '
                "apply your changes to the latest version and try again",
            )
        changed = json.loads(json.dumps(found))
        if "replicas" in patch.get("spec", {}):
            changed["spec"]["replicas"] = _replicas(patch["spec"]["replicas"], name)
        changed["metadata"]["annotations"] |= patch.get("metadata", {}).get("annotations", {})
        if dry is None and changed != found:
            found |= changed
            self._touch(found)
        return Reply(
            200, json.dumps(_shown(changed if dry else found, resource, scale)).encode(), violations=violations
        )

    def _touch(self, found: dict[str, Any]) -> None:
        self._version += 7
        found["metadata"]["resourceVersion"] = str(self._version)


def _replicas(value: Any, name: str) -> int:
    if not is_integer(value):
        raise Refusal(400, "patch", "json: cannot unmarshal into Go struct field ScaleSpec.spec.replicas of type int32")
    if value < 0:
        _invalid(
            f'Scale.autoscaling "{name}" is invalid: spec.replicas: Invalid value: {value}: must be greater than 0'
        )
    return int(value)


def _invalid(text: str) -> NoReturn:
    raise Refusal(422, "invalid", text)


def _unknown(patch: dict[str, Any]) -> list[str]:
    known = {"metadata": {"resourceVersion", "annotations", "name", "namespace", "uid"}, "spec": {"replicas"}}
    found = sorted(patch.keys() - known.keys() - {"kind", "apiVersion"})
    return found + [f"{part}.{key}" for part in known for key in sorted(patch.get(part, {}).keys() - known[part])]


def _shown(found: dict[str, Any], resource: str, scale: bool) -> dict[str, Any]:
    metadata = {name: value for name, value in found["metadata"].items() if value != {}}
    replicas = found["spec"]["replicas"]
    if not scale:
        kind = {"deployments": "Deployment", "statefulsets": "StatefulSet", "replicasets": "ReplicaSet"}[resource]
        return {
            "kind": kind,
            "apiVersion": "apps/v1",
            "metadata": metadata,
            "spec": {"replicas": replicas},
            "status": {},
        }
    metadata.pop("annotations", None)
    spec = {"replicas": replicas} if replicas else {}
    status = {"replicas": replicas, "selector": f"app={metadata['name']}"}
    return {"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec, "status": status}


def _make(options: argparse.Namespace) -> Kubernetes:
    return Kubernetes(options.api_key)


if __name__ == "__main__":
    run(_make, __doc__)
