"""The supervisor with the real cache process: whatever happens to that, it comes back, once, and with its data."""

import fcntl
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from agent.cache import process as cache_process
from agent.cache.process import CacheProcess
from agent.cache.settings import CacheFiles, CacheSettings, command_line
from agent.errors import PredisError
from agent.supervisor import CacheRefused, CacheSupervisor, Timings
from core_cache.resp_client import RespClient, RespError
from tests.servers import free_port
from tests.waiting import wait_until

FAST = Timings(
    look=0.05,
    answer=0.3,
    unresponsive_after=0.5,
    restart_after=1.5,
    start=20.0,
    drain=2.0,
    first_delay=0.1,
    longest_delay=0.4,
    stable_after=60.0,
)
MIB = 1024 * 1024


class Cache:
    """A data folder, what the cache in it is to run with, and the supervisors and processes that a test makes there."""

    def __init__(self, folder: Path) -> None:
        self.files = CacheFiles(folder)
        self.settings = CacheSettings(
            host="127.0.0.1",
            port=0,
            unix_socket=str(folder / "cache.sock"),
            memory=16 * MIB,
            policy="s3fifo",
            auth=True,
            arena_dir=str(folder),
            max_clients=100,
            log_level="info",
        )
        self.files.make_password()
        self.reasons: list[str] = []
        self._supervisors: list[CacheSupervisor] = []
        self._processes: list[CacheProcess] = []

    def supervisor(self, settings: CacheSettings | None = None, **given: Any) -> CacheSupervisor:
        """A supervisor that has been started."""
        given = {"timings": FAST, "restarted": self.reasons.append, **given}
        supervisor = CacheSupervisor(settings or self.settings, self.files, **given)
        self._supervisors.append(supervisor)
        supervisor.start()
        return supervisor

    def running(self, settings: CacheSettings | None = None, **given: Any) -> CacheSupervisor:
        """A supervisor whose cache answers."""
        supervisor = self.supervisor(settings, **given)
        supervisor.first.result(20)
        return supervisor

    def left_behind(self, settings: CacheSettings | None = None, *, noted: bool = True) -> int:
        """The pid of a cache process that answers, as an agent that was killed leaves it."""
        settings = settings or self.settings
        process = cache_process.spawn(command_line(settings, self.files), self.files.log)
        self._processes.append(process)
        if noted:
            self.files.write_arguments(process.pid, settings, settings.memory)
        wait_until(self.files.pid.exists, 20, "the cache process's pid file")
        return process.pid

    def command(self, *arguments: str) -> Any:
        """The answer of the cache to a command."""
        with RespClient(self.settings.unix_socket, self.files.read_password(), timeout=5) as client:
            return client.command(*arguments)

    def clean_up(self) -> None:
        for supervisor in self._supervisors:
            supervisor.stop(20)
        for process in self._processes:
            process.signal(signal.SIGKILL)
            process.reap()


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    cache = Cache(tmp_path)
    yield cache
    cache.clean_up()


def pid_of(supervisor: CacheSupervisor) -> int:
    """The pid of the cache once it runs."""
    wait_until(lambda: supervisor.status()["state"] == "running", 20, "the cache to run")
    pid = supervisor.status()["pid"]
    assert isinstance(pid, int)
    return pid


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def failing(sentence: str, status: int) -> Callable[[CacheSettings, CacheFiles], list[str]]:
    """The command line of a cache process that says a sentence and ends."""
    return lambda settings, files: [
        sys.executable,
        "-c",
        f"import sys; sys.stderr.write({sentence!r} + chr(10)); sys.exit({status})",
    ]


def test_it_starts_the_cache_and_says_how_it_is(cache: Cache) -> None:
    supervisor = cache.running()

    status = supervisor.status()
    assert (status["state"], status["error"], status["restarts"], status["adopted"]) == ("running", None, 0, False)
    assert status["version"] == "0.1.0"
    assert supervisor.trouble is None
    assert supervisor.answered_within(1.0)
    assert cache.command("PING") == "PONG"


def test_a_stop_drains_the_cache_and_leaves_nothing(cache: Cache) -> None:
    supervisor = cache.running()
    pid = pid_of(supervisor)

    assert supervisor.stop(10)

    assert gone(pid)
    assert supervisor.status()["state"] == "stopped"
    assert not cache_process.is_locked(cache.files.lock)
    assert not Path(cache.settings.unix_socket).exists()
    assert "stopped" in cache.files.log.read_text()


