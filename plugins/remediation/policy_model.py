"""model.rollback and model.retrain: the policy model by which the cache evicts (docs/policies.md).

A model is told by its artefact's checksum, as the running cache gives it, so that nothing that is noted elsewhere can
be wrong; "" is no model: plain S3-FIFO. Versions, and what came before each, are in the registry, DATA_DIR/models.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from agent.api import Outcome, Plan, PredisError, Size, Task, size_between
from core_cache.options import MAXMEMORY_POLICIES
from plugins.remediation.action import NOT_BEGUN, Dial, Effects, Params, hold_to
from plugins.remediation.local import hosted_cache, setting
from plugins.remediation.notes import Notes

if TYPE_CHECKING:
    from plugins.remediation.models import Models


class _Model(Dial[str]):
    """Moves the cache from one policy model to another."""

    moves = ("predis_evicted_keys_total", "predis_policy_model_time_seconds")

    def target(self, params: Any) -> str:
        return "cache:local"

    def what(self, params: Any) -> str:
        return "the cache's policy model"

    def show(self, value: str) -> str:
        return value or "none"

    def read(self, params: Any, task: Task) -> str:
        return _models(task).in_place()

    def set(self, params: Any, old: str, new: str, task: Task) -> str:
        models = _models(task)
        models.put(old, new)
        return f" ({models.named(new)})"


class RollbackParams(Params):
    """model.rollback. to: a version, 0 for none; without it the one that was in place before the one that is."""

    to: Annotated[int | None, Field(ge=0)] = None


class ModelRollback(_Model):
    """To the version that was in place before: nothing is trained."""

    name = "model.rollback"
    help = "Puts the policy model back that the cache had before, or plain s3fifo where it had none."
    Params = RollbackParams

    def decide(self, params: RollbackParams, old: str, task: Task) -> str:
        models = _models(task)
        if params.to is not None:
            return models.numbered(params.to)
        if not old:
            raise PredisError("the cache has no policy model: there is nothing to roll back")
        known = models.known(old)
        return "" if known is None else models.numbered(known.parent)

    def foresee(self, params: RollbackParams, old: str, new: str, task: Task) -> Effects:
        _check_policy(task)
        models = _models(task)
        return Effects(f" ({models.named(old)} to {models.named(new)})")


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
        _check_policy(task)
        models = _models(task)
        old = models.in_place()
        events, rate = models.log()
        than = f"{models.named(old)} and than plain s3fifo" if old else "plain s3fifo"
        text = (
            f"would train a policy model on {events:,} accesses, to {rate:.2%} of the keys, and put it in place if it "
            f"surely misses less than {than}"
        )
        return Plan(text, {"old": old}, {"old": old})

    def run(self, params: RetrainParams, task: Task) -> Outcome:
        models, notes = _models(task), Notes(task.host.data_dir)
        old = models.in_place()
        if (noted := notes.read(task.intent)) is not None:
            if old not in (noted["old"], noted["new"]):
                raise PredisError(f"the cache has {models.named(old)}: somebody else has changed its policy model")
            if old == noted["old"]:
                models.put(old, noted["new"])
            return self._done(noted["old"], noted["new"], task)
        hold_to(task, {"old": old}, self.what(params))
        _check_policy(task)
        origin = f"retrained by the rule {task.rule}" if task.rule else "retrained"
        new, report = models.train(old, params.memory_limit, origin)
        if new is None:
            return Outcome(False, f"the new policy model is not surely better, and not put in place: {_judged(report)}")
        if (now := models.in_place()) != old:
            raise PredisError(f"the cache has {models.named(now)} by now: somebody else has changed its policy model")
        notes.write(task.intent, {"old": old, "new": new})
        models.put(old, new)
        return self._done(old, new, task)

    def done_before(self, params: RetrainParams, task: Task) -> Outcome | None:
        noted = Notes(task.host.data_dir).read(task.intent)
        if noted is None:
            return NOT_BEGUN
        models = _models(task)
        if (now := models.in_place()) != noted["new"]:
            return Outcome(False, f"the cache has {models.named(now)} and not {models.named(noted['new'])}")
        return self._done(noted["old"], noted["new"], task)

    def undo(self, params: RetrainParams, undo: Mapping[str, Any], task: Task) -> Outcome:
        if "new" not in undo:  # it came to no end: what has the old one for its parent came from it
            models = _models(task)
            now = models.in_place()
            known = models.known(now)
            ours = known is not None and models.numbered(known.parent) == undo["old"]
            undo = {**undo, "new": now if ours else undo["old"]}
        return super().undo(params, undo, task)

    def _done(self, old: str, new: str, task: Task) -> Outcome:
        models = _models(task)
        known = models.known(new)
        judged = "" if known is None or not known.report else f": {_judged(known.report)}"
        detail = f"put {models.named(new)} in the place of {models.named(old)}{judged}"
        return Outcome(True, detail, {"old": old, "new": new})


def _judged(report: Mapping[str, Any]) -> str:
    against = f"s3fifo {report['s3fifo']['miss_ratio']:.2%} ({report['s3fifo']['z']:+.1f} standard errors)"
    if report["current"] is not None:
        against += f", the one in place {report['current']['miss_ratio']:.2%} ({report['current']['z']:+.1f})"
    return f"of {report['judged']:,} reads it misses {report['miss_ratio']:.2%}, {against}"


def _models(task: Task) -> Models:
    from plugins.remediation.models import Models  # brings numpy

    return Models(task)


def _check_policy(task: Task) -> None:
    """Raises PredisError unless the cache's policy asks a model."""
    with hosted_cache(task) as client:
        policy = setting(client, "maxmemory-policy")
    if policy != MAXMEMORY_POLICIES["learned"]:
        raise PredisError(f'the cache evicts by {policy}, which asks no model: set cache.policy = "learned"')
