"""The options that all commands share, and what they mean."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from agent.config import LoadedConfig

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        help="Configuration file.  [default: ./agent.toml, else /etc/predis/agent.toml, else built-in defaults]",
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key, as in --set cache.port=7000. Repeatable."),
]
NoPluginsOption = Annotated[bool, typer.Option("--no-plugins", help="Load no plugin at all.")]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show tracebacks of unexpected errors.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def load(config: Path | None, overrides: list[str] | None, no_plugins: bool = False) -> LoadedConfig:
    """The configuration that the options ask for. Raises ConfigError."""
    from agent.config import find_config, load_config

    loaded = load_config(find_config(config), overrides or ())
    return dataclasses.replace(loaded, plugins_off=no_plugins)
