"""``predis-agent status``: what the running agent says of itself, its cache and its plugins."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import typer

from agent.cli.options import ConfigOption, DebugOption, JsonOption, SetOption, load
from agent.errors import AgentUnreachable

NOT_READY = 1
NOT_RUNNING = 3  # as systemctl status says it

app = typer.Typer()


@app.command()
def status(
    config: ConfigOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show the state of the running agent, its cache and its plugins.

    Exits with status 0 when the agent is ready, 1 when it runs but is not ready, 3 when none runs there.
    """
    from agent.cli.client import get_json

    loaded = load(config, set_)
    try:
        answer = get_json(loaded.config, "/api/v1/status")
    except AgentUnreachable as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(NOT_RUNNING) from None
    if as_json:
        typer.echo(json.dumps(answer, indent=2))
    else:
        _show(answer)
    raise typer.Exit(0 if answer.get("health", {}).get("ready") else NOT_READY)


def _show(answer: Mapping[str, Any]) -> None:
    from agent.cli.tables import print_pairs, print_table

    agent, cache, health = answer.get("agent", {}), answer.get("cache", {}), answer.get("health", {})
    readiness = "ready" if health.get("ready") else "not ready"
    reload_error = (agent.get("config_reload") or {}).get("error")
    print_pairs(
        [
            ("agent", readiness),
            ("", f"version {agent.get('version')}, pid {agent.get('pid')}, up {_ago(agent.get('uptime_seconds'))}"),
            *[("", str(reason)) for reason in health.get("reasons", ())],
            ("config", str(agent.get("config_file") or "built-in defaults")),
            *([("", f"the last reload was refused, the old one goes on: {reload_error}")] if reload_error else []),
            ("data", str(agent.get("data_dir"))),
            ("cache", str(cache.get("state", "unknown"))),
            ("", _cache_line(cache)),
            *([("", str(cache["error"]))] if cache.get("error") else []),
            *_analysis(answer),
        ]
    )
    plugins = answer.get("plugins", [])
    rows = [
        (
            str(plugin.get("name")),
            str(plugin.get("state")),
            _ago(plugin.get("last_success_seconds_ago"), " ago"),
            *(_count(plugin.get(key)) for key in ("runs", "failures", "overdue", "series")),
            _count(_dropped(plugin)),
        )
        for plugin in plugins
    ]
    headers = ("plugin", "state", "last success", "runs", "failures", "overdue", "series", "dropped")
    print_table(headers, rows, state_column=1)
    print_pairs([(str(plugin.get("name")), remark) for plugin in plugins for remark in _remarks(plugin)])


def _analysis(answer: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The incidents that last, and what is wrong with history, incidents or rules; nothing while all is quiet."""
    incidents, rules = answer.get("incidents") or {}, answer.get("rules") or {}
    for number, incident in enumerate(incidents.get("open", ())[:5]):
        yield ("incidents" if not number else "", f"{incident.get('id')}: {incident.get('title')}")
    troubles = {
        "history": (answer.get("history") or {}).get("error"),
        "incidents": incidents.get("error"),
        "rules": rules.get("error") or rules.get("trouble"),
    }
    for name, trouble in troubles.items():
        if trouble:
            yield (name, str(trouble))
    if rules.get("stopped"):
        yield ("rules", f"no action is begun: {rules['stopped']}")
    for problem in rules.get("problems", ())[:5]:
        yield ("rules", f"left out: {problem}")


def _remarks(plugin: Mapping[str, Any]) -> Iterator[str]:
    """What there is to say of a plugin besides its numbers: its error, the worst of what it drops, its own note."""
    from agent.config.units import format_count

    if plugin.get("error"):
        yield str(plugin["error"])
    if isinstance(plugin.get("export"), Mapping):
        yield from _exported(plugin["export"])
    if isinstance(plugin.get("retry_in"), (int, float)):
        yield f"tried again in {_ago(plugin['retry_in'])}"
    if (process := plugin.get("process")) and process.get("restarts"):
        yield f"its process was started again {format_count(process['restarts'], 'time')}"
    if plugin.get("offenders"):
        metric, reason, samples = plugin["offenders"][0]
        yield f"dropped most: {metric}, {_count(samples)} samples ({reason})"
    if plugin.get("note"):
        yield str(plugin["note"])


def _exported(export: Mapping[str, Any]) -> Iterator[str]:
    """How an exporter delivers: where its points are, and what is wrong if anything is."""
    parts = [f"{_count(export.get('delivered'))} points delivered", f"{_count(export.get('queued'))} wait in memory"]
    if export.get("spooled"):
        size, age = (export.get("spool_bytes") or 0) / 2**20, _ago(export.get("spool_age_seconds"))
        parts.append(f"{_count(export['spooled'])} on the disk ({size:.1f} MiB, the oldest {age} old)")
    parts += [f"{_count(points)} dropped ({reason})" for reason, points in (export.get("dropped") or {}).items()]
    yield ", ".join(parts)
    if (export.get("bill") or {}).get("dollars_a_month") is not None:
        yield f"about {export['bill']['dollars_a_month']:,.2f} USD a month by list prices"
    if isinstance(export.get("hung_for"), (int, float)):
        yield f"a request has hung for {_ago(export['hung_for'])}"
    if export.get("failures_in_a_row"):
        again = f"; tried again in {_ago(export['retry_in'])}" if export.get("retry_in") else ""
        yield f"{_count(export['failures_in_a_row'])} requests in a row failed: {export.get('last_error')}{again}"


def _cache_line(cache: Mapping[str, Any]) -> str:
    from agent.config.units import format_count, format_size

    parts = []
    if cache.get("pid"):
        parts.append(f"pid {cache['pid']}")
    if cache.get("port"):
        parts.append(f"port {cache['port']}")
    if cache.get("unix_socket"):
        parts.append(str(cache["unix_socket"]))
    if isinstance(cache.get("memory"), int):
        parts.append(format_size(cache["memory"]))
    if cache.get("policy"):
        parts.append(str(cache["policy"]))
    if cache.get("restarts") is not None:
        parts.append(format_count(cache["restarts"], "restart"))
    if cache.get("upgrades"):
        parts.append(format_count(cache["upgrades"], "upgrade"))
    return ", ".join(parts)


def _ago(seconds: object, suffix: str = "") -> str:
    from agent.config.units import format_duration

    if not isinstance(seconds, (int, float)):
        return "never" if suffix else "-"
    return (format_duration(round(seconds)) if seconds >= 10 else f"{seconds:.1f}s") + suffix


def _count(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else "-"


def _dropped(plugin: Mapping[str, Any]) -> object:
    dropped = plugin.get("dropped")
    return sum(dropped.values()) if isinstance(dropped, dict) else dropped
