"""A strict fake of a Kubernetes API server, for what scales and rolls back: `python -m tests.vendors.kubernetes`.

From https://kubernetes.io/docs/reference/using-api/api-concepts/ and …/kubernetes-api/common-definitions/:
- a bearer token, else 401; RBAC: 403 with the verb, the resource and the namespace. The account may not patch in the
  namespace `readonly`, whose Deployments have had two releases, and nothing at all in `secret`;
- GET and PATCH of /apis/apps/v1/namespaces/NS/{deployments,statefulsets,replicasets}/NAME/scale give a Scale
  (autoscaling/v1), whose `spec.replicas` is left out where it is 0; GET and PATCH of the object itself;
- a patch has one of the media types of patches, else 415; this fake takes merge patches (RFC 7386), and JSON patches of
  Deployments;
- a patch with another resourceVersion than the object's is 409; without one it is taken, which here is a violation,
  since then two who scale at once overwrite each other;
- replicas below zero are 422 with the cause; unknown fields are dropped, which here is a violation;
- dryRun=All checks all of that and changes nothing; another value is 422;
- each change gives the object another resourceVersion, an opaque text;
- errors are Status objects with reason and code;
- GET of …/replicasets?labelSelector=… gives a ReplicaSetList, whose items have no kind. The account may not list in
  the namespace `blind`;
- a JSON patch (RFC 6902) of a Deployment: 422 when a test fails; 409 when it gives another resourceVersion; 422 with
  the field when the result is invalid; what a real one would drop is a violation here, as is a patch that neither
  tests nor gives the resourceVersion;
- a change of spec counts up metadata.generation, and the controller comes by (see kubernetes_deployments) after the
  answer and before the next request. In the namespace `unobserved`, whose Deployments have had two releases as well,
  it does so at the beginning alone. DELETE of a ReplicaSet is for good. In `busy` and
  `hectic` pods come and go: the status of the Deployments changes whenever somebody lists ReplicaSets, until two
  patches were refused, or for ever. In `stamped` an admission webhook writes into every template that is changed.
"""

import argparse
import copy
import json
import re
import threading
import uuid
from collections import Counter
from datetime import UTC, datetime
from typing import Any, NoReturn

from tests.vendors.book import Violation
from tests.vendors.control import run
from tests.vendors.json_patch import patched
from tests.vendors.kubernetes_deployments import check, completed, selects, spec, sync
from tests.vendors.wire import Refusal, Reply, Request, as_json, content_type, is_integer, strict_json

OBJECTS = {
    ("deployments", "prod", "cache"): 3,
    ("deployments", "prod", "idle"): 0,
    ("deployments", "prod", "shop"): 2,
    ("deployments", "prod", "canary"): 1,
    ("deployments", "prod", "leaving"): 1,
    ("statefulsets", "prod", "db"): 2,
    ("replicasets", "prod", "old"): 1,
    ("deployments", "readonly", "cache"): 3,
    ("deployments", "secret", "cache"): 3,
    ("deployments", "blind", "shop"): 1,
    ("deployments", "unobserved", "shop"): 1,
    ("deployments", "busy", "shop"): 1,
    ("deployments", "hectic", "shop"): 1,
    ("deployments", "stamped", "shop"): 1,
}
"""Replicas by resource, namespace and name. `canary` has the labels of `shop`, and `leaving` is being deleted."""
BUSY = {"busy": 2, "hectic": 1 << 30}
"""After how many patches that were refused pods stand still, until one is taken."""
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
KINDS = {"deployments": "Deployment", "statefulsets": "StatefulSet", "replicasets": "ReplicaSet"}
_PATH = re.compile(r"/apis/apps/v1/namespaces/([^/]+)/([a-z]+)(?:/([^/]+)(/scale)?)?")


