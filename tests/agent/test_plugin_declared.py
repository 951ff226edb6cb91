"""The API range is read from a plugin's source: what is written for another API is refused, and never imported."""

from __future__ import annotations

import sys
import textwrap
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

import pytest

from agent.config import load_config
from agent.plugin.declared import declared_versions
from agent.plugin.manager import PluginManager
from tests.agent.foreign import Foreign, foreign

__all__ = ["foreign"]

MARKS = "from pathlib import Path\nPath({marker!r}).touch()\nclass Plugin:\n    api_version = {version}\n"


def package(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))


@pytest.mark.parametrize("version", ["2", "(2, 4)", "0"])
def test_a_plugin_for_another_api_is_not_imported(foreign: Foreign, tmp_path: Path, version: str) -> None:
    marker = tmp_path / "imported"
    foreign.package("other_api", MARKS.format(marker=str(marker), version=version))
    manager = PluginManager(load_config(None, (), {}))
    manager.load()
    plugin = manager.plugins["other_api"]
    assert plugin.state == "failed"
    assert "is written for plugin API" in (plugin.error or "")
    assert not marker.exists()


def test_one_for_this_api_is_imported(foreign: Foreign, tmp_path: Path) -> None:
    marker = tmp_path / "imported"
    foreign.package("this_api", MARKS.format(marker=str(marker), version="(1, 3)"))
    PluginManager(load_config(None, (), {})).load()
    assert marker.exists()


def test_what_the_source_does_not_tell_is_checked_after_the_import(foreign: Foreign, tmp_path: Path) -> None:
    marker = tmp_path / "imported"
    foreign.package("computed", MARKS.format(marker=str(marker), version="1 + 1"))
    manager = PluginManager(load_config(None, (), {}))
    manager.load()
    assert "is written for plugin API 2" in (manager.plugins["computed"].error or "")
    assert marker.exists()


@pytest.mark.parametrize(
    ("body", "versions"),
    [
        ("class Plugin:\n    api_version = 3", (3, 3)),
        ("class Plugin:\n    api_version: int = 3", (3, 3)),
        ("class Plugin:\n    api_version = (1, 2)", (1, 2)),
        ("from .elsewhere import Other as Plugin", (7, 7)),
        ("from package_of_declared.elsewhere import Other as Plugin", (7, 7)),
        ("class Plugin:\n    api_version = True", None),
        ("class Plugin:\n    api_version = (1, 2, 3)", None),
        ("class Plugin:\n    api_version = 1\n    api_version = 2", None),
        ("class Plugin:\n    if True:\n        api_version = 1", None),
        ("class Plugin:\n    pass", None),
        ("Plugin = object", None),
        ("class Plugin(:", None),
        ("from .nowhere import Plugin", None),
        ("from . import Plugin", None),
    ],
)
def test_what_can_be_read(foreign: Foreign, body: str, versions: tuple[int, int] | None) -> None:
    package(
        foreign.folder,
        {
            "package_of_declared/__init__.py": "raise RuntimeError('imported')",
            "package_of_declared/deep/__init__.py": "raise RuntimeError('imported')",
            "package_of_declared/elsewhere.py": "class Other:\n    api_version = 7",
            "package_of_declared/plugin.py": body,
        },
    )
    assert declared_versions("package_of_declared.plugin:Plugin") == versions
    assert "package_of_declared" not in sys.modules


def test_editable_installs_are_found_by_their_finders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package(
        tmp_path, {"src/editable_one/__init__.py": "", "src/editable_one/plugin.py": "class P:\n    api_version = 9"}
    )

    class Finder:
        """As setuptools installs one for an editable package."""

        @classmethod
        def find_spec(cls, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
            return PathFinder.find_spec(name, [str(tmp_path / "src")]) if name == "editable_one" else None

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder])
    assert declared_versions("editable_one.plugin:P") == (9, 9)


@pytest.mark.parametrize(
    "value", ["json:JSONDecoder", "sys:Plugin", "no_such_package.plugin:P", "json", "", ":", "a..b:C"]
)
def test_what_is_no_plugin_tells_nothing(value: str) -> None:
    assert declared_versions(value) is None
