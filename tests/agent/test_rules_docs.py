"""docs/rules.md tells the truth: its examples run, its reference is the models', its table of packs is the folder."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from agent.rules.docs import reference
from agent.rules.fixtures import run_fixtures
from agent.rules.reading import RuleReader
from tests.agent.test_rules_packs import PACKS, reader
from tests.servers import ROOT

__all__ = ["reader"]

PAGE = (ROOT / "docs" / "rules.md").read_text()


def test_the_reference_is_that_of_the_models() -> None:
    assert reference() in PAGE, "stale: python -m agent.rules.docs prints it"


def test_every_pack_and_rule_is_named() -> None:
    for pack in PACKS:
        names = ", ".join(f"`{rule['name']}`" for rule in tomllib.loads(pack.read_text())["rule"])
        assert f"| `rules/{pack.name}` | {names} |" in PAGE


def test_the_examples_work(tmp_path: Path, reader: RuleReader) -> None:
    from plugins.remediation.cache_settings import CacheMemory

    rule, test = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "memory.toml").write_text(rule)
    (tmp_path / "test.toml").write_text(test)
    with_memory = RuleReader(reader.catalogue, (CacheMemory(),))
    results, problems = run_fixtures(tmp_path / "test.toml", with_memory)
    assert problems == []
    assert [failure for result in results for failure in result.failures] == []
    assert len(results) == 1


def test_the_example_can_really_grow_the_cache() -> None:
    """An arena has no room beyond `cache.memory`: without a restart the action would only ever fail."""
    rule, _ = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    (grow,) = [step for step in tomllib.loads(rule)["rule"][0]["then"] if step["action"] == "cache.memory"]
    assert grow["by_percent"] > 0
    assert grow["restart"] is True
