"""model.rollback and model.retrain: the policy model by which the cache evicts (docs/policies.md).

A model is told by its artefact's checksum, as the running cache gives it, so that nothing that is noted elsewhere can
be wrong; "" is no model: plain S3-FIFO. Versions, and what came before each, are in the registry, DATA_DIR/models.
"""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from agent.api import Outcome, Plan, PredisError, Size, Task, size_between
from core_cache.access_log import AccessLog, AccessLogError
from core_cache.options import MAXMEMORY_POLICIES
from core_cache.policy.artefact import ArtefactError, checksum
from core_cache.policy.place import PlaceError, in_place, put
from core_cache.policy.registry import NONE, ModelRegistry, RegistryError, Version
from core_cache.policy.worker import WorkerError, retrain_in_worker
from core_cache.resp_client import RespClient
from plugins.remediation.action import NOT_BEGUN, Dial, Effects, Params, hold_to
from plugins.remediation.local import hosted_cache, setting
from plugins.remediation.notes import Notes

MODELS = "models"
_PLAIN = ""


class _Model(Dial[str]):
    """Moves the cache from one policy model to another."""

    moves = ("predis_evicted_keys_total", "predis_policy_model_time_seconds")

    def target(self, params: Any) -> str:
        return "cache:local"

    def what(self, params: Any) -> str:
        return "the cache's policy model"

    def read(self, params: Any, task: Task) -> str:
        with hosted_cache(task) as client:
            return _in_place(client)

    def named(self, value: str, task: Task) -> str:
        """A model for people."""
        if value == _PLAIN:
            return "plain s3fifo"
        known = _registry(task).known(value)
        return f"a model of unknown origin, {value}" if known is None else f"version {known.version}"

    def show(self, value: str) -> str:
        return value or "none"

    def set(self, params: Any, old: str, new: str, task: Task) -> str:
        registry, data_dir = _registry(task), _data_dir(task)
        with hosted_cache(task) as client:
            registry.keep(client, data_dir, old)
            registry.put(client, data_dir, new)
        return f" ({self.named(new, task)})"


class _Registry:
    """The registry, and the cache's own folder, with errors for the rule engine."""

    def __init__(self, folder: Path) -> None:
        self._models = ModelRegistry(folder)

    def known(self, value: str) -> Version | None:
        try:
            return self._models.find(value)
        except RegistryError as error:
            raise PredisError(str(error)) from None

    def numbered(self, version: int) -> str:
        """The checksum of a version."""
        try:
            return _PLAIN if version == NONE else self._models.get(version).checksum
        except RegistryError as error:
            raise PredisError(str(error)) from None

    def keep(self, client: RespClient, data_dir: Path, value: str) -> int:
        """The version of what is in place; what somebody put there by hand becomes one, so that there is a way back."""
        if value == _PLAIN:
            return NONE
        if (known := self.known(value)) is not None:
            return known.version
        path = data_dir / setting(client, "policy-model")
        try:
            data = path.read_bytes()
            if checksum(data) != value:
                raise PredisError(f"{path} is not the policy model {value} any more that the cache has loaded from it")
            return self._models.add(data, NONE, "found in place", {}).version
        except (OSError, ArtefactError, RegistryError) as error:
            raise PredisError(f"the policy model {value}, which is in place, cannot be kept: {error}") from None

    def add(self, data: bytes, parent: int, origin: str, report: Mapping[str, Any]) -> Version:
        try:
            return self._models.add(data, parent, origin, report)
        except (ArtefactError, RegistryError) as error:
            raise PredisError(f"the new policy model cannot be kept: {error}") from None

    def put(self, client: RespClient, data_dir: Path, value: str) -> None:
        known = self.known(value) if value != _PLAIN else None
        if value != _PLAIN and known is None:
            raise PredisError(f"the policy model {value} is not in the registry, so it cannot be put in place")
        try:
            put(client, data_dir, None if known is None else self._models.artefact(known.version))
        except (OSError, ArtefactError, PlaceError, RegistryError) as error:
            raise PredisError(f"the policy model cannot be put in place: {error}") from None


class RollbackParams(Params):
    """model.rollback. to: a version, 0 for none; without it the one that was in place before the one that is."""

    to: Annotated[int | None, Field(ge=0)] = None


class ModelRollback(_Model):
    """To the version that was in place before: nothing is trained."""

    name = "model.rollback"
    help = "Puts the policy model back that the cache had before, or plain s3fifo where it had none."
    Params = RollbackParams

    def decide(self, params: RollbackParams, old: str, task: Task) -> str:
        registry = _registry(task)
        if params.to is not None:
            return registry.numbered(params.to)
        if old == _PLAIN:
            raise PredisError("the cache has no policy model: there is nothing to roll back")
        known = registry.known(old)
        return _PLAIN if known is None else registry.numbered(known.parent)

    def foresee(self, params: RollbackParams, old: str, new: str, task: Task) -> Effects:
        with hosted_cache(task) as client:
            _is_asked(client)
        return Effects(f" ({self.named(old, task)} to {self.named(new, task)})")


class RetrainParams(Params):
    """model.retrain. memory_limit: of the process that trains, beyond its libraries."""

    memory_limit: Annotated[Size, size_between("16MiB", "1TiB")] = 2 << 30


