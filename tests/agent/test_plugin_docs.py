"""The plugin author's guide says what the code says, and its example is a plugin that works."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from agent import api
from agent.config import load_config
from agent.plugin import hookspecs
from agent.plugin.manager import PluginManager, hook_names
from agent.plugin.runner import LONGEST_WAIT, QUARANTINE_AFTER, QUARANTINE_WAIT
from tests.agent.foreign import Foreign, foreign
from tests.servers import ROOT

__all__ = ["foreign"]

GUIDE = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("hook", hook_names())
def test_every_hook_is_documented_with_its_exact_arguments(hook: str) -> None:
    function = getattr(hookspecs, hook)
    signature = str(inspect.signature(function)).replace("'", "")
    assert f"`{hook}{signature}`\n{inspect.getdoc(function)}\n" in GUIDE


@pytest.mark.parametrize("hook", hook_names())
def test_every_hook_is_used_by_a_shipped_plugin_and_called_in_a_test(hook: str) -> None:
    assert any(f"def {hook}(" in path.read_text() for path in ROOT.glob("plugins/*/plugin.py"))
    assert any(f"{hook}" in path.read_text() for path in ROOT.glob("tests/plugins/*.py"))


def test_the_guide_lists_exactly_the_public_api() -> None:
    listed = re.findall(r"^\| (`.*?) \|", GUIDE, re.MULTILINE)
    names = {name for cell in listed for name in re.findall(r"`(\w+)`", cell)}
    assert names == set(api.__all__)
    assert all(hasattr(api, name) for name in api.__all__)


def test_the_guides_example_is_a_plugin_that_works(foreign: Foreign, tmp_path: Path) -> None:
    # given the example's code as a package, and its table
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    foreign.package("queue_depth", code, entry="QueueDepth")
    spool = tmp_path / "spool"
    spool.mkdir()
    (spool / "letter").touch()
    (tmp_path / "agent.toml").write_text(f"[plugins.queue_depth]\nspool = '{spool}'\n")
    # when it is loaded and collects
    manager = PluginManager(load_config(tmp_path / "agent.toml", (), {}))
    manager.load()
    assert manager.problems == []
    samples = list(manager.plugins["queue_depth"].collect())
    # then it gives what it declares
    assert [(sample.name, sample.value, sample.labels) for sample in samples] == [
        ("predis_queue_files", 1, (str(spool),))
    ]


def test_the_guides_numbers_are_the_codes() -> None:
    words = {5: "five times in a row", 60.0: "after a minute at least", 900.0: "a quarter of an hour at most"}
    for number in (QUARANTINE_AFTER, QUARANTINE_WAIT, LONGEST_WAIT):
        assert words[number] in GUIDE
