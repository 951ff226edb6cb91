"""`predis-agent cache models`: the versions of the policy model, and which one the cache scores with."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from agent.cache.settings import CacheFiles
from agent.cli.options import ConfigOption, DebugOption, JsonOption, SetOption, load
from agent.config.models import Config
from agent.config.units import format_time
from agent.errors import PredisError
from core_cache.resp_client import ConnectionFailed, RespClient, RespError

if TYPE_CHECKING:
    from core_cache.policy.registry import Version


def models_command(
    config: ConfigOption = None, overrides: SetOption = None, as_json: JsonOption = False, debug: DebugOption = False
) -> None:
    """List the versions of the policy model that the agent has trained or found, and what each was judged by."""
    from core_cache.policy.registry import FOLDER, ModelRegistry, RegistryError  # brings numpy

    settings = load(config, overrides).config
    folder = settings.agent.data_dir / FOLDER
    try:
        versions = ModelRegistry(folder).versions() if folder.is_dir() else []
    except RegistryError as error:
        raise PredisError(str(error)) from error
    now = _in_place(settings)
    if as_json:
        document = [{**asdict(version), "in_place": version.checksum == now} for version in versions]
        typer.echo(json.dumps({"in_place": now, "versions": document}, indent=2))
        return
    known = {version.checksum: f"version {version.version}" for version in versions}
    if now is None:
        typer.echo("the cache does not run")
    elif now:
        typer.echo(f"the cache scores with {known.get(now, f'a model of unknown origin, {now}')}")
    else:
        typer.echo("the cache has no policy model")
    if versions:
        from agent.cli.tables import print_table

        print_table(["version", "made", "before it", "misses", "s3fifo", "origin"], [_row(v) for v in versions])


def _in_place(settings: Config) -> str | None:
    """The checksum of the model that the cache scores with; empty: none. None where it does not run."""
    from core_cache.policy.place import PlaceError, in_place

    files = CacheFiles(settings.agent.data_dir)
    try:
        with RespClient(settings.unix_socket, files.read_password() if settings.cache.auth else None) as client:
            return in_place(client)
    except ConnectionFailed:
        return None
    except (OSError, PlaceError, RespError) as error:
        raise PredisError(f"the cache does not say which policy model it has: {error}") from error


def _row(version: Version) -> list[str]:
    report = version.report
    misses, plain = (f"{report['miss_ratio']:.2%}", f"{report['s3fifo']['miss_ratio']:.2%}") if report else ("–", "–")
    before = f"version {version.parent}" if version.parent else "s3fifo"
    return [str(version.version), format_time(version.created), before, misses, plain, version.origin]
