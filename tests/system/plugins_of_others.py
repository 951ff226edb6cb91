"""A package with misbehaving plugins, laid out as pip would install it, for the agent to find on its path."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests import installed, servers

MODULE = '''
import time
from agent.api import hookimpl

class Hanging:
    api_version = 1
    def __init__(self, config):
        pass
    @hookimpl
    def predis_collect(self):
        time.sleep(3600)

class Crashing:
    api_version = 1
    def __init__(self, config):
        self.runs = 0
    @hookimpl
    def predis_collect(self):
        self.runs += 1
        raise RuntimeError(f"crash number {self.runs}")

class Leaking:
    """Burns the CPU and keeps allocating, as far as its deadline allows."""
    api_version = 1
    def __init__(self, config):
        self.kept = []
    @hookimpl
    def predis_collect(self):
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            self.kept.append(bytes(1000))
        del self.kept[100_000:]
        return []
'''

PLUGINS = {
    "hanging": "predis_plugins_of_others:Hanging",
    "crashing": "predis_plugins_of_others:Crashing",
    "leaking": "predis_plugins_of_others:Leaking",
    "broken": "predis_plugins_of_others:DoesNotExist",
}


def install(
    folder: Path, monkeypatch: pytest.MonkeyPatch, module: str = MODULE, plugins: Mapping[str, str] = PLUGINS
) -> None:
    """Puts the package into folder and lets the agents that are started from now on find it.

    module: its code. plugins: name → "module:Class".
    """
    site = installed.install(folder / "site", "plugins-of-others", plugins)
    (site / "predis_plugins_of_others.py").write_text(module.lstrip())
    monkeypatch.setattr(servers, "ROOT", f"{servers.ROOT}{os.pathsep}{site}")  # what becomes PYTHONPATH
