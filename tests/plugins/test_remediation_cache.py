"""Actions on the hosted cache, which is a real one."""

import itertools
import socket
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from agent.api import Host, Outcome, Plan, PlanOutdated, PredisError
from agent.cache.control import SupervisedCache
from agent.cache.settings import CacheSettings
from core_cache.resp_client import RespClient, RespError
from core_cache.tenants import Tenant, hash_of, to_json
from plugins.remediation.cache_settings import CacheMemory
from plugins.remediation.notes import Notes
from tests.agent.supervised import MIB, Cache, cache, pid_of
from tests.plugins.remediation import Used, action_of, host_in
from tests.servers import Server
from tests.waiting import wait_until

__all__ = ["cache"]


@pytest.fixture
def host(tmp_path: Path, cache_server: Server) -> Host:
    return host_in(tmp_path, cache_server)


def setting(server: Server, name: str) -> str:
    with server.client() as client:
        reply: Any = client.command("CONFIG", "GET", name)
        return str(reply[1].decode())


# --- memory and policy


def test_memory_is_lowered_by_a_percentage_and_put_back(host: Host, cache_server: Server) -> None:
    # given a cache of 64 MiB and a rule that takes a quarter of it
    used = Used(action_of("cache.memory"), host, by_percent=-25, at_least="16MiB")
    # when it is only planned, then nothing changes, and the plan has the real numbers
    assert used.plan() == "would change the cache's memory from 64MiB to 48MiB"
    assert setting(cache_server, "maxmemory") == str(64 * MIB)
    # when it runs, then the cache has less, and undo gives it back
    outcome = used.run()
    assert outcome.done
    assert outcome.detail == "changed the cache's memory from 64MiB to 48MiB"
    assert setting(cache_server, "maxmemory") == str(48 * MIB)
    assert used.undo(outcome).done
    assert setting(cache_server, "maxmemory") == str(64 * MIB)
    assert used.undo(outcome).detail == "the cache's memory is back at 64MiB already"


def test_memory_is_changed_once_under_one_intent(host: Host, cache_server: Server) -> None:
    used = Used(action_of("cache.memory"), host, by_percent=-25, at_least="16MiB")
    assert used.was_done() is False
    used.run()
    again = used.done_before()
    assert again is not None
    assert again.done
    assert again.undo == {"old": 64 * MIB, "new": 48 * MIB}
    assert used.run().undo == {"old": 64 * MIB, "new": 48 * MIB}
    assert setting(cache_server, "maxmemory") == str(48 * MIB)
    # another intent is another use
    assert used.run("rule-1/0002").undo == {"old": 48 * MIB, "new": 36 * MIB}


def test_what_was_planned_is_what_is_done_or_nothing(host: Host, cache_server: Server) -> None:
    used = Used(action_of("cache.memory"), host, by_percent=-25, at_least="16MiB")
    plan = used.plan()
    with cache_server.client() as client:
        client.command("CONFIG", "SET", "maxmemory", str(40 * MIB))
    with pytest.raises(PlanOutdated, match="is 40MiB: it was planned to go from 64MiB to 48MiB"):
        used.run_as(plan)
    assert setting(cache_server, "maxmemory") == str(40 * MIB)
    assert used.was_done() is False
    assert used.run_as(used.plan(), "rule-1/0002").detail.endswith("from 40MiB to 30MiB")


def test_a_change_that_fails_after_it_was_made_has_a_way_back(host: Host, cache_server: Server) -> None:
    class BreaksOff(CacheMemory):
        def set(self, params: Any, old: int, new: int, task: Any) -> str:
            super().set(params, old, new, task)
            raise PredisError("the cache does not answer any more")

    used = Used(BreaksOff(), host, to="48MiB")
    plan = used.plan()
    assert isinstance(plan, Plan)
    # the way back is known before; where nothing was changed it leads to where it is
    back = Outcome(False, "", plan.undo)
    assert used.undo(back).detail == "the cache's memory is back at 64MiB already"
    with pytest.raises(PredisError, match="does not answer"):
        used.run_as(plan)
    assert setting(cache_server, "maxmemory") == str(48 * MIB)
    assert Used(CacheMemory(), host, to="48MiB").undo(back).done
    assert setting(cache_server, "maxmemory") == str(64 * MIB)


