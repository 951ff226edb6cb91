"""Switches plugins off and on in a file of the agent's own in conf.d/, which is read after all others there."""

from __future__ import annotations

import os
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path

from agent.config.load import LoadedConfig, load_config
from agent.config.locate import format_key
from agent.errors import PredisError

FILE = "zz-predis-agent-plugins.toml"
_HEAD = "# Written by `predis-agent plugins disable` and `enable`; what stands here overrides agent.toml and conf.d/.\n"


def switch(loaded: LoadedConfig, plugin: str, on: bool) -> Path | None:
    """Make the configuration say whether the plugin is enabled; gives the file that was changed, None if it says so.

    Nothing is imported, and what runs does not change before a reload. Raises PredisError when it cannot be done.
    """
    if loaded.path is None:
        value = "true" if on else "false"
        raise PredisError(
            "there is no agent.toml, so there is no conf.d/ beside it: make one (an empty file will do), "
            f"or start the agent with --set {format_key(('plugins', plugin, 'enabled'))}={value}"
        )
    if _enabled(loaded, plugin) == on:
        return None
    path = loaded.path.parent / "conf.d" / FILE
    switches = _read(path)
    # Off, and to be on: what the agent wrote may be all that keeps it off.
    for wanted in ({name: is_on for name, is_on in switches.items() if name != plugin}, {**switches, plugin: on}):
        _write(path, wanted)
        now = load_config(loaded.path, loaded.overrides, loaded.environ)
        if _enabled(now, plugin) == on:
            return path
    _write(path, switches)
    key = format_key(("plugins", plugin, "enabled"))
    raise PredisError(f"{key} is set by {now.locate(key)}, which overrides files: change it there")


def _enabled(loaded: LoadedConfig, plugin: str) -> bool:
    return loaded.config.plugins.get(plugin, {}).get("enabled") is not False


def _read(path: Path) -> dict[str, bool]:
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise PredisError(f"{path} cannot be read: {error.strerror or error}") from None
    plugins = tables.pop("plugins", {})
    switches = {name: table.get("enabled") for name, table in plugins.items() if len(table) == 1}
    if tables or len(switches) < len(plugins) or not all(isinstance(is_on, bool) for is_on in switches.values()):
        raise PredisError(f"{path} has more in it than what this command writes: move it to a file of your own there")
    return switches


def _write(path: Path, switches: Mapping[str, bool]) -> None:
    try:
        if not switches:
            path.unlink(missing_ok=True)
            return
        path.parent.mkdir(exist_ok=True)
        tables = [
            f"\n[{format_key(('plugins', name))}]\nenabled = {'true' if is_on else 'false'}\n"
            for name, is_on in sorted(switches.items())
        ]
        handle, temporary = tempfile.mkstemp(prefix=f".{FILE}.", dir=path.parent)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(_HEAD + "".join(tables))
        os.chmod(temporary, 0o644)  # the agent may run as another user than who gives the command
        os.replace(temporary, path)
    except OSError as error:
        raise PredisError(f"{path} cannot be written: {error.strerror or error}") from None
