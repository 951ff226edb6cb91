"""A cache process that outlived its agent is taken over by the next one, and there are never two."""

import fcntl
import os
import signal
import time
from dataclasses import replace
from typing import Any

import pytest

from agent.cache import process as cache_process
from agent.cache.settings import CacheFiles, CacheSettings, command_line
from core_cache.resp_client import RespClient
from tests.agent.supervised import FAST, MIB, Cache, cache, gone, pid_of
from tests.waiting import wait_until

__all__ = ["cache"]


def test_a_running_cache_is_taken_over(cache: Cache) -> None:
    pid = cache.left_behind()

    supervisor = cache.running()

    status = supervisor.status()
    assert (status["pid"], status["adopted"], status["restarts"]) == (pid, True, 0)
    assert cache.command("PING") == "PONG"


def test_an_adopted_cache_is_watched_and_stopped_like_any_other(cache: Cache) -> None:
    pid = cache.left_behind()
    supervisor = cache.running()

    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: supervisor.status()["restarts"] == 1, 10, "the restart")
    second = pid_of(supervisor)

    assert second != pid
    assert supervisor.stop(10)
    assert gone(second)


def test_a_cache_that_is_just_starting_is_waited_for(cache: Cache) -> None:
    process = cache_process.spawn(command_line(cache.settings, cache.files), cache.files.log)
    try:
        cache.files.write_arguments(process.pid, cache.settings, cache.settings.memory)
        wait_until(lambda: cache.files.lock.exists() and cache_process.is_locked(cache.files.lock), 20, "the lock")

        assert cache.running().status()["pid"] == process.pid
    finally:
        cache.clean_up()
        process.reap()


@pytest.mark.parametrize("pid_file", [None, "1\n", b"\xff"], ids=["no pid file", "that of another", "garbage"])
def test_one_that_is_not_done_with_its_start_has_more_time(cache: Cache, pid_file: str | bytes | None) -> None:
    # given a cache process that holds the lock and recovers a large arena, and the pid file of one before it
    if pid_file is not None:
        cache.files.pid.write_bytes(pid_file if isinstance(pid_file, bytes) else pid_file.encode())
    cache.files.lock.touch()
    holder = cache_process.spawn(["flock", "--no-fork", str(cache.files.lock), "sleep", "60"], cache.files.log)
    cache.files.write_arguments(holder.pid, cache.settings, cache.settings.memory)
    wait_until(lambda: cache_process.is_locked(cache.files.lock), 10, "the lock")
    try:
        # when an agent starts whose patience with one that is done is short
        supervisor = cache.supervisor(timings=replace(FAST, restart_after=0.2))
        wait_until(lambda: supervisor.status()["pid"] == holder.pid, 10, "the holder to be found")
        deadline = time.monotonic() + 1.0
        wait_until(lambda: time.monotonic() > deadline, 10)

        # then it is still waited for
        assert holder.alive()
        assert supervisor.status()["state"] == "starting"
    finally:
        cache_process.end(holder, signal.SIGKILL, 10)
        holder.reap()


def test_other_settings_need_not_wait_for_one_that_does_not_answer(cache: Cache) -> None:
    pid = cache.left_behind()
    os.kill(pid, signal.SIGSTOP)
    supervisor = cache.supervisor(timings=replace(FAST, restart_after=30.0))
    wait_until(lambda: supervisor.status()["pid"] == pid, 10, "the process to be found")

    answer = supervisor.apply(replace(cache.settings, max_clients=50))
    wait_until(lambda: supervisor.status()["max_clients"] == 50, 10, "the change to be taken up")
    os.kill(pid, signal.SIGCONT)

    assert answer.result(20) == "restarted"
    assert pid_of(supervisor) == pid
    assert cache.command("CONFIG", "GET", "maxclients")[1] == b"50"


def test_an_adopted_cache_gets_changed_settings_while_it_runs(cache: Cache) -> None:
    pid = cache.left_behind()

    supervisor = cache.running(replace(cache.settings, memory=12 * MIB, policy="lru", max_clients=50))

    assert supervisor.status()["pid"] == pid
    assert cache.command("CONFIG", "GET", "maxmemory")[1] == str(12 * MIB).encode()
    assert cache.command("CONFIG", "GET", "maxclients")[1] == b"50"
    noted = cache.files.read_arguments(pid)
    assert noted is not None
    assert (noted[0].memory, noted[0].policy, noted[1]) == (12 * MIB, "lru", 16 * MIB)


@pytest.mark.parametrize("change", [{"memory": 32 * MIB}, {"unix_socket": "other.sock"}, {"auth": False}])
def test_an_adopted_cache_is_restarted_warm_for_other_settings(cache: Cache, change: dict[str, Any]) -> None:
    pid = cache.left_behind()
    cache.command("SET", "key", "value")
    if "unix_socket" in change:
        change = {"unix_socket": str(cache.files.data_dir / "other.sock")}

    wanted = replace(cache.settings, **change)
    supervisor = cache.running(wanted)

    assert pid_of(supervisor) != pid
    assert cache.reasons == ["requested"]
    password = cache.files.read_password() if wanted.auth else None
    with RespClient(wanted.unix_socket, password, timeout=5) as client:
        assert client.command("GET", "key") == b"value"


def test_a_cache_that_no_agent_started_is_restarted_with_the_agents_settings(cache: Cache) -> None:
    pid = cache.left_behind(noted=False)

    supervisor = cache.running()

    assert pid_of(supervisor) != pid
    assert cache.reasons == ["requested"]


def test_a_cache_from_before_that_hangs_is_replaced(cache: Cache) -> None:
    pid = cache.left_behind()
    os.kill(pid, signal.SIGSTOP)

    supervisor = cache.supervisor()

    wait_until(lambda: supervisor.status()["restarts"] == 1, 20, "the restart")
    assert pid_of(supervisor) != pid
    assert cache.reasons == ["unresponsive"]


def test_there_are_never_two_writers(cache: Cache) -> None:
    # given a lock that is held, by this very process
    started = []

    def spy(settings: CacheSettings, files: CacheFiles) -> list[str]:
        started.append(1)
        return command_line(settings, files)

    lock = os.open(cache.files.lock, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)

    # when the agent starts
    supervisor = cache.supervisor(command=spy, timings=replace(FAST, restart_after=0.3))
    wait_until(lambda: supervisor.status()["error"], 10, "the reason")

    # then it starts nothing, ends nobody, and names who is in the way
    assert started == []
    assert f"process {os.getpid()}" in supervisor.status()["error"]
    # and once the lock is free, the cache runs
    os.close(lock)
    pid_of(supervisor)
    assert started == [1]


def test_nobody_is_signalled_who_only_holds_the_lock(cache: Cache) -> None:
    lock = os.open(cache.files.lock, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    received: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    try:
        supervisor = cache.supervisor(timings=replace(FAST, restart_after=0.3))
        wait_until(lambda: supervisor.status()["error"], 10, "the reason")
        assert supervisor.stop(5)
        assert received == []
    finally:
        signal.signal(signal.SIGTERM, before)
        os.close(lock)


def test_two_cache_processes_on_one_folder_do_not_both_run(cache: Cache) -> None:
    pid = cache.left_behind()

    second = cache_process.spawn(command_line(cache.settings, cache.files), cache.files.log)
    wait_until(lambda: not second.alive(), 20, "the end of the second process")

    assert second.reap() == 1
    assert not gone(pid)
    assert "Another cache process" in cache_process.last_words(cache.files.log)[-1]