def test_a_change_that_would_evict_by_now_is_another_one_than_was_shown(host: Host, cache_server: Server) -> None:
    used = Used(action_of("cache.memory"), host, to="16MiB")
    plan = used.plan()
    with cache_server.client() as client:
        for number in range(40):
            client.command("SET", f"k:{number}", b"x" * MIB)
    with pytest.raises(PlanOutdated, match="keys would be evicted: evicts is True, and was False"):
        used.run_as(plan)
    assert setting(cache_server, "maxmemory") == str(64 * MIB)


def test_no_more_keys_are_evicted_than_were_shown(host: Host, cache_server: Server) -> None:
    used = Used(action_of("cache.evict"), host, prefix="a:", keys=1000)
    with cache_server.client() as client:
        client.pipeline([("SET", f"a:{number}", "x") for number in range(30)])
        plan = used.plan()
        client.pipeline([("SET", f"a:{number}", "x") for number in range(100)])
        assert used.run_as(plan).detail.startswith("deleted 30 keys")
        assert client.command("DBSIZE") == 70
    # so it knows after a crash, too, that it was done when it had deleted so many
    assert isinstance(plan, Plan)
    Notes(host.data_dir).write("rule-1/0001", {"deleted": 30})
    before = used.done_before(plan=plan.facts)
    assert before is not None
    assert before.done


def test_what_somebody_else_has_set_since_stays(host: Host, cache_server: Server) -> None:
    used = Used(action_of("cache.memory"), host, to="32MiB")
    outcome = used.run()
    with cache_server.client() as client:
        client.command("CONFIG", "SET", "maxmemory", str(40 * MIB))
    undone = used.undo(outcome)
    assert not undone.done
    assert "is 40MiB and not 32MiB" in undone.detail
    assert used.was_done() is False
    with pytest.raises(PredisError, match="somebody else has changed it"):
        used.run()
    assert setting(cache_server, "maxmemory") == str(40 * MIB)


def test_memory_never_passes_its_limits(host: Host, cache_server: Server) -> None:
    assert Used(action_of("cache.memory"), host, by_percent=-90, at_least="60MiB").plan().endswith("to 60MiB")
    with pytest.raises(PredisError, match="at_least is 67108864: it goes no further"):
        Used(action_of("cache.memory"), host, by_percent=-10, at_least="64MiB").plan()
    with pytest.raises(PredisError, match="64MiB already"):
        Used(action_of("cache.memory"), host, to="64MiB").run()
    with pytest.raises(PredisError, match="the arena has room for 64MiB"):
        Used(action_of("cache.memory"), host, to="96MiB").run()
    assert setting(cache_server, "maxmemory") == str(64 * MIB)


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ({}, "either `to` or `by_percent`"),
        ({"to": "1GiB", "by_percent": 10}, "either `to` or `by_percent`"),
        ({"by_percent": 10}, "needs `at_most`"),
        ({"by_percent": -10}, "needs `at_least`"),
        ({"by_percent": float("nan"), "at_most": "1GiB"}, "finite"),
        ({"to": "1GiB", "size": 3}, "Extra inputs"),
        ({"to": "12"}, "at least|smaller|too small|under|1MiB"),
    ],
)
def test_keys_that_make_no_sense_are_refused(keys: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        action_of("cache.memory").Params.model_validate(keys)


def test_the_policy_is_switched_and_put_back(host: Host, cache_server: Server) -> None:
    used = Used(action_of("cache.policy"), host, policy="lfu")
    assert used.plan() == "would change the cache's policy from s3fifo to lfu"
    outcome = used.run()
    assert setting(cache_server, "maxmemory-policy") == "allkeys-lfu"
    assert used.done_before() == outcome
    assert used.undo(outcome).done
    assert setting(cache_server, "maxmemory-policy") == "allkeys-s3fifo"


def test_a_cache_that_is_not_there_is_said_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(PredisError, match="the cache does not do it: cannot connect"):
        Used(action_of("cache.policy"), host_in(tmp_path), policy="lru").plan()


# --- by way of the supervisor


SHOP = Tenant("shop", "shop:", 4 * MIB, "0" * 64)


@pytest.fixture
def supervised(tmp_path: Path, cache: Cache) -> tuple[Host, Cache, Any]:
    settings = CacheSettings(**{**vars_of(cache.settings), "tenants": to_json([SHOP])})
    supervisor = cache.running(settings)
    server = Server("the cache", None, 0, Path(settings.unix_socket), cache.files.data_dir, cache.files.log)  # type: ignore[arg-type]
    return host_in(tmp_path, server, SupervisedCache(supervisor)), cache, supervisor


def vars_of(settings: CacheSettings) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in settings.__slots__}


