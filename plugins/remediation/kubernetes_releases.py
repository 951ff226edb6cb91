"""The releases of a Deployment: its pod template, and those that its ReplicaSets have kept, by revision.

As `kubectl rollout history` and `undo` see them: https://github.com/kubernetes/kubectl/blob/master/pkg/polymorphichelpers,
rollback.go and history.go; what the controller writes is in pkg/controller/deployment/util/deployment_util.go of
https://github.com/kubernetes/kubernetes.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

REVISION = "deployment.kubernetes.io/revision"
HISTORY = "deployment.kubernetes.io/revision-history"
_HASH = "pod-template-hash"  # a label that the controller adds to the template of each ReplicaSet
_OF_THE_OBJECT = frozenset(
    {
        REVISION,
        HISTORY,
        "deployment.kubernetes.io/desired-replicas",
        "deployment.kubernetes.io/max-replicas",
        "deprecated.deployment.rollback.to",
        "kubectl.kubernetes.io/last-applied-configuration",
    }
)
"""Annotations that belong to the object and not to what was released with it."""


@dataclass(frozen=True, slots=True)
class Revision:
    """A release that a ReplicaSet has kept. before: the number that it had last, when it was released again since;
    0 if it never had another."""

    number: int
    release: str
    template: Mapping[str, Any]
    annotations: Mapping[str, str]
    before: int


def release_of(template: Mapping[str, Any]) -> str:
    """A pod template by its images and a digest of all of it: "shop:1.9, proxy:2 (template 3fa2b1c04d5e)".

    The label that the controller adds does not count, nor does what is null.
    """
    text = json.dumps(_told(without_hash(template)), sort_keys=True, separators=(",", ":"))
    return f"{_images(template)} (template {hashlib.sha256(text.encode()).hexdigest()[:12]})"


def images_of(release: str) -> str:
    """The images of what `release_of` gave."""
    return release.rpartition(" (template ")[0]


def without_hash(template: Mapping[str, Any]) -> dict[str, Any]:
    """The template of a ReplicaSet as its Deployment had it."""
    metadata = dict(template.get("metadata") or {})
    metadata["labels"] = {name: value for name, value in (metadata.get("labels") or {}).items() if name != _HASH}
    return {**template, "metadata": metadata}


def revisions_of(deployment: Mapping[str, Any], replica_sets: Iterable[Mapping[str, Any]]) -> list[Revision]:
    """What is kept of this Deployment, the oldest first. A ReplicaSet without a number is none of its releases yet."""
    found = []
    for one in replica_sets:
        metadata = one["metadata"]
        owners = metadata.get("ownerReferences") or ()
        if not any(owner.get("controller") and owner["uid"] == deployment["metadata"]["uid"] for owner in owners):
            continue  # the selector alone fits those of others, too
        annotations = metadata.get("annotations") or {}
        number = _number(annotations.get(REVISION, ""))
        if not number:
            continue
        template = one["spec"]["template"]
        before = max(
            (n for text in annotations.get(HISTORY, "").split(",") if (n := _number(text)) != number), default=0
        )
        found.append(Revision(number, release_of(template), template, annotations, before))
    return sorted(found, key=lambda revision: revision.number)


def selector_of(deployment: Mapping[str, Any]) -> str:
    """Its spec.selector in the form of the query `labelSelector`."""
    selector = deployment["spec"]["selector"]
    parts = [f"{name}={value}" for name, value in sorted((selector.get("matchLabels") or {}).items())]
    for one in selector.get("matchExpressions") or ():
        key, operator, values = one["key"], one["operator"], ",".join(one.get("values") or ())
        known = {
            "In": f"{key} in ({values})",
            "NotIn": f"{key} notin ({values})",
            "Exists": key,
            "DoesNotExist": f"!{key}",
        }
        parts.append(known[operator])
    return ",".join(parts)


def annotations_for(deployment: Mapping[str, Any], revision: Revision) -> dict[str, str]:
    """The annotations of a Deployment that goes back: those that were released with the revision, and its own."""
    own = deployment["metadata"].get("annotations") or {}
    kept = {name: value for name, value in own.items() if name in _OF_THE_OBJECT}
    return kept | {name: value for name, value in revision.annotations.items() if name not in _OF_THE_OBJECT}


def _images(template: Mapping[str, Any]) -> str:
    images = [str(container.get("image", "")) for container in template["spec"]["containers"]]
    return ", ".join(re.sub(r"@(sha\d+:[0-9a-f]{12})[0-9a-f]+$", r"@\1…", image) for image in images)


def _told(value: Any) -> Any:
    """Without members that are null, at any depth. What is empty stays: an empty selector is not the same as none."""
    if isinstance(value, Mapping):
        return {name: _told(member) for name, member in value.items() if member is not None}
    return [_told(item) for item in value] if isinstance(value, list) else value


def _number(text: str) -> int:
    """A revision; 0 for what is none."""
    return int(text) if re.fullmatch(r"[1-9][0-9]{0,17}", text) else 0
