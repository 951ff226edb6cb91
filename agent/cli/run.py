"""``predis-agent run``: the agent in the foreground."""

from __future__ import annotations

import typer

from agent.cli.options import ConfigOption, DebugOption, NoPluginsOption, SetOption, load

app = typer.Typer()


@app.command()
def run(
    config: ConfigOption = None,
    set_: SetOption = None,
    no_plugins: NoPluginsOption = False,
    debug: DebugOption = False,
) -> None:
    """Run the agent and its cache in the foreground until SIGTERM or Ctrl-C; SIGHUP reloads the configuration."""
    loaded = load(config, set_, no_plugins)
    from agent.heap import keep_small
    from agent.service import Service

    keep_small()
    raise typer.Exit(Service(loaded).run())
