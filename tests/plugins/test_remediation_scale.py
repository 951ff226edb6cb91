"""Scaling: Kubernetes against a strict fake with TLS, Auto Scaling against moto, each in a process of its own."""

import json
import socket
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from pydantic import ValidationError

from agent.api import Host, PredisError
from plugins.remediation.config import RemediationConfig
from plugins.remediation.kubernetes import ScaleKubernetes
from plugins.remediation.kubernetes_api import ApiServers
from tests.plugins.aws_credentials import use_nobodys
from tests.plugins.kubectl import TOKEN, cluster
from tests.plugins.remediation import Used, action_of, host_in
from tests.servers import ROOT, free_port
from tests.vendors.faults import Step
from tests.vendors.running import Vendor, start_vendor
from tests.waiting import wait_until

__all__ = ["cluster"]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return host_in(tmp_path)


def config(cluster: Vendor, token: str = TOKEN) -> dict[str, Any]:
    return {"clusters": {"eu": {"url": cluster.url, "token": token, "ca_file": str(cluster.ca_file)}}}


def scale(host: Host, cluster: Vendor, **keys: Any) -> Used:
    keys = {"cluster": "eu", "namespace": "prod", "name": "cache", "at_least": 1, "at_most": 6, **keys}
    return Used(action_of("scale.kubernetes", config(cluster)), host, **keys)


def replicas(cluster: Vendor, which: str = "deployments/prod/cache") -> int:
    return int(cluster.assets()[which])


def somebody_patches(cluster: Vendor, path: str, patch: dict[str, Any]) -> None:
    """As kubectl would."""
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/merge-patch+json"}
    url = f"{cluster.url}/apis/apps/v1/namespaces/prod/deployments/{path}"
    context = ssl.create_default_context(cafile=str(cluster.ca_file))
    request = urllib.request.Request(url, json.dumps(patch).encode(), headers, method="PATCH")
    with urllib.request.urlopen(request, context=context) as answer:
        assert answer.status == 200


def test_replicas_are_raised_and_put_back(host: Host, cluster: Vendor) -> None:
    used = scale(host, cluster, by=2)
    assert used.action.target(used.params) == "deployment:eu/prod/cache"
    # a plan asks the server itself, and changes nothing
    assert used.plan() == "would change the replicas of deployment:eu/prod/cache from 3 to 5"
    assert [(r["method"], r["status"]) for r in cluster.requests()] == [("GET", 200), ("GET", 200), ("PATCH", 200)]
    assert replicas(cluster) == 3
    outcome = used.run()
    assert outcome.undo == {"old": 3, "new": 5}
    assert replicas(cluster) == 5
    assert used.undo(outcome).done
    assert replicas(cluster) == 3


def test_it_is_scaled_once_under_one_intent(host: Host, cluster: Vendor) -> None:
    used = scale(host, cluster, by=2)
    assert used.was_done() is False
    used.run()
    assert used.was_done()
    assert used.run().detail.endswith("from 3 to 5, as it was begun before")
    assert replicas(cluster) == 5


def test_an_answer_that_was_lost_is_not_a_second_step(host: Host, cluster: Vendor) -> None:
    # given an answer to the very change that gets lost, after four requests that are answered
    used = scale(host, cluster, by=2)
    cluster.script([Step("slow_answer", times=4), Step("lost_answer")])
    with pytest.raises(PredisError, match="it may have been done"):
        used.run()
    assert replicas(cluster) == 5
    assert used.was_done()
    assert used.run().done
    assert replicas(cluster) == 5


def test_a_conflict_about_something_else_is_tried_again(host: Host, cluster: Vendor) -> None:
    cluster.script([Step("slow_answer", times=4), Step("status", status=409)])
    assert scale(host, cluster, by=2).run().done
    assert replicas(cluster) == 5
    assert [r["status"] for r in cluster.requests()] == [200, 200, 200, 200, 409, 200, 200]


def test_what_somebody_else_has_scaled_since_stays(host: Host, cluster: Vendor) -> None:
    used = scale(host, cluster, to=5)
    outcome = used.run()
    somebody_patches(cluster, "cache/scale", version_of(cluster, {"spec": {"replicas": 4}}))
    undone = used.undo(outcome)
    assert not undone.done
    assert "is 4 and not 5" in undone.detail
    with pytest.raises(PredisError, match="somebody else has changed it"):
        used.run()
    assert replicas(cluster) == 4


