"""What somebody with kubectl does to the fake cluster of `tests.vendors.kubernetes`."""

import json
import ssl
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.vendors.running import Vendor, start_vendor

TOKEN = "eyJhbGciOiJSUzI1NiJ9.canary-of-the-service-account.c2lnbmF0dXJl"
REVISION = "deployment.kubernetes.io/revision"
SHOP = "prod/deployments/shop"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Vendor]:
    """A cluster whose rules nobody breaks."""
    with start_vendor("kubernetes", tmp_path, tls=True, api_key=TOKEN) as vendor:
        yield vendor
        assert vendor.violations(altered=True) == []


def ask(cluster: Vendor, what: str, patch: object = None, method: str = "") -> dict[str, Any]:
    """What kubectl would ask about NAMESPACE/RESOURCE[/NAME]."""
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json-patch+json"}
    url = f"{cluster.url}/apis/apps/v1/namespaces/{what}"
    data = None if patch is None else json.dumps(patch).encode()
    method = method or ("GET" if data is None else "PATCH")
    context = ssl.create_default_context(cafile=str(cluster.ca_file))
    with urllib.request.urlopen(urllib.request.Request(url, data, headers, method=method), context=context) as answer:
        return dict(json.load(answer))


def change(cluster: Vendor, path: str, value: object, what: str = SHOP) -> None:
    """Somebody changes something, as `kubectl patch --type=json`."""
    version = ask(cluster, what)["metadata"]["resourceVersion"]
    test = {"op": "test", "path": "/metadata/resourceVersion", "value": version}
    ask(cluster, what, [test, {"op": "add", "path": path, "value": value}])


def release(cluster: Vendor, image: str, what: str = SHOP) -> None:
    """Somebody releases something, as `kubectl set image`, and says why, as `kubectl annotate`."""
    version = ask(cluster, what)["metadata"]["resourceVersion"]
    ask(
        cluster,
        what,
        [
            {"op": "test", "path": "/metadata/resourceVersion", "value": version},
            {"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": image},
            {"op": "add", "path": "/metadata/annotations/kubernetes.io~1change-cause", "value": f"release {image}"},
        ],
    )


def image(cluster: Vendor, what: str = SHOP) -> str:
    return str(ask(cluster, what)["spec"]["template"]["spec"]["containers"][0]["image"])


def revision(cluster: Vendor, what: str = SHOP) -> str:
    return str(ask(cluster, what)["metadata"]["annotations"][REVISION])
