"""Finds out which plugin it was whose loading ended the whole process: a crash in C code, or os._exit().

No thread and no `except` helps against that, so while a plugin is being loaded its name stands in a file. Who finds a
name there at the start knows whom to suspect.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

FILE = "plugins.importing"
STRIKES = 2  # one may be a power failure, or somebody's SIGKILL, at just that time


class ImportMark:
    """The file, and the `culprits`: plugins that ended the process `strikes` times in a row.

    They are refused for the life of this object, and the next one tries them again.
    """

    def __init__(self, path: Path, strikes: int = STRIKES, culprits: frozenset[str] = frozenset()) -> None:
        self._path = path
        self._suspect, self._strikes = read(path)
        self.culprits = culprits | {self._suspect} if self._strikes >= strikes else culprits

    def begin(self, plugin: str) -> None:
        """From now on, this plugin is being loaded."""
        strikes = 1 + (self._strikes if plugin == self._suspect else 0)
        with contextlib.suppress(OSError):  # a full disk is no reason to go without the plugin
            handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(f"{strikes} {plugin}")

    def end(self) -> None:
        """None is, any more."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)


def read(path: Path) -> tuple[str, int]:
    """The name in the file, and the how many-th time in a row it is; an empty one and 0 when there is none."""
    try:
        strikes, _, name = path.read_text(encoding="utf-8").partition(" ")
        return name, int(strikes)
    except (OSError, ValueError):
        return "", 0


def outlive_imports() -> ImportMark:
    """Go on in a child process, and in another one without the culprit when loading a plugin ends that.

    For commands that print and end: the process that calls this ends with the child's status.
    """
    folder = Path(tempfile.mkdtemp(prefix="predis-plugins-"))
    path, culprits = folder / FILE, frozenset[str]()
    while True:
        pid = os.fork()
        if pid == 0:
            return ImportMark(path, 1, culprits)
        _, status = os.waitpid(pid, 0)
        name, _ = read(path)
        if not name or name in culprits:
            shutil.rmtree(folder, ignore_errors=True)
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)
        culprits |= {name}
        path.unlink()
