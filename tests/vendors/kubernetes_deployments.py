"""What a cluster does with Deployments: it checks and completes their templates, and its controller keeps ReplicaSets.

From pkg/controller/deployment (sync.go, util/deployment_util.go) and pkg/apis/apps/validation of
https://github.com/kubernetes/kubernetes:
- the ReplicaSet whose template is the Deployment's, but for the label pod-template-hash, is the new one; of several,
  the oldest. Without one, and unless the Deployment is paused, one is made, NAME-HASH, controlled by the Deployment;
- the new one has the greatest number: one more than the others have, if its own is less. A number that it had is kept
  in revision-history; the Deployment has the number of the new one;
- annotations go from the Deployment to the new one, but for those that belong to one of the two;
- the old ones go down to 0 replicas, unless a pod of the new one never gets ready: here one whose image ends in
  "broken";
- of the old ones without replicas, revisionHistoryLimit are kept, those with the greatest numbers.
"""

import copy
import hashlib
import json
import math
import re
import uuid
from typing import Any, NoReturn

from tests.vendors.wire import Refusal, is_integer

REVISION = "deployment.kubernetes.io/revision"
HISTORY = "deployment.kubernetes.io/revision-history"
NOT_COPIED = (
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    HISTORY,
    "deployment.kubernetes.io/desired-replicas",
    "deployment.kubernetes.io/max-replicas",
    "deprecated.deployment.rollback.to",
)
HASH = "pod-template-hash"
POD = {
    "dnsPolicy": "ClusterFirst",
    "restartPolicy": "Always",
    "schedulerName": "default-scheduler",
    "securityContext": {},
    "terminationGracePeriodSeconds": 30,
}
CONTAINER = {
    "imagePullPolicy": "IfNotPresent",
    "resources": {},
    "terminationMessagePath": "/dev/termination-log",
    "terminationMessagePolicy": "File",
}
"""What the API server adds where nothing is said."""
KNOWN_POD = {*POD, "containers", "initContainers", "volumes", "nodeSelector", "serviceAccountName", "affinity"}
KNOWN_CONTAINER = {*CONTAINER, "name", "image", "command", "args", "env", "ports", "volumeMounts"}


def template(app: str, image: str) -> dict[str, Any]:
    """A pod template as somebody writes it."""
    return {"metadata": {"labels": {"app": app}}, "spec": {"containers": [{"name": "main", "image": image}]}}


def spec(app: str, image: str, replicas: int) -> dict[str, Any]:
    """A Deployment's spec as it is stored."""
    return {
        "replicas": replicas,
        "selector": {"matchLabels": {"app": app}},
        "template": completed(template(app, image)),
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}},
        "revisionHistoryLimit": 10,
        "progressDeadlineSeconds": 600,
    }


def completed(given: dict[str, Any]) -> dict[str, Any]:
    """The template with the defaults."""
    found = copy.deepcopy(given)
    found["metadata"].setdefault("creationTimestamp", None)
    found["spec"] = POD | found["spec"]
    found["spec"]["containers"] = [CONTAINER | container for container in found["spec"]["containers"]]
    return found


def check(name: str, changed: dict[str, Any], before: dict[str, Any]) -> list[str]:
    """What would be dropped without a word of a Deployment's new spec. Refuses 422 what is invalid."""
    if changed["selector"] != before["selector"]:
        _invalid(name, "spec.selector", "Invalid value", "field is immutable")
    if not is_integer(changed["replicas"]) or changed["replicas"] < 0:
        _invalid(name, "spec.replicas", f"Invalid value: {changed['replicas']}", "must be greater than or equal to 0")
    found = changed["template"]
    labels = found.get("metadata", {}).get("labels", {}) if isinstance(found, dict) else {}
    if any(labels.get(key) != value for key, value in changed["selector"]["matchLabels"].items()):
        wrong = f"Invalid value: {json.dumps(labels)}"
        _invalid(name, "spec.template.metadata.labels", wrong, "`selector` does not match template `labels`")
    containers = found.get("spec", {}).get("containers")
    if not containers:
        _invalid(name, "spec.template.spec.containers", "Required value", "")
    for at, container in enumerate(containers):
        for key in ("name", "image"):
            if not isinstance(container.get(key), str) or not container[key]:
                _invalid(name, f"spec.template.spec.containers[{at}].{key}", "Required value", "")
    if found["spec"].get("restartPolicy", "Always") != "Always":
        wrong = f'Unsupported value: "{found["spec"]["restartPolicy"]}"'
        _invalid(name, "spec.template.spec.restartPolicy", wrong, 'supported values: "Always"')
    odd = [f"spec.{key}" for key in changed.keys() - before.keys() - {"paused", "minReadySeconds"}]
    odd += [f"spec.template.{key}" for key in found.keys() - {"metadata", "spec"}]
    odd += [f"spec.template.spec.{key}" for key in found["spec"].keys() - KNOWN_POD]
    odd += [f"spec.template.spec.containers.{key}" for one in containers for key in one.keys() - KNOWN_CONTAINER]
    # It is taken, and then the pods of every later release carry the hash of this one.
    return odd + ([f"spec.template.metadata.labels.{HASH}"] if HASH in labels else [])


