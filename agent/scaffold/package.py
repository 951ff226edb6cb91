"""Writes the package of a new plugin: what every kind has, around what one kind brings."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from agent.config.explain import nearest
from agent.errors import PredisError
from agent.scaffold import action, collector, condition, detector, explainer, exporter, forecaster

_NAME = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*")
_LONGEST = 50


@dataclass(frozen=True)
class Names:
    """How things are called in the package of a plugin."""

    plugin: str

    @property
    def package(self) -> str:
        """What pip calls it."""
        return "predis-" + self.plugin.replace("_", "-")

    @property
    def module(self) -> str:
        """What Python calls it."""
        return f"predis_{self.plugin}"

    @property
    def cls(self) -> str:
        """The class."""
        return "".join(part.capitalize() for part in self.plugin.split("_"))


_KINDS = {
    "collector": collector,
    "exporter": exporter,
    "detector": detector,
    "explainer": explainer,
    "action": action,
    "condition": condition,
    "forecaster": forecaster,
}

_PYPROJECT = """\
[build-system]
requires = ["setuptools>=68"]
build-backend = "setuptools.build_meta"

[project]
name = "{package}"
version = "0.1.0"
description = "{summary}"
readme = "README.md"
requires-python = ">=3.11"
dependencies = ["predis-agent"]

[project.optional-dependencies]
test = ["predis-agent[certify]"]

[project.entry-points."predis_agent.plugins"]
{plugin} = "{module}.plugin:{cls}"

[tool.setuptools]
packages = ["{module}"]

[tool.setuptools.package-data]
{module} = ["sample.toml"]

[tool.pytest.ini_options]
pythonpath = ["."]
testpaths = ["tests"]
"""


def write_package(plugin: str, kind: str, folder: Path | None = None) -> Path:
    """Make a folder with the package, and give it. Raises PredisError when the name or the folder cannot be used."""
    if not _NAME.fullmatch(plugin) or len(plugin) > _LONGEST:
        raise PredisError(
            f"{plugin!r} cannot be a plugin's name: write lower-case letters, digits and single _, such as queue_depth"
        )
    if kind not in _KINDS:
        guess = nearest(kind, list(_KINDS))
        raise PredisError(f"there is no kind {kind}: " + (f"did you mean {guess}?" if guess else ", ".join(_KINDS)))
    names, templates = Names(plugin), _KINDS[kind]
    root = folder if folder is not None else Path(names.package)
    fields = {"plugin": plugin, "package": names.package, "module": names.module, "cls": names.cls}
    fields["summary"] = templates.SUMMARY.format(**fields)
    fields["sample"] = _fill(templates.SAMPLE, fields)
    files = {
        "pyproject.toml": _PYPROJECT.format(**fields),
        "README.md": _fill(templates.README, fields),
        f"{names.module}/__init__.py": f'"""{fields["summary"]}"""\n',
        f"{names.module}/plugin.py": _fill(templates.PLUGIN, fields),
        f"{names.module}/sample.toml": fields["sample"],
        f"tests/test_{plugin}.py": _fill(templates.TESTS, fields),
        ".gitignore": "__pycache__/\n*.egg-info/\nbuild/\n",
    }
    try:
        if root.exists() and any(root.iterdir()):
            raise PredisError(f"{root} is there already and not empty: give another --folder")
        for name, text in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise PredisError(f"{root} cannot be written: {error.strerror or error}") from None
    return root


def _fill(template: str, fields: dict[str, str]) -> str:
    """Put values in for @NAME@: what is written is Python and TOML, full of braces."""
    return re.sub(r"@(\w+)@", lambda found: fields[found[1]], template)
