"""A plugin whose import ends the process: commands name it and go on, and the agent does without it from then on."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.config import load_config
from agent.plugin.importing import ImportMark
from agent.plugin.manager import PluginManager
from tests.agent.foreign import GOOD, Foreign, foreign
from tests.agent.test_cli import predis_agent
from tests.servers import start_agent, stop_cache_of
from tests.waiting import wait_until

__all__ = ["foreign"]


@pytest.mark.parametrize("death", ["os._exit(0)", "os.kill(os.getpid(), 11)"])
def test_commands_name_the_culprits_and_go_on(foreign: Foreign, tmp_path: Path, death: str) -> None:
    for name in ("deadly", "lethal"):
        foreign.package(name, f"import os\n{death}")
    foreign.package("good")
    listed = predis_agent("plugins", "list", folder=tmp_path, path=foreign.folder)
    assert listed.returncode == 0
    rows = {line.split()[0]: line.split()[1] for line in listed.stdout.splitlines()}
    assert (rows["deadly"], rows["lethal"], rows["good"]) == ("failed", "failed", "active")
    assert listed.stdout.count("good") == 1
    for name in ("deadly", "lethal"):
        assert f"plugins.{name}: cannot be loaded: that has ended the whole process" in listed.stderr
        assert f"predis-agent plugins disable {name}" in listed.stderr


def test_the_agent_does_without_a_plugin_that_ended_it_twice(foreign: Foreign, tmp_path: Path) -> None:
    foreign.package("deadly", "import os\nos._exit(7)")
    foreign.package("good", GOOD)
    for _ in range(2):
        dying = start_agent(tmp_path, wait=False, packages=foreign.folder)
        assert dying.process.wait(60) == 7
    agent = start_agent(tmp_path, wait=False, packages=foreign.folder)
    try:
        wait_until(
            lambda: "deadly" in (told := agent.log_text()) and "cannot be loaded" in told, 60, "the culprit's name"
        )
        assert agent.process.poll() is None
        assert not (agent.data_dir / "plugins.importing").exists()
    finally:
        agent.stop()
        stop_cache_of(agent)


def test_only_the_same_plugin_twice_in_a_row_is_a_culprit(tmp_path: Path) -> None:
    file = tmp_path / "mark"
    ImportMark(file).begin("one")  # and the process dies
    second = ImportMark(file)
    assert second.culprits == frozenset()
    second.begin("one")
    second.end()  # this time it went well
    assert not file.exists()
    ImportMark(file).begin("one")
    ImportMark(file).begin("two")
    assert ImportMark(file).culprits == frozenset()
    ImportMark(file).begin("two")
    third = ImportMark(file)
    assert third.culprits == {"two"}
    third.end()
    assert ImportMark(file).culprits == frozenset()  # tried again


def test_what_came_with_the_agent_is_never_suspected(foreign: Foreign, tmp_path: Path) -> None:
    foreign.package("good")
    (tmp_path / "mark").write_text("9 host_metrics")
    manager = PluginManager(load_config(None, (), {}), mark=ImportMark(tmp_path / "mark"))
    manager.load()
    assert (manager.plugins["host_metrics"].state, manager.plugins["good"].state) == ("active", "active")
    assert not (tmp_path / "mark").exists()
