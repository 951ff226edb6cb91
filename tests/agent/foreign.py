"""Plugins of third parties, as they are installed: a module and its dist-info with entry points, on sys.path."""

from __future__ import annotations

import itertools
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.installed import install

_numbers = itertools.count()

GOOD = """
    from agent.api import Kind, MetricSpec, PluginConfig, Sample, hookimpl

    class Config(PluginConfig):
        value: int = 1

    class Plugin:
        api_version = 1
        Config = Config

        def __init__(self, config):
            self.config = config

        @hookimpl
        def predis_metric_specs(self):
            return [MetricSpec("predis_foreign_value", Kind.gauge, "A number that the test chose.")]

        @hookimpl
        def predis_collect(self):
            yield Sample("predis_foreign_value", self.config.value)
"""


@dataclass
class Foreign:
    """Makes packages in a folder that is on sys.path for the time of a test."""

    folder: Path

    def package(self, plugin: str, code: str = GOOD, entry: str = "Plugin", distribution: str | None = None) -> Path:
        """Install a package with one plugin; returns its source file."""
        module = f"foreign_{next(_numbers)}"
        source = self.folder / f"{module}.py"
        source.write_text(textwrap.dedent(code))
        install(self.folder, distribution or module, {plugin: f"{module}:{entry}"}, stem=module)
        return source


@pytest.fixture
def foreign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Foreign:
    """Where a test installs its plugins."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return Foreign(folder)
