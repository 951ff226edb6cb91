"""The fake API server is strict: what a real one refuses, it refuses, and what a real one drops, it tells of."""

import json
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.plugins.kubectl import REVISION, SHOP, TOKEN, ask, release
from tests.vendors.json_patch import patched
from tests.vendors.running import Vendor, start_vendor
from tests.vendors.wire import Refusal

DOCUMENT = {"a/b": {"c": [1, True]}}


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Vendor]:
    with start_vendor("kubernetes", tmp_path, tls=True, api_key=TOKEN) as vendor:
        yield vendor


@pytest.mark.parametrize(
    ("operation", "result"),
    [
        ({"op": "add", "path": "/a~1b/c/0", "value": 7}, {"a/b": {"c": [7, 1, True]}}),
        ({"op": "add", "path": "/a~1b/c/-", "value": 7}, {"a/b": {"c": [1, True, 7]}}),
        ({"op": "add", "path": "/a~1b/c", "value": {}}, {"a/b": {"c": {}}}),
        ({"op": "replace", "path": "/a~1b", "value": 1}, {"a/b": 1}),
        ({"op": "remove", "path": "/a~1b/c/1"}, {"a/b": {"c": [1]}}),
        ({"op": "test", "path": "/a~1b", "value": {"c": [1, True]}}, DOCUMENT),
    ],
)
def test_json_patches(operation: dict[str, Any], result: object) -> None:
    assert patched(DOCUMENT, [operation]) == result
    assert DOCUMENT == {"a/b": {"c": [1, True]}}


@pytest.mark.parametrize(
    ("operation", "status"),
    [
        ({"op": "test", "path": "/a~1b/c/1", "value": 1}, 422),
        ({"op": "replace", "path": "/new", "value": 1}, 422),
        ({"op": "remove", "path": "/a~1b/c/2"}, 422),
        ({"op": "add", "path": "/x/y", "value": 1}, 422),
        ({"op": "add", "path": "/a~1b/c/01", "value": 1}, 422),
        ({"op": "add", "path": "/x"}, 422),
        ({"op": "merge", "path": "/x", "value": 1}, 422),
        ("text", 400),
    ],
)
def test_json_patches_that_do_not_fit(operation: object, status: int) -> None:
    with pytest.raises(Refusal) as caught:
        patched(DOCUMENT, [operation])
    assert caught.value.status == status


@pytest.mark.parametrize(
    ("operations", "status", "why"),
    [
        ([{"op": "replace", "path": "/metadata/resourceVersion", "value": "1"}], 409, "the object has been modified"),
        ([{"op": "test", "path": "/metadata/resourceVersion", "value": "1"}], 422, "testing value"),
        ([{"op": "replace", "path": "/spec/template/metadata/labels", "value": {"app": "x"}}], 422, "does not match"),
        ([{"op": "replace", "path": "/spec/selector/matchLabels/app", "value": "x"}], 422, "field is immutable"),
        ([{"op": "replace", "path": "/spec/template/spec/containers", "value": []}], 422, "Required value"),
        ([{"op": "replace", "path": "/spec/template/spec/restartPolicy", "value": "Never"}], 422, "Unsupported value"),
    ],
)
def test_what_is_refused(cluster: Vendor, operations: list[dict[str, Any]], status: int, why: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        ask(cluster, SHOP, operations)
    assert caught.value.code == status
    assert why in json.load(caught.value)["message"]
    assert ask(cluster, SHOP)["metadata"]["generation"] == 1


def test_what_is_dropped_or_not_guarded_is_told_of(cluster: Vendor) -> None:
    ask(cluster, SHOP, [{"op": "add", "path": "/spec/template/spec/colour", "value": "red"}])
    ask(cluster, SHOP, [{"op": "add", "path": "/spec/template/metadata/labels/pod-template-hash", "value": "x"}])
    found = [violation["text"] for violation in cluster.violations(altered=True)]
    assert "spec.template.spec.colour is odd" in found
    assert "spec.template.metadata.labels.pod-template-hash is odd" in found
    assert found.count("the patch has no resourceVersion") == 2


def test_the_controller_gives_a_release_that_comes_back_the_next_number(cluster: Vendor) -> None:
    before = {one["metadata"]["name"] for one in ask(cluster, "prod/replicasets?labelSelector=app=shop")["items"]}
    for image in ("shop:2", "shop:1.0", "shop:2", "shop:1.0"):
        release(cluster, image)
    found = {
        one["spec"]["template"]["spec"]["containers"][0]["image"]: one["metadata"]
        for one in ask(cluster, "prod/replicasets?labelSelector=app=shop")["items"]
        if one["metadata"]["ownerReferences"][0]["name"] == "shop"
    }
    assert found["shop:1.0"]["name"] in before
    history = "deployment.kubernetes.io/revision-history"
    assert [found[image]["annotations"][REVISION] for image in ("shop:1.0", "shop:2")] == ["5", "4"]
    assert [found[image]["annotations"][history] for image in ("shop:1.0", "shop:2")] == ["1,3", "2"]
    assert ask(cluster, SHOP)["metadata"]["annotations"][REVISION] == "5"


def test_only_so_many_are_kept(cluster: Vendor) -> None:
    ask(cluster, SHOP, [{"op": "add", "path": "/spec/revisionHistoryLimit", "value": 2}])
    for number in range(4):
        release(cluster, f"shop:1.{number + 1}")
    uid = ask(cluster, SHOP)["metadata"]["uid"]
    kept = [one["metadata"] for one in ask(cluster, "prod/replicasets?labelSelector=app%20in%20(shop,x)")["items"]]
    assert sorted(one["annotations"][REVISION] for one in kept if one["ownerReferences"][0]["uid"] == uid) == list(
        "345"
    )
