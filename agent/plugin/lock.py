"""The lock file: which third-party distributions brought plugins, so that an upgrade of the agent loses none unseen.

An upgrade often makes a new virtual environment, and what was installed beside the agent is then gone. The file lies in
the data folder, which stays, and tells the next start what is missing and the command that gets it back.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import shlex
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from agent.config.show import mask

FILE = "plugins.lock"
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Locked:
    """A distribution that brought plugins. `requirement` is what pip takes; `editable`: pip is to be told so."""

    name: str
    version: str
    requirement: str
    plugins: tuple[str, ...]
    editable: bool = False

    @property
    def command(self) -> str:
        """What gets it back."""
        return f"pip install {'--editable ' if self.editable else ''}{_quoted(self.requirement)}"


class PluginLock:
    """The lock file of a data folder."""

    def __init__(self, data_dir: Path) -> None:
        self.path = data_dir / FILE

    def read(self) -> tuple[list[Locked], str | None]:
        """What is locked; and why the file cannot be used, if so."""
        try:
            document = json.loads(self.path.read_text(encoding="utf-8"))
            if document["format"] != _FORMAT:
                return [], f"{self.path} is of another version of the agent"
            return [_locked(entry) for entry in document["distributions"]], None
        except FileNotFoundError:
            return [], None
        except OSError as error:
            return [], f"{self.path} cannot be read: {error.strerror or error}"
        except (ValueError, KeyError, TypeError):
            return [], f"{self.path} is damaged: it is written anew when the agent has loaded its plugins"

    def remember(self, installed: Iterable[Locked]) -> None:
        """Lock what is installed now. What is not, and whose plugins nobody else brings, stays. Raises OSError."""
        now = {entry.name: entry for entry in installed}
        taken = {plugin for entry in now.values() for plugin in entry.plugins}
        before, _ = self.read()
        kept = (_without(entry, taken) for entry in before if entry.name not in now)
        self._write([*now.values(), *(entry for entry in kept if entry.plugins)], before)

    def forget(self, plugin: str) -> Locked | None:
        """Lock the plugin no longer; gives what brought it, or None when it is not in the file. Raises OSError."""
        before, _ = self.read()
        found = next((entry for entry in before if plugin in entry.plugins), None)
        if found is not None:
            left = (_without(entry, {plugin}) for entry in before)
            self._write([entry for entry in left if entry.plugins], before)
        return found

    def _write(self, entries: list[Locked], before: list[Locked]) -> None:
        entries = sorted(entries, key=lambda entry: entry.name)
        if entries == before:
            return
        document = {"format": _FORMAT, "distributions": [asdict(entry) for entry in entries]}
        handle, name = tempfile.mkstemp(prefix=f".{FILE}.", dir=self.path.parent)  # mode 0600
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(json.dumps(document, indent=1) + "\n")
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, self.path)
        except OSError:
            os.unlink(name)
            raise


def installed(package: importlib.metadata.Distribution, plugins: Iterable[str]) -> Locked | None:
    """A distribution as it is installed now; None when its metadata cannot be read."""
    try:
        name, version, direct = package.metadata["Name"], package.version, package.read_text("direct_url.json")
    except Exception:  # noqa: BLE001  # broken metadata are told of elsewhere
        return None
    requirement, editable = f"{name}=={version}", False
    # What is not as PEP 610 has it says nothing: name and version are known all the same.
    with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
        if direct:
            requirement, editable = _of_direct_url(name, json.loads(direct))
    return Locked(name, version, requirement, tuple(sorted(plugins)), editable)


def _of_direct_url(name: str, direct: Mapping[str, Any]) -> tuple[str, bool]:
    """What pip takes to install the same again, by PEP 610's direct_url.json; and whether it was editable."""
    url = str(mask("", direct["url"]))
    if "dir_info" in direct:
        folder = unquote(urlsplit(url).path)
        return folder, direct["dir_info"].get("editable", False) is True
    if "vcs_info" in direct:
        url = f"{direct['vcs_info']['vcs']}+{url}@{direct['vcs_info']['commit_id']}"
    fragment = f"#subdirectory={direct['subdirectory']}" if direct.get("subdirectory") else ""
    return f"{name} @ {url}{fragment}", False


def _locked(entry: Mapping[str, Any]) -> Locked:
    texts = (entry["name"], entry["version"], entry["requirement"], *entry["plugins"])
    if not all(isinstance(text, str) for text in texts):
        raise TypeError
    return Locked(
        entry["name"], entry["version"], entry["requirement"], tuple(entry["plugins"]), bool(entry["editable"])
    )


def _without(entry: Locked, plugins: set[str]) -> Locked:
    left = tuple(plugin for plugin in entry.plugins if plugin not in plugins)
    return Locked(entry.name, entry.version, entry.requirement, left, entry.editable)


def _quoted(requirement: str) -> str:
    """In quotes always: to a reader it is one word, and "==" may mean something to a shell."""
    quoted = shlex.quote(requirement)
    return quoted if quoted.startswith("'") else f"'{quoted}'"
