"""What a diagnostics archive holds: everything that helps to find a mistake, and no secret.

Each part is a file in the archive. A part that cannot be had is a line in errors.txt and not a reason to have none. All
texts go through the scrubber; of plugins' tables free texts are left out altogether, since only their plugin knows what
they mean; of the environment there are names only.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from agent import __version__
from agent.cache.settings import CacheFiles
from agent.config.load import LoadedConfig
from agent.config.locate import KeyPath
from agent.config.models import Config
from agent.config.scrub import scrubber
from agent.config.show import MASK, is_secret, mask
from agent.errors import PredisError

LOG_TAIL = 1 << 20  # bytes of a log file that are taken, from its end
Ask = Callable[[str], dict[str, Any]]
"""Asks the running agent for the document at a path; raises PredisError when there is none."""


def write_flare(loaded: LoadedConfig, target: Path, ask: Ask) -> list[str]:
    """Makes the archive, mode 0600, and gives the names of its files. Raises PredisError when it cannot be written."""
    scrub, errors = scrubber(loaded), []
    try:
        handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        mend = "name another with --output" if isinstance(error, FileExistsError) else "mend the path or its mode"
        raise PredisError(f"cannot write {target}: {(error.strerror or str(error)).lower()}; {mend}") from None
    names = []
    with os.fdopen(handle, "wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, part in _parts(loaded, ask).items():
            try:
                text = part()
            except Exception as error:  # noqa: BLE001  # whatever it is, the other parts are wanted
                errors.append(f"{name}: {type(error).__name__}: {error}")
                continue
            archive.writestr(name, scrub.text(text))
            names.append(name)
        if errors:
            archive.writestr("errors.txt", scrub.text("\n".join(errors) + "\n"))
            names.append("errors.txt")
    return names


def _parts(loaded: LoadedConfig, ask: Ask) -> dict[str, Callable[[], str]]:
    files = CacheFiles(loaded.config.agent.data_dir)
    return {
        "about.json": lambda: _json(_about()),
        "status.json": lambda: _json(ask("/api/v1/status")),
        "metrics.json": lambda: _json(ask("/api/v1/metrics")),
        "incidents.json": lambda: _json(ask("/api/v1/incidents")),
        "rules.json": lambda: _json(ask("/api/v1/rules")),
        "config/plan.json": lambda: _json(ask("/api/v1/config/plan")),
        "agent.log": lambda: "\n".join(ask("/api/v1/diagnostics")["log"]),
        "threads.txt": lambda: _threads(ask("/api/v1/diagnostics")["threads"]),
        "cache.log": lambda: _tail(files.log),
        "config/in-force.json": lambda: _json(_config(loaded)),
        "config/sources.txt": lambda: "\n".join(_sources(loaded)),
        "data-folder.txt": lambda: "\n".join(_listing(loaded.config.agent.data_dir)),
        "machine/limits.txt": lambda: _of_agent(files, "limits"),
        "machine/process.txt": lambda: _of_agent(files, "status"),
        "machine/meminfo.txt": lambda: Path("/proc/meminfo").read_text(),
        "machine/cgroup.txt": lambda: _of_agent(files, "cgroup"),
    }


def _json(document: Any) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False, default=str)


def _about() -> dict[str, Any]:
    packages = {dist.metadata["Name"] or "?": dist.version for dist in importlib.metadata.distributions()}
    return {
        "version": __version__,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "python": sys.version,
        "machine": platform.platform(),
        "cpus": os.cpu_count(),
        "packages": dict(sorted(packages.items())),
        "environment": sorted(name for name in os.environ if name.startswith("PREDIS__")),
    }


def _config(loaded: LoadedConfig) -> dict[str, Any]:
    """The sections of the agent with their values; of plugins' tables what cannot be a secret."""
    config = loaded.config.model_dump(mode="json", exclude={"plugins"})
    masked = {key: mask(key, value) for key, value in config.items()}
    return masked | {
        "plugins": {name: _known_kinds(table, ("plugins", name)) for name, table in loaded.config.plugins.items()}
    }


def _known_kinds(value: Any, path: KeyPath) -> Any:
    if is_secret(path):
        return MASK
    if isinstance(value, dict):
        return {name: _known_kinds(item, (*path, str(name))) for name, item in value.items()}
    if isinstance(value, list):
        return [_known_kinds(item, path) for item in value]
    return f"({len(value)} characters)" if isinstance(value, str) else value


def _sources(loaded: LoadedConfig) -> Iterator[str]:
    yield f"file: {loaded.path or 'built-in defaults'}"
    for path, place in sorted(loaded.sources.places.items(), key=lambda item: tuple(map(str, item[0]))):
        if path[0] in Config.model_fields:
            yield f"{'.'.join(map(str, path))}: {place}"


def _threads(threads: dict[str, list[str]]) -> str:
    return "\n".join(f"--- {name}\n{''.join(stack)}" for name, stack in threads.items())


def _tail(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - LOG_TAIL))
        return file.read().decode("utf-8", "replace")


def _listing(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        changed = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(status.st_mtime))
        yield f"{status.st_mode & 0o7777:04o} {status.st_size:>12} {changed} {path.relative_to(folder)}"


def _of_agent(files: CacheFiles, name: str) -> str:
    """A file of the agent's in /proc; its pid stands in the lock of the data folder."""
    pid = int((files.data_dir / "agent.lock").read_text())
    return Path(f"/proc/{pid}/{name}").read_text()
