"""rollback.kubernetes against a strict fake of an API server, whose controller keeps ReplicaSets as a real one does."""

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from agent.api import Host, Outcome, Plan, PlanOutdated, PredisError
from plugins.remediation.kubernetes_releases import release_of, revisions_of, selector_of
from tests.agent.test_cli import predis_agent
from tests.plugins.kubectl import REVISION, SHOP, TOKEN, ask, change, cluster, image, release, revision
from tests.plugins.remediation import Used, action_of, host_in
from tests.servers import ROOT
from tests.vendors.faults import Step
from tests.vendors.running import Vendor, start_vendor
from tests.waiting import wait_until

__all__ = ["cluster"]

CAUSE = "kubernetes.io/change-cause"
APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return host_in(tmp_path)


@pytest.fixture
def strict(tmp_path: Path) -> Iterator[Vendor]:
    """A cluster that refuses things in this test."""
    with start_vendor("kubernetes", tmp_path, tls=True, api_key=TOKEN) as vendor:
        yield vendor
        assert [found for found in vendor.violations(altered=True) if not found["refused"]] == []


def rollback(host: Host, cluster: Vendor, **keys: Any) -> Used:
    place = {"eu": {"url": cluster.url, "token": TOKEN, "ca_file": str(cluster.ca_file)}}
    keys = {"cluster": "eu", "namespace": "prod", "name": "shop", **keys}
    return Used(action_of("rollback.kubernetes", {"clusters": place}), host, **keys)


def plan_of(used: Used) -> Plan:
    plan = used.plan()
    assert isinstance(plan, Plan)
    return plan


def templates(cluster: Vendor) -> list[dict[str, Any]]:
    """Those that were kept of prod/shop, by revision."""
    uid = ask(cluster, SHOP)["metadata"]["uid"]
    found = [one for one in ask(cluster, "prod/replicasets")["items"] if "ownerReferences" in one["metadata"]]
    own = [one for one in found if one["metadata"]["ownerReferences"][0]["uid"] == uid]
    return sorted(own, key=lambda one: int(one["metadata"]["annotations"][REVISION]))


