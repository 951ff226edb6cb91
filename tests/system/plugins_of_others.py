"""A package with misbehaving plugins, laid out as pip would install it, for the agent to find on its path."""

import os
from pathlib import Path

import pytest

from tests import servers

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

POINTS = """[predis_agent.plugins]
hanging = predis_plugins_of_others:Hanging
crashing = predis_plugins_of_others:Crashing
leaking = predis_plugins_of_others:Leaking
broken = predis_plugins_of_others:DoesNotExist
"""


def install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts the package into folder and lets the agents that are started from now on find it."""
    site = folder / "site"
    metadata = site / "plugins_of_others-1.0.dist-info"
    metadata.mkdir(parents=True)
    (site / "predis_plugins_of_others.py").write_text(MODULE.lstrip())
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: plugins-of-others\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(POINTS)
    monkeypatch.setattr(servers, "ROOT", f"{servers.ROOT}{os.pathsep}{site}")  # what becomes PYTHONPATH
