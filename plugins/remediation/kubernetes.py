"""scale.kubernetes: how many replicas a Deployment, StatefulSet or ReplicaSet has, by its scale subresource.

https://kubernetes.io/docs/reference/kubernetes-api/ (autoscaling/v1 Scale; PATCH …/scale). The patch carries the
resourceVersion that was read, so that the API server refuses it with 409 when anybody has changed the object since.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from agent.api import Answer, HttpSender, PredisError, Task, answer_of
from plugins.remediation.action import Dial, Effects, pick
from plugins.remediation.amount import CountParams
from plugins.remediation.config import Cluster

_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_MERGE = "application/merge-patch+json"
_RESOURCES = {"deployment": "deployments", "statefulset": "statefulsets", "replicaset": "replicasets"}
_DnsName = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$")]


class KubernetesParams(CountParams):
    """scale.kubernetes"""

    cluster: str = "here"
    namespace: _DnsName = Field(examples=["prod"])
    kind: Literal["deployment", "statefulset", "replicaset"] = "deployment"
    name: _DnsName = Field(examples=["shop"])


class KubernetesError(PredisError):
    """The API server says no: `status` is that of HTTP."""

    def __init__(self, status: int, what: str) -> None:
        self.status = status
        super().__init__(what)


class ScaleKubernetes(Dial[int]):
    """Changes spec.replicas. Plans ask the API server to check the very change, with dryRun=All."""

    name = "scale.kubernetes"
    help = "Scales a Deployment, StatefulSet or ReplicaSet of Kubernetes, within limits."
    Params = KubernetesParams
    deadline = 60.0

    def __init__(self, clusters: Mapping[str, Cluster], account: Path = _ACCOUNT) -> None:
        """`account`: where a pod finds the token and the CA of its service account."""
        self._clusters, self._account = clusters, account

    def target(self, params: KubernetesParams) -> str:
        where = "" if params.cluster == "here" else f"{params.cluster}/"
        return f"{params.kind}:{where}{params.namespace}/{params.name}"

    def what(self, params: KubernetesParams) -> str:
        return f"the replicas of {self.target(params)}"

    def read(self, params: KubernetesParams, task: Task) -> int:
        return _replicas(self._get(params))

    def decide(self, params: KubernetesParams, old: int, task: Task) -> int:
        return params.from_(old)

    def check(self, params: KubernetesParams, old: int, new: int, task: Task) -> Effects:
        self._patch(params, old, new, "?dryRun=All")
        return Effects()

    def set(self, params: KubernetesParams, old: int, new: int, task: Task) -> str:
        try:
            self._patch(params, old, new, "")
        except KubernetesError as error:
            if error.status != 409:
                raise
            # Any change of the object is a conflict, such as one of its status. Only one of the replicas matters.
            self._patch(params, old, new, "")
        return ""

    def _get(self, params: KubernetesParams) -> dict[str, Any]:
        return self._ask(params, "GET", "", None)

    def _patch(self, params: KubernetesParams, old: int, new: int, query: str) -> None:
        scale = self._get(params)
        if (now := _replicas(scale)) != old:
            raise PredisError(f"{self.what(params)} is {now} and not {old} any more: somebody else has changed it")
        version = scale["metadata"]["resourceVersion"]
        patch = {"metadata": {"resourceVersion": version}, "spec": {"replicas": new}}
        answer = self._ask(params, "PATCH", query, patch)
        if (now := _replicas(answer)) != new:
            raise PredisError(f"the API server made it {now} and not {new}")

    def _ask(self, params: KubernetesParams, method: str, query: str, patch: dict[str, Any] | None) -> dict[str, Any]:
        cluster = pick("cluster", "clusters", self._clusters, params.cluster)
        url, token, ca_file = self._access(params.cluster, cluster)
        got: list[tuple[int, bytes]] = []

        def keep(status: int, headers: Mapping[str, str], body: bytes) -> Answer:
            got.append((status, body))
            return answer_of(status, headers, body)

        path = f"/apis/apps/v1/namespaces/{params.namespace}/{_RESOURCES[params.kind]}/{params.name}/scale{query}"
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json", "User-Agent": "predis-agent"}
        if patch is not None:
            headers["Content-Type"] = _MERGE
        sender = HttpSender(cluster.timeout, ca_file, secrets=(token,), answer=keep)
        try:
            answer = sender.request(
                method, f"{url}{path}", b"" if patch is None else json.dumps(patch).encode(), headers
            )
        finally:
            sender.close()
        if not got:
            unknown = "; it may have been done" if answer.maybe_taken and patch is not None else ""
            raise PredisError(f"the API server of {params.cluster} does not answer: {answer.detail}{unknown}")
        return self._read(params, method, got[0][0], got[0][1].replace(token.encode(), b"********"), answer.detail)

    def _read(self, params: KubernetesParams, method: str, status: int, body: bytes, detail: str) -> dict[str, Any]:
        try:
            document = json.loads(body)
        except ValueError:
            document = None
        if 200 <= status < 300:
            if not isinstance(document, dict) or document.get("kind") != "Scale":
                raise PredisError(
                    f"the API server of {params.cluster} answers {method} with something that is no Scale"
                )
            return document
        said = str(document.get("message", "")) if isinstance(document, dict) else ""
        what = {
            401: "it does not take the token: set token_file, or make another token",
            403: f"the service account may not {method} it: it needs get and patch on {_RESOURCES[params.kind]}/scale",
            404: f"there is no {params.kind} {params.name} in the namespace {params.namespace}",
            409: "it was changed at the same moment",
        }.get(status, "")
        shown = what + (f" ({_short(said)})" if said and what else "") if what else detail
        raise KubernetesError(status, f"the API server of {params.cluster} refuses: {shown}")

    def _access(self, name: str, cluster: Cluster) -> tuple[str, str, Path | None]:
        """URL, token and CA file. Raises PredisError."""
        url, ca_file, token = cluster.url, cluster.ca_file, cluster.token.get_secret_value()
        if not url:
            host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
            if not host:
                raise PredisError(
                    f"the agent runs in no pod, so the cluster {name} needs a url: [plugins.remediation] clusters"
                )
            url = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
            ca_file = ca_file or self._account / "ca.crt"
        if not token:
            path = cluster.token_file or self._account / "token"
            try:
                token = path.read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise PredisError(f"the token of the cluster {name} cannot be read: {error}") from None
        if not token or not token.isascii() or not token.isprintable():
            raise PredisError(f"the token of the cluster {name} is none")
        return url, token, ca_file


def _replicas(scale: Mapping[str, Any]) -> int:
    # The field is left out at 0, as Kubernetes does with all that is zero.
    replicas = scale.get("spec", {}).get("replicas", 0)
    if not isinstance(replicas, int):
        raise PredisError("the API server answers with a Scale whose replicas are no number")
    return replicas


def _short(text: str, most: int = 200) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else text[: most - 1] + "…"
