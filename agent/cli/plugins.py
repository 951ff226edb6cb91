"""``predis-agent plugins``: what is installed, and what is wrong with it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import typer

from agent.cli.options import ConfigOption, DebugOption, JsonOption, NoPluginsOption, SetOption, load

if TYPE_CHECKING:
    from agent.plugin.loaded import LoadedPlugin

app = typer.Typer(no_args_is_help=True, help="See which plugins are installed.")


@app.callback()
def _group() -> None:
    """See which plugins are installed."""


@app.command("list")
def list_plugins(
    config: ConfigOption = None,
    set_: SetOption = None,
    no_plugins: NoPluginsOption = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """List installed plugins: their state, package and metrics, and the reason when one cannot be used."""
    from agent.metrics.catalogue import Catalogue
    from agent.plugin.manager import PluginManager

    manager = PluginManager(load(config, set_, no_plugins))
    manager.load()
    manager.declare(Catalogue().add)
    plugins = list(manager.plugins.values())
    if as_json:
        typer.echo(json.dumps([_as_json(plugin) for plugin in plugins], indent=2))
        return
    if not plugins:
        typer.echo("no plugins are installed")
        return
    from agent.cli.tables import print_table

    rows = [
        (
            plugin.name,
            plugin.state,
            plugin.distribution or "-",
            str(len(plugin.specs) or "-"),
            plugin.entry_point or "-",
        )
        for plugin in plugins
    ]
    print_table(("plugin", "state", "package", "metrics", "class"), rows, state_column=1)
    for problem in (*manager.warnings, *manager.problems):
        typer.echo(str(problem), err=True)


def _as_json(plugin: LoadedPlugin) -> dict[str, Any]:
    from agent.plugin.manager import hook_names

    return {
        "name": plugin.name,
        "state": plugin.state,
        "package": plugin.distribution,
        "class": plugin.entry_point,
        "hooks": [hook for hook in hook_names() if plugin.implements(hook)],
        "metrics": [spec.name for spec in plugin.specs],
        "error": plugin.error,
        "problems": [
            {"file": p.file, "line": p.line, "key": p.key, "what": p.what, "mend": p.mend} for p in plugin.problems
        ],
    }
