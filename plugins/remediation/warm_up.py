"""cache.warm_up: copies keys that the cache does not have from another server, slowly, until memory gets scarce.

The cache has no RESTORE, so values are read and written by their types. A key that somebody writes meanwhile stays as
that one wrote it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from agent.api import ConfigPath, OrDefault, Outcome, Plan, PredisError, Task
from core_cache.resp_client import RespClient, ServerError
from plugins.remediation.action import Action, Params, hold_to
from plugins.remediation.local import hosted_cache, setting
from plugins.remediation.notes import Notes
from plugins.remediation.pace import Pace
from plugins.remediation.servers import Servers

BATCH = 100  # keys that are asked for at once
MOST_ELEMENTS = 10_000  # of a collection: reading a larger one would hold its server up
LONGEST_VALUE = 8 << 20  # bytes of a string
LONGEST_LINE = 64 << 10
SAMPLE = 1000  # keys that a plan looks at

_SIZE = {b"string": "STRLEN", b"hash": "HLEN", b"list": "LLEN", b"set": "SCARD", b"zset": "ZCARD"}
_READ: dict[bytes, tuple[str, tuple[str, ...]]] = {
    b"string": ("GET", ()),
    b"hash": ("HGETALL", ()),
    b"list": ("LRANGE", ("0", "-1")),
    b"set": ("SMEMBERS", ()),
    b"zset": ("ZRANGE", ("0", "-1", "WITHSCORES")),
}
_WRITE = {b"hash": "HSET", b"list": "RPUSH", b"set": "SADD", b"zset": "ZADD"}


class WarmUpParams(Params):
    """cache.warm_up. file: one key a line; without it, keys of the server that begin with `prefix`. memory_ratio: it
    ends when so much of the cache's memory is used."""

    server: str = Field(examples=["a"])
    file: Annotated[ConfigPath | None, OrDefault] = None
    prefix: str = Field(default="", max_length=512, examples=["session:"])
    keys: int = Field(default=100_000, ge=1, le=1_000_000_000)
    per_second: int = Field(default=5_000, ge=1, le=1_000_000)
    memory_ratio: float = Field(default=0.9, gt=0, le=1)

    @model_validator(mode="after")
    def _one_list(self) -> Self:
        if self.file is not None and self.prefix:
            raise ValueError("write either `file` or `prefix`")
        return self


class CacheWarmUp(Action):
    """Only its end is noted: to do it again copies what is missing still."""

    name = "cache.warm_up"
    help = "Copies keys that the cache does not have from another server, at a limited rate."
    Params = WarmUpParams
    moves = ("predis_keys", "predis_memory_used_bytes")
    deadline = 600.0

    def __init__(self, servers: Servers) -> None:
        self._servers = servers

    def target(self, params: WarmUpParams) -> str:
        return "cache:local"

    def check(self, params: WarmUpParams) -> None:
        self._servers.check("server", params.server)

    def plan(self, params: WarmUpParams, task: Task) -> str:
        with self._servers.connected(params.server) as source, hosted_cache(task) as cache:
            _check_room(cache, params)
            seen = missing = 0
            for keys in _batches(params, source, SAMPLE):
                absent = _absent(cache, keys)
                there = sum(bool(count) for count in _ask(source, [("EXISTS", key) for key in absent]))
                seen, missing = seen + len(keys), missing + there
        if not seen:
            raise PredisError(f"there are no keys to copy in {params.file or f'the server {params.server}'}")
        return Plan(
            f"would copy keys from the server {params.server} that the cache does not have, at most {params.keys}; "
            f"of the first {seen} it lacks {missing}",
            self._facts(params),
        )

    def run(self, params: WarmUpParams, task: Task) -> Outcome:
        hold_to(task, self._facts(params), f"the server {params.server}")
        pace, copied, skipped, why = Pace(params.per_second, task.cancelled), 0, 0, ""
        with self._servers.connected(params.server) as source, hosted_cache(task) as cache:
            for keys in _batches(params, source, params.keys):
                if not pace.wait(len(keys)):
                    raise PredisError(f"nobody waits for it any more: it ends after {copied} keys")
                if _used(cache) >= params.memory_ratio:
                    why = f"; it ended early, since {params.memory_ratio:.0%} of the memory are used"
                    break
                done, left_out = _copy(source, cache, _absent(cache, keys))
                copied, skipped = copied + done, skipped + left_out
        large = f"; {skipped} were left out, too large or of a type that the cache has not" if skipped else ""
        detail = f"copied {copied} keys from the server {params.server}{large}{why}"
        Notes(task.host.data_dir).write(task.intent, {"detail": detail})
        return Outcome(True, detail)

    def _facts(self, params: WarmUpParams) -> dict[str, str]:
        return {"from": self._servers.place(params.server)}

    def done_before(self, params: WarmUpParams, task: Task) -> Outcome | None:
        noted = Notes(task.host.data_dir).read(task.intent)
        if noted is None:
            return Outcome(False, "it had not come to its end: what is missing still can be copied")
        return Outcome(True, str(noted["detail"]))


