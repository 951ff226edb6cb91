"""What a plugin says of itself: a property of the plugin is its code, and is run where its hooks are."""

import io
import json
import re
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from agent.config.load import load_config
from agent.plugin.manager import PluginManager
from agent.service import Service
from tests.agent.foreign import GOOD, Foreign, foreign
from tests.agent.test_service import configuration, meanwhile, url
from tests.waiting import wait_until

__all__ = ["foreign"]

NOTE = """
        collected = False

        @property
        def note(self):
            if self.collected:
                {then}
            return "at the pole"
"""
COLLECTED = GOOD.replace("yield Sample(", "self.collected = True\n            yield Sample(")
BLOCKING = COLLECTED + NOTE.format(then="__import__('time').sleep(3600)")
RAISING = COLLECTED + NOTE.format(then="raise RuntimeError('no note')")
MOVING = COLLECTED + NOTE.format(then="return 'at the equator'")


def test_a_note_that_blocks_stops_the_plugin_and_nobody_else(tmp_path: Path, foreign: Foreign) -> None:
    foreign.package("blocking", BLOCKING)
    foreign.package("moving", MOVING.replace("predis_foreign", "predis_moving"))
    foreign.package("raising", RAISING.replace("predis_foreign", "predis_raising"))
    loaded = configuration(tmp_path, "plugins.blocking.deadline=1s")
    out = io.StringIO()

    def plugin(name: str) -> Any:
        with urllib.request.urlopen(url(loaded, "/api/v1/status"), timeout=2) as answer:
            return next(entry for entry in json.load(answer)["plugins"] if entry["name"] == name)

    def work() -> None:
        wait_until(lambda: "Predis agent" in out.getvalue(), 20, "the banner")
        wait_until(lambda: plugin("blocking")["state"] == "hung", 10, "the plugin to be named")
        assert plugin("blocking")["note"] == "at the pole", "what it said when it had started"
        assert plugin("moving")["note"] == "at the equator"
        raising = plugin("raising")
        assert (raising["state"], raising["failures"], raising["note"]) == ("active", 0, None)
        assert raising["runs"] > 1

    with meanwhile(work):
        assert Service(loaded, out=out).run() == 0
    assert re.search(r"moving +active +at the equator", out.getvalue())


@pytest.mark.parametrize(
    ("body", "said"), [("__import__('time').sleep(3600)", "not done after 1 s"), ("exit(3)", "it called sys.exit(3)")]
)
def test_attributes_that_cannot_be_looked_at_cost_that_plugin_alone(
    tmp_path: Path, foreign: Foreign, body: str, said: str
) -> None:
    foreign.package("hiding", GOOD + f"\n        def __dir__(self):\n            {body}\n")
    manager = PluginManager(load_config(None, [f"agent.data_dir={tmp_path}"], {}), load_deadline=1.0)

    manager.load()

    plugin = manager.plugins["hiding"]
    assert plugin.state == "failed"
    assert plugin.error is not None
    assert f"cannot be registered: {said}" in plugin.error
    assert "host_metrics" in {plugin.name for plugin in manager.active}
