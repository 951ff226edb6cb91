"""The supervisor with the real cache process: whatever happens to that, it comes back, once, and with its data."""

import os
import signal
import socket
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from agent.cache import process as cache_process
from agent.cache.settings import CacheFiles, CacheSettings, command_line
from agent.cache.wanted import CacheRefused
from agent.errors import PredisError
from agent.export.model import Event
from tests.agent.supervised import FAST, Cache, cache, failing, gone, pid_of
from tests.waiting import wait_until

__all__ = ["cache"]


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


def test_the_folder_where_the_agent_was_started_is_not_imported_from(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    (here / "uvloop.py").write_text(f"open({str(here / 'executed')!r}, 'w')")
    monkeypatch.chdir(here)

    cache.running()

    assert cache.command("PING") == "PONG"
    assert not (here / "executed").exists()


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


def test_an_incident_is_told_as_spans(cache: Cache) -> None:
    events: list[Event] = []
    supervisor = cache.running(emit=events.append)
    began = time.time()
    os.kill(pid_of(supervisor), signal.SIGKILL)
    wait_until(lambda: len(events) == 3, 20, "the cache's return")
    down, restart, whole = events
    assert [event.kind for event in events] == ["cache_down", "cache_restart", "cache_restarted"]
    assert "SIGKILL" in down.text
    assert whole.duration is not None
    assert restart.duration is not None
    assert began <= whole.time <= restart.time
    assert 0 < restart.duration <= whole.duration < time.time() - began
    assert whole.attributes == {"reason": "killed", "attempts": "1"}
    number = supervisor.upgrade()
    wait_until(lambda: (supervisor.status()["upgrade"] or {}).get("state") == "done", 20, f"upgrade {number}")
    assert events[3].kind == "cache_upgraded"
    assert len(events) == 4


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