class Kubernetes:
    """One cluster."""

    def __init__(self, token: str) -> None:
        self._token, self._lock, self._version = token, threading.Lock(), 41_000
        self._objects: dict[tuple[str, str, str], dict[str, Any]] = {}
        self._unseen: set[tuple[str, str, str]] = set()
        self._refused: Counter[str] = Counter()
        for (resource, namespace, name), replicas in OBJECTS.items():
            app = "shop" if name == "canary" else name
            metadata = {"name": name, "namespace": namespace, "uid": str(uuid.uuid4()), "annotations": {}}
            deployed = spec(app, f"{app}:1.0", replicas) if resource == "deployments" else {"replicas": replicas}
            if name == "canary":
                deployed["selector"]["matchExpressions"] = [{"key": "app", "operator": "In", "values": ["shop", "x"]}]
            found = {"metadata": {**metadata, "generation": 1}, "spec": deployed, "status": {}}
            if name == "leaving":
                found["metadata"] |= {"deletionTimestamp": _now(), "finalizers": ["foregroundDeletion"]}
            self._objects[resource, namespace, name] = found
            self._touch(found)
            if resource == "deployments":
                self._control(found)
            if resource == "deployments" and namespace in ("readonly", "unobserved"):
                found["spec"] = spec(app, f"{app}:1.1", replicas)
                self._control(found)

    @property
    def assets(self) -> dict[str, Any]:
        """Replicas by RESOURCE/NAMESPACE/NAME."""
        return {"/".join(key): found["spec"]["replicas"] for key, found in self._objects.items()}

    def answer(self, request: Request) -> Reply:
        if request.headers.get("Authorization") != f"Bearer {self._token}":
            raise Refusal(401, "token", "Unauthorized")
        path = _PATH.fullmatch(request.path)
        if path is None or path[2] not in KINDS:
            raise Refusal(404, "path", "the server could not find the requested resource")
        namespace, resource, name, scale = path[1], path[2], path[3] or "", path[4] is not None
        allowed = ("GET", "PATCH", "DELETE") if resource == "replicasets" and name and not scale else ("GET", "PATCH")
        if request.method not in allowed or (request.method == "PATCH" and not name):
            raise Refusal(405, "method", "the server does not allow this method on the requested resource")
        self._authorise(request.method.lower() if name else "list", namespace, resource, name, scale)
        with self._lock:
            self._controller_comes_by()
            if not name:
                return self._list(request, namespace, resource)
            found = self._objects.get((resource, namespace, name))
            if found is None:
                raise Refusal(404, "object", f'{resource}.apps "{name}" not found')
            if request.method == "GET":
                return as_json(_shown(found, resource, scale))
            if request.method == "DELETE":
                del self._objects[resource, namespace, name]
                return as_json({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"})
            try:
                reply = self._patch(request, found, resource, scale)
            except Refusal:
                self._refused[namespace] += 1
                raise
            self._refused[namespace] = 0
            return reply

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
        if namespace == "secret" or (namespace, verb) in (("readonly", "patch"), ("blind", "list")):
            what = f"{resource}/scale" if scale else resource
            which = f'{resource}.apps "{name}"' if name else f"{resource}.apps"
            raise Refusal(
                403,
                "rbac",
                f'{which} is forbidden: User "{USER}" cannot {verb} resource "{what}" in API group '
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
        dry = request.query.get("dryRun")
        if dry not in (None, "All"):
            raise Refusal(422, "dry_run", f'dryRun: Unsupported value: "{dry}": supported values: "All"')
        patch = strict_json(request.body)
        if kind == "application/json-patch+json" and resource == "deployments" and not scale:
            return self._json_patch(patch, found, dry=dry is not None)
        if kind != "application/merge-patch+json":
            raise Refusal(415, "content_type", f"this fake takes merge patches of {resource}, not {kind}")
        if not isinstance(patch, dict):
            raise Refusal(400, "patch", "the patch is no object")
        violations = [Violation("field", f"{path} is unknown", refused=False) for path in _unknown(patch)]
        version = patch.get("metadata", {}).get("resourceVersion")
        if version is None:
            violations.append(Violation("precondition", "the patch has no resourceVersion", refused=False))
        elif not isinstance(version, str):
            raise Refusal(400, "patch", "json: cannot unmarshal number into Go struct field of type string")
        elif version != found["metadata"]["resourceVersion"]:
            _conflict(resource, name)
        changed = json.loads(json.dumps(found))
        if "replicas" in patch.get("spec", {}):
            changed["spec"]["replicas"] = _replicas(patch["spec"]["replicas"], name)
        changed["metadata"]["annotations"] |= patch.get("metadata", {}).get("annotations", {})
        if dry is None and changed != found:
            self._store(found, changed)
        return Reply(
            200, json.dumps(_shown(changed if dry else found, resource, scale)).encode(), violations=violations
        )

    def _json_patch(self, patch: Any, found: dict[str, Any], *, dry: bool) -> Reply:
        name = found["metadata"]["name"]
        result = patched(_shown(found, "deployments", scale=False), patch)
        changed = {"metadata": result["metadata"], "spec": result["spec"], "status": found["status"]}
        changed["metadata"].setdefault("annotations", {})
        own, was = changed["metadata"], found["metadata"]
        if own["resourceVersion"] != was["resourceVersion"]:
            _conflict("deployments", name)
        for fixed in ("name", "namespace", "uid"):
            if own[fixed] != was[fixed]:
                _invalid(f'Deployment.apps "{name}" is invalid: metadata.{fixed}: field is immutable')
        for key, value in own["annotations"].items():
            if not isinstance(value, str):
                raise Refusal(400, "patch", f"cannot unmarshal metadata.annotations.{key} into a string")
        violations = [
            Violation("field", f"{path} is odd", refused=False) for path in check(name, changed["spec"], found["spec"])
        ]
        if not any(one["path"] == "/metadata/resourceVersion" and one["op"] in ("test", "replace") for one in patch):
            violations.append(Violation("precondition", "the patch has no resourceVersion", refused=False))
        own["generation"] = was["generation"]
        changed["spec"]["template"] = completed(changed["spec"]["template"])
        if own["namespace"] == "stamped":
            changed["spec"]["template"]["metadata"]["annotations"] = {"stamp": str(uuid.uuid4())}
        if not dry and changed != found:
            self._store(found, changed)
        shown = _shown(changed if dry else found, "deployments", scale=False)
        return Reply(200, json.dumps(shown).encode(), violations=violations)

    def _list(self, request: Request, namespace: str, resource: str) -> Reply:
        if odd := request.query.keys() - {"labelSelector"}:
            raise Refusal(400, "query", f"this fake knows no {sorted(odd)} of a list")
        selector = request.query.get("labelSelector", "")
        items = [
            {
                key: value
                for key, value in _shown(found, resource, scale=False).items()
                if key not in ("kind", "apiVersion")
            }
            for (what, where, _), found in self._objects.items()
            if (what, where) == (resource, namespace) and selects(selector, found["metadata"].get("labels", {}))
        ]
        if self._refused[namespace] < BUSY.get(namespace, 0):
            for (what, where, _), found in self._objects.items():
                if (what, where) == ("deployments", namespace):
                    self._touch(found)
        kind, metadata = f"{KINDS[resource]}List", {"resourceVersion": str(self._version)}
        return as_json({"kind": kind, "apiVersion": "apps/v1", "metadata": metadata, "items": items})

    def _store(self, found: dict[str, Any], changed: dict[str, Any]) -> None:
        if changed["spec"] != found["spec"]:
            changed["metadata"]["generation"] += 1
        found |= changed
        self._touch(found)
        key = ("deployments", found["metadata"]["namespace"], found["metadata"]["name"])
        if self._objects.get(key) is found and key[1] != "unobserved":
            self._unseen.add(key)

    def _controller_comes_by(self) -> None:
        for key in self._unseen:
            self._control(self._objects[key])
        self._unseen.clear()

    def _control(self, deployment: dict[str, Any]) -> None:
        namespace, uid = deployment["metadata"]["namespace"], deployment["metadata"]["uid"]
        own = {
            key: found
            for key, found in self._objects.items()
            if key[0] == "replicasets"
            and any(one["uid"] == uid for one in found["metadata"].get("ownerReferences", ()))
        }
        before = json.dumps([deployment, list(own.values())])
        left = sync(deployment, list(own.values()), _now())
        if json.dumps([deployment, left]) == before:
            return
        for key in own:
            del self._objects[key]
        for found in left:
            self._objects["replicasets", namespace, found["metadata"]["name"]] = found
            self._touch(found)
        self._touch(deployment)

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


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _conflict(resource: str, name: str) -> NoReturn:
    raise Refusal(
        409,
        "conflict",
        f'Operation cannot be fulfilled on {resource}.apps "{name}": the object has been modified; please apply your '
        "changes to the latest version and try again",
    )


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
        shown = {"kind": KINDS[resource], "apiVersion": "apps/v1", "metadata": metadata}
        return {**shown, "spec": copy.deepcopy(found["spec"]), "status": dict(found["status"])}
    metadata.pop("annotations", None)
    sized = {"replicas": replicas} if replicas else {}
    status = {"replicas": replicas, "selector": f"app={metadata['name']}"}
    return {"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": sized, "status": status}


def _make(options: argparse.Namespace) -> Kubernetes:
    return Kubernetes(options.api_key)


if __name__ == "__main__":
    run(_make, __doc__)
