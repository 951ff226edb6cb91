"""cache.evict and cache.flush_namespace: keys that begin with a prefix are deleted, in small batches at a limited rate.

SCAN goes through all keys, so each of its steps is short; UNLINK of a batch is, too. Between batches others have their
turn.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from typing import Annotated, Self

from pydantic import Field, model_validator

from agent.api import Duration, Outcome, Plan, PredisError, Task, duration_between
from core_cache.resp_client import RespClient, ServerError
from plugins.remediation.action import NOT_BEGUN, Action, Params, hold_to, nearest
from plugins.remediation.local import hosted_cache
from plugins.remediation.notes import Notes
from plugins.remediation.pace import Pace

BATCH = 200  # keys that are deleted by one command
STEP = 500  # keys that one SCAN goes through
LOOK = 2.0  # seconds that a plan counts for

Note = Callable[[int], None]
"""Told how many were deleted so far, after each batch."""

Rate = Annotated[int, Field(ge=1, le=1_000_000)]
Prefix = Annotated[str, Field(min_length=1, max_length=512)]


class EvictParams(Params):
    """cache.evict. keys: at most so many. idle: only those that nobody has used for so long."""

    prefix: Prefix = Field(examples=["session:"])
    keys: int = Field(ge=1, le=1_000_000_000, examples=[1000])
    idle: Annotated[Duration, duration_between("0s", "365d")] = 0.0
    per_second: Rate = 10_000


class FlushParams(Params):
    """cache.flush_namespace: the keys of a tenant, or those that begin with a prefix."""

    tenant: str = Field(default="", examples=["shop"])
    prefix: str = Field(default="", max_length=512)
    per_second: Rate = 10_000

    @model_validator(mode="after")
    def _one_namespace(self) -> Self:
        if bool(self.tenant) == bool(self.prefix):
            raise ValueError("write either `tenant` or `prefix`")
        return self


class CacheEvict(Action):
    """A part of the keys with a prefix. After a crash it goes on with what is left of `keys`."""

    name = "cache.evict"
    help = "Deletes some of the keys that begin with a prefix, such as those that nobody uses, at a limited rate."
    Params = EvictParams
    moves = ("predis_keys", "predis_memory_used_bytes")
    deadline = 300.0

    def target(self, params: EvictParams) -> str:
        return f"prefix:{params.prefix}"

    def plan(self, params: EvictParams, task: Task) -> str:
        count, whole = _count(task, params.prefix, params.keys, params.idle)
        which = f"keys that begin with {params.prefix}{_idle(params.idle)}"
        text = f"would delete {'' if whole else 'at least '}{count} {which}"
        return Plan(text, {"most": count if whole else params.keys})

    def run(self, params: EvictParams, task: Task) -> Outcome:
        notes = Notes(task.host.data_dir)
        before = int((notes.read(task.intent) or {}).get("deleted", 0))

        def note(deleted: int) -> None:
            # Not for the case that the machine fails: then the keys are gone, too.
            notes.write(task.intent, {"deleted": before + deleted}, durable=False)

        note(0)
        left = max(0, _most(params, task) - before)
        deleted = before + _delete(task, params.prefix, left, params.idle, params.per_second, note)
        notes.write(task.intent, {"deleted": deleted, "ended": True})
        return Outcome(True, f"deleted {deleted} keys that begin with {params.prefix}{_idle(params.idle)}")

    def done_before(self, params: EvictParams, task: Task) -> Outcome | None:
        noted = Notes(task.host.data_dir).read(task.intent)
        if noted is None:
            return NOT_BEGUN
        done = noted.get("ended", False) or noted["deleted"] >= _most(params, task)
        return Outcome(
            done, f"deleted {noted['deleted']} keys that begin with {params.prefix}{'' if done else ' so far'}"
        )


class CacheFlushNamespace(Action):
    """All keys of a tenant or with a prefix. Only its end is noted: to do it again is harmless."""

    name = "cache.flush_namespace"
    help = "Deletes all keys of a tenant, or all that begin with a prefix, at a limited rate."
    Params = FlushParams
    moves = ("predis_keys", "predis_memory_used_bytes")
    deadline = 900.0

    def target(self, params: FlushParams) -> str:
        return f"tenant:{params.tenant}" if params.tenant else f"prefix:{params.prefix}"

    def plan(self, params: FlushParams, task: Task) -> str:
        prefix = self._prefix(params, task)
        count, whole = _count(task, prefix, None, 0.0)
        text = f"would delete all keys of {self.target(params)}: {'' if whole else 'at least '}{count} of them"
        return Plan(text, {"prefix": prefix})

    def run(self, params: FlushParams, task: Task) -> Outcome:
        prefix = self._prefix(params, task)
        hold_to(task, {"prefix": prefix}, self.target(params))
        deleted = _delete(task, prefix, None, 0.0, params.per_second, lambda deleted: None)
        Notes(task.host.data_dir).write(task.intent, {"deleted": deleted})
        return Outcome(True, f"deleted {deleted} keys, all of {self.target(params)}")

    def done_before(self, params: FlushParams, task: Task) -> Outcome | None:
        noted = Notes(task.host.data_dir).read(task.intent)
        if noted is None:
            return Outcome(False, "it had not come to its end: what is left can be deleted")
        return Outcome(True, f"deleted {noted['deleted']} keys, all of {self.target(params)}")

    @staticmethod
    def _prefix(params: FlushParams, task: Task) -> str:
        if not params.tenant:
            return params.prefix
        control = task.host.cache_control
        if control is None:
            raise PredisError("the prefix of a tenant is known to the agent that supervises the cache: write `prefix`")
        tenants = control.facts().tenants
        if params.tenant not in tenants:
            raise PredisError(f"the cache has no tenant {params.tenant}{nearest(params.tenant, tenants)}")
        return tenants[params.tenant].prefix


def _most(params: EvictParams, task: Task) -> int:
    """How many keys it may delete: no more than were shown."""
    return params.keys if task.plan is None else min(params.keys, int(task.plan["most"]))


def _count(task: Task, prefix: str, most: int | None, idle: float) -> tuple[int, bool]:
    """How many there are, up to `most`; and whether it had the time to see all of them."""
    count, deadline = 0, time.monotonic() + LOOK
    with hosted_cache(task) as client:
        for keys in _found(client, prefix, idle):
            count += len(keys)
            if most is not None and count >= most:
                return most, True
            if time.monotonic() > deadline:
                return count, False
    return count, True


def _delete(task: Task, prefix: str, most: int | None, idle: float, per_second: int, note: Note) -> int:
    """How many were deleted. Raises PredisError when nobody waits for it any more; what is deleted is noted."""
    deleted, pace = 0, Pace(per_second, task.cancelled)
    if most == 0:
        return 0
    with hosted_cache(task) as client:
        for found in _found(client, prefix, idle):
            for at in range(0, len(found), BATCH):
                keys = found[at : at + BATCH]
                if most is not None:
                    keys = keys[: most - deleted]
                if not pace.wait(len(keys)):
                    raise PredisError(f"nobody waits for it any more: it ends after {deleted} keys")
                reply = client.command("UNLINK", *keys)
                assert isinstance(reply, int)
                deleted += reply
                note(deleted)
                if deleted == most:
                    return deleted
            if task.cancelled():
                raise PredisError(f"nobody waits for it any more: it ends after {deleted} keys")
    return deleted


def _found(client: RespClient, prefix: str, idle: float) -> Iterator[list[bytes]]:
    """The keys with a prefix, once each or, if they come twice in SCAN, twice; in pieces, empty ones too."""
    cursor, pattern = b"0", re.sub(r"([*?\[\]\\^])", r"\\\1", prefix) + "*"
    while True:
        reply = client.command("SCAN", cursor, "MATCH", pattern, "COUNT", STEP)
        assert isinstance(reply, list)
        cursor, keys = reply  # type: ignore[assignment]
        yield _idle_ones(client, keys, idle) if idle else keys  # type: ignore[arg-type,misc]
        if cursor == b"0":
            return


def _idle_ones(client: RespClient, keys: list[bytes], idle: float) -> list[bytes]:
    times = client.pipeline([("OBJECT", "IDLETIME", key) for key in keys])
    if error := next((reply for reply in times if isinstance(reply, ServerError) and "LFU" in str(reply)), None):
        raise PredisError(f"idle keys cannot be told with this policy: {error}")
    return [key for key, seconds in zip(keys, times, strict=True) if isinstance(seconds, int) and seconds >= idle]


def _idle(idle: float) -> str:
    return f" and were not used for {idle:g} s" if idle else ""
