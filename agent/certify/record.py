"""What came of certifications, kept in the data folder: `plugins list` shows it as long as the code is the same.

Not beside the packages' metadata: those folders are often read-only, and belong to pip.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from dataclasses import asdict, dataclass
from importlib.metadata import EntryPoint
from pathlib import Path

from agent.certify.candidate import folder_of
from agent.errors import PredisError

FILE = "certified.json"
_HASHED = (".py", ".toml", ".md")
_MOST_FILES = 1000


@dataclass(frozen=True, slots=True)
class Certificate:
    """The outcome for one plugin: of which version and code (`fingerprint`), when (Unix time), and what failed."""

    version: str
    fingerprint: str
    time: float
    failed: tuple[str, ...]

    def shown(self, fingerprint: str) -> str:
        """For a table: whether the plugin with this fingerprint is certified."""
        when = f"{time.strftime('%Y-%m-%d', time.gmtime(self.time))} ({self.version})"
        if self.fingerprint != fingerprint:
            return f"no, changed since {when}"
        return f"failed {when}" if self.failed else f"yes {when}"


def fingerprint(point: EntryPoint) -> str:
    """Of the files in the folder of the plugin's module; empty when there is no such folder."""
    try:
        folder = folder_of(point)
        digest = hashlib.sha256()
        files = sorted(path for path in folder.rglob("*") if path.suffix in _HASHED and "__pycache__" not in path.parts)
        if "." not in point.module:  # a single module lies among the files of others
            files = [folder / f"{point.module}.py"]
        for path in files[:_MOST_FILES]:
            content = path.read_bytes()
            digest.update(f"{path.relative_to(folder)}\0{len(content)}\0".encode() + content)
    except (OSError, PredisError):
        return ""
    return digest.hexdigest()


def read(data_dir: Path) -> dict[str, Certificate]:
    """All that is kept, by plugin; what cannot be read is as if it had never been."""
    try:
        document = json.loads((data_dir / FILE).read_text(encoding="utf-8"))
        return {
            name: Certificate(str(c["version"]), str(c["fingerprint"]), float(c["time"]), tuple(map(str, c["failed"])))
            for name, c in document.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def keep(data_dir: Path, plugin: str, certificate: Certificate) -> None:
    """Note the outcome instead of an older one. Raises PredisError when it cannot be written."""
    document = {name: asdict(known) for name, known in {**read(data_dir), plugin: certificate}.items()}
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{FILE}.", dir=data_dir)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(json.dumps(document, indent=1) + "\n")
        os.replace(name, data_dir / FILE)
    except OSError as error:
        raise PredisError(f"the outcome cannot be kept in {data_dir / FILE}: {error.strerror or error}") from None
