"""``predis-agent incidents``: what is off, since when, and why probably, as the running agent sees it."""

from __future__ import annotations

import json
import time
import urllib.parse
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from agent.cli.options import ConfigOption, DebugOption, JsonOption, SetOption, load

MOST_RECORDS = 20  # of what rules did

app = typer.Typer(invoke_without_command=True, help="See what is off, since when, and why.")


@app.callback()
def _incidents(
    context: typer.Context, config: ConfigOption = None, set_: SetOption = None, as_json: JsonOption = False
) -> None:
    """See what is off, since when, and why; without a command: the list."""
    if context.invoked_subcommand is None:
        _list(config, set_, as_json)


@app.command("list")
def list_incidents(
    config: ConfigOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """List the newest incidents, those that last first."""
    _list(config, set_, as_json)


@app.command("show")
def show(
    incident: Annotated[str, typer.Argument(metavar="ID", help="As `incidents list` shows it, or how it begins.")],
    config: ConfigOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show one incident: its probable causes, and each series with its picture."""
    from agent.cli.client import get_json
    from agent.errors import PredisError

    settings = load(config, set_).config
    known = [line["id"] for line in get_json(settings, "/api/v1/incidents")["incidents"]]
    fitting = [name for name in known if name.startswith(incident)]
    if incident not in known and len(fitting) > 1:
        raise PredisError(f"{incident} may be any of {', '.join(fitting[:5])}")
    name = incident if incident in known or not fitting else fitting[0]
    found = get_json(settings, f"/api/v1/incidents/{urllib.parse.quote(name, safe='')}")
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        _show(found)


def _list(config: Any, set_: list[str] | None, as_json: bool) -> None:
    from agent.cli.client import get_json
    from agent.cli.tables import print_table

    found = get_json(load(config, set_).config, "/api/v1/incidents")["incidents"]
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    if not found:
        typer.echo("no incident is known")
        return
    rows = [
        (
            line["id"],
            line["severity"] if line["closed"] is None else "over",
            _clock(line["opened"]),
            _lasted(line),
            f"{line['series']:,}",
            line["title"] + (f"\n{line['why']}" if line.get("why") else ""),
        )
        for line in sorted(found, key=lambda line: (line["closed"] is not None, -line["opened"]))
    ]
    print_table(
        ("incident", "state", "since", "lasted", "series", "what it is, and why probably"), rows, state_column=1
    )


def _show(incident: Mapping[str, Any]) -> None:
    from agent.cli.chart import sparkline
    from agent.cli.tables import print_pairs, visible
    from agent.config.units import format_number

    print_pairs(
        [
            ("incident", f"{incident['id']}, {incident['severity'] if incident['closed'] is None else 'over'}"),
            ("", incident["title"]),
            ("since", f"{_clock(incident['opened'])}, for {_lasted(incident)}"),
            ("series", f"{incident['series']:,} of {incident['components'] or 'unknown'}"),
            *[("" if number else "cause", _why(cause)) for number, cause in enumerate(incident["causes"][:5])],
            *[
                ("" if number else "rules", _did(record))
                for number, record in enumerate(incident.get("remediation", ())[:MOST_RECORDS])
            ],
        ]
    )
    for anomaly in incident["anomalies"][:10]:
        low, high = (("…" if edge is None else format_number(edge)) for edge in (anomaly["low"], anomaly["high"]))
        value = "?" if anomaly["value"] is None else format_number(anomaly["value"])
        quantity = f", {anomaly['quantity']}" if anomaly.get("quantity") else ""
        typer.echo(f"\n{visible(anomaly['series'])}{quantity}")
        typer.echo(f"  {value}, expected {low} to {high} ({anomaly['channel']})")
        for line in sparkline(anomaly["history"], anomaly["since"]):
            typer.echo(f"  {line}")
    if len(incident["anomalies"]) > 10:
        typer.echo(f"\n… and {len(incident['anomalies']) - 10} more: --json shows all")


def _why(cause: Mapping[str, Any]) -> str:
    """A cause's sentence, which mostly begins with its component."""
    component, why = str(cause["component"]), str(cause["why"])
    return why if why.startswith(f"{component}: ") else f"{component}: {why}"


def _did(record: Mapping[str, Any]) -> str:
    """What a rule did about it, as the audit log has it."""
    words = (record["rule"], record["subject"], record["what"], record["action"])
    text = f"{_clock(record['time'])} {' '.join(str(word) for word in words if word)}"
    return f"{text}: {record['detail']}" if record["detail"] else text


def _lasted(line: Mapping[str, Any]) -> str:
    from agent.config.units import format_duration

    until = time.time() if line["closed"] is None else line["closed"]
    return format_duration(max(0, round(until - line["opened"])))


def _clock(at: float) -> str:
    from agent.config.units import format_time

    return format_time(at)
