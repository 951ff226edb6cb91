"""``predis-agent check-config``: everything that is wrong with the configuration, without starting anything."""

from __future__ import annotations

import typer

from agent.cli.options import ConfigOption, DebugOption, NoPluginsOption, SetOption, load
from agent.errors import ConfigError

app = typer.Typer()


@app.command("check-config")
def check_config(
    config: ConfigOption = None,
    set_: SetOption = None,
    no_plugins: NoPluginsOption = False,
    debug: DebugOption = False,
) -> None:
    """Check the configuration, plugins' tables and rules included: file, line, key, what is wrong and would be right.

    Exits with status 0 when everything is right and with 78 when something is not.
    """
    from agent.config.files import check_files
    from agent.metrics.catalogue import Catalogue
    from agent.metrics.self_metrics import PLUGIN_NAME
    from agent.own_specs import SPECS
    from agent.plugin.importing import outlive_imports
    from agent.plugin.manager import PluginManager
    from agent.rules.service import read

    loaded = load(config, set_, no_plugins)
    manager = PluginManager(loaded, mark=outlive_imports())
    manager.load()
    catalogue = Catalogue()
    catalogue.add(PLUGIN_NAME, SPECS)
    manager.declare(catalogue.add)
    problems, warnings = check_files(loaded)
    if problems := [*problems, *manager.problems]:
        raise ConfigError(problems)
    with_rules = loaded.config.rules.enabled and not no_plugins  # most rules need plugins
    if with_rules and (problems := read(loaded, manager.active, catalogue)[1].problems):
        raise ConfigError(problems)
    for warning in [*warnings, *manager.warnings]:
        typer.echo(f"warning: {warning}", err=True)
    names = ", ".join(plugin.name for plugin in manager.active) or "none"
    typer.echo(f"{loaded.path or 'built-in defaults'}: the configuration is right")
    typer.echo(f"plugins: {names}")
    typer.echo(f"metrics: {len(catalogue)}")