def test_a_release_goes_back_to_the_one_before_and_forth_again(host: Host, cluster: Vendor) -> None:
    # given three releases; what the second one said of a variable, the third does not
    release(cluster, "shop:1.8")
    change(cluster, "/spec/template/spec/containers/0/env", [{"name": "SALE", "value": "on"}])
    version = ask(cluster, SHOP)["metadata"]["resourceVersion"]
    ask(
        cluster,
        SHOP,
        [
            {"op": "test", "path": "/metadata/resourceVersion", "value": version},
            {"op": "remove", "path": "/spec/template/spec/containers/0/env"},
            {"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "shop:1.9"},
            {"op": "add", "path": "/spec/template/spec/nodeSelector", "value": {"disk": "ssd"}},
            {"op": "add", "path": "/metadata/annotations/kubernetes.io~1change-cause", "value": "release shop:1.9"},
        ],
    )
    change(cluster, "/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration", "{}")
    former, before = ask(cluster, SHOP)["spec"], templates(cluster)
    assert [one["spec"]["replicas"] for one in before] == [0, 0, 0, 2]
    used = rollback(host, cluster)
    assert used.action.target(used.params) == "deployment:eu/prod/shop"
    # when it is planned, then the server itself is asked, and nothing is changed
    plan = plan_of(used)
    assert plan == "would roll deployment:eu/prod/shop back from revision 4 (shop:1.9) to revision 3 (shop:1.8)"
    assert plan.facts is not None
    assert (plan.facts["from_revision"], plan.facts["to_revision"]) == (4, 3)
    assert [(r["method"], r["status"]) for r in cluster.requests()][-1] == ("PATCH", 200)
    assert ask(cluster, SHOP)["spec"] == former
    # when it is carried out, then the template is replaced: nothing of the newer one stays, and nothing else changes
    outcome = used.run_as(plan)
    assert outcome.done
    assert "shop:1.9" in outcome.detail
    assert "which was revision 3" in outcome.detail
    now = ask(cluster, SHOP)
    assert now["spec"]["template"]["spec"]["containers"][0]["env"] == [{"name": "SALE", "value": "on"}]
    assert "nodeSelector" not in now["spec"]["template"]["spec"]
    assert now["spec"]["template"]["metadata"]["labels"] == {"app": "shop"}
    assert {**now["spec"], "template": former["template"]} == former
    # and the controller took up the ReplicaSet that there was, under the next number
    assert now["metadata"]["annotations"] == {REVISION: "5", CAUSE: "release shop:1.8", APPLIED: "{}"}
    after = templates(cluster)
    assert {one["metadata"]["name"] for one in after} == {one["metadata"]["name"] for one in before}
    assert [one["spec"]["replicas"] for one in after] == [0, 0, 0, 2]
    # when it is taken back, then the former template is there
    assert used.undo(outcome).done
    assert ask(cluster, SHOP)["spec"] == former
    assert ask(cluster, SHOP)["metadata"]["annotations"] == {REVISION: "6", CAUSE: "release shop:1.9", APPLIED: "{}"}
    assert used.undo(outcome).detail.endswith("already")


def test_a_rollout_that_gets_nowhere_is_rolled_back(host: Host, cluster: Vendor) -> None:
    # given a release whose pods never get ready, so that the old ones run on
    release(cluster, "shop:1.9-broken")
    assert [one["spec"]["replicas"] for one in templates(cluster)] == [2, 2]
    assert rollback(host, cluster).run().done
    assert image(cluster) == "shop:1.0"
    assert [one["spec"]["replicas"] for one in templates(cluster)] == [0, 2]


def test_a_revision_may_be_named(host: Host, cluster: Vendor) -> None:
    for number in range(1, 5):
        release(cluster, f"shop:1.{number}")
    used = rollback(host, cluster, revision=2)
    assert used.plan() == (
        "would roll deployment:eu/prod/shop back from revision 5 (shop:1.4) to revision 2 (shop:1.1)"
    )
    assert used.run().done
    assert image(cluster) == "shop:1.1"
    with pytest.raises(PredisError, match="has no revision 2: it has 1, 3, 4, 5, 6"):
        rollback(host, cluster, revision=2).plan()
    with pytest.raises(
        PredisError, match=r"revision 6 of deployment:eu/prod/shop is shop:1.1 .*, which it has already"
    ):
        rollback(host, cluster, revision=6).plan()


def test_what_was_rolled_back_from_is_not_gone_back_to(host: Host, cluster: Vendor) -> None:
    # given a rollback; kubectl's next one would bring back what was bad
    release(cluster, "shop:1.1")
    release(cluster, "shop:bad")
    rollback(host, cluster).run()
    assert (image(cluster), revision(cluster)) == ("shop:1.1", "4")
    with pytest.raises(PredisError, match=r"revision 4 .* was released before, as 2: .* 3, is what it was rolled back"):
        rollback(host, cluster).plan()
    # when a person says where to, or it is gone, or something new was released, then it goes on
    assert "to revision 1 (shop:1.0)" in rollback(host, cluster, revision=1).plan()
    bad = next(one["metadata"]["name"] for one in templates(cluster) if one["metadata"]["annotations"][REVISION] == "3")
    ask(cluster, f"prod/replicasets/{bad}", method="DELETE")
    assert "from revision 4 (shop:1.1) to revision 1 (shop:1.0)" in rollback(host, cluster).plan()
    release(cluster, "shop:1.2")
    assert "from revision 5 (shop:1.2) to revision 4 (shop:1.1)" in rollback(host, cluster).plan()


def test_only_its_own_replica_sets_count(host: Host, cluster: Vendor) -> None:
    # given another Deployment with the same labels and more releases
    for number in range(1, 4):
        release(cluster, f"canary:{number}", "prod/deployments/canary")
    with pytest.raises(PredisError, match="has no revision before 1: see its revisionHistoryLimit"):
        rollback(host, cluster).plan()
    release(cluster, "shop:1.1")
    assert "to revision 1 (shop:1.0)" in rollback(host, cluster).plan()
    # and whatever form its selector has
    assert rollback(host, cluster, name="canary").run().done
    assert image(cluster, "prod/deployments/canary") == "canary:2"


def test_more_releases_than_a_short_answer_holds(host: Host, cluster: Vendor) -> None:
    # given ten releases of 12 kB each
    for number in range(1, 11):
        change(cluster, "/spec/template/metadata/annotations", {"notes": f"{number} " + "x" * 12_000})
    used = rollback(host, cluster)
    assert "from revision 11 (shop:1.0) to revision 10 (shop:1.0)" in used.plan()
    assert used.run().done
    assert ask(cluster, SHOP)["spec"]["template"]["metadata"]["annotations"]["notes"].startswith("9 ")


def test_it_is_rolled_back_once_under_one_intent(host: Host, cluster: Vendor) -> None:
    release(cluster, "shop:1.1")
    release(cluster, "shop:1.2")
    used = rollback(host, cluster)
    assert used.was_done() is False
    used.run()
    assert used.was_done()
    assert used.run().detail.endswith("as it was begun before")
    assert image(cluster) == "shop:1.1"


def test_an_answer_that_was_lost_is_not_a_second_step(host: Host, cluster: Vendor) -> None:
    # given an answer to the very change that gets lost: the ninth request of a run (read, which asks for the
    # Deployment; decide, check and set, which ask for its ReplicaSets, too; and the latter two patch)
    release(cluster, "shop:1.1")
    release(cluster, "shop:1.2")
    used = rollback(host, cluster)
    cluster.script([Step("none", times=8), Step("lost_answer")])
    with pytest.raises(PredisError, match="it may have been done"):
        used.run()
    assert cluster.requests()[-1]["method"] == "PATCH"
    assert image(cluster) == "shop:1.1"
    # then it is known after a crash, whatever number the revision has by now
    assert used.was_done()
    assert used.run().done
    assert (image(cluster), revision(cluster)) == ("shop:1.1", "4")


def test_a_change_that_did_not_arrive_is_known_not_to_be_done(host: Host, cluster: Vendor) -> None:
    release(cluster, "shop:1.1")
    used = rollback(host, cluster)
    cluster.script([Step("none", times=8), Step("reset_before")])
    with pytest.raises(PredisError, match="does not answer"):
        used.run()
    assert used.was_done() is False
    assert image(cluster) == "shop:1.1"
    assert used.run().done
    assert image(cluster) == "shop:1.0"


def test_what_somebody_else_has_released_since_stays(host: Host, cluster: Vendor) -> None:
    release(cluster, "shop:1.1")
    used = rollback(host, cluster)
    outcome = used.run()
    release(cluster, "shop:1.2")
    undone = used.undo(outcome)
    assert not undone.done
    assert "somebody else has changed it since, so it stays" in undone.detail
    with pytest.raises(PredisError, match="somebody else has changed it"):
        used.run()
    assert image(cluster) == "shop:1.2"


def test_what_was_approved_is_done_or_nothing(host: Host, cluster: Vendor) -> None:
    # given a plan, and a release since
    release(cluster, "shop:1.1")
    used = rollback(host, cluster)
    plan = plan_of(used)
    release(cluster, "shop:1.2")
    with pytest.raises(PlanOutdated, match=r"is shop:1\.2 .* planned to go from shop:1\.1 .* to shop:1\.0"):
        used.run_as(plan)
    # and one after which it is as before, but for the revisions
    release(cluster, "shop:1.1")
    with pytest.raises(PlanOutdated, match="from_revision is 4, and was 2 when it was planned"):
        used.run_as(plan)
    assert image(cluster) == "shop:1.1"


def test_a_release_that_comes_in_between_stays(host: Host, cluster: Vendor) -> None:
    # given an agent that has just read what the release is, while somebody releases another
    release(cluster, "shop:1.1")
    used, said, before = rollback(host, cluster), [], len(cluster.requests())
    cluster.script([Step("slow_answer", delay=60)])

    def go() -> None:
        with pytest.raises(PredisError) as caught:
            used.run()
        said.append(str(caught.value))

    thread = threading.Thread(target=go)
    thread.start()
    wait_until(lambda: len(cluster.requests()) == before + 1, 20, "the first request of the agent")
    release(cluster, "shop:1.2")
    cluster.script([])
    thread.join(20)
    assert said
    assert "is shop:1.2 (template" in said[0]
    assert "any more: somebody else has changed it" in said[0]
    assert image(cluster) == "shop:1.2"


def test_the_way_back_needs_what_was_kept(host: Host, cluster: Vendor) -> None:
    # given a Deployment that keeps nothing of what does not run
    change(cluster, "/spec/revisionHistoryLimit", 0)
    release(cluster, "shop:1.1-broken")
    used = rollback(host, cluster)
    outcome = used.run()
    with pytest.raises(PredisError, match=r"has no ReplicaSet of shop:1.1-broken .* any more: see its revisionHistory"):
        used.undo(outcome)
    assert image(cluster) == "shop:1.0"


def test_a_deployment_that_is_paused_or_goes_away_stays(host: Host, cluster: Vendor) -> None:
    release(cluster, "shop:1.1")
    used = rollback(host, cluster)
    outcome = used.run()
    change(cluster, "/spec/paused", True)
    with pytest.raises(PredisError, match="deployment:eu/prod/shop is paused: resume it first"):
        rollback(host, cluster, revision=2).plan()
    with pytest.raises(PredisError, match="is paused"):
        used.undo(outcome)
    with pytest.raises(PredisError, match="deployment:eu/prod/leaving is being deleted"):
        rollback(host, cluster, name="leaving").plan()


def test_what_its_controller_has_not_seen_yet_is_waited_for(host: Host, cluster: Vendor) -> None:
    # given the first release again, which is no newer than the second until the controller says so
    release(cluster, "shop:1.0", "unobserved/deployments/shop")
    with pytest.raises(PredisError, match="has no revision before 1"):
        rollback(host, cluster, namespace="unobserved").plan()
    # and one that there was never before
    release(cluster, "shop:1.2", "unobserved/deployments/shop")
    with pytest.raises(PredisError, match=r"has no ReplicaSet of shop:1.2 .* yet: its controller has not come to it"):
        rollback(host, cluster, namespace="unobserved").plan()


def test_pods_that_come_and_go_do_not_hold_it_up(host: Host, strict: Vendor) -> None:
    # given a status that changes twice between the reading and the patch
    release(strict, "shop:1.1", "busy/deployments/shop")
    assert rollback(host, strict, namespace="busy").run().done
    assert image(strict, "busy/deployments/shop") == "shop:1.0"
    assert [r["status"] for r in strict.requests() if r["method"] == "PATCH"] == [200, 422, 422, 200, 422, 422, 200]
    # but it does not go on for ever
    release(strict, "shop:1.1", "hectic/deployments/shop")
    with pytest.raises(PredisError, match="refuses: it does not take the change"):
        rollback(host, strict, namespace="hectic").plan()
    assert [r["status"] for r in strict.requests() if r["method"] == "PATCH"][-5:] == [422] * 5


def test_a_template_that_comes_out_otherwise_is_found_by_a_plan(host: Host, cluster: Vendor) -> None:
    release(cluster, "shop:1.1", "stamped/deployments/shop")
    with pytest.raises(PredisError, match=r"the API server made it shop:1\.0 .* something there changes templates"):
        rollback(host, cluster, namespace="stamped").plan()


def test_a_template_that_the_server_does_not_take_is_not_tried_again(host: Host, strict: Vendor) -> None:
    release(strict, "shop:1.1")
    used = rollback(host, strict)
    strict.script([Step("none", times=5), Step("status", status=422)])
    with pytest.raises(PredisError, match="refuses: it does not take the change"):
        used.plan()
    assert [r["status"] for r in strict.requests() if r["method"] == "PATCH"] == [200, 422]


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        (
            {"namespace": "readonly", "name": "cache"},
            "may not PATCH it: it needs get and patch on deployments and list on",
        ),
        ({"namespace": "blind"}, "may not GET it: it needs get and patch on deployments and list on replicasets"),
        ({"namespace": "secret", "name": "cache"}, "may not GET it"),
        ({"name": "shoe"}, "there is no deployment shoe in the namespace prod"),
    ],
)
def test_a_plan_finds_what_the_server_would_refuse(host: Host, strict: Vendor, keys: dict[str, Any], why: str) -> None:
    with pytest.raises(PredisError, match=why):
        rollback(host, strict, **keys).plan()