def test_more_memory_than_the_arena_has_takes_a_restart_that_the_rule_allows(supervised: Any) -> None:
    host, cache, supervisor = supervised
    pid = pid_of(supervisor)
    with pytest.raises(PredisError, match=r"takes a restart of the cache process.*restart = true"):
        Used(action_of("cache.memory"), host, by_percent=50, at_most="32MiB").plan()
    used = Used(action_of("cache.memory"), host, by_percent=50, at_most="32MiB", restart=True)
    assert used.plan().endswith("from 16MiB to 24MiB; the cache process would be restarted, warm")
    assert pid_of(supervisor) == pid
    outcome = used.run()
    assert outcome.detail.endswith("from 16MiB to 24MiB; the cache process was restarted, warm")
    assert supervisor.settings.memory == 24 * MIB
    assert cache.command("CONFIG", "GET", "maxmemory") == [b"maxmemory", b"%d" % (24 * MIB)]
    # back down there is room
    pid = pid_of(supervisor)
    assert used.undo(outcome).done
    assert pid_of(supervisor) == pid
    assert supervisor.settings.memory == 16 * MIB


def test_a_change_stays_when_the_cache_is_started_again(supervised: Any) -> None:
    host, cache, _ = supervised
    Used(action_of("cache.policy"), host, policy="noeviction").run()
    Used(action_of("cache.restart"), host).run("rule-2/0001")
    assert cache.command("CONFIG", "GET", "maxmemory-policy")[1] == b"noeviction"
    with pytest.raises(PredisError, match="may evict one tenant's for another's"):
        Used(action_of("cache.policy"), host, policy="lru").plan()


def test_a_tenants_quota_is_changed_and_put_back(supervised: Any) -> None:
    host, cache, _ = supervised
    with pytest.raises(PredisError, match="restart = true"):
        Used(action_of("cache.tenant_quota"), host, tenant="shop", to="6MiB").plan()
    used = Used(action_of("cache.tenant_quota"), host, tenant="shop", to="6MiB", restart=True)
    assert used.action.target(used.params) == "tenant:shop"
    assert "the quota of the tenant shop from 4MiB to 6MiB; the cache process would be restarted" in used.plan()
    cache.command("SET", "shop:1", "x")
    outcome = used.run()
    assert b"tenant_shop:keys=1,bytes=" in cache.command("INFO", "tenants")
    assert b"quota=6291456" in cache.command("INFO", "tenants")
    assert used.undo(outcome).done
    assert b"quota=4194304" in cache.command("INFO", "tenants")
    with pytest.raises(PredisError, match=r"no tenant shap \(did you mean shop\?\)"):
        Used(action_of("cache.tenant_quota"), host, tenant="shap", to="6MiB", restart=True).plan()
    with pytest.raises(PredisError, match="7/8 of the memory"):
        Used(action_of("cache.tenant_quota"), host, tenant="shop", to="15MiB", restart=True).plan()


