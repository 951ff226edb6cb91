"""Eviction, expiry, overwriting, renaming and changing limits at random, for a while, against a dict that knows all.

The engine runs in this process, without a server. PREDIS_SOAK_SECONDS says for how long (a few seconds when not set):
`PREDIS_SOAK_SECONDS=600 python -m pytest tests/core_cache/test_soak.py` after changing the store.
"""

import faulthandler
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from core_cache import _native
from tests.core_cache.raw_resp import Command, decode_all, encode, fields

SECONDS = float(os.environ.get("PREDIS_SOAK_SECONDS", "2"))
MIB = 1024 * 1024
KEYS = [b"key:%d:%s" % (i, b"x" * (i % 50)) for i in range(4000)] + [b"z" * (66_000 + i) for i in range(5)]
SIZES = (0, 1, 8, 30, 64, 100, 100, 200, 500, 1000, 3000, 10_000, 40_000, 131_000, 300_000)
OUT_OF_MEMORY = "-OOM command not allowed when used memory > 'maxmemory'."


@pytest.fixture(autouse=True)
def watchdog() -> Iterator[None]:
    """Ends the test run, with a traceback, where the engine never returns: it holds the GIL, so nothing else could."""
    faulthandler.dump_traceback_later(max(100.0, 2 * SECONDS), exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


class Soak:
    """Sends random commands and holds every reply against what the keys may hold.

    `model` has each key's last value and its expiry in Unix time (ms, 0 for never). A key may be gone when its time is
    over and, where `evicts`, at any time; a value that is there must be the last one.
    """

    def __init__(self, engine: _native.Engine, seed: int, evicts: bool) -> None:
        self.engine, self.evicts = engine, evicts
        self.connection = _native.Connection(engine)
        self.random = random.Random(seed)
        self.model: dict[bytes, tuple[bytes, int]] = {}
        self.writes = self.refused = 0

    def send(self, *commands: Command) -> list:
        return decode_all(self.connection.feed(b"".join(map(encode, commands))))

    def value(self, key: bytes) -> bytes:
        self.writes += 1
        label = b"%d/%s|" % (self.writes, key[:30])
        size = self.random.choice(SIZES)
        return (label * (size // len(label) + 1))[:size]

    def expired(self, key: bytes) -> bool:
        """Whether the key's time may be over by now."""
        return 0 < self.model[key][1] <= time.time() * 1000 + 1

    def check_value(self, key: bytes, found: bytes | None) -> None:
        """Compares a reply with the model; what turns out to be gone is gone for good."""
        if found is None:
            if key in self.model:
                assert self.evicts or self.expired(key), f"{key[:40]!r} is lost"
                del self.model[key]
            return
        assert key in self.model, f"{key[:40]!r} is back from the dead with {found[:60]!r}"
        value, expire_at = self.model[key]
        assert found == value, f"{key[:40]!r}: {found[:60]!r} ({len(found)} bytes) is not {value[:60]!r} ({len(value)})"
        assert expire_at == 0 or expire_at >= time.time() * 1000 - 2000, f"{key[:40]!r} outlived its time"

    def stored(self, reply: object, key: bytes, value: bytes, expire_at: int) -> None:
        """Takes over a write unless it was refused, which only noeviction may do and which leaves the old value."""
        if reply == OUT_OF_MEMORY:
            assert not self.evicts, "a write was refused although entries could be evicted"
            self.refused += 1
        else:
            assert reply == b"OK", reply
            self.model[key] = (value, expire_at)

    def step(self) -> None:
        """One random command, or a few at once."""
        pick, key = self.random.random(), self.random.choice(KEYS)
        if pick < 0.35:
            value = self.value(key)
            (reply,) = self.send((b"SET", key, value))
            self.stored(reply, key, value, 0)
        elif pick < 0.45:
            value, at = self.value(key), int(time.time() * 1000) + self.random.choice([1, 20, 100, 60_000])
            (reply,) = self.send((b"SET", key, value, b"PXAT", b"%d" % at))
            self.stored(reply, key, value, at)
        elif pick < 0.70:
            asked = self.random.choices(KEYS, k=self.random.randrange(1, 20))
            (found,) = self.send((b"MGET", *asked))
            for one, value in zip(asked, found, strict=True):
                self.check_value(one, value)
        elif pick < 0.80:
            (found,) = self.send((b"GETDEL", key))
            self.check_value(key, found)
            self.model.pop(key, None)
        elif pick < 0.86:
            self.append(key)
        elif pick < 0.92:
            self.rename(key, self.random.choice(KEYS))
        elif pick < 0.95:
            (found, length) = self.send((b"GET", key), (b"STRLEN", key))
            self.check_value(key, found)
            assert length == len(found or b"") or self.expired_or_gone(key)
        elif pick < 0.999:
            self.engine.cron(1000)
        else:
            self.whole()

    def expired_or_gone(self, key: bytes) -> bool:
        return key not in self.model or self.expired(key)

    def append(self, key: bytes) -> None:
        (found, reply, after) = self.send((b"GET", key), (b"APPEND", key, b"+"), (b"GET", key))
        self.check_value(key, found)
        if isinstance(reply, str):
            assert reply == OUT_OF_MEMORY
            assert not self.evicts
            return
        expected = (found or b"") + b"+"
        if after != expected:  # it expired between two of the commands
            assert self.expired_or_gone(key), f"APPEND gave {after!r}"
        if after is None:
            self.model.pop(key, None)
        else:
            self.model[key] = (after, self.model[key][1] if key in self.model and found is not None else 0)
            (expiry,) = self.send((b"PEXPIRETIME", key))
            if expiry == -2:
                assert self.expired(key)
                del self.model[key]
            else:
                self.model[key] = (after, max(expiry, 0))

    def rename(self, key: bytes, target: bytes) -> None:
        (found, reply) = self.send((b"GET", key), (b"RENAME", key, target))
        self.check_value(key, found)
        if reply == b"OK":
            if key != target:
                self.model[target] = self.model.pop(key)
        elif reply == "-ERR no such key":
            assert found is None or self.expired(key)
            self.model.pop(key, None)
        else:
            assert reply == OUT_OF_MEMORY, reply
            assert not self.evicts

    def whole(self) -> None:
        """The walk over all keys, the counts, now and then another limit, another policy or a flush."""
        (keys, (cursor, scanned), count) = self.send(
            (b"KEYS", b"*"), (b"SCAN", b"0", b"COUNT", b"100000000"), (b"DBSIZE",)
        )
        assert cursor == b"0"
        assert len(keys) == len(set(keys)) >= len(set(scanned)) == len(scanned) >= count
        assert set(keys) <= set(self.model)
        info = fields(self.send((b"INFO", b"memory"))[0])
        assert int(info["used_memory"]) > 0
        pick = self.random.random()
        if pick < 0.15:
            assert self.send((b"FLUSHALL",)) == [b"OK"]
            assert self.send((b"DBSIZE",)) == [0]
            self.model.clear()
        elif pick < 0.5 and self.evicts:
            limit = self.random.choice([b"9mb", b"12mb", b"16mb"])
            assert self.send((b"CONFIG", b"SET", b"maxmemory", limit)) == [b"OK"]
        elif pick < 0.8 and self.evicts:
            policy = self.random.choice([b"allkeys-lru", b"allkeys-s3fifo"])
            assert self.send((b"CONFIG", b"SET", b"maxmemory-policy", policy)) == [b"OK"]


@pytest.mark.timeout(max(120, 2 * SECONDS))
@pytest.mark.parametrize("policy", ["s3fifo", "lru", "noeviction"])
def test_values_stay_right_through_everything(tmp_path: Path, policy: str) -> None:
    """No value is torn, stale, foreign or back from the dead, and nothing is lost that was not evicted or expired."""
    engine = _native.Engine(str(tmp_path / "cache.arena"), 16 * MIB, policy)
    try:
        soak = Soak(engine, seed=sum(policy.encode()), evicts=policy != "noeviction")
        deadline = time.monotonic() + SECONDS
        steps = 0
        while time.monotonic() < deadline:
            soak.step()
            steps += 1
        assert steps > 500
        soak.whole()
        stats = fields(soak.send((b"INFO", b"stats"))[0])
        assert int(stats["expired_keys"]) > 0
        assert (int(stats["evicted_keys"]) > 0) == soak.evicts
        assert (soak.refused > 0) == (policy == "noeviction")
    finally:
        engine.close()


def test_what_was_soaked_is_recovered(tmp_path: Path) -> None:
    """An engine that is closed and opened again, now larger, now smaller, holds what it held or, smaller, a part."""
    path = str(tmp_path / "cache.arena")
    engine = _native.Engine(path, 16 * MIB, "s3fifo")
    soak = Soak(engine, seed=4, evicts=True)
    for capacity in (16, 16, 24, 12, 32, 32):
        for _ in range(400):
            soak.step()
        before = soak.send((b"DBSIZE",))[0]
        engine.close()
        engine = _native.Engine(path, capacity * MIB, "s3fifo")
        soak.engine, soak.connection = engine, _native.Connection(engine)
        (keys,) = soak.send((b"KEYS", b"*"))
        assert set(keys) <= set(soak.model)
        if capacity != 12:
            assert len(keys) > before / 2
        for key in keys:
            soak.check_value(key, soak.send((b"GET", key))[0])
    engine.close()
