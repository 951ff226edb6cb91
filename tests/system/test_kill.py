"""What may hurt what: the agent dies and no client notices; the cache dies and is back, warm; plugins hurt nobody."""

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.servers import Server, free_port, http_status, start_agent, stop_cache_of
from tests.system import plugins_of_others
from tests.waiting import wait_until


class Client:
    """A client that sets and gets without pause on one connection, and notes whatever goes wrong."""

    def __init__(self, agent: Server, name: str) -> None:
        self._key = f"client:{name}"
        self.errors: list[str] = []
        self.done = 0
        self.slowest = 0.0
        self._stop = threading.Event()
        self._socket = socket.create_connection(("127.0.0.1", agent.port), timeout=20)
        self._file = self._socket.makefile("rb")
        self._ask(f"AUTH {agent.password}", b"+OK\r\n")
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _ask(self, command: str, *expected: bytes) -> None:
        self._socket.sendall(command.encode() + b"\r\n")
        for line in expected:
            answer = self._file.readline()
            if answer != line:
                raise ConnectionError(f"{command}: {answer!r} where {line!r} was expected")

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                start = time.monotonic()
                value = str(self.done)
                self._ask(f"SET {self._key} {value}", b"+OK\r\n")
                self._ask(f"GET {self._key}", f"${len(value)}\r\n".encode(), value.encode() + b"\r\n")
                self.slowest = max(self.slowest, time.monotonic() - start)
                self.done += 1
                self._stop.wait(0.0005)  # leaves the machine's cores to those whose doings are tested
        except OSError as error:
            self.errors.append(repr(error))

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        self._file.close()
        self._socket.close()

    def more(self, count: int, what: str) -> None:
        """Waits until it did so many more rounds, or failed."""
        goal = self.done + count
        wait_until(lambda: self.done >= goal or self.errors, 30, what)
        assert self.errors == []


@pytest.fixture
def started(tmp_path: Path) -> Iterator[list[Server]]:
    """The agents that a test starts; they end with it, and so do their caches."""
    agents: list[Server] = []
    yield agents
    for agent in agents:
        if agent.process.poll() is None:
            agent.stop()
    for agent in agents:
        with contextlib.suppress(FileNotFoundError):  # it ended just now
            stop_cache_of(agent)


def start(started: list[Server], tmp_path: Path, *settings: str, wait: bool = True) -> Server:
    agent = start_agent(tmp_path, f"cache.arena_dir={tmp_path}", *settings, wait=wait)
    started.append(agent)
    return agent


def start_again(started: list[Server], tmp_path: Path, before: Server, *settings: str) -> Server:
    """Another agent with the same data and the same cache port."""
    agent = start(started, tmp_path, f"cache.port={before.port}", *settings)
    agent.port = before.port
    return agent


def status(agent: Server) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{agent.extra['http']}/api/v1/status", timeout=5) as answer:
        return json.load(answer)


def plugin(agent: Server, name: str) -> Any:
    return next(entry for entry in status(agent)["plugins"] if entry["name"] == name)


def kill(agent: Server) -> None:
    agent.process.kill()
    agent.process.wait()


def test_no_client_notices_that_the_agent_is_killed_and_comes_back(started: list[Server], tmp_path: Path) -> None:
    # given clients at work
    agent = start(started, tmp_path)
    pid = status(agent)["cache"]["pid"]
    clients = [Client(agent, str(number)) for number in range(4)]
    with agent.client() as observer:
        accepted = connections_received(observer)
        try:
            for _ in range(3):
                clients[0].more(100, "work before the kill")
                # when the agent is killed
                kill(agent)
                clients[0].more(200, "work without an agent")
                # and another one comes
                agent = start_again(started, tmp_path, agent)
                clients[0].more(100, "work with the new agent")

                # then it has the very same cache process
                cache = status(agent)["cache"]
                assert (cache["pid"], cache["adopted"], cache["restarts"]) == (pid, True, 0)
        finally:
            for client in clients:
                client.stop()
        # and no client saw an error, or had to connect again; the agents' own connections are all there are
        assert [client.errors for client in clients] == [[], [], [], []]
        assert connections_received(observer) - accepted <= 12


def connections_received(observer: Any) -> int:
    text = observer.command("INFO", "stats").decode()
    return int(next(line for line in text.splitlines() if line.startswith("total_connections_received")).split(":")[1])


def test_whenever_the_agents_are_killed_there_is_one_cache_in_the_end(started: list[Server], tmp_path: Path) -> None:
    # given agents that are killed at any moment of their start, and caches that are killed now and then
    chance = random.Random(7)
    port = free_port()
    for _ in range(8):
        agent = start(started, tmp_path, f"cache.port={port}", wait=False)
        with contextlib.suppress(subprocess.TimeoutExpired):
            agent.process.wait(chance.uniform(0.2, 0.8))  # how long it lives
        kill(agent)
        pids = caches_of(agent)
        assert len(pids) <= 2  # one of two that start at once finds the lock taken, and ends
        if chance.random() < 0.5:
            for pid in pids:
                os.kill(pid, chance.choice([signal.SIGKILL, signal.SIGTERM]))

    # when one is let live
    agent = start(started, tmp_path, f"cache.port={port}")

    # then it has the only cache
    wait_until(lambda: caches_of(agent) == [status(agent)["cache"]["pid"]], what="one cache process")
    assert agent.stop() == 0
    assert caches_of(agent) == []