def test_the_token_is_not_shown(host: Host, strict: Vendor) -> None:
    place = {"eu": {"url": strict.url, "token": "canary-that-is-wrong", "ca_file": str(strict.ca_file)}}
    action = action_of("rollback.kubernetes", {"clusters": place})
    with pytest.raises(PredisError, match="does not take the token") as caught:
        Used(action, host, cluster="eu", namespace="prod", name="shop").plan()
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("keys", [{"revision": 0}, {"namespace": "../x"}, {"name": "shop/scale"}, {"at_least": 1}])
def test_keys_that_make_no_sense_are_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        action_of("rollback.kubernetes").Params.model_validate({"namespace": "prod", "name": "shop", **keys})


def of(**more: Any) -> dict[str, Any]:
    """A pod template."""
    container = {"name": "main", "image": "shop:1"}
    return {"metadata": {"labels": {"app": "shop"}}, "spec": {"containers": [container], **more}}


def test_what_makes_a_release() -> None:
    assert release_of(of()) == release_of({**of(), "metadata": {"labels": {"app": "shop", "pod-template-hash": "x"}}})
    assert release_of(of()) == release_of({**of(), "metadata": {"labels": {"app": "shop"}, "creationTimestamp": None}})
    # an empty selector fits all pods, and none fits none
    assert release_of(of(affinity={"labelSelector": {}})) != release_of(of(affinity={"labelSelector": None}))
    pinned = of(containers=[{"image": "r.io/shop@sha256:" + "0123456789abcdef" * 4}, {"image": "proxy:2"}])
    assert release_of(pinned).startswith("r.io/shop@sha256:0123456789ab…, proxy:2 (template ")


