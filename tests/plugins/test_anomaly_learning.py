"""Edges between components: those of agent.toml, and those that incidents taught."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.api import Anomaly, Incident, Kind, MetricSpec
from agent.config import load_config
from agent.plugin.manager import PluginManager
from plugins.anomaly.cause.explain import explain
from plugins.anomaly.cause.graph import Graph
from plugins.anomaly.cause.learning import LEAST, MEMORY, MOST_COMPONENTS, MOST_LASTING, MOST_PAIRS, QUIET, Learned
from plugins.anomaly.cause.topology import Topology
from plugins.anomaly.plugin import Anomaly as Plugin
from plugins.anomaly.plugin import AnomalyConfig
from tests.plugins.test_anomaly_cause_explain import OPENED, Kept, from_opening

STEP = 10.0
DAY = 86400.0


def incident(number: int, **onsets: float) -> Incident:
    """One in which each of these components, which are metrics of their own, began to be off at that second."""
    opened = DAY * number
    return Incident(
        f"i-{number}",
        opened,
        "off",
        tuple(
            Anomaly((name, ()), (), opened + onset, opened + 100, "deviation", 1, 0, 0, 0.9, 1e-6)
            for name, onset in onsets.items()
        ),
    )


def after(*incidents: Incident) -> Learned:
    """What is learned once these are over."""
    learned = Learned()
    for one in incidents:
        learned.see(one, {anomaly.series: anomaly.series[0] for anomaly in one.anomalies})
        learned.settle(one.opened + 100 + QUIET + 1, [], STEP)
    return learned


def days(count: int, **onsets: float) -> list[Incident]:
    return [incident(number, **onsets) for number in range(count)]


def test_what_began_first_again_and_again_is_depended_on() -> None:
    assert after(*days(LEAST - 1, bank=0, shop=30)).edges(DAY * LEAST) == {}
    assert after(*days(LEAST, bank=0, shop=30)).edges(DAY * LEAST) == {("shop", "bank"): LEAST}
    assert after(*days(7, bank=0, shop=30)).edges(DAY * 7) == {("shop", "bank"): 7}


def test_an_order_that_is_not_sure_teaches_nothing() -> None:
    both = [*days(4, bank=0, shop=30), *(incident(10 + number, shop=0, bank=30) for number in range(2))]
    assert after(*both).edges(DAY * 12) == {}
    # what begins within one row of the other has no order
    together = [*days(4, bank=0, shop=30), *(incident(10 + number, shop=10, bank=0) for number in range(2))]
    assert after(*together).edges(DAY * 12) == {}
    assert after(*days(10, bank=0, shop=10)).edges(DAY * 10) == {}
    # and one exception in many is none
    assert after(*days(9, bank=0, shop=30), incident(20, shop=0, bank=30)).edges(DAY * 20) == {("shop", "bank"): 8}


def test_an_incident_counts_once_it_is_over_and_once_only() -> None:
    learned = after(*days(LEAST - 1, bank=0, shop=30))
    last = incident(LEAST, bank=0)
    grown = incident(LEAST, bank=0, shop=30)
    for one in (last, grown, grown):
        learned.see(one, {anomaly.series: anomaly.series[0] for anomaly in one.anomalies})
        learned.settle(one.opened + 110, [("shop", ())], STEP)
    now = grown.opened + 110
    for _ in range(50):  # it lasts
        now += 60
        learned.settle(now, [("shop", ())], STEP)
    assert learned.edges(now) == {}
    learned.settle(now + QUIET + 1, [], STEP)
    learned.settle(now + 2 * QUIET + 2, [], STEP)
    assert learned.edges(now) == {("shop", "bank"): LEAST}


def test_old_incidents_are_forgotten() -> None:
    learned = after(*days(5, bank=0, shop=30))
    assert learned.edges(20 * DAY) == {("shop", "bank"): 4}
    assert learned.edges(4 * DAY + MEMORY) == {}


def test_a_storm_teaches_no_order_and_what_is_kept_is_bounded() -> None:
    storm = {f"c{number}": 30.0 * number for number in range(MOST_COMPONENTS + 1)}
    assert after(*days(5, **storm)).edges(5 * DAY) == {}
    learned = after(*(incident(n, **{f"a{n}_{m}": 30.0 * m for m in range(MOST_COMPONENTS)}) for n in range(60)))
    for number in range(1000, 1000 + 3 * MOST_LASTING):
        learned.see(incident(number, bank=0), {("bank", ()): "bank"})
    kept = learned.dump()
    assert len(kept["pairs"]) == MOST_PAIRS
    assert len(kept["lasting"]) == MOST_LASTING
    assert kept["pairs"][-1][0].startswith("a59_")  # the newest are the ones that are kept


@settings(deadline=None, max_examples=50)
@given(st.lists(st.dictionaries(st.sampled_from("abcdé"), st.floats(0, 100), min_size=1), max_size=12), st.randoms())
def test_what_was_kept_is_taken_up(onsets: list[dict[str, float]], chance: random.Random) -> None:
    incidents = [incident(number, **one) for number, one in enumerate(onsets)]
    cut = chance.randint(0, len(incidents))
    straight, restarted = after(*incidents), after(*incidents[:cut])
    for one in incidents[cut:]:
        restarted.see(one, {anomaly.series: anomaly.series[0] for anomaly in one.anomalies})
        restarted = Learned.restore(json.loads(json.dumps(restarted.dump())))  # while it lasts
        restarted.settle(one.opened + 100 + QUIET + 1, [], STEP)
    assert restarted.dump() == straight.dump()


SPECS = {name: MetricSpec(name, Kind.gauge, "x") for name in ("shop", "bank", "cron", "mail")}


def explained(learned: dict[tuple[str, str], int], edges: tuple[tuple[str, str], ...] = ()) -> dict[str, str]:
    """Shop, bank and cron move at the same time, and it is the shop that is told: causes in order, and why."""
    kept = Kept({(name, ()): from_opening(1, 3) for name in SPECS})
    alarm = Anomaly(("shop", ()), (), OPENED, OPENED + 50, "deviation", 3, 0, 1, 0.99, 1e-6)
    found = explain(
        Incident("i", OPENED, "off", (alarm,)),
        kept,
        SPECS,
        topology=Topology.load(),
        signatures=[],
        edges=edges,
        learned=learned,
    )
    return {cause.component: cause.why for cause in found}


def test_a_learned_edge_brings_a_component_into_reach_and_is_told_as_such() -> None:
    given = (("shop", "mail"),)
    assert list(explained({}, given))[:2] == ["mail", "shop"]
    found = explained({("shop", "bank"): 4}, given)
    assert list(found)[:2] in (["mail", "bank"], ["bank", "mail"])
    assert found["bank"].endswith("; that shop depends on it is learned from 4 incidents.")
    assert "learned" not in found["mail"]
    assert "learned" not in found["cron"]
    assert ". " not in found["bank"]
    # of a way over several edges the weakest counts
    assert "from 3 incidents" in explained({("shop", "bank"): 4, ("bank", "cron"): 3}, given)["cron"]


def test_what_is_learned_speaks_against_nobody_and_never_against_what_was_given() -> None:
    # without any graph nothing is out of reach, and what is learned of others does not change that
    assert explained({("mail", "cron"): 9}) == explained({})
    assert "learned" not in explained({("bank", "shop"): 9}, (("shop", "bank"),))["bank"]
    assert explained({("bank", "shop"): 9}, (("shop", "bank"),)) == explained({}, (("shop", "bank"),))


def test_the_way_from_what_suffers_to_what_it_depends_on() -> None:
    graph = Graph([("a", "b"), ("b", "c"), ("a", "d"), ("d", "e"), ("e", "c"), ("c", "a")])
    assert graph.path("a", "c") == ["a", "b", "c"]
    assert graph.path("a", "a") == ["a"]
    assert graph.path("a", "x") == []


def test_edges_of_the_configuration_count_for_patterns_of_components() -> None:
    config = AnomalyConfig.model_validate({"edge": [{"from": "shop_*", "to": ["bank", "tenant:*"]}]})
    links = Plugin(config)._topology.edges(["shop_a", "shop_b", "bank", "tenant:x", "cache"])
    assert {("shop_a", "bank"), ("shop_b", "bank"), ("shop_a", "tenant:x"), ("tenant:x", "cache")} <= set(links)
    assert ("bank", "shop_a") not in links


@pytest.mark.parametrize(
    ("table", "line", "complaint"),
    [
        ('from = "shop"\nto = "bank"', 5, 'edge[0].to: "bank" is not a list'),
        ('form = "shop"\nfrom = "x"\nto = ["bank"]', 4, "unknown key"),
        ('from = "shop"', 3, "edge[0].to: is missing"),
        ('from = "shop"\nto = ["bank", "shop"]', 3, "shop would depend on itself"),
        ('from = "shop"\nto = ["bank", 3]', 5, "edge[0].to[1]: 3"),
    ],
)
def test_an_edge_that_is_wrong_is_told_with_its_line(tmp_path: Path, table: str, line: int, complaint: str) -> None:
    path = tmp_path / "agent.toml"
    path.write_text(f"[plugins.anomaly]\nenabled = true\n[[plugins.anomaly.edge]]\n{table}\n")
    manager = PluginManager(load_config(path, (), {}), only=("anomaly",))
    manager.load()
    (problem,) = manager.plugins["anomaly"].problems
    assert (problem.file, problem.line) == (str(path), line)
    assert complaint in f"{problem.key}: {problem.what}"