def version_of(cluster: Vendor, patch: dict[str, Any]) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    url = f"{cluster.url}/apis/apps/v1/namespaces/prod/deployments/cache"
    context = ssl.create_default_context(cafile=str(cluster.ca_file))
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), context=context) as answer:
        return {"metadata": {"resourceVersion": json.load(answer)["metadata"]["resourceVersion"]}, **patch}


@pytest.mark.parametrize(
    ("keys", "result"),
    [
        ({"by": 10}, 6),
        ({"by": -10}, 1),
        ({"by_percent": 50}, 5),
        ({"by_percent": 1}, 4),
        ({"by_percent": -34}, 1),
        ({"to": 2}, 2),
        ({"name": "idle", "by": 1, "at_least": 0}, 1),
        ({"kind": "statefulset", "name": "db", "by": 1}, 3),
        ({"kind": "replicaset", "name": "old", "to": 0, "at_least": 0}, 0),
    ],
)
def test_the_limits_and_kinds(host: Host, cluster: Vendor, keys: dict[str, Any], result: int) -> None:
    used = scale(host, cluster, **keys)
    outcome = used.run()
    assert outcome.undo is not None
    assert outcome.undo["new"] == result
    which = f"{used.params.kind}s/prod/{used.params.name}"  # type: ignore[attr-defined]
    assert replicas(cluster, which) == result


def test_a_limit_never_moves_it_the_other_way(host: Host, cluster: Vendor) -> None:
    # given more replicas than the rule may make, by somebody's hand
    with pytest.raises(PredisError, match="it is 3, and at_most is 2: it goes no further"):
        scale(host, cluster, by=1, at_most=2).run()
    with pytest.raises(PredisError, match="it is 3, and at_least is 4"):
        scale(host, cluster, by=-1, at_least=4).run()
    assert replicas(cluster) == 3


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ({"namespace": "readonly"}, r"may not PATCH it: it needs get and patch on deployments/scale .*cannot patch"),
        ({"namespace": "secret"}, "may not GET it"),
        ({"name": "cash"}, "there is no deployment cash in the namespace prod"),
    ],
)
def test_a_plan_finds_what_the_server_would_refuse(tmp_path: Path, keys: dict[str, Any], why: str) -> None:
    with start_vendor("kubernetes", tmp_path, tls=True, api_key=TOKEN) as cluster:
        with pytest.raises(PredisError, match=why):
            scale(host_in(tmp_path), cluster, by=1, **keys).plan()
        assert replicas(cluster, "deployments/readonly/cache") == 3


def test_a_wrong_token_is_said_and_not_shown(tmp_path: Path) -> None:
    with start_vendor("kubernetes", tmp_path, tls=True, api_key=TOKEN) as cluster:
        settings = config(cluster, "canary-token-that-is-wrong")
        keys: dict[str, Any] = {"cluster": "eu", "namespace": "prod", "name": "cache", "at_least": 1, "at_most": 6}
        with pytest.raises(PredisError, match="does not take the token") as caught:
            Used(action_of("scale.kubernetes", settings), host_in(tmp_path), by=1, **keys).plan()
        assert "canary" not in str(caught.value)


def test_a_server_that_is_not_the_right_one_gets_no_token(host: Host, cluster: Vendor) -> None:
    cluster.certificate("wrong")
    with pytest.raises(PredisError, match="TLS failed"):
        scale(host, cluster, by=1).plan()
    assert cluster.requests() == []


def test_a_server_that_says_nothing_is_not_waited_for_long(host: Host, cluster: Vendor) -> None:
    settings = config(cluster)
    settings["clusters"]["eu"]["timeout"] = "200ms"
    cluster.stall()
    keys: dict[str, Any] = {"cluster": "eu", "namespace": "prod", "name": "cache", "at_least": 1, "at_most": 6}
    with pytest.raises(PredisError, match="does not answer"):
        Used(action_of("scale.kubernetes", settings), host, by=1, **keys).plan()


