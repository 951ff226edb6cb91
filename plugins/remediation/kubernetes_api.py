"""How the actions speak to the API servers of Kubernetes: as a service account, with what is refused said in sentences.

https://kubernetes.io/docs/reference/using-api/api-concepts/
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from agent.api import Answer, HttpSender, PredisError, answer_of
from plugins.remediation.action import must_have, pick
from plugins.remediation.config import Cluster

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod finds the token and the CA of its service account."""
MERGE_PATCH = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
DnsName = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$")]
_MOST_READ = 16 << 20  # bytes of an answer: a list has whole objects, of at most 1.5 MiB each


class KubernetesError(PredisError):
    """The API server says no: `status` is that of HTTP."""

    def __init__(self, status: int, what: str) -> None:
        self.status = status
        super().__init__(what)


@dataclass(frozen=True, slots=True)
class Resource:
    """What is asked for. path: from /apis on, with its query. kind: of the document that is the answer. missing: what
    is said when it is not there. needs: the verbs and resources of RBAC that the service account has to have."""

    path: str
    kind: str
    missing: str
    needs: str


class ApiServers:
    """The API servers of `clusters`. Raises KubernetesError for what one of them refuses, else PredisError."""

    def __init__(self, clusters: Mapping[str, Cluster], account: Path = ACCOUNT) -> None:
        self._clusters, self._account = clusters, account

    def check(self, cluster: str) -> None:
        """Raises WrongKey for the key `cluster` unless there is one of this name."""
        must_have("cluster", "cluster", "clusters", self._clusters, cluster)

    def get(self, cluster: str, resource: Resource) -> dict[str, Any]:
        """What is there now."""
        return self._ask(cluster, "GET", resource, "", None)

    def patch(
        self, cluster: str, resource: Resource, media_type: str, patch: object, *, dry_run: bool
    ) -> dict[str, Any]:
        """What it is after this patch; with `dry_run` it would be, and nothing is changed."""
        headers = {"Content-Type": media_type}
        return self._ask(cluster, "PATCH", resource, "?dryRun=All" if dry_run else "", patch, **headers)

    def _ask(
        self, name: str, method: str, resource: Resource, query: str, patch: object | None, **more: str
    ) -> dict[str, Any]:
        cluster = pick("cluster", "clusters", self._clusters, name)
        url, token, ca_file = self._access(name, cluster)
        got: list[tuple[int, bytes]] = []

        def keep(status: int, headers: Mapping[str, str], body: bytes) -> Answer:
            got.append((status, body))
            return answer_of(status, headers, body)

        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json", "User-Agent": "predis-agent"}
        body = b"" if patch is None else json.dumps(patch).encode()
        sender = HttpSender(cluster.timeout, ca_file, secrets=(token,), answer=keep, most_read=_MOST_READ)
        try:
            answer = sender.request(method, f"{url}{resource.path}{query}", body, headers | more)
        finally:
            sender.close()
        if not got:
            unknown = "; it may have been done" if answer.maybe_taken and patch is not None else ""
            raise PredisError(f"the API server of {name} does not answer: {answer.detail}{unknown}")
        status, said = got[0]
        return _read(name, method, resource, status, said.replace(token.encode(), b"********"), answer.detail)

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


def target_of(kind: str, cluster: str, namespace: str, name: str) -> str:
    """An object of Kubernetes as a target of rules."""
    where = "" if cluster == "here" else f"{cluster}/"
    return f"{kind}:{where}{namespace}/{name}"


def _read(name: str, method: str, resource: Resource, status: int, body: bytes, detail: str) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except ValueError:
        document = None
    if 200 <= status < 300:
        if not isinstance(document, dict) or document.get("kind") != resource.kind:
            raise PredisError(f"the API server of {name} answers {method} with something that is no {resource.kind}")
        return document
    said = str(document.get("message", "")) if isinstance(document, dict) else ""
    what = {
        401: "it does not take the token: set token_file, or make another token",
        403: f"the service account may not {method} it: it needs {resource.needs}",
        404: resource.missing,
        409: "it was changed at the same moment",
        422: "it does not take the change",
    }.get(status, "")
    shown = what + (f" ({_short(said)})" if said and what else "") if what else detail
    raise KubernetesError(status, f"the API server of {name} refuses: {shown}")


def _short(text: str, most: int = 200) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else text[: most - 1] + "…"
