"""SIGHUP: what changed takes effect, what did not goes on, and what is wrong changes nothing and says why."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from core_cache.resp_client import RespClient
from tests.installed import install
from tests.servers import free_port, http_status
from tests.waiting import wait_until

PROGRAM = Path(sys.executable).parent / "predis-agent"


class Agent:
    """An agent with an agent.toml that a test rewrites."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data_dir = folder / "data"
        self.settings: dict[str, dict[str, Any]] = {
            "agent": {"data_dir": str(self.data_dir), "interval": "0.5s"},
            "cache": {"port": free_port(), "memory": "64MiB", "arena_dir": str(folder)},
            "http": {"port": free_port()},
            "plugins.prometheus": {"port": free_port()},
        }
        self.write()
        self.log = folder / "agent.log"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PREDIS__")}
        with self.log.open("ab") as output:
            self.process = subprocess.Popen([PROGRAM, "run"], stdout=output, stderr=output, cwd=folder, env=environment)
        self.reloads = 0
        wait_until(self.ready, 30, "the agent's readiness")

    def write(self, text: str | None = None) -> None:
        """Puts the settings, or this text, into agent.toml."""
        if text is None:
            text = "".join(
                f"[{section}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items())
                for section, table in self.settings.items()
            )
        (self.folder / "agent.toml").write_text(text)

    def reload(self, text: str | None = None) -> Any:
        """Writes agent.toml, asks for a reload, and returns what the status says of it."""
        self.write(text)
        self.process.send_signal(signal.SIGHUP)
        self.reloads += 1

        def done() -> Any:
            try:
                state = self.status()["agent"]["config_reload"]
            except OSError:  # the HTTP server moves just now
                return None
            return state if state["reloads"] == self.reloads else None

        return wait_until(done, 30, "the end of the reload")

    def ready(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        return http_status(f"http://127.0.0.1:{self.http_port}/readyz") == 200

    @property
    def http_port(self) -> int:
        port = self.settings["http"]["port"]
        assert isinstance(port, int)
        return port

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}{path}", timeout=5) as answer:
            return json.load(answer)

    def status(self) -> Any:
        return self.get("/api/v1/status")

    def plugin(self, name: str) -> Any:
        return next(entry for entry in self.status()["plugins"] if entry["name"] == name)

    def client(self) -> RespClient:
        return RespClient(self.data_dir / "cache.sock", (self.data_dir / "cache.password").read_text().strip())

    def metric(self, name: str) -> float | None:
        """The value that a Prometheus would scrape now."""
        port = self.settings["plugins.prometheus"]["port"]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith(f"{name} "):
                    return float(line.split()[1])
        return None


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    with running(tmp_path) as agent:
        yield agent


@contextmanager
def running(folder: Path) -> Iterator[Agent]:
    agent = Agent(folder)
    yield agent
    agent.process.terminate()
    try:
        agent.process.wait(20)
    except subprocess.TimeoutExpired:
        agent.process.kill()
        agent.process.wait()
        raise


