"""``predis-agent metrics``: the catalogue, read from the plugins' declarations; no agent need be running."""

from __future__ import annotations

import json

import typer

from agent.cli.options import ConfigOption, DebugOption, JsonOption, NoPluginsOption, SetOption, load

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
    from agent.plugin.manager import PluginManager

    catalogue = Catalogue()
    catalogue.add(self_metrics.PLUGIN_NAME, (*self_metrics.SPECS, *own_metrics.SPECS))
    manager = PluginManager(load(config, set_, no_plugins))
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
        from agent.cli.tables import print_table

        rows = [
            (spec.name, spec.kind.value, spec.unit, ", ".join(spec.labels), catalogue.owner(spec.name) or "", spec.help)
            for spec in catalogue
        ]
        print_table(("metric", "kind", "unit", "labels", "plugin", "help"), rows)
    for problem in manager.problems:
        typer.echo(f"not listed: {problem}", err=True)
