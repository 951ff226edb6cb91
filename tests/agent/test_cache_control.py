"""What actions do with the cache process by way of its supervisor, with real cache processes."""

import os
import signal
import time
from dataclasses import replace

import pytest

from agent.cache.control import SupervisedCache
from agent.cache.settings import CacheSettings
from agent.errors import PredisError
from core_cache.tenants import Tenant, to_json
from tests.agent.supervised import MIB, Cache, cache, pid_of
from tests.waiting import wait_until

__all__ = ["cache"]

SHOP, SEARCH = Tenant("shop", "shop:", 4 * MIB, "0" * 64), Tenant("search", "search:", 6 * MIB, "0" * 64)


def with_tenants(cache: Cache) -> CacheSettings:
    return replace(cache.settings, tenants=to_json([SHOP, SEARCH]))


def test_facts_are_those_of_the_process(cache: Cache) -> None:
    supervisor = cache.running(with_tenants(cache))
    facts = SupervisedCache(supervisor).facts()
    assert (facts.state, facts.pid, facts.policy) == ("running", pid_of(supervisor), "s3fifo")
    assert facts.memory == facts.capacity == cache.settings.memory
    assert {name: (tenant.prefix, tenant.quota) for name, tenant in facts.tenants.items()} == {
        "shop": ("shop:", 4 * MIB),
        "search": ("search:", 6 * MIB),
    }


def test_a_change_within_the_arena_is_made_while_it_runs_and_outlives_the_process(cache: Cache) -> None:
    supervisor = cache.running()
    control, pid = SupervisedCache(supervisor), pid_of(supervisor)
    assert control.check(memory=10 * MIB, policy="lru") is False
    assert control.change(memory=10 * MIB, policy="lru") == "changed while running"
    assert pid_of(supervisor) == pid
    # what CONFIG SET alone would lose: the process is killed, and the next one runs with the same
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: supervisor.pid not in (None, pid) and supervisor.state == "running", 20, "another process")
    assert cache.command("CONFIG", "GET", "maxmemory") == [b"maxmemory", b"%d" % (10 * MIB)]
    assert cache.command("CONFIG", "GET", "maxmemory-policy")[1] == b"allkeys-lru"


def test_more_than_the_arena_has_room_for_takes_a_warm_restart(cache: Cache) -> None:
    supervisor = cache.running()
    control, pid = SupervisedCache(supervisor), pid_of(supervisor)
    cache.command("SET", "key", "value")
    assert control.check(memory=24 * MIB) is True
    assert control.change(memory=24 * MIB) == "restarted"
    assert pid_of(supervisor) != pid
    assert cache.command("GET", "key") == b"value"
    assert control.facts().capacity == 24 * MIB


def test_a_tenants_quota_is_changed_and_nothing_else_of_it(cache: Cache) -> None:
    supervisor = cache.running(with_tenants(cache))
    control = SupervisedCache(supervisor)
    assert control.check(quotas={"shop": 5 * MIB}) is True
    assert control.change(quotas={"shop": 5 * MIB}) == "restarted"
    assert supervisor.settings.tenants == to_json([SHOP._replace(quota=5 * MIB), SEARCH])
    assert b"tenant_shop:keys=0,bytes=0,quota=5242880" in cache.command("INFO", "tenants")


def test_a_tenants_limit_is_changed_and_nothing_else_of_it(cache: Cache) -> None:
    supervisor = cache.running(with_tenants(cache))
    control = SupervisedCache(supervisor)
    assert control.check(limits={"shop": 500}) is True
    assert control.change(limits={"shop": 500}) == "restarted"
    assert supervisor.settings.tenants == to_json([SHOP._replace(ops_per_second=500), SEARCH])
    assert {name: tenant.ops_per_second for name, tenant in control.facts().tenants.items()} == {
        "shop": 500,
        "search": 0,
    }


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        ({"quotas": {"shop": 12 * MIB}}, "more than 7/8 of the memory"),
        ({"quotas": {"attic": 2 * MIB}}, "no tenant attic; it has search, shop"),
        ({"limits": {"attic": 5}}, "no tenant attic; it has search, shop"),
        ({"limits": {"shop": -5}}, "it is negative"),
        ({"policy": "lru"}, "may evict one tenant's for another's"),
        ({"policy": "mru"}, "no eviction policy"),
        ({"memory": MIB}, "too little"),
    ],
)
def test_what_no_cache_can_run_with_is_refused_before_anything_is_ended(cache: Cache, wanted: dict, why: str) -> None:  # type: ignore[type-arg]
    supervisor = cache.running(with_tenants(cache))
    control, pid = SupervisedCache(supervisor), pid_of(supervisor)
    for attempt in (control.check, control.change):
        with pytest.raises(PredisError, match=why):
            attempt(**wanted)
    assert pid_of(supervisor) == pid
    assert supervisor.settings == with_tenants(cache)


def test_a_restart_keeps_the_keys_and_the_settings(cache: Cache) -> None:
    supervisor = cache.running()
    control, pid = SupervisedCache(supervisor), pid_of(supervisor)
    cache.command("SET", "key", "value")
    control.restart()
    assert pid_of(supervisor) != pid
    assert cache.command("GET", "key") == b"value"
    assert supervisor.settings == cache.settings
    assert cache.reasons == ["requested"]
    # and that was one restart: other settings after it are taken while it runs
    assert control.change(policy="lfu") == "changed while running"


def test_only_a_cache_that_runs_is_restarted_or_upgraded(cache: Cache) -> None:
    supervisor = cache.running()
    control = SupervisedCache(supervisor)
    supervisor.stop(20)
    with pytest.raises(PredisError, match="the cache is stopped"):
        control.restart()
    with pytest.raises(PredisError, match="the cache is stopped"):
        control.upgrade()


def test_an_upgrade_says_who_took_over(cache: Cache) -> None:
    supervisor = cache.running()
    pid = pid_of(supervisor)
    cache.command("SET", "key", "value")
    said = SupervisedCache(supervisor).upgrade()
    assert said.startswith(f"process {pid_of(supervisor)}, version ")
    assert f"has taken over from {pid}" in said
    assert cache.command("GET", "key") == b"value"


def test_who_is_not_waited_for_any_more_waits_no_longer(cache: Cache) -> None:
    # given a cache that is slow to end
    supervisor = cache.running()
    os.kill(pid_of(supervisor), signal.SIGSTOP)
    try:
        begun = time.monotonic()
        with pytest.raises(PredisError, match="nobody waits for the cache any more"):
            SupervisedCache(supervisor).restart(cancelled=lambda: True)
        assert time.monotonic() - begun < 5
    finally:
        supervisor.kill()
