"""Other settings for a running cache: taken while it runs, or with a warm restart, or not at all."""

import socket
from dataclasses import replace

import pytest

from agent.supervisor import CacheRefused
from core_cache.resp_client import RespClient
from tests.agent.supervised import FAST, MIB, Cache, cache, pid_of
from tests.servers import free_port
from tests.waiting import wait_until

__all__ = ["cache"]


def test_settings_that_are_the_same_change_nothing(cache: Cache) -> None:
    supervisor = cache.running()
    pid = pid_of(supervisor)

    assert supervisor.apply(replace(cache.settings)).result(5) == "unchanged"
    assert pid_of(supervisor) == pid


def test_settings_that_can_change_do_so_without_a_restart(cache: Cache) -> None:
    supervisor = cache.running()
    pid = pid_of(supervisor)

    answer = supervisor.apply(replace(cache.settings, memory=10 * MIB, policy="noeviction", log_level="warning"))

    assert answer.result(5) == "changed while running"
    assert pid_of(supervisor) == pid
    assert cache.command("CONFIG", "GET", "maxmemory-policy")[1] == b"noeviction"
    assert supervisor.status()["memory"] == 10 * MIB


def test_a_new_port_needs_a_restart_that_keeps_the_data(cache: Cache) -> None:
    supervisor = cache.running()
    pid = pid_of(supervisor)
    cache.command("SET", "key", "value")
    port = free_port()

    assert supervisor.apply(replace(cache.settings, port=port)).result(20) == "restarted"

    assert pid_of(supervisor) != pid
    with RespClient(("127.0.0.1", port), cache.files.read_password()) as client:
        assert client.command("GET", "key") == b"value"
    assert cache.reasons == ["requested"]


def test_asking_for_a_password_makes_one_that_no_log_has(cache: Cache) -> None:
    cache.files.password.unlink()
    supervisor = cache.running(replace(cache.settings, auth=False))
    assert not cache.files.password.exists()

    assert supervisor.apply(cache.settings).result(20) == "restarted"

    password = cache.files.read_password()
    assert password
    assert cache.command("PING") == "PONG"
    assert password not in cache.files.log.read_text()


def test_settings_that_the_cache_refuses_are_taken_back(cache: Cache) -> None:
    supervisor = cache.running()
    cache.command("SET", "key", "value")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        wanted = replace(cache.settings, port=taken.getsockname()[1])

        with pytest.raises(CacheRefused, match=r"cache\.port"):
            supervisor.apply(wanted).result(20)

    pid_of(supervisor)
    assert supervisor.settings == cache.settings
    assert cache.command("GET", "key") == b"value"


def test_new_settings_end_a_crash_loop(cache: Cache) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        supervisor = cache.supervisor(
            replace(cache.settings, port=taken.getsockname()[1]),
            timings=replace(FAST, first_delay=60, longest_delay=60),
        )
        wait_until(lambda: supervisor.status()["state"] == "waiting", 20, "the pause")

        assert supervisor.apply(cache.settings).result(20) == "restarted"

    assert cache.command("PING") == "PONG"