def _batches(params: WarmUpParams, source: Any, most: int) -> Iterator[list[bytes]]:
    """Keys to look at, `most` in all."""
    keys = _lines(params.file) if params.file is not None else _scanned(source, params.prefix)
    keys = islice(keys, most)
    while batch := list(islice(keys, BATCH)):
        yield batch


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while line := file.readline(LONGEST_LINE):
                if key := line.rstrip(b"\r\n"):
                    yield key
    except OSError as error:
        raise PredisError(f"the keys in {path} cannot be read: {(error.strerror or str(error)).lower()}") from None


def _scanned(source: Any, prefix: str) -> Iterator[bytes]:
    pattern = re.sub(r"([*?\[\]\\^])", r"\\\1", prefix) + "*"
    yield from source.scan_iter(match=pattern, count=BATCH)


def _absent(cache: RespClient, keys: Sequence[bytes]) -> list[bytes]:
    there = cache.pipeline([("EXISTS", key) for key in keys])
    return [key for key, count in zip(keys, there, strict=True) if count == 0]


def _ask(source: Any, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
    """The replies of a pipeline; an error is one of them."""
    pipeline = source.pipeline(transaction=False)
    for command in commands:
        pipeline.execute_command(*command)
    # redis-py would make Python's own of some replies, by the command's name.
    pipeline.response_callbacks = {}
    return list(pipeline.execute(raise_on_error=False)) if commands else []


def _copy(source: Any, cache: RespClient, keys: Sequence[bytes]) -> tuple[int, int]:
    """How many were copied, and how many left out."""
    types = dict(zip(keys, _ask(source, [("TYPE", key) for key in keys]), strict=True))
    known = [key for key in keys if types[key] in _SIZE]
    unknown = sum(kind not in _SIZE and kind != b"none" for kind in types.values())
    sizes = dict(zip(known, _ask(source, [(_SIZE[types[key]], key) for key in known]), strict=True))
    small = [key for key in known if _fits(types[key], sizes[key])]
    reads = [(_READ[types[key]][0], key, *_READ[types[key]][1]) for key in small]
    values = _ask(source, reads)
    times = _ask(source, [("PTTL", key) for key in small])  # after the value: one that is gone by now has none
    copied = 0
    for key, value, milliseconds in zip(small, values, times, strict=True):
        if not isinstance(milliseconds, int) or milliseconds == -2 or value is None or isinstance(value, Exception):
            continue
        copied += _set(cache, key, types[key], value, milliseconds)
    return copied, unknown + len(known) - len(small)


def _fits(kind: bytes, size: Any) -> bool:
    return isinstance(size, int) and size <= (LONGEST_VALUE if kind == b"string" else MOST_ELEMENTS)


def _set(cache: RespClient, key: bytes, kind: bytes, value: Any, milliseconds: int) -> bool:
    """Whether it was set; it is not when there is one by now."""
    expiry = ("PX", milliseconds) if milliseconds > 0 else ()
    if kind == b"string":
        return cache.command("SET", key, value, "NX", *expiry) == "OK"
    if kind == b"zset":
        value = [part for at in range(0, len(value), 2) for part in (value[at + 1], value[at])]
    if isinstance(value, (list, set, tuple)):
        parts = list(value)
    else:
        raise PredisError(f"the server answers {type(value).__name__} for {kind.decode()}")
    if not parts:
        return False
    cache.command("WATCH", key)
    if cache.command("EXISTS", key):
        cache.command("UNWATCH")
        return False
    commands = [("MULTI",), (_WRITE[kind], key, *parts)]
    if milliseconds > 0:
        commands.append(("PEXPIRE", key, milliseconds))
    *_, replies = cache.pipeline([*commands, ("EXEC",)])
    if isinstance(replies, ServerError):
        raise replies
    return replies is not None


def _used(cache: RespClient) -> float:
    return int(cache.information("memory")["used_memory"]) / int(setting(cache, "maxmemory"))


def _check_room(cache: RespClient, params: WarmUpParams) -> None:
    if (used := _used(cache)) >= params.memory_ratio:
        raise PredisError(f"{used:.0%} of the cache's memory are used: no room for more (memory_ratio)")
