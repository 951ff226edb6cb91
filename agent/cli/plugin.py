"""``predis-agent plugin``: for those who write plugins: a package to begin with, and its certification."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from enum import StrEnum
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated

import typer

from agent.certify.record import Certificate, fingerprint, keep
from agent.cli.options import ConfigOption, DebugOption, load
from agent.errors import PredisError
from agent.plugin.markers import ENTRY_POINT_GROUP

_CHECKS = Path(__file__).parent.parent / "certify" / "checks.py"
# Not what was logged and printed meanwhile: it may hold the secret that a check has found there.
_OPTIONS = "-p agent.certify.pytest_plugin -p no:cacheprovider -v --no-header --tb=short -rfEs --show-capture=no"
_NOTHING_RAN = 4  # pytest's own status for wrong usage

app = typer.Typer(no_args_is_help=True, help="Write a plugin: scaffold a package, certify it.")


class Scaffold(StrEnum):
    """What a new plugin is for."""

    collector = "collector"
    exporter = "exporter"
    detector = "detector"
    explainer = "explainer"
    action = "action"
    condition = "condition"
    forecaster = "forecaster"


@app.callback()
def _group() -> None:
    """Write a plugin: scaffold a package, certify it."""


@app.command()
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The plugin's name: lower-case letters, digits and _.")],
    kind: Annotated[Scaffold, typer.Option("--kind", metavar="KIND", help=f"What it does: {', '.join(Scaffold)}.")],
    folder: Annotated[
        Path | None, typer.Option("--folder", help="Where the package is made.  [default: ./predis-NAME]")
    ] = None,
    debug: DebugOption = False,
) -> None:
    """Write a package with a plugin that works, its configuration, sample, README and tests.

    It passes `predis-agent plugin certify` unchanged.
    """
    from agent.scaffold.package import write_package

    made = write_package(name, kind.value, folder)
    typer.echo(
        f"{made} has the plugin {name}; next:\n"
        f"  predis-agent plugin certify {made}\n"
        f"  pip install --editable {made}     # then: predis-agent plugins list"
    )


@app.command()
def certify(
    plugin: Annotated[
        str, typer.Argument(metavar="NAME_OR_FOLDER", help="An installed plugin, or a plugin's project folder.")
    ],
    config: ConfigOption = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A key of the plugin's table, for the checks. Repeatable."),
    ] = None,
    debug: DebugOption = False,
) -> None:
    """Check a plugin: deadlines, stopping, leaks, metrics, what it adds to rules, documentation, secrets, reload.

    The outcome for an installed plugin is kept in the data folder, and `predis-agent plugins list` shows it.
    """
    project = Path(plugin)
    wanted = str(project.absolute()) if (project / "pyproject.toml").is_file() else plugin
    data_dir = load(config, None).config.agent.data_dir
    with tempfile.TemporaryDirectory(prefix="predis-certify-") as scratch:
        result = Path(scratch) / "result.json"
        command = [sys.executable, "-P", "-m", "pytest", *_OPTIONS.split(), "-c", os.devnull]
        command += ["--basetemp", str(Path(scratch) / "data"), "--rootdir", str(_CHECKS.parent), str(_CHECKS)]
        command += ["--predis-plugin", wanted, "--predis-result", str(result)]
        command += [part for setting in set_ or () for part in ("--predis-set", setting)]
        try:
            import pytest  # noqa: F401  # here only whether there is one
        except ImportError:
            raise PredisError("certify needs pytest: pip install 'predis-agent[certify]'") from None
        # Options for the user's own tests are not meant for these.
        environ = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
        done = subprocess.run(command, check=False, cwd=_CHECKS.parent, env=environ)  # there: for short names
        if not result.is_file():
            raise typer.Exit(done.returncode or _NOTHING_RAN)
        outcome = json.loads(result.read_text(encoding="utf-8"))
    for entry in outcome:
        _keep(
            data_dir,
            entry["name"],
            Certificate(entry["version"], entry["fingerprint"], time.time(), tuple(entry["failed"])),
        )
    raise typer.Exit(done.returncode)


def _keep(data_dir: Path, name: str, certificate: Certificate) -> None:
    """Note it, if it is of what is installed: nothing else is in any list."""
    point = next((point for point in entry_points(group=ENTRY_POINT_GROUP) if point.name == name), None)
    if point is not None and fingerprint(point) == certificate.fingerprint:
        keep(data_dir, name, certificate)
