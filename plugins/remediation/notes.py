"""What an action notes before it changes anything, so that it knows after a crash what it was about to do.

The notes of a use of an action lie in a file of its own, named by a digest of its intent. They hold values and counts,
never a secret.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent.api import PredisError

FOLDER = "remediation"
KEPT = 30 * 86400.0  # seconds; nobody asks again for what was begun so long ago


class Notes:
    """The notes in data_dir/remediation. Raises PredisError where they cannot be written: then nothing may be done."""

    def __init__(self, data_dir: Path) -> None:
        self._folder = data_dir / FOLDER

    def read(self, intent: str) -> dict[str, Any] | None:
        """What was noted under this intent; None when nothing was."""
        path = self._path(intent)
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise PredisError(f"{path}, where an action noted what it does, cannot be read: {error}") from None
        return dict(facts)

    def write(self, intent: str, facts: Mapping[str, Any], *, durable: bool = True) -> None:
        """Replaces what was noted. With `durable` it is on the disk when this returns, else when the kernel likes: it
        outlives the agent, but not the machine."""
        path = self._path(intent)
        try:
            if not self._folder.is_dir():
                self._folder.mkdir(mode=0o700)
                _sync(self._folder.parent)
            new = not path.exists()
            handle, name = tempfile.mkstemp(prefix=".note.", dir=self._folder)  # mode 0600
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(facts, file)
                file.flush()
                if durable:
                    os.fsync(file.fileno())
            os.replace(name, path)
            if durable:
                _sync(self._folder)
        except OSError as error:
            raise PredisError(f"{path}, where an action notes what it does, cannot be written: {error}") from None
        if new:
            self._forget_old()

    def _path(self, intent: str) -> Path:
        return self._folder / f"{hashlib.sha256(intent.encode()).hexdigest()[:32]}.json"

    def _forget_old(self) -> None:
        oldest = time.time() - KEPT
        for path in self._folder.iterdir():
            with contextlib.suppress(OSError):
                if path.stat().st_mtime < oldest:
                    path.unlink()


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
