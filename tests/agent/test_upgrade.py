"""An upgrade under an agent: asked for over HTTP, done by a new process, or refused with the old one going on."""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.cache.settings import CacheFiles, CacheSettings, command_line
from agent.errors import PredisError
from agent.supervisor import CacheSupervisor
from tests import servers
from tests.agent.supervised import FAST, Cache, cache, gone, pid_of
from tests.core_cache.upgrading import Clients, retrying
from tests.waiting import wait_until

__all__ = ["cache"]


def outcome(supervisor: CacheSupervisor, number: int) -> dict[str, Any]:
    """What became of an upgrade."""

    def done() -> bool:
        upgrade = supervisor.status()["upgrade"]
        assert upgrade["number"] == number
        return upgrade["state"] in ("done", "failed")

    wait_until(done, 30, "the upgrade's end")
    return dict(supervisor.status()["upgrade"])


def upgraded(supervisor: CacheSupervisor) -> dict[str, Any]:
    return outcome(supervisor, supervisor.upgrade())


def only_at_first(broken: list[str]) -> Any:
    """A command line that is good once, and broken for whoever is to take over."""
    count = 0

    def command(settings: CacheSettings, files: CacheFiles) -> list[str]:
        nonlocal count
        count += 1
        return command_line(settings, files) if count == 1 else broken

    return command


def test_a_new_process_serves_what_the_old_one_had(cache: Cache) -> None:
    supervisor = cache.running()
    old = pid_of(supervisor)
    cache.command("SET", "key", "value")

    upgrade = upgraded(supervisor)

    assert upgrade["state"] == "done"
    assert (upgrade["old_pid"], upgrade["pid"]) == (old, pid_of(supervisor))
    assert upgrade["pid"] != old
    assert upgrade["version"] == upgrade["old_version"] == supervisor.status()["version"]
    assert 0 < upgrade["pause_seconds"] < 5
    assert upgrade["keys"] == 1
    assert cache.command("GET", "key") == b"value"
    assert gone(old)
    status = supervisor.status()
    assert (status["upgrades"], status["restarts"], status["last_exit"]) == (1, 0, None)
    assert cache.reasons == []
    assert cache.files.read_arguments(upgrade["pid"]) == (cache.settings, cache.settings.memory)
    assert upgraded(supervisor)["number"] == 2


def test_two_at_once_are_one(cache: Cache) -> None:
    supervisor = cache.running()
    number = supervisor.upgrade()
    with pytest.raises(PredisError, match="under way already"):
        supervisor.upgrade()
    assert outcome(supervisor, number)["state"] == "done"


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        (["/nowhere/python"], "cannot be started"),
        ([sys.executable, "-c", "import sys; sys.exit('core_cache: it is broken')"], "it is broken"),
        ([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"], "was killed by SIGKILL"),
        ([sys.executable, "-c", "raise ImportError('no such library')"], "no such library"),
    ],
)
def test_a_broken_new_version_leaves_the_old_one_serving(cache: Cache, broken: list[str], sentence: str) -> None:
    supervisor = cache.running(command=only_at_first(broken))
    pid = pid_of(supervisor)

    upgrade = upgraded(supervisor)

    assert upgrade["state"] == "failed"
    assert sentence in upgrade["error"]
    assert pid_of(supervisor) == pid
    assert cache.command("PING") == "PONG"
    assert supervisor.status()["restarts"] == 0
    assert cache.files.read_arguments(pid) is not None


def test_one_that_does_not_come_to_asking_is_given_up(cache: Cache) -> None:
    sleeper = [sys.executable, "-c", "import time; time.sleep(600)"]
    supervisor = cache.running(command=only_at_first(sleeper), timings=replace(FAST, take_over=0.5))
    pid = pid_of(supervisor)
    upgrade = upgraded(supervisor)
    assert "had not taken over after 0.5 s" in upgrade["error"]
    assert pid_of(supervisor) == pid


TAKEN_AND_KILLED = """
import core_cache.server, core_cache.__main__, os, signal
take = core_cache.server.take_over
def taken(*given):
    take(*given)
    os.kill(os.getpid(), signal.SIGKILL)
core_cache.server.take_over = taken
raise SystemExit(core_cache.__main__.main())
"""


def test_one_that_fails_after_taking_over_is_followed_by_a_warm_restart(cache: Cache) -> None:
    count = 0

    def command(settings: CacheSettings, files: CacheFiles) -> list[str]:
        nonlocal count
        count += 1
        line = command_line(settings, files)
        return line if count != 2 else [sys.executable, "-c", TAKEN_AND_KILLED, *line[4:]]

    supervisor = cache.running(command=command)
    cache.command("SET", "key", "value")
    upgrade = upgraded(supervisor)
    assert "took over and then failed" in upgrade["error"]
    wait_until(lambda: supervisor.status()["state"] == "running", 20, "the restart")
    assert cache.command("GET", "key") == b"value"
    assert supervisor.status()["restarts_by_reason"] == {"killed": 1}