def command(agent: Agent, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([PROGRAM, *arguments], cwd=agent.folder, capture_output=True, text=True, timeout=60)


def test_a_plan_says_what_would_change_and_changes_nothing(agent: Agent) -> None:
    assert command(agent, "config", "plan").stdout == "nothing would change\n"

    agent.settings["cache"] |= {"policy": "lru"}
    agent.settings["plugins.host_metrics"] = {"interval": "3s"}
    agent.write()
    plan = command(agent, "config", "plan").stdout

    assert 'cache.policy: "s3fifo" → "lru" (' in plan
    assert "cache changed while running\n" in plan
    assert "plugins restarted: host_metrics\n" in plan
    assert agent.status()["cache"]["policy"] == "s3fifo"
    agent.settings["cache"] |= {"memory": "32MiB"}
    agent.write()
    assert "cache changed while running\n" in command(agent, "config", "plan").stdout
    agent.settings["cache"] |= {"memory": "96MiB"}  # more than it was started with
    agent.write()
    assert "cache restarted, its keys stay\n" in command(agent, "config", "plan").stdout
    agent.settings["cache"] |= {"memory": "64MiB", "port": free_port()}
    agent.write()
    assert "cache restarted, its keys stay\n" in command(agent, "config", "plan").stdout


def test_a_configuration_is_applied_from_the_command_line_and_the_outcome_shown(agent: Agent) -> None:
    agent.settings["cache"] |= {"policy": "lru"}
    agent.write()

    done = command(agent, "config", "apply")

    assert (done.returncode, done.stderr) == (0, "")
    assert 'cache.policy: "s3fifo" → "lru"' in done.stdout
    assert agent.status()["cache"]["policy"] == "lru"

    # A plugin's mistake is the agent's to find; the command says what it said, and nothing has changed.
    agent.settings["plugins.host_metrics"] = {"intervall": "3s"}
    agent.write()
    for verb in ("plan", "apply"):
        done = command(agent, "config", verb)
        assert done.returncode != 0
        assert "agent.toml:" in done.stderr
        assert "plugins.host_metrics.intervall" in done.stderr
    assert agent.ready()


SLOW = """
import os, time
from agent.api import PluginConfig, hookimpl

class Config(PluginConfig):
    number: int = 0

class Slow:
    api_version = 1
    Config = Config

    def __init__(self, config):
        self.say("begins")
        time.sleep(0.5)
        self.say("ends")

    def say(self, what):
        with open("constructions", "a") as file:
            file.write(what + "\\n")

    @hookimpl
    def predis_collect(self):
        return []
"""


def test_a_plan_and_a_reload_do_not_prepare_at_the_same_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = install(tmp_path / "site", "slow", {"slow": "slow_plugin:Slow"})
    (site / "slow_plugin.py").write_text(SLOW)
    monkeypatch.setenv("PYTHONPATH", str(site))
    with running(tmp_path) as agent:
        agent.settings["plugins.slow"] = {"number": 1}
        agent.write()
        plans = [
            subprocess.Popen([PROGRAM, "config", "plan"], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
            for _ in range(2)
        ]
        state = agent.reload()
        said = [process.communicate(timeout=60)[0] for process in plans]
    assert state["success"]
    # a plan is of before the reload, or of after it
    assert {text.splitlines()[-1] for text in said} <= {"plugins restarted: slow", "nothing would change"}
    seen = (tmp_path / "constructions").read_text().split()
    assert len(seen) >= 4
    assert seen == ["begins", "ends"] * (len(seen) // 2)


def test_nothing_new_changes_nothing(agent: Agent) -> None:
    before = agent.status()

    state = agent.reload()

    assert (state["success"], state["error"], state["changed"]) == (True, None, [])
    after = agent.status()
    assert after["cache"]["pid"] == before["cache"]["pid"]
    for earlier, later in zip(before["plugins"], after["plugins"], strict=True):
        if earlier["state"] == "disabled":
            continue
        assert later["runs"] >= earlier["runs"] > 0, "plugins that did not change keep their counters"


def test_a_mistake_leaves_all_as_it_is_and_says_file_line_and_key(agent: Agent) -> None:
    pid = agent.status()["cache"]["pid"]
    good = (agent.folder / "agent.toml").read_text()

    state = agent.reload(good + "[plugins.host_metrics]\nintervall = '1s'\n")

    assert not state["success"]
    assert "agent.toml:" in state["error"]
    assert "intervall" in state["error"]
    assert "interval" in state["error"]
    assert agent.status()["cache"]["pid"] == pid
    assert agent.ready()
    wait_until(lambda: agent.metric("predis_config_last_reload_success") == 0.0, 10, "the metric of the failure")
    assert "intervall" in agent.log.read_text()

    state = agent.reload()

    assert state["success"]
    wait_until(lambda: agent.metric("predis_config_last_reload_success") == 1.0, 10, "the metric of the success")


@pytest.mark.parametrize("text", ["[cache\n", "[cache]\nport = 'many'\n", "[cache]\nmemory = '1KiB'\n"])
def test_whatever_is_wrong_the_agent_goes_on(agent: Agent, text: str) -> None:
    state = agent.reload(text)

    assert not state["success"]
    assert "agent.toml" in state["error"]
    assert agent.ready()
    with agent.client() as client:
        assert client.command("PING") == "PONG"


def test_cache_settings_that_can_change_do_so_while_clients_stay(agent: Agent) -> None:
    with agent.client() as client:
        agent.settings["cache"] |= {"memory": "32MiB", "policy": "lru", "max_clients": 77}

        state = agent.reload()

        assert state["success"]
        assert "changed while running" in " ".join(state["changed"])
        assert client.command("CONFIG", "GET", "maxmemory") == [b"maxmemory", str(32 << 20).encode()]
        assert client.command("CONFIG", "GET", "maxclients") == [b"maxclients", b"77"]
        assert client.command("CONFIG", "GET", "maxmemory-policy") == [b"maxmemory-policy", b"allkeys-lru"]


def test_a_new_cache_port_keeps_the_data(agent: Agent) -> None:
    with agent.client() as client:
        client.command("SET", "key", "value")
        password = (agent.data_dir / "cache.password").read_text().strip()
    agent.settings["cache"]["port"] = free_port()

    state = agent.reload()

    assert "restarted" in " ".join(state["changed"])
    with RespClient(("127.0.0.1", agent.settings["cache"]["port"]), password) as client:
        assert client.command("GET", "key") == b"value"
    assert agent.status()["cache"]["restarts_by_reason"] == {"requested": 1}
    # and plugins, which were told the old address, are told the new one
    (restarted,) = (change for change in state["changed"] if change.startswith("plugins restarted: "))
    assert "cache_metrics" in restarted
    wait_until(agent.ready, 10, "the plugins' first deliveries")


def test_a_cache_port_that_is_taken_is_refused_and_the_old_one_serves_on(agent: Agent) -> None:
    old = agent.settings["cache"]["port"]
    with agent.client() as client:
        client.command("SET", "key", "value")
        password = (agent.data_dir / "cache.password").read_text().strip()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        agent.settings["cache"]["port"] = taken.getsockname()[1]

        state = agent.reload()

    assert not state["success"]
    assert str(agent.settings["cache"]["port"]) in state["error"]
    assert "cache.port" in state["error"]
    wait_until(agent.ready, 30, "readiness")
    assert agent.status()["cache"]["port"] == old
    with RespClient(("127.0.0.1", old), password) as client:
        assert client.command("GET", "key") == b"value"


def test_a_password_that_cannot_be_used_is_refused_and_the_cache_serves_on(agent: Agent) -> None:
    # given a cache without a password, and a file for it with none in it
    agent.settings["cache"]["auth"] = False
    assert agent.reload()["success"]
    before = agent.status()["cache"]
    (agent.data_dir / "cache.password").write_text("")

    # when a password is asked for
    agent.settings["cache"]["auth"] = True
    state = agent.reload()

    # then the reload is refused, the cache goes on, and later reloads are heard
    assert not state["success"]
    assert "cache.password is empty" in state["error"]
    after = agent.status()["cache"]
    assert (after["state"], after["auth"], after["pid"]) == ("running", False, before["pid"])
    wait_until(lambda: agent.metric("predis_config_last_reload_success") == 0.0, 10, "the metric of the failure")
    (agent.data_dir / "cache.password").write_text("swordfish\n")
    assert agent.reload()["success"]
    with agent.client() as client:
        assert client.command("PING") == "PONG"


def test_http_moves(agent: Agent) -> None:
    old = agent.settings["http"]["port"]
    agent.settings["http"]["port"] = free_port()

    state = agent.reload()

    assert state["success"]
    assert http_status(f"http://127.0.0.1:{old}/livez") == 0
    assert agent.ready()


def test_http_stays_when_it_cannot_move(agent: Agent) -> None:
    old = agent.settings["http"]["port"]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        agent.settings["http"]["port"] = taken.getsockname()[1]
        agent.write()
        agent.settings["http"]["port"] = old

        state = agent.reload((agent.folder / "agent.toml").read_text())

    assert not state["success"]
    assert "http.port" in state["error"]
    assert "in use" in state["error"]
    assert agent.ready()


def test_a_plugin_is_disabled_and_enabled_again(agent: Agent) -> None:
    runs = agent.plugin("cache_metrics")["runs"]
    agent.settings["plugins.host_metrics"] = {"enabled": False}

    state = agent.reload()

    assert state["changed"][-1] == "plugins stopped: host_metrics"
    assert agent.plugin("host_metrics")["state"] == "disabled"
    assert agent.plugin("cache_metrics")["runs"] >= runs
    assert not [m for m in agent.get("/api/v1/metrics")["metrics"] if m["name"].startswith("predis_host_")]

    del agent.settings["plugins.host_metrics"]
    state = agent.reload()

    assert state["changed"][-1] == "plugins started: host_metrics"
    wait_until(agent.ready, 10, "readiness")
    assert [m for m in agent.get("/api/v1/metrics")["metrics"] if m["name"].startswith("predis_host_")]


def test_the_exporter_moves_to_another_port(agent: Agent) -> None:
    old = agent.settings["plugins.prometheus"]["port"]
    agent.settings["plugins.prometheus"]["port"] = free_port()

    state = agent.reload()

    assert state["changed"][-1] == "plugins restarted: prometheus"
    wait_until(lambda: agent.metric("predis_cache_up") == 1.0, 10, "metrics at the new port")
    assert http_status(f"http://127.0.0.1:{old}/metrics") == 0


def test_another_data_folder_needs_a_restart_and_says_so(agent: Agent) -> None:
    good = dict(agent.settings["agent"])
    agent.settings["agent"]["data_dir"] = str(agent.folder / "elsewhere")

    state = agent.reload()

    assert not state["success"]
    assert "agent.data_dir" in state["error"]
    assert "restart the agent" in state["error"]
    assert not (agent.folder / "elsewhere").exists()
    agent.settings["agent"] = good


def test_the_interval_and_the_log_level_change(agent: Agent) -> None:
    agent.settings["agent"] |= {"interval": "0.1s", "log_level": "debug"}

    state = agent.reload()

    assert [change.partition(" (")[0] for change in state["changed"][:2]] == [
        'agent.interval: "500ms" → "100ms"',
        'agent.log_level: "info" → "debug"',
    ]
    runs = agent.plugin("cache_metrics")["runs"]
    wait_until(lambda: agent.plugin("cache_metrics")["runs"] >= runs + 10, 5, "ten more runs")
    with agent.client() as client:
        assert client.command("CONFIG", "GET", "loglevel") == [b"loglevel", b"debug"]


def test_many_reloads_at_once_end_in_the_newest_configuration(agent: Agent) -> None:
    agent.settings["cache"]["max_clients"] = 99
    agent.write()
    for _ in range(20):
        agent.process.send_signal(signal.SIGHUP)

    wait_until(lambda: agent.status()["cache"]["max_clients"] == 99, 20, "the newest settings")
    assert agent.ready()
