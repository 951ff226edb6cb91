"""`predis-agent cache upgrade`: has the running agent put a new cache process in the old one's place."""

from __future__ import annotations

import json
import time
from typing import Any

import typer

from agent.cli.client import get_json, post_json
from agent.cli.options import ConfigOption, DebugOption, JsonOption, SetOption, load
from agent.config.models import Config
from agent.errors import PredisError

PATIENCE = 420.0  # seconds; the agent gives up before: on a large arena the new process has 5 minutes to recover it
_INTERVAL = 0.05


def upgrade_command(
    config: ConfigOption = None, overrides: SetOption = None, as_json: JsonOption = False, debug: DebugOption = False
) -> None:
    """Put a new cache process, of the version installed now, in the place of the one that runs.

    Keys stay; clients see a closed connection at most, and nobody who connects is refused.
    """
    settings = load(config, overrides).config
    number = post_json(settings, "/api/v1/cache/upgrade").get("upgrade")
    upgrade = _outcome(settings, number)
    if upgrade.get("state") != "done":
        raise PredisError(f"the cache was not upgraded: {upgrade.get('error') or 'the agent does not say why'}")
    typer.echo(json.dumps(upgrade, indent=2) if as_json else _sentence(upgrade))


def _outcome(settings: Config, number: object) -> dict[str, Any]:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        upgrade = get_json(settings, "/api/v1/status").get("cache", {}).get("upgrade")
        if not isinstance(upgrade, dict) or upgrade.get("number") != number:
            raise PredisError("the agent was started anew, or upgrades the cache once more: see predis-agent status")
        if upgrade.get("state") in ("done", "failed"):
            return upgrade
        time.sleep(_INTERVAL)
    raise PredisError(f"the upgrade has not ended after {PATIENCE:g} s: see predis-agent status")


def _sentence(upgrade: dict[str, Any]) -> str:
    old, new = upgrade.get("old_version"), upgrade.get("version")
    versions = f"version {new}" if old == new else f"version {old} → {new}"
    pause, keys = upgrade.get("pause_seconds"), upgrade.get("keys")
    facts = [f"pid {upgrade.get('old_pid')} → {upgrade.get('pid')}", versions]
    if isinstance(pause, float):
        facts.append(f"a pause of {pause:.3f} s")
    if isinstance(keys, int):
        facts.append(f"{keys:,} keys kept")
    return f"the cache is upgraded: {', '.join(facts)}"
