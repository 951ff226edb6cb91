"""``predis-agent dashboards``: what plugins ship for vendors, and how it gets there."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from agent.cli.options import ConfigOption, DebugOption, JsonOption, SetOption, load
from agent.errors import PredisError

if TYPE_CHECKING:
    from pathlib import Path

    from agent.plugin.manager import PluginManager

app = typer.Typer(no_args_is_help=True, help="Install dashboards, monitors and alarms at vendors.")


@app.callback()
def _group() -> None:
    """Install dashboards, monitors and alarms at vendors."""


@app.command("list")
def list_dashboards(
    config: ConfigOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """List what the enabled plugins ship, and the files in which it lies."""
    from agent.dashboards.install import offered

    manager = _manager(config, set_)
    found, errors = offered(manager)
    rows = []
    for dashboards in found.values():
        with contextlib.closing(dashboards):
            rows += [(dashboards.vendor, asset.kind, asset.title, str(asset.file)) for asset in dashboards.assets()]
    if as_json:
        typer.echo(json.dumps([dict(zip(("vendor", "kind", "title", "file"), row, strict=True)) for row in rows]))
    else:
        from agent.cli.tables import print_table

        print_table(("vendor", "kind", "title", "file"), rows)
    for error in errors:
        typer.echo(str(error), err=True)
    off = [plugin.name for plugin in manager.plugins.values() if plugin.state == "disabled"]
    if off:
        typer.echo(f"not asked, since they are disabled: {', '.join(off)}", err=True)


@app.command("install")
def install_dashboards(
    vendor: Annotated[str, typer.Argument(metavar="VENDOR", help="As `dashboards list` shows it.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done; change nothing.")] = False,
    url: Annotated[str, typer.Option("--url", help="Instead of the address in the configuration.")] = "",
    config: ConfigOption = None,
    set_: SetOption = None,
    debug: DebugOption = False,
) -> None:
    """Create what is not there yet, and replace what an earlier installation made."""
    from agent.dashboards.install import choose, install

    parts = urlsplit(url)
    if url and (parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query):
        raise PredisError("--url is no address: write https://HOST:PORT, with a path if need be, and no keys")
    with contextlib.closing(choose(_manager(config, set_), vendor, url)) as dashboards:
        typer.echo(f"{vendor}: {dashboards.where}" + (", nothing is changed" if dry_run else ""))
        for outcome in install(dashboards, dry_run=dry_run):
            done = f"would be {outcome.done}" if dry_run and outcome.done != "by hand" else outcome.done
            place = f": {outcome.place}" if outcome.place else ""
            typer.echo(f"  {done:<17} {outcome.asset.kind} {outcome.asset.title!r}{place}")


def _manager(config: Path | None, overrides: list[str] | None) -> PluginManager:
    from agent.plugin.manager import PluginManager

    manager = PluginManager(load(config, overrides))
    manager.load()
    for problem in manager.problems:
        typer.echo(str(problem), err=True)
    return manager
