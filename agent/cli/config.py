"""``predis-agent config``: what a new configuration would change in the running agent, and bringing it into force."""

from __future__ import annotations

import json
import time
from typing import Any

import typer

from agent.cli.client import get_json, post_json
from agent.cli.options import ConfigOption, DebugOption, JsonOption, SetOption, load
from agent.config.models import Config
from agent.errors import AgentUnreachable, PredisError

PATIENCE = 120.0  # seconds; a cache that has to be restarted recovers its keys meanwhile
_INTERVAL = 0.05

app = typer.Typer(no_args_is_help=True, help="Plan and apply changes of the configuration.")


@app.callback()
def _group() -> None:
    """Plan and apply changes of the configuration."""


@app.command("plan")
def plan_command(
    config: ConfigOption = None, set_: SetOption = None, as_json: JsonOption = False, debug: DebugOption = False
) -> None:
    """Show what the running agent would change if it read its configuration now. Changes nothing.

    The agent reads its own files: with the overrides that it was started with, not with this command's.
    """
    changes = _changes(get_json(load(config, set_).config, "/api/v1/config/plan", PATIENCE, with_token=True))
    if as_json:
        typer.echo(json.dumps({"changes": changes}, indent=2))
        return
    typer.echo("\n".join(changes) if changes else "nothing would change")


@app.command("apply")
def apply_command(
    config: ConfigOption = None, set_: SetOption = None, as_json: JsonOption = False, debug: DebugOption = False
) -> None:
    """Have the running agent read its configuration and use it, as SIGHUP does, and wait until it does.

    What did not change goes on untouched. A configuration that cannot be used changes nothing, and the reason is shown.
    """
    settings = load(config, set_).config
    before = post_json(settings, "/api/v1/config/apply").get("reloads")
    reload = _outcome(settings, before)
    if as_json:
        typer.echo(json.dumps(reload, indent=2))
    if not reload.get("success"):
        raise PredisError(f"the old configuration goes on: {reload.get('error') or 'the agent does not say why'}")
    if not as_json:
        typer.echo("\n".join(_changes({"changes": reload.get("changed")})) or "nothing has changed")


def _outcome(settings: Config, before: object) -> dict[str, Any]:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            reload = get_json(settings, "/api/v1/status").get("agent", {}).get("config_reload")
        except AgentUnreachable:
            reload = None  # its HTTP server moves
        if isinstance(reload, dict) and isinstance(before, int) and reload.get("reloads", 0) > before:
            return reload
        time.sleep(_INTERVAL)
    raise PredisError(f"the reload has not ended after {PATIENCE:g} s: see predis-agent status")


def _changes(answer: dict[str, Any]) -> list[str]:
    changes = answer.get("changes")
    return [str(change) for change in changes] if isinstance(changes, list) else []
