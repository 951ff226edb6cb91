"""scale.kubernetes: how many replicas a Deployment, StatefulSet or ReplicaSet has, by its scale subresource.

https://kubernetes.io/docs/reference/kubernetes-api/ (autoscaling/v1 Scale; PATCH …/scale). The patch carries the
resourceVersion that was read, so that the API server refuses it with 409 when anybody has changed the object since.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from agent.api import PredisError, Task
from plugins.remediation.action import Dial, Effects
from plugins.remediation.amount import CountParams
from plugins.remediation.kubernetes_api import MERGE_PATCH, ApiServers, DnsName, KubernetesError, Resource, target_of

_RESOURCES = {"deployment": "deployments", "statefulset": "statefulsets", "replicaset": "replicasets"}


class KubernetesParams(CountParams):
    """scale.kubernetes"""

    cluster: str = "here"
    namespace: DnsName = Field(examples=["prod"])
    kind: Literal["deployment", "statefulset", "replicaset"] = "deployment"
    name: DnsName = Field(examples=["shop"])


class ScaleKubernetes(Dial[int]):
    """Changes spec.replicas. Plans ask the API server to check the very change, with dryRun=All."""

    name = "scale.kubernetes"
    help = "Scales a Deployment, StatefulSet or ReplicaSet of Kubernetes, within limits."
    Params = KubernetesParams
    deadline = 60.0

    def __init__(self, servers: ApiServers) -> None:
        self._servers = servers

    def target(self, params: KubernetesParams) -> str:
        return target_of(params.kind, params.cluster, params.namespace, params.name)

    def check(self, params: KubernetesParams) -> None:
        self._servers.check(params.cluster)

    def what(self, params: KubernetesParams) -> str:
        return f"the replicas of {self.target(params)}"

    def read(self, params: KubernetesParams, task: Task) -> int:
        return _replicas(self._get(params))

    def decide(self, params: KubernetesParams, old: int, task: Task) -> int:
        return params.from_(old)

    def foresee(self, params: KubernetesParams, old: int, new: int, task: Task) -> Effects:
        self._patch(params, old, new, dry_run=True)
        return Effects()

    def set(self, params: KubernetesParams, old: int, new: int, task: Task) -> str:
        try:
            self._patch(params, old, new, dry_run=False)
        except KubernetesError as error:
            if error.status != 409:
                raise
            # Any change of the object is a conflict, such as one of its status. Only one of the replicas matters.
            self._patch(params, old, new, dry_run=False)
        return ""

    def _get(self, params: KubernetesParams) -> dict[str, Any]:
        return self._servers.get(params.cluster, _scale(params))

    def _patch(self, params: KubernetesParams, old: int, new: int, *, dry_run: bool) -> None:
        scale = self._get(params)
        if (now := _replicas(scale)) != old:
            raise PredisError(f"{self.what(params)} is {now} and not {old} any more: somebody else has changed it")
        version = scale["metadata"]["resourceVersion"]
        patch = {"metadata": {"resourceVersion": version}, "spec": {"replicas": new}}
        answer = self._servers.patch(params.cluster, _scale(params), MERGE_PATCH, patch, dry_run=dry_run)
        if (now := _replicas(answer)) != new:
            raise PredisError(f"the API server made it {now} and not {new}")


def _scale(params: KubernetesParams) -> Resource:
    resource = _RESOURCES[params.kind]
    return Resource(
        f"/apis/apps/v1/namespaces/{params.namespace}/{resource}/{params.name}/scale",
        "Scale",
        f"there is no {params.kind} {params.name} in the namespace {params.namespace}",
        f"get and patch on {resource}/scale",
    )


def _replicas(scale: Mapping[str, Any]) -> int:
    # The field is left out at 0, as Kubernetes does with all that is zero.
    replicas = scale.get("spec", {}).get("replicas", 0)
    if not isinstance(replicas, int):
        raise PredisError("the API server answers with a Scale whose replicas are no number")
    return replicas
