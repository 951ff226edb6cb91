"""The registry of policy models: every version that was ever put in place, and what came before it.

A version is a file (its artefact, which never changes) and a row in models.sqlite: where it comes from, which version
was in place before it (its parent; 0 is plain S3-FIFO), and what it was judged by. Which one is in place now stands
nowhere here: the cache itself says so (core_cache/policy/place.py).
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core_cache.policy.artefact import checksum, from_bytes, write_bytes

FOLDER = "models"
"""In an agent's data directory."""
FILE = "models.sqlite"
NONE = 0
"""The version that is no model: plain S3-FIFO."""
_SCHEMA = """
create table if not exists versions (
    version integer primary key,
    checksum text not null unique,
    sha256 text not null,
    created real not null,
    parent integer not null,
    origin text not null,
    report text not null
) strict
"""


class RegistryError(RuntimeError):
    """The registry cannot be used, or does not have what is asked for; the message is a sentence for people."""


@dataclass(frozen=True)
class Version:
    """created: Unix seconds. parent: the version that was in place before. report: what it was judged by."""

    version: int
    checksum: str
    sha256: str
    created: float
    parent: int
    origin: str
    report: Mapping[str, Any]


class ModelRegistry:
    """The registry in a folder, which is made if need be, with mode 0700. May be used from any thread and process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def versions(self) -> list[Version]:
        """All, oldest first. Raises RegistryError."""
        with self._open() as file:
            return [_version(row) for row in file.execute("select * from versions order by version")]

    def get(self, version: int) -> Version:
        """Raises RegistryError where there is none of this number."""
        for found in self.versions():
            if found.version == version:
                return found
        raise RegistryError(f"{self.folder} has no version {version} of the policy model")

    def find(self, checksum: str) -> Version | None:
        """The version with this checksum, if there is one."""
        return next((found for found in self.versions() if found.checksum == checksum), None)

    def artefact(self, version: int) -> bytes:
        """Its artefact. Raises RegistryError where that is not there, or not what was put there."""
        path, known = self._path(version), self.get(version)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise RegistryError(f"{path}, version {version} of the policy model, cannot be read: {error}") from None
        if hashlib.sha256(data).hexdigest() != known.sha256:
            raise RegistryError(f"{path} is not what was put there as version {version} of the policy model")
        return data

    def add(self, data: bytes, parent: int, origin: str, report: Mapping[str, Any]) -> Version:
        """A new version; the one that there is where the same artefact was added before.

        Raises RegistryError, ArtefactError for what is no artefact.
        """
        from_bytes(data)
        with self._open() as file:
            file.execute("begin immediate")
            row = file.execute("select * from versions where checksum = ?", (checksum(data),)).fetchone()
            if row is not None:
                return _version(row)
            version = 1 + int(file.execute("select coalesce(max(version), 0) from versions").fetchone()[0])
            try:
                write_bytes(self._path(version), data)
            except OSError as error:
                raise RegistryError(f"{self._path(version)} cannot be written: {error}") from None
            sha256 = hashlib.sha256(data).hexdigest()
            new = Version(version, checksum(data), sha256, time.time(), parent, origin, dict(report))
            file.execute(
                "insert into versions values (?, ?, ?, ?, ?, ?, ?)",
                (version, new.checksum, sha256, new.created, parent, origin, json.dumps(new.report)),
            )
            file.execute("commit")
        return new

    def _path(self, version: int) -> Path:
        return self.folder / f"{version:06}.model"

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            path = self.folder / FILE
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            file = sqlite3.connect(path, timeout=5.0, isolation_level=None)
        except (OSError, sqlite3.Error) as error:
            raise RegistryError(f"{self.folder}, where policy models are kept, cannot be used: {error}") from None
        try:
            file.execute(_SCHEMA)
            yield file
        except sqlite3.Error as error:
            raise RegistryError(f"{self.folder / FILE} cannot be used: {error}") from None
        finally:
            file.close()  # what was begun and not committed is gone


def _version(row: tuple[Any, ...]) -> Version:
    version, checksum, sha256, created, parent, origin, report = row
    return Version(version, checksum, sha256, created, parent, origin, json.loads(report))
