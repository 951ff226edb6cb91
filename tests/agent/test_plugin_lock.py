"""Third-party plugins survive an upgrade of the agent: what is gone is named, with the command that gets it back."""

from __future__ import annotations

import importlib.metadata
import json
import logging
import shutil
import subprocess
from pathlib import Path

import pytest

from agent.collection import Collection
from agent.config import load_config
from agent.metrics.catalogue import Catalogue
from agent.metrics.pipeline import Pipeline
from agent.metrics.self_metrics import SelfMetrics
from agent.plugin.host import CacheAddress, Host
from agent.plugin.lock import Locked, PluginLock, installed
from agent.plugin.manager import PluginManager
from tests.agent.foreign import Foreign, foreign
from tests.agent.test_cli import predis_agent

__all__ = ["foreign"]


def manager(folder: Path, text: str = "") -> PluginManager:
    (folder / "agent.toml").write_text(f'[agent]\ndata_dir = "{folder}"\n{text}')
    made = PluginManager(load_config(folder / "agent.toml", (), {}))
    made.load()
    return made


def uninstall(foreign: Foreign) -> None:
    for info in foreign.folder.glob("*.dist-info"):
        shutil.rmtree(info)


def test_a_plugin_that_is_gone_is_missing_with_the_command_that_gets_it_back(foreign: Foreign, tmp_path: Path) -> None:
    # given an agent that ran with a third party's plugin
    foreign.package("weather", distribution="acme-weather")
    manager(tmp_path).remember()
    lock = PluginLock(tmp_path)
    assert lock.read() == ([Locked("acme-weather", "1.0", "acme-weather==1.0", ("weather",))], None)
    assert lock.path.stat().st_mode & 0o777 == 0o600
    # when an upgrade brings an environment without it
    uninstall(foreign)
    after = manager(tmp_path)
    # then it is missing, and all else is right
    weather = after.plugins["weather"]
    assert (weather.state, weather.distribution, weather.wanted) == ("missing", "acme-weather", False)
    assert "acme-weather 1.0 is gone" in (weather.error or "")
    assert "pip install 'acme-weather==1.0'" in (weather.error or "")
    assert after.problems == []
    assert [str(warning) for warning in after.warnings] == [str(weather.problems[0])]
    assert "plugins forget weather" in weather.problems[0].mend
    # and stays so, whatever is noted meanwhile
    after.remember()
    assert manager(tmp_path).plugins["weather"].state == "missing"
    # until it is installed again
    foreign.package("weather", distribution="acme-weather")
    assert manager(tmp_path).plugins["weather"].state == "active"


def test_one_that_the_configuration_names_is_a_problem(foreign: Foreign, tmp_path: Path) -> None:
    foreign.package("weather")
    manager(tmp_path).remember()
    uninstall(foreign)
    wanted = manager(tmp_path, "[plugins.weather]\nvalue = 2\n")
    assert wanted.plugins["weather"].wanted
    assert [problem.key for problem in wanted.problems] == ["plugins.weather"]
    assert wanted.warnings == []
    off = manager(tmp_path, "[plugins.weather]\nenabled = false\n")
    assert (off.plugins["weather"].state, off.problems, off.warnings) == ("disabled", [], [])


def test_what_failed_or_is_disabled_is_locked_too(foreign: Foreign, tmp_path: Path) -> None:
    foreign.package("broken", "1 / 0", distribution="acme-broken")
    foreign.package("off", distribution="acme-off")
    manager(tmp_path, "[plugins.off]\nenabled = false\n").remember()
    assert [entry.name for entry in PluginLock(tmp_path).read()[0]] == ["acme-broken", "acme-off"]


def test_a_plugin_that_another_package_brings_now_is_not_missing(foreign: Foreign, tmp_path: Path) -> None:
    foreign.package("weather", distribution="acme-weather")
    manager(tmp_path).remember()
    uninstall(foreign)
    foreign.package("weather", distribution="weather-ng")
    again = manager(tmp_path)
    again.remember()
    assert again.plugins["weather"].state == "active"
    assert [entry.name for entry in PluginLock(tmp_path).read()[0]] == ["weather-ng"]


