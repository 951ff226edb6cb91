"""`predis-agent cache snapshot`: has the cache write its keys to the disk now."""

from __future__ import annotations

import json
import time

import typer

from agent.cache.link import CacheLink
from agent.cache.settings import CacheFiles
from agent.cli.options import ConfigOption, DebugOption, JsonOption, SetOption, load
from agent.config.models import Config
from agent.errors import PredisError
from core_cache.resp_client import ConnectionFailed, RespError

_INTERVAL = 0.1


def snapshot_command(
    config: ConfigOption = None, overrides: SetOption = None, as_json: JsonOption = False, debug: DebugOption = False
) -> None:
    """Write a snapshot of the cache to the disk, and wait until it is there."""
    settings = load(config, overrides).config
    try:
        fields = _snapshot(_link(settings))
    except ConnectionFailed as error:
        raise PredisError(f"{error}; start the agent (predis-agent run)") from error
    except RespError as error:
        raise PredisError(f"no snapshot: {error}") from error
    if fields["rdb_last_bgsave_status"] != "ok":
        log = CacheFiles(settings.agent.data_dir).log
        raise PredisError(f"no snapshot was written; {log} says why")
    seconds, size, keys = (fields[name] for name in ("rdb_last_bgsave_time_sec", "snapshot_bytes", "snapshot_keys"))
    if as_json:
        typer.echo(json.dumps({"keys": int(keys), "bytes": int(size), "seconds": int(seconds)}, indent=2))
    else:
        typer.echo(f"snapshot written: {int(keys):,} keys, {int(size):,} bytes, in {seconds} s")


def _link(settings: Config) -> CacheLink:
    files = CacheFiles(settings.agent.data_dir)
    return CacheLink(str(settings.unix_socket), files.read_password if settings.cache.auth else lambda: None, 10.0)


def _snapshot(link: CacheLink) -> dict[str, str]:
    """INFO's fields once it is done. Raises RespError."""
    try:
        link.save()
        while True:
            fields = link.information("persistence")
            if fields.get("rdb_bgsave_in_progress") != "1":
                return fields
            time.sleep(_INTERVAL)
    finally:
        link.close()
