"""``predis-agent plugins``: what is installed, what is wrong with it, and doing without it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.cli.options import ConfigOption, DebugOption, JsonOption, NoPluginsOption, SetOption, load
from agent.errors import PredisError

if TYPE_CHECKING:
    from pathlib import Path

    from agent.plugin.loaded import LoadedPlugin
    from agent.plugin.manager import PluginManager

app = typer.Typer(no_args_is_help=True, help="See which plugins are installed, and switch them off and on.")

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The plugin's name, as `plugins list` shows it.")]


@app.callback()
def _group() -> None:
    """See which plugins are installed, and switch them off and on."""


@app.command("list")
def list_plugins(
    config: ConfigOption = None,
    set_: SetOption = None,
    no_plugins: NoPluginsOption = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """List installed plugins: state, package, metrics, whether they are certified, and why one cannot be used."""
    from agent.metrics.catalogue import Catalogue
    from agent.plugin.importing import outlive_imports
    from agent.plugin.manager import PluginManager

    loaded = load(config, set_, no_plugins)
    manager = PluginManager(loaded, mark=outlive_imports())
    manager.load()
    manager.declare(Catalogue().add)
    plugins = list(manager.plugins.values())
    certified = _certified(manager)
    if as_json:
        typer.echo(json.dumps([{**_as_json(p), "certified": certified[p.name]} for p in plugins], indent=2))
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
            certified[plugin.name],
            plugin.entry_point or "-",
        )
        for plugin in plugins
    ]
    print_table(("plugin", "state", "package", "metrics", "certified", "class"), rows, state_column=1)
    for problem in (*manager.warnings, *manager.problems):
        typer.echo(str(problem), err=True)


@app.command()
def disable(
    name: NameArgument, config: ConfigOption = None, set_: SetOption = None, debug: DebugOption = False
) -> None:
    """Switch a plugin off in a file of its own in conf.d/, without importing it."""
    _switch(name, config, set_, on=False)


@app.command()
def enable(name: NameArgument, config: ConfigOption = None, set_: SetOption = None, debug: DebugOption = False) -> None:
    """Switch a plugin on again."""
    _switch(name, config, set_, on=True)


def _switch(name: str, config: Path | None, overrides: list[str] | None, *, on: bool) -> None:
    from agent.config.explain import nearest
    from agent.config.switch import switch
    from agent.plugin.lock import PluginLock
    from agent.plugin.manager import PluginManager

    loaded = load(config, overrides)
    locked, _ = PluginLock(loaded.config.agent.data_dir).read()
    known = {*PluginManager(loaded).found(), *loaded.config.plugins, *(n for entry in locked for n in entry.plugins)}
    if name not in known:
        guess = nearest(name, sorted(known))
        raise PredisError(
            f"there is no plugin {name}: " + (f"did you mean {guess}?" if guess else "see predis-agent plugins list")
        )
    path, state = switch(loaded, name, on), "enabled" if on else "disabled"
    if path is None:
        typer.echo(f"{name} is {state} already")
        return
    typer.echo(f"{name} is {state} in {path}\nto have the running agent do so: predis-agent config apply")


@app.command()
def forget(name: NameArgument, config: ConfigOption = None, set_: SetOption = None, debug: DebugOption = False) -> None:
    """Do without a plugin that is missing: it is no longer asked for after an upgrade."""
    from agent.plugin.lock import PluginLock
    from agent.plugin.manager import PluginManager

    loaded = load(config, set_)
    lock = PluginLock(loaded.config.agent.data_dir)
    _, trouble = lock.read()
    if trouble is not None:
        raise PredisError(trouble)
    if name in PluginManager(loaded).found():
        raise PredisError(f"{name} is installed, so the agent would note it again: uninstall its package first")
    try:
        entry = lock.forget(name)
    except OSError as error:
        raise PredisError(f"{lock.path} cannot be written: {error.strerror or error}") from None
    if entry is None:
        raise PredisError(f"{lock.path} has no plugin {name}: see predis-agent plugins list")
    typer.echo(f"{name} (of {entry.name} {entry.version}) is forgotten")
    if name in loaded.config.plugins:
        typer.echo(f"its table is still in the configuration ({loaded.locate(('plugins', name))}): remove it there")


def _certified(manager: PluginManager) -> dict[str, str]:
    """What `plugin certify` found out about each plugin; for those that come with the agent, that they do."""
    from importlib.metadata import EntryPoint

    from agent.certify.record import fingerprint, read
    from agent.plugin.manager import OWN_DISTRIBUTION
    from agent.plugin.markers import ENTRY_POINT_GROUP

    kept = read(manager.config.config.agent.data_dir)
    shown: dict[str, str] = {}
    for name, plugin in manager.plugins.items():
        if not plugin.entry_point:
            shown[name] = "-"
        elif name in kept:
            point = EntryPoint(name, plugin.entry_point, ENTRY_POINT_GROUP)
            shown[name] = kept[name].shown(fingerprint(point))
        else:
            shown[name] = "shipped" if plugin.distribution == OWN_DISTRIBUTION else "no"
    return shown


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
