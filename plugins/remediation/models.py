"""Policy models as the actions see them: the registry in DATA_DIR/models and what is in place; errors are PredisErrors.

It brings numpy, so actions import it when they are used.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent.api import PredisError, Task
from core_cache.access_log import AccessLog, AccessLogError
from core_cache.policy import place
from core_cache.policy.artefact import ArtefactError, checksum
from core_cache.policy.registry import FOLDER, NONE, ModelRegistry, RegistryError, Version
from core_cache.policy.worker import WorkerError, retrain_in_worker
from core_cache.resp_client import RespClient
from plugins.remediation.local import hosted_cache, setting

PLAIN = ""
"""In place of a model's checksum: there is none, which is plain S3-FIFO."""


class Models:
    """Of the cache that a task is about."""

    def __init__(self, task: Task) -> None:
        self._task, self._registry = task, ModelRegistry(task.host.data_dir / FOLDER)
        self._data_dir = task.host.cache.arena.parent

    def in_place(self) -> str:
        """The checksum of the model that the cache scores with, or PLAIN."""
        with hosted_cache(self._task) as client:
            try:
                return place.in_place(client)
            except place.PlaceError as error:
                raise PredisError(str(error)) from None

    def known(self, value: str) -> Version | None:
        """The version with this checksum."""
        try:
            return self._registry.find(value)
        except RegistryError as error:
            raise PredisError(str(error)) from None

    def numbered(self, version: int) -> str:
        """The checksum of a version."""
        try:
            return PLAIN if version == NONE else self._registry.get(version).checksum
        except RegistryError as error:
            raise PredisError(str(error)) from None

    def named(self, value: str) -> str:
        """A model for people."""
        if value == PLAIN:
            return "plain s3fifo"
        known = self.known(value)
        return f"a model of unknown origin, {value}" if known is None else f"version {known.version}"

    def put(self, old: str, new: str) -> None:
        """Has the cache score with `new`. `old`, which it has now, is kept, so that there is a way back."""
        with hosted_cache(self._task) as client:
            self._keep(client, old)
            known = self.known(new)
            if new != PLAIN and known is None:
                raise PredisError(f"the policy model {new} is not in the registry, so it cannot be put in place")
            try:
                place.put(client, self._data_dir, None if known is None else self._registry.artefact(known.version))
            except (OSError, ArtefactError, place.PlaceError, RegistryError) as error:
                raise PredisError(f"the policy model cannot be put in place: {error}") from None

    def log(self) -> tuple[int, float]:
        """How many accesses the access log holds, and to which share of the keys."""
        try:
            log = AccessLog(self._data_dir)
        except AccessLogError as error:
            raise PredisError(f"{error} Set cache.access_log in agent.toml") from None
        return min(log.written, log.capacity), log.rate

    def train(self, old: str, memory_limit: int, origin: str) -> tuple[str | None, Mapping[str, Any]]:
        """A new model, which is kept if it is better than `old`, which is in place: its checksum, if it is; and what it
        was judged by."""
        with hosted_cache(self._task) as client:
            parent, capacity = self._keep(client, old), int(setting(client, "maxmemory"))
        with tempfile.TemporaryDirectory(prefix=".train.", dir=self._task.host.data_dir) as folder:
            out, current = Path(folder, "new.model"), Path(folder, "current.model")
            try:
                if parent != NONE:
                    current.write_bytes(self._registry.artefact(parent))
                report = retrain_in_worker(
                    self._data_dir,
                    capacity,
                    current if parent != NONE else None,
                    out,
                    memory_limit,
                    self._task.cancelled,
                )
                if not report["better"]:
                    return None, report
                return self._registry.add(out.read_bytes(), parent, origin, report).checksum, report
            except (OSError, ArtefactError, RegistryError, WorkerError) as error:
                raise PredisError(f"there is no new policy model: {error}") from None

    def _keep(self, client: RespClient, value: str) -> int:
        """The version of what is in place; what somebody put there by hand becomes one."""
        if value == PLAIN:
            return NONE
        if (known := self.known(value)) is not None:
            return known.version
        path = self._data_dir / setting(client, "policy-model")
        try:
            data = path.read_bytes()
            if checksum(data) != value:
                raise PredisError(f"{path} is not the policy model {value} any more that the cache has loaded from it")
            return self._registry.add(data, NONE, "found in place", {}).version
        except (OSError, ArtefactError, RegistryError) as error:
            raise PredisError(f"the policy model {value}, which is in place, cannot be kept: {error}") from None