def test_a_tenant_is_held_to_its_limit_and_let_go_again(tmp_path: Path, cache: Cache) -> None:
    # given a tenant that may send what it likes
    shop = SHOP._replace(password_sha256=hash_of("of the shop"))
    settings = CacheSettings(**{**vars_of(cache.settings), "tenants": to_json([shop])})
    supervisor = cache.running(settings)
    host = host_in(tmp_path, None, SupervisedCache(supervisor))

    def seconds_for_hundred() -> float:
        with RespClient(Path(settings.unix_socket), "of the shop", timeout=10.0, user="shop") as client:
            began = time.monotonic()
            for _ in range(100):
                client.command("GET", "shop:1")
            return time.monotonic() - began

    with pytest.raises(PredisError, match="restart = true"):
        Used(action_of("cache.tenant_limit"), host, tenant="shop", ops_per_second=200).plan()
    with pytest.raises(PredisError, match=r"no tenant shap \(did you mean shop\?\)"):
        Used(action_of("cache.tenant_limit"), host, tenant="shap", ops_per_second=200, restart=True).plan()
    used = Used(action_of("cache.tenant_limit"), host, tenant="shop", ops_per_second=200, restart=True)
    assert used.action.target(used.params) == "tenant:shop"
    assert used.plan() == (
        "would change the limit of the tenant shop from none to 200 commands/s; the cache process would be "
        "restarted, warm"
    )
    cache.command("SET", "shop:1", "x")
    # when the action runs, then a hundred commands take as long as the limit says: a twentieth of it comes at once
    outcome = used.run()
    assert outcome.done
    assert used.done_before() == replace(
        outcome, detail="changed the limit of the tenant shop from none to 200 commands/s"
    )
    assert seconds_for_hundred() >= 0.9 * (100 - 10) / 200
    assert cache.command("GET", "shop:1") == b"x"
    # and its quota is what it was
    assert b"quota=4194304" in cache.command("INFO", "tenants")
    # when it is taken back, then they do not
    assert used.undo(outcome).done
    assert supervisor.settings == settings
    with pytest.raises(PredisError, match="is none already"):
        Used(action_of("cache.tenant_limit"), host, tenant="shop", ops_per_second=0, restart=True).plan()


def test_a_limit_without_a_supervisor_is_refused_in_a_sentence(host: Host) -> None:
    with pytest.raises(PredisError, match="by the agent that supervises the cache, and here is none"):
        Used(action_of("cache.tenant_limit"), host, tenant="shop", ops_per_second=200, restart=True).plan()


def run_id(cache: Cache) -> str:
    fields: bytes = cache.command("INFO", "server")
    return next(line.partition(":")[2] for line in fields.decode().splitlines() if line.startswith("run_id:"))


def test_a_restart_is_done_once_under_one_intent(supervised: Any) -> None:
    host, cache, supervisor = supervised
    cache.command("SET", "key", "value")
    used, pid = Used(action_of("cache.restart"), host), pid_of(supervisor)
    assert used.plan() == f"would restart the cache process {pid}, warm: 1 keys stay, 1 connections end"
    assert used.was_done() is None
    Notes(host.data_dir).write("rule-1/0001", {"run_id": run_id(cache)})  # begun, and then the agent died
    assert used.was_done() is False
    outcome = used.run()
    assert outcome.done
    second = pid_of(supervisor)
    assert second != pid
    assert cache.command("GET", "key") == b"value"
    # the agent died after it and asks again
    assert used.was_done()
    assert used.run().done
    assert pid_of(supervisor) == second


