"""The agent.toml in the repository documents every key, and says exactly what the defaults are."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from agent.config import Config, load_config
from agent.config.models import RARE_PLUGIN_KEYS, PluginConfig, Section
from agent.config.units import format_size
from agent.metrics.docs import shipped_entry_points
from agent.plugin.manager import PluginManager
from tests.servers import ROOT

SHIPPED = ROOT / "agent.toml"
SAMPLES = sorted(ROOT.glob("plugins/*/sample.toml"))


def tables() -> dict[str, Any]:
    return tomllib.loads(SHIPPED.read_text())


@pytest.mark.parametrize("section", sorted(set(Config.model_fields) - {"plugins"}))
def test_every_key_of_a_section_is_there_with_its_default(section: str) -> None:
    shipped, defaults = load_config(SHIPPED, (), {}), getattr(Config(), section)
    assert isinstance(defaults, Section)
    assert set(tables()[section]) == set(type(defaults).model_fields)
    for key in type(defaults).model_fields:
        value, default = getattr(getattr(shipped.config, section), key), getattr(defaults, key)
        assert value == (ROOT / default if isinstance(default, Path) else default), key


def test_no_other_section_is_there() -> None:
    assert set(tables()) == set(Config.model_fields)


def test_every_shipped_plugin_is_there_with_every_key_and_its_default() -> None:
    # given the plugins that the installed package brings
    config = load_config(SHIPPED, (), {})
    manager = PluginManager(config)
    manager.load()
    own = {name: plugin for name, plugin in manager.plugins.items() if plugin.distribution == "predis-agent"}
    # then agent.toml has exactly their tables, each with exactly the keys of its model, at their defaults
    assert set(tables()["plugins"]) == set(own)
    assert manager.problems == []
    for point in shipped_entry_points():
        model = point.load().Config  # the manager does not even import what is disabled
        assert set(tables()["plugins"][point.name]) == set(model.model_fields) - RARE_PLUGIN_KEYS, point.name
        assert config.read_plugin(point.name, model) == (model(), []), point.name


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.parent.name)
def test_a_plugins_table_is_its_sample(sample: Path) -> None:
    (name, table), *others = tomllib.loads(sample.read_text())["plugins"].items()
    assert not others
    assert tables()["plugins"][name] == table


def test_there_are_samples() -> None:
    assert {sample.parent.name for sample in SAMPLES} == set(tables()["plugins"])


def test_what_every_plugin_has_and_no_sample_repeats_is_explained_once() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text()
    for key in RARE_PLUGIN_KEYS:
        default = {None: '""', (): "[]"}.get(
            default := PluginConfig.model_fields[key].default, default
        )  # as TOML has it
        written = f"`{format_size(default) if isinstance(default, int) else default}`"
        assert f"| `plugins.NAME.{key}` | {written} |" in page
        assert f"#   {key}" in SHIPPED.read_text()