def kept(number: str, history: str = "", uid: str = "u", **owner: Any) -> dict[str, Any]:
    """A ReplicaSet."""
    annotations = {REVISION: number, "deployment.kubernetes.io/revision-history": history}
    owners = [{"uid": uid, "controller": True, **owner}]
    return {"metadata": {"annotations": annotations, "ownerReferences": owners}, "spec": {"template": of()}}


def test_what_makes_a_revision() -> None:
    deployment = {"metadata": {"uid": "u"}}
    sets = [kept("12", "3,9"), kept("9"), kept("2", "2"), kept("x"), kept("0"), kept("4", uid="v")]
    sets.append(kept("5", controller=False))
    # of the numbers that it had, the last; old clusters have its own among them
    found = revisions_of(deployment, sets)
    assert [(one.number, one.before) for one in found] == [(2, 0), (9, 0), (12, 9)]


def test_selectors_of_every_kind() -> None:
    expressions = [
        {"key": "tier", "operator": "In", "values": ["web", "api"]},
        {"key": "old", "operator": "DoesNotExist"},
        {"key": "app", "operator": "Exists"},
        {"key": "zone", "operator": "NotIn", "values": ["a"]},
    ]
    selector = {"matchLabels": {"b": "2", "a": "1"}, "matchExpressions": expressions}
    assert selector_of({"spec": {"selector": selector}}) == "a=1,b=2,tier in (web,api),!old,app,zone notin (a)"


def test_an_outcome_says_what_it_was(host: Host, cluster: Vendor) -> None:
    release(cluster, "shop:1.1")
    outcome = rollback(host, cluster).run()
    assert isinstance(outcome, Outcome)
    assert outcome.undo is not None
    assert outcome.undo["old"].startswith("shop:1.1 (template ")
    assert outcome.detail == (
        f"changed the release of deployment:eu/prod/shop from {outcome.undo['old']} to {outcome.undo['new']}, "
        "which was revision 1"
    )


def test_the_example_in_the_readme_is_a_rule(tmp_path: Path) -> None:
    readme = (ROOT / "plugins" / "remediation" / "README.md").read_text()
    (rule,) = re.findall(r"```toml\n(\[\[rule\]\].*?)```", readme, re.DOTALL)
    (tmp_path / "rules.d").mkdir()
    (tmp_path / "rules.d" / "shop.toml").write_text(rule)
    (tmp_path / "agent.toml").write_text('[agent]\ndata_dir = "data"\n[rules]\npacks = false\n')
    checked = predis_agent("rules", "check", folder=tmp_path)
    assert (checked.returncode, checked.stdout) == (0, "1 rule, all right\n"), checked.stderr