class ModelRetrain(_Model):
    """Trains on the access log, in a process of its own, and puts the new model in place where it is surely better than
    the one that is there and than plain S3-FIFO, judged by the newest fifth of the log, from which it did not learn."""

    name = "model.retrain"
    help = "Trains a policy model on the access log, and puts it in place where it is better than what is there."
    Params = RetrainParams
    deadline = 900.0

    def plan(self, params: RetrainParams, task: Task) -> Plan:
        if importlib.util.find_spec("sklearn") is None:
            raise PredisError("scikit-learn is not installed: pip install 'predis-agent[learning]'")
        with hosted_cache(task) as client:
            _is_asked(client)
            old = _in_place(client)
        try:
            log = AccessLog(_data_dir(task))
        except AccessLogError as error:
            raise PredisError(f"{error} Set cache.access_log in agent.toml") from None
        events = min(log.written, log.capacity)
        text = (
            f"would train a policy model on {events:,} accesses, to {log.rate:.2%} of the keys, and put it in place if "
            f"it surely misses less than {'' if old == _PLAIN else f'{self.named(old, task)} and than '}plain s3fifo"
        )
        return Plan(text, {"old": old}, {"old": old})

    def run(self, params: RetrainParams, task: Task) -> Outcome:
        registry, data_dir, notes = _registry(task), _data_dir(task), Notes(task.host.data_dir)
        old = self.read(params, task)
        if (noted := notes.read(task.intent)) is not None:
            if old not in (noted["old"], noted["new"]):
                raise PredisError(f"the cache has {self.named(old, task)}: somebody else has changed its policy model")
            if old == noted["old"]:
                self.set(params, old, noted["new"], task)
            return self._done(noted["old"], noted["new"], task)
        hold_to(task, {"old": old}, self.what(params))
        with hosted_cache(task) as client:
            _is_asked(client)
            parent = registry.keep(client, data_dir, old)
            memory = int(setting(client, "maxmemory"))
        with tempfile.TemporaryDirectory(prefix=".train.", dir=task.host.data_dir) as folder:
            out, current = Path(folder, "new.model"), Path(folder, "current.model")
            if parent != NONE:
                current.write_bytes(ModelRegistry(task.host.data_dir / MODELS).artefact(parent))
            try:
                report = retrain_in_worker(
                    data_dir, memory, current if parent != NONE else None, out, params.memory_limit, task.cancelled
                )
            except WorkerError as error:
                raise PredisError(f"there is no new policy model: {error}") from None
            judged = _judged(report)
            if not report["better"]:
                return Outcome(
                    False, f"the policy model that was trained is not surely better, and not put in place: {judged}"
                )
            origin = f"retrained by the rule {task.rule}" if task.rule else "retrained"
            new = registry.add(out.read_bytes(), parent, origin, report).checksum
        if (now := self.read(params, task)) != old:
            raise PredisError(
                f"the cache has {self.named(now, task)} by now: somebody else has changed its policy model"
            )
        notes.write(task.intent, {"old": old, "new": new, "judged": judged})
        self.set(params, old, new, task)
        return self._done(old, new, task)

    def done_before(self, params: RetrainParams, task: Task) -> Outcome | None:
        noted = Notes(task.host.data_dir).read(task.intent)
        if noted is None:
            return NOT_BEGUN
        if (now := self.read(params, task)) != noted["new"]:
            return Outcome(False, f"the cache has {self.named(now, task)} and not {self.named(noted['new'], task)}")
        return self._done(noted["old"], noted["new"], task)

    def undo(self, params: RetrainParams, undo: Mapping[str, Any], task: Task) -> Outcome:
        if "new" not in undo:  # it came to no end: what has the old one for its parent came from it
            now, registry = self.read(params, task), _registry(task)
            known = registry.known(now)
            ours = known is not None and registry.numbered(known.parent) == undo["old"]
            undo = {**undo, "new": now if ours else undo["old"]}
        return super().undo(params, undo, task)

    def _done(self, old: str, new: str, task: Task) -> Outcome:
        known = _registry(task).known(new)
        judged = "" if known is None or not known.report else f": {_judged(known.report)}"
        detail = f"put {self.named(new, task)} in the place of {self.named(old, task)}{judged}"
        return Outcome(True, detail, {"old": old, "new": new})


def _judged(report: Mapping[str, Any]) -> str:
    against = f"s3fifo {report['s3fifo']['miss_ratio']:.2%} ({report['s3fifo']['z']:+.1f} standard errors)"
    if report["current"] is not None:
        against += f", the one in place {report['current']['miss_ratio']:.2%} ({report['current']['z']:+.1f})"
    return f"of {report['judged']:,} reads it misses {report['miss_ratio']:.2%}, {against}"


def _registry(task: Task) -> _Registry:
    return _Registry(task.host.data_dir / MODELS)


def _data_dir(task: Task) -> Path:
    return task.host.cache.arena.parent


def _in_place(client: RespClient) -> str:
    try:
        return in_place(client)
    except PlaceError as error:
        raise PredisError(str(error)) from None


def _is_asked(client: RespClient) -> None:
    """Raises PredisError unless the cache's policy asks a model."""
    if (policy := setting(client, "maxmemory-policy")) != MAXMEMORY_POLICIES["learned"]:
        raise PredisError(f'the cache evicts by {policy}, which asks no model: set cache.policy = "learned"')