def test_the_process_stands_on_its_own_and_holds_no_secret(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREDIS__PLUGINS__X__PASSWORD", "swordfish")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "swordfish")
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/systemd/notify")
    pid = pid_of(cache.running())

    process = Path(f"/proc/{pid}")
    password = cache.files.read_password()
    assert password is not None
    assert os.getsid(pid) == pid
    assert os.readlink(process / "fd/0") == "/dev/null"
    assert os.readlink(process / "fd/1") == os.readlink(process / "fd/2") == str(cache.files.log)
    assert password.encode() not in (process / "cmdline").read_bytes()
    environment = (process / "environ").read_bytes()
    assert password.encode() not in environment
    assert b"swordfish" not in environment
    assert b"NOTIFY_SOCKET" not in environment
    assert password not in cache.files.log.read_text()


def test_a_killed_cache_is_back_at_once_and_warm(cache: Cache) -> None:
    supervisor = cache.running()
    pid = pid_of(supervisor)
    cache.command("SET", "key", "value")

    os.kill(pid, signal.SIGKILL)

    wait_until(lambda: supervisor.status()["pid"] not in (pid, None), 5, "another process")
    assert pid_of(supervisor) != pid
    assert cache.command("GET", "key") == b"value"
    assert cache.reasons == ["killed"]
    assert "SIGKILL" in supervisor.status()["last_exit"]


def test_a_cache_that_somebody_else_stops_is_started_again(cache: Cache) -> None:
    supervisor = cache.running()
    pid = pid_of(supervisor)

    os.kill(pid, signal.SIGTERM)

    wait_until(lambda: supervisor.status()["restarts"] == 1, 10, "the restart")
    assert pid_of(supervisor) != pid
    assert cache.reasons == ["exited"]


def test_a_crash_loop_is_tried_ever_more_slowly_and_says_why(cache: Cache) -> None:
    starts: list[float] = []

    def crashing(settings: CacheSettings, files: CacheFiles) -> list[str]:
        starts.append(time.monotonic())
        return failing("Segmentation fault of the day", 3)(settings, files)

    supervisor = cache.supervisor(command=crashing)
    wait_until(lambda: len(starts) == 6, 20, "six starts")

    pauses = [later - earlier for earlier, later in pairwise(starts)]
    assert pauses[1] >= 0.1  # the first restart is immediate, then 0.1, 0.2, 0.4, 0.4 s
    assert pauses[2] >= 0.2
    assert pauses[3] >= 0.4
    assert 0.4 <= pauses[4] < 0.8
    trouble = supervisor.trouble
    assert trouble is not None
    assert "Segmentation fault of the day" in trouble
    assert "exited with status 3" in trouble
    status = supervisor.status()
    assert status["state"] in ("waiting", "starting")
    assert "Segmentation fault of the day" in status["last_exit"]
    assert not supervisor.answered_within(1000)
    with pytest.raises(PredisError, match="Segmentation fault"):
        supervisor.first.result(0)


def test_a_crash_loop_that_ends_is_over(cache: Cache) -> None:
    attempts = []

    def mended(settings: CacheSettings, files: CacheFiles) -> list[str]:
        attempts.append(1)
        return failing("not yet", 3)(settings, files) if len(attempts) < 3 else command_line(settings, files)

    supervisor = cache.supervisor(command=mended)

    pid_of(supervisor)
    assert supervisor.trouble is None
    assert supervisor.status()["restarts"] == 2


def test_a_program_that_cannot_be_run_is_a_failure_like_others(cache: Cache) -> None:
    supervisor = cache.supervisor(command=lambda settings, files: ["/nonexistent/python"])

    wait_until(lambda: supervisor.trouble, what="the trouble")
    with pytest.raises(PredisError, match="cannot be started"):
        supervisor.first.result(5)
    assert supervisor.stop(5)


def test_a_port_in_use_is_the_caches_sentence_in_the_words_of_agent_toml(cache: Cache) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        supervisor = cache.supervisor(replace(cache.settings, port=port))

        with pytest.raises(CacheRefused) as refused:
            supervisor.first.result(20)

    sentence = str(refused.value)
    assert refused.value.exit_status == 1
    assert str(port) in sentence
    assert "cache.port" in sentence
    assert "--port" not in sentence
    assert "\n" not in sentence


def test_options_that_the_cache_refuses_keep_their_exit_status(cache: Cache) -> None:
    supervisor = cache.supervisor(command=failing("core_cache: --memory 1 is too little", 78))

    with pytest.raises(CacheRefused, match=r"^cache\.memory 1 is too little$") as refused:
        supervisor.first.result(20)
    assert refused.value.exit_status == 78


def test_a_missing_arena_folder_is_one_sentence(cache: Cache, tmp_path: Path) -> None:
    supervisor = cache.supervisor(replace(cache.settings, arena_dir=str(tmp_path / "nowhere")))

    with pytest.raises(CacheRefused, match=r"nowhere does not exist.*cache\.arena_dir"):
        supervisor.first.result(20)


def test_a_cache_that_hangs_is_named_and_then_restarted(cache: Cache) -> None:
    supervisor = cache.running()
    pid = pid_of(supervisor)
    cache.command("SET", "key", "value")

    os.kill(pid, signal.SIGSTOP)

    wait_until(lambda: supervisor.status()["state"] == "unresponsive", 10, "the cache to be unresponsive")
    assert supervisor.status()["pid"] == pid
    assert supervisor.trouble is not None
    assert "does not answer" in supervisor.trouble
    wait_until(lambda: supervisor.status()["restarts"] == 1, 10, "the restart")
    assert pid_of(supervisor) != pid
    assert gone(pid)
    assert cache.reasons == ["unresponsive"]
    assert supervisor.status()["times_unresponsive"] == 1
    assert cache.command("GET", "key") == b"value"


def test_a_cache_that_hangs_for_a_while_only_is_left_alone(cache: Cache) -> None:
    supervisor = cache.running(timings=replace(FAST, restart_after=60.0))
    pid = pid_of(supervisor)

    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: supervisor.status()["state"] == "unresponsive", 10, "the cache to be unresponsive")
    os.kill(pid, signal.SIGCONT)

    assert pid_of(supervisor) == pid
    assert cache.reasons == []
    assert supervisor.trouble is None


