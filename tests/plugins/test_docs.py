"""Each plugin's folder tells the truth: the sample is the defaults, the README has the sample and every metric."""

import tomllib
from importlib.metadata import EntryPoint

import pytest

from agent.config.models import RARE_PLUGIN_KEYS, PluginConfig
from agent.metrics.docs import shipped_entry_points, specs_of, table
from tests.servers import ROOT

POINTS = shipped_entry_points()


def test_there_are_the_plugins_of_the_issue() -> None:
    names = {point.name for point in POINTS}
    assert names >= {"cache_metrics", "host_metrics", "gpu_metrics", "redis_metrics", "prometheus"}


@pytest.mark.parametrize("point", POINTS, ids=lambda point: point.name)
def test_the_sample_parses_to_exactly_the_defaults_and_leaves_no_key_out(point: EntryPoint) -> None:
    text = (ROOT / "plugins" / point.name / "sample.toml").read_text(encoding="utf-8")
    tables = tomllib.loads(text)["plugins"]
    assert list(tables) == [point.name]
    model = point.load().Config
    assert model.model_validate(tables[point.name]) == model()
    assert set(tables[point.name]) == set(model.model_fields) - RARE_PLUGIN_KEYS


@pytest.mark.parametrize("point", POINTS, ids=lambda point: point.name)
def test_the_readme_embeds_the_sample_and_the_table_of_metrics(point: EntryPoint) -> None:
    folder = ROOT / "plugins" / point.name
    readme = (folder / "README.md").read_text(encoding="utf-8")
    sample = (folder / "sample.toml").read_text(encoding="utf-8")
    assert f"```toml\n{sample}```" in readme
    assert table(specs_of(point)) in readme, f"stale: python -m agent.metrics.docs {point.name}"
    assert "## Troubleshooting" in readme


@pytest.mark.parametrize("point", POINTS, ids=lambda point: point.name)
def test_every_key_of_its_own_is_explained_in_the_sample(point: EntryPoint) -> None:
    lines = (ROOT / "plugins" / point.name / "sample.toml").read_text(encoding="utf-8").splitlines()
    own = set(point.load().Config.model_fields) - set(PluginConfig.model_fields)
    if own:
        first = min(number for number, line in enumerate(lines) if line.partition(" =")[0] in own)
        assert lines[first - 1].startswith("#")