def test_in_a_pod_nothing_need_be_configured(
    host: Host, cluster: Vendor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given what Kubernetes puts into each pod
    account = tmp_path / "serviceaccount"
    account.mkdir()
    (account / "token").write_text("one that has expired\n")
    assert cluster.ca_file is not None
    (account / "ca.crt").write_bytes(cluster.ca_file.read_bytes())
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(cluster.port))
    action = ScaleKubernetes(ApiServers(RemediationConfig().clusters, account))
    used = Used(action, host, namespace="prod", name="cache", by=1, at_least=1, at_most=6)
    # when Kubernetes renews the token, then the new one is taken
    (account / "token").write_text(f"{TOKEN}\n")
    assert used.run().done
    assert used.action.target(used.params) == "deployment:prod/cache"
    assert replicas(cluster) == 4
    # and elsewhere it is said what is missing
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST")
    with pytest.raises(PredisError, match=r"runs in no pod.*\[plugins.remediation\] clusters"):
        used.plan()


@pytest.mark.parametrize(
    "keys",
    [
        {"by": 1},
        {"by": 1, "to": 3, "at_least": 1, "at_most": 3},
        {"by": 0, "at_least": 1, "at_most": 3},
        {"by": 1, "at_least": 4, "at_most": 3},
        {"by": 1, "at_least": 1, "at_most": 3, "namespace": "../kube-system"},
        {"by": 1, "at_least": 1, "at_most": 3, "name": "cache/scale?x="},
    ],
)
def test_keys_without_limits_or_with_paths_are_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        action_of("scale.kubernetes").Params.model_validate({"namespace": "prod", "name": "cache", **keys})


# --- AWS


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    use_nobodys(monkeypatch)


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """moto's server, in a process of its own."""
    port = free_port()
    with (tmp_path_factory.mktemp("moto") / "log").open("wb") as log:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT)
    try:

        def listens() -> bool:
            assert process.poll() is None, "moto's server ended"
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        wait_until(listens, 60, "moto's server")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture
def group(moto: str) -> Iterator[Any]:
    """An Auto Scaling group `cache` of 2, from 1 to 4; what is asked through it is boto3's client."""
    client = boto3.client("autoscaling", endpoint_url=moto)
    client.create_launch_configuration(
        LaunchConfigurationName="lc", ImageId="ami-12345678", InstanceType="t3.micro", KeyName="k"
    )
    client.create_auto_scaling_group(
        AutoScalingGroupName="cache",
        LaunchConfigurationName="lc",
        MinSize=1,
        MaxSize=4,
        DesiredCapacity=2,
        AvailabilityZones=["eu-west-1a"],
    )
    yield client
    client.delete_auto_scaling_group(AutoScalingGroupName="cache", ForceDelete=True)
    client.delete_launch_configuration(LaunchConfigurationName="lc")


def capacity(group: Any) -> int:
    return int(
        group.describe_auto_scaling_groups(AutoScalingGroupNames=["cache"])["AutoScalingGroups"][0]["DesiredCapacity"]
    )


def scale_aws(host: Host, moto: str, **keys: Any) -> Used:
    keys = {"group": "cache", "at_least": 1, "at_most": 4, **keys}
    return Used(action_of("scale.aws", {"aws": {"endpoint": moto}}), host, **keys)


def test_a_group_is_scaled_once_and_put_back(host: Host, moto: str, group: Any) -> None:
    used = scale_aws(host, moto, by=1)
    assert used.action.target(used.params) == "autoscaling:cache"
    assert used.plan() == "would change the desired capacity of autoscaling:cache from 2 to 3"
    assert capacity(group) == 2
    outcome = used.run()
    assert capacity(group) == 3
    assert used.done_before() == outcome
    assert used.run().done
    assert capacity(group) == 3
    assert used.undo(outcome).done
    assert capacity(group) == 2
    group.set_desired_capacity(AutoScalingGroupName="cache", DesiredCapacity=4)
    assert not used.undo(outcome).done
    assert capacity(group) == 4


def test_a_plan_finds_what_aws_would_refuse(host: Host, moto: str, group: Any) -> None:
    with pytest.raises(PredisError, match="takes a capacity from 1 to 4, not 7"):
        scale_aws(host, moto, to=7, at_most=9).plan()
    with pytest.raises(PredisError, match="no Auto Scaling group cash"):
        scale_aws(host, moto, to=3, group="cash").plan()
    group.suspend_processes(AutoScalingGroupName="cache", ScalingProcesses=["Launch"])
    with pytest.raises(PredisError, match="the process Launch of the group cache is suspended"):
        scale_aws(host, moto, by=1).run()
    assert capacity(group) == 2
    assert scale_aws(host, moto, by=-1).run("rule-1/0002").done
    with pytest.raises(PredisError, match="AWS cannot be asked"):
        scale_aws(host, f"http://127.0.0.1:{free_port()}", by=1).plan()
