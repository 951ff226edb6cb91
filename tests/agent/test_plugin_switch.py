"""`plugins disable` and `enable`: a file of the agent's own in conf.d/, and no import of the culprit."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from agent.config import LoadedConfig, load_config
from agent.config.switch import FILE, switch
from agent.errors import PredisError
from tests.agent.foreign import Foreign, foreign
from tests.agent.test_cli import predis_agent

__all__ = ["foreign"]


def loaded(folder: Path, *overrides: str) -> LoadedConfig:
    return load_config(folder / "agent.toml", overrides, {})


def enabled(folder: Path, plugin: str = "weather") -> bool:
    return loaded(folder).config.plugins.get(plugin, {}).get("enabled") is not False


def test_the_culprit_is_switched_off_without_being_imported(foreign: Foreign, tmp_path: Path) -> None:
    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        return predis_agent(*arguments, folder=tmp_path, path=foreign.folder)

    # given a plugin whose import takes down whoever does it
    foreign.package("deadly", "import os\nos._exit(9)")
    (tmp_path / "agent.toml").touch()
    ended = command("check-config")
    assert (ended.returncode, "plugins.deadly: cannot be loaded" in ended.stderr) == (78, True)
    # when it is disabled
    off = command("plugins", "disable", "deadly")
    assert (off.returncode, off.stderr) == (0, "")
    assert f"deadly is disabled in conf.d/{FILE}" in off.stdout
    assert "predis-agent config apply" in off.stdout
    # then all works without it
    assert command("check-config").returncode == 0
    assert command("plugins", "disable", "deadly").stdout == "deadly is disabled already\n"
    assert command("plugins", "enable", "deadly").returncode == 0
    assert command("check-config").returncode == 78
    typo = command("plugins", "disable", "deadyl")
    assert (typo.returncode, "did you mean deadly?" in typo.stderr) == (1, True)


def test_a_switch_overrides_agent_toml_and_leaves_the_others_alone(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text("[plugins.weather]\nenabled = false\nvalue = 1\n")
    file = switch(loaded(tmp_path), "weather", True)
    assert file == tmp_path / "conf.d" / FILE
    assert enabled(tmp_path)
    assert loaded(tmp_path).config.plugins["weather"]["value"] == 1
    switch(loaded(tmp_path), "odd name", False)
    assert (enabled(tmp_path), enabled(tmp_path, "odd name")) == (True, False)
    assert switch(loaded(tmp_path), "weather", False) == file
    assert not enabled(tmp_path)
    assert file.stat().st_mode & 0o777 == 0o644
    switch(loaded(tmp_path), "odd name", True)
    assert not file.exists()  # what agent.toml says is enough


def test_what_files_cannot_override_is_told(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").touch()
    with pytest.raises(PredisError, match=r"plugins\.weather\.enabled is set by --set"):
        switch(loaded(tmp_path, "plugins.weather.enabled=false"), "weather", True)
    assert not (tmp_path / "conf.d" / FILE).exists()
    with pytest.raises(PredisError, match=r"--set plugins\.weather\.enabled=false"):
        switch(load_config(None, (), {}), "weather", False)


def test_a_file_that_somebody_edited_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").touch()
    (tmp_path / "conf.d").mkdir()
    file = tmp_path / "conf.d" / FILE
    file.write_text("[plugins.weather]\nvalue = 3\n")
    with pytest.raises(PredisError, match="more in it"):
        switch(loaded(tmp_path), "weather", False)
    assert file.read_text() == "[plugins.weather]\nvalue = 3\n"