def test_stopping_in_the_midst_of_it_ends_both(cache: Cache) -> None:
    sleeper = [sys.executable, "-c", "import time; time.sleep(600)"]
    supervisor = cache.running(command=only_at_first(sleeper))
    pid = pid_of(supervisor)
    supervisor.upgrade()
    wait_until(lambda: supervisor.status()["upgrade"]["state"] == "running", 20, "the upgrade's begin")
    assert supervisor.stop(20)
    assert gone(pid)
    assert supervisor.status()["upgrade"]["state"] == "failed"


# --- with an agent


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[servers.Server]:
    """An agent that may be killed."""
    agent = servers.start_agent(tmp_path)
    yield agent
    agent.stop()
    servers.stop_cache_of(agent)


def command(agent: servers.Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`predis-agent` with the settings of this agent."""
    program = Path(sys.executable).parent / "predis-agent"
    settings = [f"--set=agent.data_dir={agent.data_dir}", f"--set=http.port={agent.extra['http']}"]
    environment = {**os.environ, "PYTHONPATH": str(servers.ROOT)}
    return subprocess.run(
        [str(program), *arguments, *settings], capture_output=True, text=True, env=environment, timeout=60, check=False
    )


def post(agent: servers.Server, token: str | None) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", agent.extra["http"], timeout=10)
    with contextlib.closing(connection):
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        connection.request("POST", "/api/v1/cache/upgrade", headers=headers)
        return connection.getresponse().status


def test_the_command_upgrades_under_load(agent: servers.Server) -> None:
    pid = int((agent.data_dir / "cache.pid").read_text())
    clients = Clients(lambda: retrying(agent.port, agent.password), agent.data_dir, writers=2)
    try:
        clients.start()
        wait_until(lambda: clients.counts["writes"] > 100, 60, "traffic")
        done = command(agent, "cache", "upgrade")
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"the cache is upgraded: pid {pid} → ")
        assert "keys kept" in done.stdout
        assert "a pause of" in done.stdout
        done = command(agent, "cache", "upgrade", "--json")
        facts = json.loads(done.stdout)
        assert facts["pid"] == int((agent.data_dir / "cache.pid").read_text())
    finally:
        clients.stop()
    assert clients.errors == []
    assert clients.counts["reconnects"] == 0
    assert clients.lost(retrying(agent.port, agent.password)) == []
    assert "2 upgrades" in command(agent, "status").stdout


def test_http_asks_for_the_token_even_on_loopback(agent: servers.Server) -> None:
    pid = (agent.data_dir / "cache.pid").read_text()
    assert post(agent, None) == 401
    assert post(agent, "x" * 43) == 401
    assert (agent.data_dir / "cache.pid").read_text() == pid
    assert post(agent, (agent.data_dir / "http.token").read_text().strip()) == 202
    files = CacheFiles(agent.data_dir)
    wait_until(lambda: files.pid.exists() and files.pid.read_text() != pid, 30, "the new process")


def test_an_agent_that_is_killed_in_the_midst_of_it_loses_nothing(tmp_path: Path, agent: servers.Server) -> None:
    clients = Clients(lambda: retrying(agent.port, agent.password), agent.data_dir, writers=2)
    try:
        clients.start()
        wait_until(lambda: clients.counts["writes"] > 100, 60, "traffic")
        cache_pid = int((agent.data_dir / "cache.pid").read_text())
        os.kill(cache_pid, signal.SIGSTOP)  # so that the hand-over is yet to come when the agent goes
        assert post(agent, (agent.data_dir / "http.token").read_text().strip()) == 202
        wait_until(
            lambda: json.loads((agent.data_dir / "cache.args.json").read_text())["successor"], 20, "the successor"
        )
        agent.stop(signal.SIGKILL)
        os.kill(cache_pid, signal.SIGCONT)
        wait_until(lambda: gone(cache_pid), 30, "the end of the old process")
        again = servers.start_agent(tmp_path, f"cache.port={agent.port}")
        agent.process, agent.extra = again.process, again.extra
        before = clients.counts["writes"]
        wait_until(lambda: clients.counts["writes"] > before + 100, 60, "traffic under the new agent")
    finally:
        clients.stop()
    assert clients.errors == []
    assert clients.lost(retrying(agent.port, agent.password)) == []
