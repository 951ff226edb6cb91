"""The shipped packs: each rule is right, and tested both ways by the fixtures that are shipped with it."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from agent.config import load_config
from agent.metrics.catalogue import Catalogue
from agent.metrics.self_metrics import PLUGIN_NAME
from agent.own_specs import SPECS
from agent.plugin.manager import PluginManager
from agent.rules.fixtures import run_fixtures
from agent.rules.notation import parse_values
from agent.rules.reading import RuleReader
from tests.servers import ROOT

PACKS = sorted((ROOT / "rules").glob("*.toml"))


@pytest.fixture(scope="module")
def reader() -> RuleReader:
    catalogue = Catalogue()
    catalogue.add(PLUGIN_NAME, SPECS)
    manager = PluginManager(load_config(ROOT / "agent.toml", (), {}))
    manager.load()
    manager.declare(catalogue.add)
    return RuleReader(catalogue)


def test_there_are_the_packs_of_the_issue() -> None:
    names = {pack.stem for pack in PACKS}
    assert names >= {"memory", "latency", "hit_ratio", "gpu", "exporters", "disk", "certificates", "model"}


def test_all_rules_of_all_packs_can_be_used_with_the_shipped_plugins(reader: RuleReader) -> None:
    found = reader.read([], PACKS)
    assert found.problems == []
    assert found.skipped == []
    assert all(rule.description and rule.cooldown >= 1800 for rule in found.rules)
    assert not any(rule.changes_state for rule in found.rules)  # what acts is the user's choice


@pytest.mark.parametrize("pack", PACKS, ids=lambda pack: pack.stem)
def test_each_rule_fires_when_it_should_and_not_before(pack: Path, reader: RuleReader) -> None:
    fixtures = pack.parent / "tests" / pack.name
    results, problems = run_fixtures(fixtures, reader)
    assert problems == []
    assert [failure for result in results for failure in result.failures] == []
    # and each rule has a test in which it fires and a moment at which it must not have fired
    tests = tomllib.loads(fixtures.read_text())["test"]
    for rule in tomllib.loads(pack.read_text())["rule"]:
        expected = {expect.get("fired") for test in tests if test["rule"] == rule["name"] for expect in test["expect"]}
        assert 1 in expected, f"no test has {rule['name']} fire"


def fixture(folder: Path, expect: str, **keys: str) -> Path:
    rule = '[[rule]]\nname = "cpu"\nwhen.threshold = { metric = "predis_host_cpu_busy_ratio", value = "90%" }\n'
    (folder / "r.toml").write_text(rule + 'for = "1m"\nthen = [{ action = "event" }]\n')
    more = "".join(f"{name} = {value}\n" for name, value in keys.items())
    series = 'series = [{ metric = "predis_host_cpu_busy_ratio", values = "0.5x10 0.95x20" }]\n'
    text = f'rules = ["r.toml"]\n[[test]]\nname = "t"\nrule = "cpu"\n{more}{series}expect = [{expect}]\n'
    (folder / "t.toml").write_text(text)
    return folder / "t.toml"


def test_a_test_that_expects_something_else_fails_and_says_why(tmp_path: Path, reader: RuleReader) -> None:
    file = fixture(tmp_path, '{ at = "5m", fired = 2, actions = ["x"], state = "idle", result = "failed" }')
    (result,), problems = run_fixtures(file, reader)
    assert problems == []
    assert result.failures == [
        f"at 5m: {what} (its condition: predis_host_cpu_busy_ratio is 95.0%, > 90%)"
        for what in (
            "it fired 1, expected 2",
            "it did event, expected x",
            "its state is resting, expected idle",
            "the last remedy's result is told, expected failed",
        )
    ]
    assert result.where == f"{file}:2"


def test_mistakes_in_tests_have_their_line(tmp_path: Path, reader: RuleReader) -> None:
    file = fixture(tmp_path, '{ at = "5m", fird = 1 }')
    assert 'fird: unknown key; did you mean "fired"?' in str(run_fixtures(file, reader)[1][0])
    file = fixture(tmp_path, '{ at = "5m", fired = 1 }')
    file.write_text(file.read_text().replace('rule = "cpu"', 'rule = "cpv"').replace("0.95x20", "0.95y20"))
    problems = run_fixtures(file, reader)[1]
    assert [(problem.line, problem.what) for problem in problems] == [(5, '"0.95y20" is no value')]
    file.write_text(file.read_text().replace("0.95y20", "0.95x20"))
    (problem,) = run_fixtures(file, reader)[1]
    assert 'there is no rule "cpv"; did you mean "cpu"?' in str(problem)


def test_the_notation_is_promtools() -> None:
    assert parse_values("1x2 _ 5+2x2 -1-1x1 _x2 3") == [1, 1, 1, None, 5, 7, 9, -1, -2, None, None, 3]