@pytest.mark.parametrize(
    ("direct", "command"),
    [
        ({"url": "file:///opt/my%20plugin", "dir_info": {"editable": True}}, "--editable '/opt/my plugin'"),
        ({"url": "file:///opt/plugin", "dir_info": {}}, "'/opt/plugin'"),
        ({"url": "https://x.test/p.whl", "archive_info": {}}, "'NAME @ https://x.test/p.whl'"),
        (
            {"url": "https://x.test/p.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}, "subdirectory": "deep"},
            "'NAME @ git+https://x.test/p.git@abc#subdirectory=deep'",
        ),
        ({"odd": 1}, "'NAME==1.0'"),
        ([1], "'NAME==1.0'"),
    ],
)
def test_what_was_not_installed_from_an_index_comes_back_from_where_it_came(
    foreign: Foreign, direct: object, command: str
) -> None:
    name = foreign.package("weather").stem
    (foreign.folder / f"{name}-1.0.dist-info" / "direct_url.json").write_text(json.dumps(direct))
    locked = installed(importlib.metadata.distribution(name), ["weather"])
    assert locked is not None
    assert locked.command == f"pip install {command}".replace("NAME", name)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"format": 1}', '{"format": 1, "distributions": [1]}', '{"format": 2}']
)
def test_a_lock_file_that_cannot_be_used_is_told_and_replaced(foreign: Foreign, tmp_path: Path, text: str) -> None:
    foreign.package("weather", distribution="acme-weather")
    (tmp_path / "plugins.lock").write_text(text)
    with_it = manager(tmp_path)
    assert "plugins.lock" in str(with_it.warnings[0])
    with_it.remember()
    assert manager(tmp_path).warnings == []


def test_a_lock_file_that_cannot_be_written_stops_nothing(
    foreign: Foreign, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    foreign.package("weather")
    (tmp_path / "plugins.lock").mkdir()
    manager(tmp_path).remember()
    assert "plugins.lock cannot be written" in caplog.text
    assert list(tmp_path.glob(".plugins.lock.*")) == []


def test_plugins_list_shows_what_is_missing_and_forget_forgets_it(foreign: Foreign, tmp_path: Path) -> None:
    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        return predis_agent(*arguments, folder=tmp_path, path=foreign.folder)

    foreign.package("weather", distribution="acme-weather")
    manager(tmp_path).remember()
    still_there = command("plugins", "forget", "weather")
    assert (still_there.returncode, "weather is installed" in still_there.stderr) == (1, True)
    uninstall(foreign)
    listed = command("plugins", "list")
    assert "missing" in listed.stdout
    assert "pip install 'acme-weather==1.0'" in listed.stderr
    assert command("check-config").returncode == 0
    assert command("plugins", "forget", "weather").stdout == "weather (of acme-weather 1.0) is forgotten\n"
    assert "weather" not in command("plugins", "list").stdout
    again = command("plugins", "forget", "weather")
    assert (again.returncode, "has no plugin weather" in again.stderr) == (1, True)


def test_only_what_the_configuration_asks_for_makes_the_agent_unready(foreign: Foreign, tmp_path: Path) -> None:
    def reasons(text: str) -> tuple[list[str], list[tuple[str, str]]]:
        (tmp_path / "agent.toml").write_text(f'[agent]\ndata_dir = "{tmp_path}"\n{text}')
        without = PluginManager(load_config(tmp_path / "agent.toml", (), {}), entry_points=[])
        without.load()
        pipeline = Pipeline(Catalogue())
        collection = Collection(without, pipeline, SelfMetrics("1", pipeline), own=lambda: (), beat=lambda: None)
        cache = CacheAddress(tmp_path / "cache.sock", "", 0, None, tmp_path / "arena")
        collection.run_plugins(Host(tmp_path, cache, "1", logging.getLogger("test")))
        return collection.not_delivering(), [(p["name"], p["state"]) for p in collection.status()]

    foreign.package("weather", distribution="acme-weather")
    manager(tmp_path).remember()
    assert reasons("") == ([], [("weather", "missing")])
    (reason,), _ = reasons("[plugins.weather]\n")
    assert "plugin weather could not be loaded: its package acme-weather 1.0 is gone" in reason
    assert "pip install 'acme-weather==1.0'" in reason
