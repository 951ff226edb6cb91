"""``predis-agent metrics``: the catalogue, from the plugins' declarations, and what the running agent's series cost."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import typer

from agent.cli.options import ConfigOption, DebugOption, JsonOption, NoPluginsOption, SetOption, load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.export.cost import Bill
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
    from agent.metrics.catalogue import Catalogue
    from agent.metrics.self_metrics import PLUGIN_NAME
    from agent.own_specs import SPECS
    from agent.plugin.importing import outlive_imports
    from agent.plugin.manager import PluginManager

    catalogue = Catalogue()
    catalogue.add(PLUGIN_NAME, SPECS)
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


@app.command("cost")
def cost(
    config: ConfigOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Estimate what each vendor bills by the month for the series that the running agent has now.

    List prices, for this agent alone: without what a contract includes or is free, and without what others send. For an
    exporter that is not enabled, add --set plugins.NAME.enabled=true.
    """
    from agent.cli.client import get_json
    from agent.export.cost import bills
    from agent.metrics.document import snapshot_of
    from agent.plugin.manager import PluginManager

    loaded = load(config, set_)
    snapshot = snapshot_of(get_json(loaded.config, "/api/v1/metrics"))
    manager = PluginManager(loaded)
    manager.load()
    for problem in manager.problems:
        typer.echo(str(problem), err=True)
    found = list(bills(manager, snapshot))
    if as_json:
        typer.echo(json.dumps([{**dataclasses.asdict(bill), "dollars": bill.dollars} for bill in found], indent=2))
    elif not found:
        typer.echo("no exporter to a vendor is enabled")
    else:
        _show_bills(found)


def _show_bills(bills: Sequence[Bill]) -> None:
    from agent.cli.tables import print_table
    from agent.config.units import format_duration

    for bill in bills:
        dollars = _dollars(bill.dollars, " a month")
        typer.echo(f"{bill.exporter}: {bill.series:,} series every {format_duration(bill.interval)}: {dollars}")
        if bill.charges is None:
            typer.echo("  its plugin knows no prices: they are whatever the receiver asks")
            continue
        rows = [
            (charge.what, f"{_amount(charge.amount)} {charge.unit}", _dollars(charge.dollars), charge.formula)
            for charge in bill.charges
        ]
        print_table(("a month", "how much", "list price", "how that comes about"), rows)
        for source in dict.fromkeys(charge.source for charge in bill.charges):
            typer.echo(f"  by {source}")


def _dollars(amount: float | None, suffix: str = "") -> str:
    return "price unavailable" if amount is None else f"{amount:,.2f} USD{suffix}"


def _amount(amount: float) -> str:
    return f"{amount:,.0f}" if amount >= 100 or amount == int(amount) else f"{amount:.3g}"


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
