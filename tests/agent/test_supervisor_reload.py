"""Other settings for a running cache: taken while it runs, or with a warm restart, or not at all."""

import shlex
import socket
from dataclasses import replace
from typing import Any

import pytest

from agent.cache.settings import CacheFiles, CacheSettings, command_line
from agent.cache.wanted import CacheRefused
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


@pytest.mark.parametrize(
    ("other", "way"),
    [
        ({}, "unchanged"),
        ({"memory": 8 * MIB, "policy": "lru"}, "changed while running"),
        ({"memory": 17 * MIB}, "restarted"),
        ({"huge_pages": "never"}, "restarted"),
    ],
)
def test_what_is_foreseen_is_what_is_done(cache: Cache, other: dict[str, Any], way: str) -> None:
    supervisor = cache.running()
    wanted = replace(cache.settings, **other)
    assert supervisor.foresee(wanted) == way
    assert supervisor.apply(wanted).result(20) == way
    # of memory, what the process was started with counts, and not what it has now
    assert supervisor.foresee(replace(wanted, memory=16 * MIB)) != "restarted"


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


NEVER_STARTED = {
    "is killed": ["sh", "-c", "kill -KILL $$"],
    "fails in a way of its own": ["sh", "-c", "echo 'out of luck' >&2; exit 3"],
    "never answers": ["sleep", "60"],
    "is no program": ["/nonexistent/python"],
}


@pytest.mark.parametrize("command", NEVER_STARTED.values(), ids=NEVER_STARTED.keys())
def test_settings_with_which_the_cache_does_not_come_up_are_taken_back(cache: Cache, command: list[str]) -> None:
    # given a cache that runs, and a reload into settings with which it will not
    port = free_port()
    supervisor = cache.running(
        command=lambda settings, files: command if settings.port == port else command_line(settings, files),
        timings=replace(FAST, start=1.0),
    )
    cache.command("SET", "key", "value")

    # when that is asked for, then the answer is a refusal that says why
    with pytest.raises(CacheRefused, match=r"SIGKILL|out of luck|did not answer|No such file"):
        supervisor.apply(replace(cache.settings, port=port)).result(20)

    # and the cache runs with the old settings and its data
    pid_of(supervisor)
    assert supervisor.settings == cache.settings
    assert supervisor.trouble is None
    assert cache.command("GET", "key") == b"value"


def test_a_password_that_cannot_be_used_is_found_before_the_cache_is_ended(cache: Cache) -> None:
    open_to_all = replace(cache.settings, auth=False)
    supervisor = cache.running(open_to_all)
    pid = pid_of(supervisor)
    cache.files.password.write_text("")

    with pytest.raises(CacheRefused, match=r"cache\.password is empty"):
        supervisor.apply(cache.settings).result(20)

    assert pid_of(supervisor) == pid
    assert supervisor.settings == open_to_all
    # and with a password in it, the same change is made
    cache.files.password.write_text("swordfish\n")
    assert supervisor.apply(cache.settings).result(20) == "restarted"
    assert cache.command("PING") == "PONG"


def test_a_change_that_waits_gives_way_to_the_next(cache: Cache) -> None:
    # given a change into settings with which the cache never answers, though there is much time for it
    port = free_port()
    supervisor = cache.running(
        command=lambda settings, files: ["sleep", "60"] if settings.port == port else command_line(settings, files)
    )
    first = supervisor.apply(replace(cache.settings, port=port))
    wait_until(lambda: supervisor.status()["port"] == port, 10, "the change")
    wait_until(lambda: supervisor.status()["state"] == "starting", 10, "the start")

    # when others are asked for
    second = supervisor.apply(cache.settings)

    # then they are in force long before the first has had its time
    assert second.result(10) == "restarted"
    with pytest.raises(CacheRefused, match="another change"):
        first.result(0)
    assert cache.command("PING") == "PONG"


def test_the_change_under_way_asked_for_again_is_not_begun_again(cache: Cache) -> None:
    starts = []

    def counted(settings: CacheSettings, files: CacheFiles) -> list[str]:
        starts.append(settings)
        return ["sh", "-c", f"sleep 1; exec {shlex.join(command_line(settings, files))}"]

    supervisor = cache.running(command=counted)
    wanted = replace(cache.settings, port=free_port())
    supervisor.apply(wanted)
    wait_until(lambda: len(starts) == 2, 10, "the start")

    assert supervisor.apply(wanted).result(20) == "restarted"

    assert starts == [cache.settings, wanted]


def test_other_settings_need_not_wait_for_the_first_start(cache: Cache) -> None:
    port = free_port()
    supervisor = cache.supervisor(
        replace(cache.settings, port=port),
        command=lambda settings, files: ["sleep", "60"] if settings.port == port else command_line(settings, files),
    )
    wait_until(lambda: supervisor.status()["pid"], 10, "the process that never answers")

    assert supervisor.apply(cache.settings).result(10) == "restarted"

    assert cache.command("PING") == "PONG"


def test_a_stop_answers_the_change_that_waits(cache: Cache) -> None:
    port = free_port()
    supervisor = cache.running(
        command=lambda settings, files: ["sleep", "60"] if settings.port == port else command_line(settings, files)
    )
    answer = supervisor.apply(replace(cache.settings, port=port))
    wait_until(lambda: supervisor.status()["port"] == port, 10, "the change")

    assert supervisor.stop(10)
    with pytest.raises(CacheRefused, match="the agent stops"):
        answer.result(0)


def test_new_settings_end_a_crash_loop(cache: Cache) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        supervisor = cache.supervisor(
            replace(cache.settings, port=taken.getsockname()[1]),
            timings=replace(FAST, first_delay=60, longest_delay=60),
        )
        wait_until(lambda: supervisor.status()["state"] == "waiting", 20, "the pause")

        assert supervisor.apply(cache.settings).result(20) == "restarted"

    assert cache.command("PING") == "PONG"
