"""A forecast in a real agent leads to an action: the cache is made larger before it is full."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.incidents.audit import log_path, records, verify
from core_cache.resp_client import RespError
from tests.agent.foreign import foreign
from tests.servers import Server
from tests.system.test_incidents import ask
from tests.system.test_rules import World, world
from tests.waiting import wait_until

__all__ = ["foreign", "world"]

MIB = 1 << 20
RATE = MIB * 3 // 4  # bytes a second: 64 MiB are full in less than a minute and a half
HISTORY = 33.0  # seconds: a forecast needs half as much as it looks ahead
RULE = """
[[rule]]
name = "full-soon"
when.forecast = { metric = "predis_memory_used_bytes", of = "predis_memory_max_bytes", reach = "90%", within = "1m" }
then = [{ action = "cache.memory", to = "256MiB", restart = true }]
verify = { within = "60s", threshold = { metric = "predis_memory_max_bytes", op = ">", value = "200MiB" } }
dry_run = false
"""


@contextlib.contextmanager
def filling(agent: Server) -> Iterator[None]:
    """Somebody who stores RATE bytes a second, and goes on when the cache is started again."""
    ended = threading.Event()

    def fill() -> None:
        number, began, value = 0, time.monotonic(), "x" * 8000
        while not ended.is_set():
            with contextlib.suppress(RespError, OSError), agent.client() as client:
                while not ended.wait(max(0.0, number * 8192 / RATE - (time.monotonic() - began))):
                    client.command("SET", f"key:{number}", value)
                    number += 1

    thread = threading.Thread(target=fill, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def used(agent: Server) -> list[tuple[float, float]]:
    found = ask(agent, "/api/v1/history?metric=predis_memory_used_bytes")["series"]
    return [(at, value) for at, value in found[0]["points"]] if found else [(0.0, 0.0)]


@pytest.mark.timeout(200)
def test_what_will_be_full_is_made_larger_before_it_is(world: World, tmp_path: Path) -> None:
    # given a cache that fills, and an agent that has seen it for a while
    world.rules("")
    agent = world.start("cache.memory=64MiB", "agent.interval=500ms", "plugins.forecasting.metrics=[]")
    with filling(agent):
        wait_until(lambda: used(agent)[-1][0] - used(agent)[0][0] > HISTORY, 60, "half a minute of history")
        # when there is a rule on what is to come
        world.rules(RULE)
        assert world.reload()["success"] is True
        # then it fires while there is room still, and acts, and that is verified
        wait_until(lambda: "fired" in world.audit(), 60, "the rule fires")
        assert used(agent)[-1][1] < 0.9 * 64 * MIB
        wait_until(lambda: "ended" in world.audit(), 90, "the rule is done")
    kinds = world.audit()
    assert kinds[-1] == "ended"
    assert "verified" in kinds
    fired = next(record for record in records(log_path(agent.data_dir)) if record["kind"] == "fired")
    assert "predis_memory_used_bytes is expected to reach 57.6 MiB in" in fired["why"]
    assert ask(agent, "/api/v1/status")["cache"]["memory"] == 256 * MIB
    with agent.client() as client:
        assert client.command("GET", "key:0") == b"x" * 8000, "nothing was evicted"
    assert verify(log_path(agent.data_dir)).problems == []