def test_a_cache_that_only_the_agent_cannot_reach_is_not_killed(cache: Cache) -> None:
    # given a cache whose heartbeat goes on while the agent's pings are not answered
    supervisor = cache.running(heartbeat=time.monotonic)
    pid = pid_of(supervisor)
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: supervisor.status()["state"] == "unresponsive", 10, "the cache to be unresponsive")

    # when that lasts for longer than a silent cache would be left
    deadline = time.monotonic() + 2 * FAST.restart_after
    wait_until(lambda: time.monotonic() > deadline, 10)

    # then it is still there, and not ready
    assert supervisor.status()["pid"] == pid
    assert supervisor.trouble is not None
    os.kill(pid, signal.SIGCONT)


def test_a_cache_that_does_not_drain_is_killed(cache: Cache) -> None:
    supervisor = cache.running(timings=replace(FAST, drain=0.5))
    pid = pid_of(supervisor)
    os.kill(pid, signal.SIGSTOP)

    assert supervisor.stop(10)

    assert gone(pid)


def test_kill_ends_the_cache_at_once(cache: Cache) -> None:
    supervisor = cache.running()
    pid = pid_of(supervisor)

    supervisor.kill()

    wait_until(lambda: gone(pid), 5, "the end of the cache")
    assert supervisor.stop(5)


def test_a_stop_does_not_wait_for_the_next_attempt(cache: Cache) -> None:
    supervisor = cache.supervisor(command=failing("no", 3), timings=replace(FAST, first_delay=60.0, longest_delay=60.0))
    wait_until(lambda: supervisor.status()["state"] == "waiting", 10, "the pause")

    assert supervisor.stop(2)


# --- a cache process that outlived its agent


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


# --- reload


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


# --- the log


def test_a_long_log_is_kept_once_and_appending_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "cache.log"
    with log.open("ab") as writer:
        writer.write(b"old\n" * 500)
        writer.flush()
        cache_process.limit_log(log, limit=1000)
        writer.write(b"new\n")

    assert log.read_bytes() == b"new\n"
    old = tmp_path / "cache.log.1"
    assert old.read_bytes() == b"old\n" * 500
    assert old.stat().st_mode & 0o777 == 0o600


def test_a_short_log_stays(tmp_path: Path) -> None:
    log = tmp_path / "cache.log"
    log.write_text("short\n")
    cache_process.limit_log(log, limit=1000)
    assert log.read_text() == "short\n"
    assert not (tmp_path / "cache.log.1").exists()


def test_last_words_are_those_of_this_process_alone(tmp_path: Path) -> None:
    log = tmp_path / "cache.log"
    log.write_text("from the one before\n")
    start = log.stat().st_size
    with log.open("a") as file:
        file.write("one\n\ntwo\nthree\n")

    assert cache_process.last_words(log, start, lines=2) == ["two", "three"]
    assert cache_process.last_words(log, start) == ["one", "two", "three"]
    assert cache_process.last_words(tmp_path / "none") == []


def test_the_lock_of_a_dead_process_is_free(tmp_path: Path) -> None:
    lock = tmp_path / "cache.lock"
    lock.touch()

    assert not cache_process.is_locked(lock)
    assert cache_process.find(lock) is None
    assert not cache_process.is_locked(tmp_path / "none")


def test_the_noted_arguments_of_another_process_count_for_nothing(cache: Cache) -> None:
    cache.files.write_arguments(17, cache.settings, 5)

    assert cache.files.read_arguments(17) == (cache.settings, 5)
    assert cache.files.arguments.stat().st_mode & 0o777 == 0o600
    assert cache.files.read_arguments(18) is None
    cache.files.arguments.write_text('{"pid": 18, "capacity": 1, "settings": {"shoe_size": 42}}')
    assert cache.files.read_arguments(18) is None
    with pytest.raises(RespError):
        cache.command("PING")
