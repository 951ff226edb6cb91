"""The plugin that is to be certified: where its class is, and the files that belong to it."""

from __future__ import annotations

import importlib.metadata
import sys
import tomllib
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path

from agent.errors import PredisError
from agent.plugin.declared import find_module
from agent.plugin.markers import ENTRY_POINT_GROUP


@dataclass(frozen=True)
class Candidate:
    """One plugin, installed or in a folder with its pyproject.toml. `version` is empty if unknown."""

    name: str
    entry_point: EntryPoint
    version: str
    readme: str
    folder: Path

    @property
    def sample(self) -> Path:
        """Its sample.toml, beside the module of its class."""
        return self.folder / "sample.toml"


def candidates(wanted: str) -> list[Candidate]:
    """The plugin of this name, or all of a project's in this folder, installed or not. Raises PredisError."""
    path = Path(wanted)
    if (path / "pyproject.toml").is_file():
        return _in_project(path.absolute())
    for point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP):
        if point.name == wanted:
            return [_installed(point)]
    what = "is a folder without a pyproject.toml" if path.is_dir() else "is no installed plugin, and no folder"
    raise PredisError(f"{wanted} {what}: name one that predis-agent plugins list shows, or a plugin's project folder")


def _in_project(folder: Path) -> list[Candidate]:
    try:
        project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        points = project["entry-points"][ENTRY_POINT_GROUP]
    except (OSError, ValueError) as error:
        raise PredisError(f"{folder / 'pyproject.toml'} cannot be read: {error}") from None
    except (KeyError, TypeError):
        what = f'has no table [project.entry-points."{ENTRY_POINT_GROUP}"]'
        raise PredisError(f'{folder / "pyproject.toml"} {what}: write NAME = "package.module:Class" there') from None
    sys.path.insert(0, str(folder / "src" if (folder / "src").is_dir() else folder))
    readme = folder / "README.md"
    text = readme.read_text(encoding="utf-8") if readme.is_file() else ""
    return [
        Candidate(
            name,
            point := EntryPoint(name, value, ENTRY_POINT_GROUP),
            str(project.get("version", "")),
            text,
            folder_of(point),
        )
        for name, value in points.items()
    ]


def _installed(point: EntryPoint) -> Candidate:
    folder = folder_of(point)
    version, readme = "", ""
    if point.dist is not None:
        version = point.dist.version
        described = point.dist.metadata.json  # a long description stands in a header or, since 2.1, in the body
        readme = str(described.get("description", ""))
    if (folder / "README.md").is_file():  # one package may bring several plugins, each with a page of its own
        readme = (folder / "README.md").read_text(encoding="utf-8")
    return Candidate(point.name, point, version, readme, folder)


def folder_of(point: EntryPoint) -> Path:
    """Where the module of the class lies; nothing is imported. Raises PredisError."""
    spec = find_module(point.module)
    if spec is None or spec.origin is None:
        raise PredisError(f"{point.name}: there is no module {point.module}: mend the entry point")
    return Path(spec.origin).parent