def caches_of(agent: Server) -> list[int]:
    """The cache processes with this agent's data folder."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            arguments = (folder / "cmdline").read_bytes().split(b"\0")
            if b"core_cache" in arguments and f"--data-dir={agent.data_dir}".encode() in arguments:
                found.append(int(folder.name))
    return found


def test_an_agent_that_adopted_a_cache_stops_it_in_the_end(started: list[Server], tmp_path: Path) -> None:
    agent = start(started, tmp_path)
    pid = status(agent)["cache"]["pid"]
    kill(agent)
    assert Path(f"/proc/{pid}").exists()

    agent = start_again(started, tmp_path, agent)

    assert agent.stop() == 0
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), what="the end of the cache")


def test_an_adopted_cache_takes_what_the_configuration_says_now(started: list[Server], tmp_path: Path) -> None:
    agent = start(started, tmp_path)
    pid = status(agent)["cache"]["pid"]
    kill(agent)

    agent = start_again(started, tmp_path, agent, "cache.memory=32MiB", "cache.policy=lru")

    assert status(agent)["cache"]["pid"] == pid
    with agent.client() as client:
        assert client.command("CONFIG", "GET", "maxmemory") == [b"maxmemory", str(32 << 20).encode()]
        assert client.command("CONFIG", "GET", "maxmemory-policy") == [b"maxmemory-policy", b"allkeys-lru"]


def test_a_killed_cache_comes_back_warm_while_the_agent_goes_on(started: list[Server], tmp_path: Path) -> None:
    agent = start(started, tmp_path)
    client = redis.Redis(port=agent.port, password=agent.password)
    for round_ in range(3):
        client.set(f"key{round_}", "kept")
        pid = status(agent)["cache"]["pid"]

        os.kill(pid, signal.SIGKILL)

        wait_until(lambda pid=pid: status(agent)["cache"]["pid"] not in (pid, None), 10, "another cache process")
        wait_until(lambda: status(agent)["cache"]["state"] == "running", 10, "the cache to run")
        for number in range(round_ + 1):
            assert client.get(f"key{number}") == b"kept"
    assert status(agent)["cache"]["restarts_by_reason"] == {"killed": 3}
    assert agent.process.poll() is None
    wait_until(lambda: http_status(f"http://127.0.0.1:{agent.extra['http']}/readyz") == 200, 30, "readiness")


def test_the_restarts_are_in_the_metrics(started: list[Server], tmp_path: Path) -> None:
    agent = start(started, tmp_path, "agent.interval=0.2s")
    os.kill(status(agent)["cache"]["pid"], signal.SIGKILL)

    def exported() -> bool:
        url = f"http://127.0.0.1:{agent.extra['prometheus']}/metrics"
        with urllib.request.urlopen(url, timeout=5) as answer:
            return b'predis_supervisor_restarts_total{reason="killed"} 1.0' in answer.read()

    wait_until(exported, 20, "the counted restart")


def test_a_cache_that_cannot_come_back_leaves_the_agent_up_and_not_ready(started: list[Server], tmp_path: Path) -> None:
    agent = start(started, tmp_path, "agent.interval=0.2s")
    pid = status(agent)["cache"]["pid"]
    # given that its port will be taken while it is gone: the cache is stopped, so that its place is free
    arena = (agent.data_dir / "cache.arena").resolve()
    saved = arena.with_suffix(".saved")
    os.kill(pid, signal.SIGSTOP)
    arena.rename(saved)
    arena.mkdir()
    os.kill(pid, signal.SIGKILL)

    # then the agent goes on, is not ready, and says why
    ready = f"http://127.0.0.1:{agent.extra['http']}/readyz"
    wait_until(lambda: status(agent)["cache"]["state"] == "waiting", 20, "the crash loop")
    assert http_status(ready) == 503
    assert http_status(ready.replace("readyz", "livez")) == 200
    [reason] = [line for line in status(agent)["health"]["reasons"] if "cache process" in line]
    assert str(arena) in reason
    assert agent.process.poll() is None
    # and when the trouble is over, so is the crash loop
    arena.rmdir()
    saved.rename(arena)
    wait_until(lambda: http_status(ready) == 200, 40, "readiness")


def test_misbehaving_plugins_change_nothing_for_clients_and_are_named(
    started: list[Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugins_of_others.install(tmp_path, monkeypatch)
    agent = start(
        started,
        tmp_path,
        "agent.interval=0.2s",
        "plugins.hanging.deadline=0.5s",
        wait=False,
    )
    wait_until(lambda: http_status(f"http://127.0.0.1:{agent.extra['http']}/livez") == 200, 20, "the agent")
    wait_until(lambda: status(agent)["cache"]["state"] == "running", 20, "the cache")
    wait_until(lambda: len(status(agent)["plugins"]) > 5, 20, "the plugins to be loaded")
    agent.password = (agent.data_dir / "cache.password").read_text().strip()
    client = Client(agent, "bystander")
    try:
        # when one plugin hangs, one crashes, one burns the CPU and one cannot be imported
        wait_until(lambda: plugin(agent, "hanging")["state"] == "hung", 20, "the hung plugin to be named")
        wait_until(lambda: plugin(agent, "crashing")["failures"] >= 2, 20, "the crashing plugin's failures")
        client.more(1000, "work of the client")
    finally:
        client.stop()

    # then clients measure nothing of it
    assert client.errors == []
    assert client.slowest < 0.5
    assert status(agent)["cache"]["restarts"] == 0
    # and each is named with what is wrong, while the others deliver
    assert "crash number" in plugin(agent, "crashing")["error"]
    assert plugin(agent, "broken")["state"] == "failed"
    assert "DoesNotExist" in plugin(agent, "broken")["error"]
    assert plugin(agent, "host_metrics")["error"] is None
    assert plugin(agent, "host_metrics")["last_success_seconds_ago"] < 5
    reasons = " ".join(status(agent)["health"]["reasons"])
    for name in ("hanging", "crashing", "broken"):
        assert name in reasons
    assert agent.stop() == 0