def test_an_upgrade_takes_over(supervised: Any) -> None:
    host, cache, supervisor = supervised
    cache.command("SET", "key", "value")
    used, pid = Used(action_of("cache.upgrade"), host), pid_of(supervisor)
    assert f"take over from the cache process {pid}" in used.plan()
    outcome = used.run()
    assert f"has taken over from {pid}" in outcome.detail
    assert pid_of(supervisor) != pid
    assert cache.command("GET", "key") == b"value"
    assert used.was_done()


def test_without_a_supervisor_there_is_nobody_to_restart_it(host: Host) -> None:
    for name in ("cache.restart", "cache.upgrade"):
        with pytest.raises(PredisError, match="here is none"):
            Used(action_of(name), host).plan()


# --- drain


def is_refused(server: Server) -> bool:
    """Whether a client that connects is told that there are too many."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as client:
        return b"max number of clients reached" in client.recv(100)


def test_a_drained_cache_takes_no_new_clients_until_it_is_opened_again(host: Host, cache_server: Server) -> None:
    used = Used(action_of("cache.drain"), host, wait="200ms")
    with cache_server.client() as stays, cache_server.client() as goes:
        plan = used.plan()
        assert "wait 0.2 s for 2 clients to leave" in plan
        assert isinstance(plan, Plan)
        assert plan.undo == plan.facts == {"max_clients": int(setting(cache_server, "maxclients"))}
        goes.close()
        outcome = used.run()
        assert outcome.done
        assert "of 1 clients 1 stay" in outcome.detail
        assert stays.command("PING") == "PONG"
        assert is_refused(cache_server)
        assert used.was_done()
        with pytest.raises(PredisError, match="takes no new clients already"):
            used.run("rule-1/0002")
    # nobody is there any more, and still nobody gets in
    assert is_refused(cache_server)
    assert used.undo(outcome).detail == "the cache takes clients again, up to 10000"
    with cache_server.client() as client:
        assert client.command("PING") == "PONG"
    assert used.was_done() is False


def test_a_drain_disconnects_who_stays_where_the_rule_says_so(host: Host, cache_server: Server) -> None:
    used = Used(action_of("cache.drain"), host, wait="0s", close=True)
    client = cache_server.client()
    outcome = used.run()
    assert "of 1 clients 1 were disconnected" in outcome.detail
    with pytest.raises(RespError):
        client.command("PING")
    used.undo(outcome)


def test_an_agent_that_lost_its_connection_gets_back_into_a_drained_cache(host: Host, cache_server: Server) -> None:
    # given a drained cache, and another agent, since the one before was killed
    with cache_server.client() as client:
        before = Used(action_of("cache.drain"), host, wait="0s")
        outcome = before.run()
        before.action.close()
        after = Used(action_of("cache.drain"), host, wait="0s")
        # when a client holds the place, then it is tried for until it is free
        assert after.was_done()
        client.close()
    assert after.undo(outcome).done
    assert setting(cache_server, "maxclients") == "10000"


def test_a_drain_that_nobody_waits_for_is_taken_back(host: Host, cache_server: Server) -> None:
    with cache_server.client(), pytest.raises(PredisError, match="takes clients again"):
        Used(action_of("cache.drain"), host, wait="1m").run(cancelled=lambda: True)
    assert setting(cache_server, "maxclients") == "10000"


# --- keys


def fill(server: Server, *prefixes: str, count: int = 1000) -> None:
    with server.client() as client:
        for prefix in prefixes:
            client.pipeline([("SET", f"{prefix}{number}", "x") for number in range(count)])


def count_of(server: Server) -> int:
    with server.client() as client:
        reply = client.command("DBSIZE")
        assert isinstance(reply, int)
        return reply


def test_a_namespace_is_flushed_and_no_other(host: Host, cache_server: Server) -> None:
    # given prefixes with characters that mean something in patterns
    fill(cache_server, "a*:", "ab:", "a[b]:")
    used = Used(action_of("cache.flush_namespace"), host, prefix="a*:", per_second=1_000_000)
    assert used.action.target(used.params) == "prefix:a*:"
    assert used.plan() == "would delete all keys of prefix:a*:: 1000 of them"
    assert count_of(cache_server) == 3000
    assert used.was_done() is False
    assert used.run().detail == "deleted 1000 keys, all of prefix:a*:"
    assert used.was_done()
    assert count_of(cache_server) == 2000
    Used(action_of("cache.flush_namespace"), host, prefix="a[b]:").run()
    with cache_server.client() as client:
        reply: Any = client.command("KEYS", "*")
    assert all(key.startswith(b"ab:") for key in reply)
    assert len(reply) == 1000


def test_the_namespace_of_a_tenant_is_known_by_its_name(supervised: Any) -> None:
    host, cache, _ = supervised
    for key in ("shop:1", "shop:2", "other:1"):
        cache.command("SET", key, "x")
    used = Used(action_of("cache.flush_namespace"), host, tenant="shop")
    assert used.action.target(used.params) == "tenant:shop"
    assert used.run().detail == "deleted 2 keys, all of tenant:shop"
    assert cache.command("KEYS", "*") == [b"other:1"]


def test_eviction_deletes_as_many_as_it_may(host: Host, cache_server: Server) -> None:
    fill(cache_server, "a:", "b:")
    used = Used(action_of("cache.evict"), host, prefix="a:", keys=300, per_second=1_000_000)
    assert used.plan() == "would delete 300 keys that begin with a:"
    assert used.run().detail == "deleted 300 keys that begin with a:"
    assert count_of(cache_server) == 1700
    # the agent died after it: the 300 were all that was allowed
    assert used.was_done()
    used.run()
    assert count_of(cache_server) == 1700


def test_eviction_goes_on_where_a_crash_ended_it(host: Host, cache_server: Server) -> None:
    fill(cache_server, "a:")
    used = Used(action_of("cache.evict"), host, prefix="a:", keys=500, per_second=1_000_000)
    looks = itertools.count()
    with pytest.raises(PredisError, match="nobody waits for it any more"):
        used.run(cancelled=lambda: next(looks) > 1)
    gone = 1000 - count_of(cache_server)
    assert 0 < gone < 500
    assert used.was_done() is False
    used.run()
    assert count_of(cache_server) == 500


def test_only_idle_keys_are_evicted_where_the_rule_says_so(host: Host, cache_server: Server) -> None:
    fill(cache_server, "a:", count=10)
    with cache_server.client() as client:
        wait_until(lambda: client.command("OBJECT", "IDLETIME", "a:1") == 1, what="a second without use")
        client.command("GET", "a:3")
        used = Used(action_of("cache.evict"), host, prefix="a:", keys=100, idle="1s")
        assert used.plan() == "would delete 9 keys that begin with a: and were not used for 1 s"
        used.run()
        assert client.command("KEYS", "*") == [b"a:3"]
        client.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lfu")
        with pytest.raises(PredisError, match="idle keys cannot be told"):
            used.plan()


def test_deleting_keeps_to_its_rate(host: Host, cache_server: Server) -> None:
    fill(cache_server, "a:")
    begun = time.monotonic()
    Used(action_of("cache.flush_namespace"), host, prefix="a:", per_second=2000).run()
    # 1,000 keys in batches of 200 at most: the last one may go after the time of the others
    assert time.monotonic() - begun >= 0.35
    assert count_of(cache_server) == 0


def test_an_empty_prefix_is_no_namespace() -> None:
    for keys in ({}, {"prefix": "a", "tenant": "b"}, {"prefix": ""}):
        with pytest.raises(ValidationError):
            action_of("cache.flush_namespace").Params.model_validate(keys)
    with pytest.raises(ValidationError):
        action_of("cache.evict").Params.model_validate({"prefix": "", "keys": 1})
