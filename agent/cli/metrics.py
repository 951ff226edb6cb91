"""``predis-agent metrics``: the catalogue, read from the plugins' declarations; no agent need be running."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import typer

from agent.cli.options import ConfigOption, DebugOption, JsonOption, NoPluginsOption, SetOption, load

if TYPE_CHECKING:
    from agent.metrics.catalogue import Catalogue

app = typer.Typer(no_args_is_help=True, help="See which metrics there are.")


@app.callback()
def _group() -> None:
    """See which metrics there are."""


@app.command("list")
def list_metrics(
    config: ConfigOption = None,
    set_: SetOption = None,
    no_plugins: NoPluginsOption = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """List every metric that the agent and its enabled plugins can emit."""
    from agent import own_metrics
    from agent.metrics import self_metrics
    from agent.metrics.catalogue import Catalogue
    from agent.plugin.importing import outlive_imports
    from agent.plugin.manager import PluginManager

    catalogue = Catalogue()
    catalogue.add(self_metrics.PLUGIN_NAME, (*self_metrics.SPECS, *own_metrics.SPECS))
    loaded = load(config, set_, no_plugins)
    manager = PluginManager(loaded, mark=outlive_imports())
    manager.load()
    manager.declare(catalogue.add)
    if as_json:
        listed = [
            {
                "name": spec.name,
                "kind": spec.kind.value,
                "unit": spec.unit,
                "help": spec.help,
                "labels": list(spec.labels),
                "plugin": catalogue.owner(spec.name),
            }
            for spec in catalogue
        ]
        typer.echo(json.dumps(listed, indent=2))
    else:
        _show(catalogue)
    for problem in manager.problems:
        typer.echo(f"not listed: {problem}", err=True)


def _show(catalogue: Catalogue) -> None:
    from agent.cli.tables import is_terminal, print_table

    owners = {spec.name: catalogue.owner(spec.name) or "" for spec in catalogue}
    if not is_terminal():
        rows = [
            (spec.name, spec.kind.value, spec.unit, ", ".join(spec.labels), owners[spec.name], spec.help)
            for spec in catalogue
        ]
        print_table(("metric", "kind", "unit", "labels", "plugin", "help"), rows)
        return
    for owner in dict.fromkeys(owners.values()):  # narrower, and easier to read: a table for each plugin
        narrow = [
            (spec.name, spec.kind.value, spec.help + (f" By {', '.join(spec.labels)}." if spec.labels else ""))
            for spec in catalogue
            if owners[spec.name] == owner
        ]
        print_table((owner, "kind", "what it is"), narrow)