def sync(deployment: dict[str, Any], replica_sets: list[dict[str, Any]], now: str) -> list[dict[str, Any]]:
    """The controller comes by: changes the Deployment and its ReplicaSets, and gives those that are left."""
    wanted = deployment["spec"]["template"]
    new = next((one for one in replica_sets if plain(one["spec"]["template"]) == wanted), None)
    others = [one for one in replica_sets if one is not new]
    number = max((_number(one) for one in others), default=0) + 1
    if new is None and not deployment["spec"].get("paused"):
        new = _made(deployment, now)
        new["metadata"]["annotations"][REVISION] = str(number)
        replica_sets = [*replica_sets, new]
    elif new is not None:
        own = new["metadata"]["annotations"]
        own |= _copied(deployment)
        if (had := _number(new)) < number:
            own[HISTORY] = ",".join([*filter(None, [own.get(HISTORY)]), str(had)])
            own[REVISION] = str(number)
    deployment["status"]["observedGeneration"] = deployment["metadata"]["generation"]
    if new is None:
        return replica_sets
    deployment["metadata"]["annotations"][REVISION] = new["metadata"]["annotations"][REVISION]
    if deployment["spec"].get("paused"):
        return replica_sets
    new["spec"]["replicas"] = deployment["spec"]["replicas"]
    if any(container["image"].endswith("broken") for container in wanted["spec"]["containers"]):
        return replica_sets  # the rollout goes no further
    for one in others:
        one["spec"]["replicas"] = 0
    surplus = len(others) - deployment["spec"]["revisionHistoryLimit"]
    gone = sorted(others, key=_number)[: max(0, surplus)]
    return [one for one in replica_sets if one not in gone]


def plain(found: dict[str, Any]) -> dict[str, Any]:
    """A ReplicaSet's template without the label that the controller added."""
    found = copy.deepcopy(found)
    found["metadata"]["labels"].pop(HASH, None)
    return found


def selects(selector: str, labels: dict[str, str]) -> bool:
    """Whether a labelSelector fits; refuses 400 what is none. Sets have no brackets within brackets."""
    for part in re.split(r",(?![^()]*\))", selector) if selector else ():
        if equal := re.fullmatch(r"([\w./-]+)\s*(==?|!=)\s*([\w.-]*)", part):
            fits = (labels.get(equal[1]) == equal[3]) is not (equal[2] == "!=")
        elif among := re.fullmatch(r"([\w./-]+) (in|notin) \(([\w., -]*)\)", part):
            fits = (labels.get(among[1]) in re.split(r", *", among[3])) is not (among[2] == "notin")
        elif there := re.fullmatch(r"(!?)([\w./-]+)", part):
            fits = (there[2] in labels) is not bool(there[1])
        else:
            raise Refusal(400, "selector", f"unable to parse requirement: {part!r}")
        if not fits:
            return False
    return True


def _made(deployment: dict[str, Any], now: str) -> dict[str, Any]:
    wanted, metadata = deployment["spec"]["template"], deployment["metadata"]
    digest = hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).digest()[:10]
    mark = "".join("bcdfghjklmnpqrstvwxz2456789"[byte % 27] for byte in digest)
    found = copy.deepcopy(wanted)
    found["metadata"]["labels"][HASH] = mark
    replicas = deployment["spec"]["replicas"]
    most = replicas + math.ceil(replicas / 4)  # maxSurge is 25 %
    sizes = {f"deployment.kubernetes.io/{key}-replicas": str(n) for key, n in (("desired", replicas), ("max", most))}
    selector = copy.deepcopy(deployment["spec"]["selector"])
    owner = {"apiVersion": "apps/v1", "kind": "Deployment", "name": metadata["name"], "uid": metadata["uid"]}
    return {
        "metadata": {
            "name": f"{metadata['name']}-{mark}",
            "namespace": metadata["namespace"],
            "uid": str(uuid.uuid4()),
            "creationTimestamp": now,
            "generation": 1,
            "labels": dict(found["metadata"]["labels"]),
            "annotations": {**_copied(deployment), **sizes},
            "ownerReferences": [{**owner, "controller": True, "blockOwnerDeletion": True}],
        },
        "spec": {
            "replicas": 0,
            "selector": {**selector, "matchLabels": {**selector["matchLabels"], HASH: mark}},
            "template": found,
        },
        "status": {},
    }


def _copied(deployment: dict[str, Any]) -> dict[str, str]:
    return {key: value for key, value in deployment["metadata"]["annotations"].items() if key not in NOT_COPIED}


def _number(replica_set: dict[str, Any]) -> int:
    return int(replica_set["metadata"]["annotations"].get(REVISION, "0"))


def _invalid(name: str, field: str, wrong: str, why: str) -> NoReturn:
    raise Refusal(422, "invalid", f'Deployment.apps "{name}" is invalid: {field}: {wrong}{f": {why}" if why else ""}')
