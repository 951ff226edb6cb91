"""rollback.kubernetes: a Deployment back to a release that one of its ReplicaSets has kept, as `kubectl rollout undo`.

https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#rolling-back-a-deployment. The pod template and
the annotations are replaced as a whole by a JSON patch (RFC 6902) that tests the resourceVersion first. A test that
fails is answered with 422, as is a template that is refused, and what changes while the patch is applied with 409.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from pydantic import Field

from agent.api import Plan, PredisError, Task
from plugins.remediation.action import Dial, Effects, Params
from plugins.remediation.kubernetes_api import JSON_PATCH, ApiServers, DnsName, KubernetesError, Resource, target_of
from plugins.remediation.kubernetes_releases import (
    Revision,
    annotations_for,
    images_of,
    release_of,
    revisions_of,
    selector_of,
    without_hash,
)

_TRIES = 5  # each new state of a pod changes the status of the Deployment, and many come in the middle of a rollout
_NEEDS = "get and patch on deployments and list on replicasets, in the API group apps"


class RollbackParams(Params):
    """rollback.kubernetes. revision: where to; without it, the one before."""

    cluster: str = "here"
    namespace: DnsName = Field(examples=["prod"])
    name: DnsName = Field(examples=["shop"])
    revision: int | None = Field(default=None, ge=1, examples=[5])


class RollbackKubernetes(Dial[str]):
    """Moves spec.template; the value is the release, which tells one template from another (see `release_of`).

    The revisions' numbers move by themselves: the controller gives the one that is gone back to the next number. So
    what is noted, and what a way back leads to, is a release; the numbers are part of what a person approves.
    """

    name = "rollback.kubernetes"
    help = "Rolls a Deployment of Kubernetes back to an earlier revision, as kubectl rollout undo does."
    Params = RollbackParams
    deadline = 60.0

    def __init__(self, servers: ApiServers) -> None:
        self._servers = servers

    def target(self, params: RollbackParams) -> str:
        return target_of("deployment", params.cluster, params.namespace, params.name)

    def check(self, params: RollbackParams) -> None:
        self._servers.check(params.cluster)

    def what(self, params: RollbackParams) -> str:
        return f"the release of {self.target(params)}"

    def plan(self, params: RollbackParams, task: Task) -> Plan:
        plan = super().plan(params, task)
        facts = plan.facts or {}
        text = (
            f"would roll {self.target(params)} back from revision {facts['from_revision']} ({images_of(facts['old'])})"
        )
        return Plan(f"{text} to revision {facts['to_revision']} ({images_of(facts['new'])})", facts, plan.undo)

    def read(self, params: RollbackParams, task: Task) -> str:
        return _release(self._deployment(params))

    def decide(self, params: RollbackParams, old: str, task: Task) -> str:
        deployment = self._unchanged(params, old)
        return self._goal(params, deployment, self._revisions(params, deployment)).release

    def foresee(self, params: RollbackParams, old: str, new: str, task: Task) -> Effects:
        origin, goal = self._move(params, old, new, dry_run=True)
        return Effects("", {"from_revision": origin, "to_revision": goal})

    def set(self, params: RollbackParams, old: str, new: str, task: Task) -> str:
        _, goal = self._move(params, old, new, dry_run=False)
        return f", which was revision {goal}"

    def _goal(self, params: RollbackParams, deployment: Mapping[str, Any], revisions: list[Revision]) -> Revision:
        """Where it should go. Raises PredisError."""
        target, old = self.target(params), _release(deployment)
        current = _newest(revisions, old)
        if current is None:
            raise PredisError(f"{target} has no ReplicaSet of {old} yet: its controller has not come to it; try again")
        if params.revision is not None:
            found = next((one for one in revisions if one.number == params.revision), None)
            if found is None:
                raise PredisError(f"{target} has no revision {params.revision}: it has {_numbers(revisions)}")
            if found.release == old:
                raise PredisError(f"revision {params.revision} of {target} is {old}, which it has already")
            return found
        earlier = [one for one in revisions if one.number < current.number]
        if not earlier:
            raise PredisError(f"{target} has no revision before {current.number}: see its revisionHistoryLimit")
        if earlier[-1].number > current.before > 0:
            # kubectl goes there: twice `undo` ends where it began. A rule would bring back what it has just taken away.
            raise PredisError(
                f"revision {current.number} of {target} was released before, as {current.before}: the one before it, "
                f"{earlier[-1].number}, is what it was rolled back from, so say by `revision` which one it should be"
            )
        return earlier[-1]

    def _move(self, params: RollbackParams, old: str, new: str, *, dry_run: bool) -> tuple[int, int]:
        """Replaces the template; gives the numbers of both revisions, the first 0 while it has none."""
        left = _TRIES
        while True:
            left -= 1
            deployment = self._unchanged(params, old)
            revisions = self._revisions(params, deployment)
            origin, goal = _newest(revisions, old), _newest(revisions, new)
            if goal is None:
                raise PredisError(
                    f"{self.target(params)} has no ReplicaSet of {new} any more: see its revisionHistoryLimit"
                )
            version = deployment["metadata"]["resourceVersion"]
            patch = [
                {"op": "test", "path": "/metadata/resourceVersion", "value": version},
                {"op": "replace", "path": "/spec/template", "value": without_hash(goal.template)},
                {"op": "add", "path": "/metadata/annotations", "value": annotations_for(deployment, goal)},
            ]
            try:
                answer = self._servers.patch(params.cluster, _resource(params), JSON_PATCH, patch, dry_run=dry_run)
            except KubernetesError as error:
                refused = error.status not in (409, 422)
                if refused or not left or self._deployment(params)["metadata"]["resourceVersion"] == version:
                    raise
                continue
            if (now := _release(answer)) != new:
                raise PredisError(f"the API server made it {now} and not {new}: something there changes templates")
            return origin.number if origin else 0, goal.number

    def _unchanged(self, params: RollbackParams, old: str) -> dict[str, Any]:
        """The Deployment, which has this release still and can be rolled back. Raises PredisError."""
        deployment, target = self._deployment(params), self.target(params)
        if (now := _release(deployment)) != old:
            raise PredisError(f"{self.what(params)} is {now} and not {old} any more: somebody else has changed it")
        if deployment["metadata"].get("deletionTimestamp"):
            raise PredisError(f"{target} is being deleted")
        if deployment["spec"].get("paused"):
            raise PredisError(f"{target} is paused: resume it first, by kubectl rollout resume")
        return deployment

    def _deployment(self, params: RollbackParams) -> dict[str, Any]:
        return self._servers.get(params.cluster, _resource(params))

    def _revisions(self, params: RollbackParams, deployment: Mapping[str, Any]) -> list[Revision]:
        path = f"/apis/apps/v1/namespaces/{params.namespace}/replicasets?labelSelector={quote(selector_of(deployment))}"
        where = Resource(path, "ReplicaSetList", "it knows no ReplicaSets", _NEEDS)
        return revisions_of(deployment, self._servers.get(params.cluster, where).get("items") or ())


def _resource(params: RollbackParams) -> Resource:
    return Resource(
        f"/apis/apps/v1/namespaces/{params.namespace}/deployments/{params.name}",
        "Deployment",
        f"there is no deployment {params.name} in the namespace {params.namespace}",
        _NEEDS,
    )


def _release(deployment: Mapping[str, Any]) -> str:
    return release_of(deployment["spec"]["template"])


def _newest(revisions: list[Revision], release: str) -> Revision | None:
    return next((one for one in reversed(revisions) if one.release == release), None)


def _numbers(revisions: list[Revision]) -> str:
    return ", ".join(str(one.number) for one in revisions)
