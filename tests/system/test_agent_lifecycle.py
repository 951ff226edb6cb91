"""The agent as an operator has it: `predis-agent run`, its cache, its HTTP, its signals, its mistakes."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.servers import Server, start_agent, stop_cache_of
from tests.waiting import wait_until

PROGRAM = Path(sys.executable).parent / "predis-agent"


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Server]:
    agent = start_agent(tmp_path, f"cache.arena_dir={tmp_path}")
    yield agent
    try:
        agent.stop()
    finally:
        with contextlib.suppress(FileNotFoundError):  # it ended just now
            stop_cache_of(agent)


def get(agent: Server, path: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{agent.extra['http']}{path}", timeout=5) as answer:
        return json.load(answer)


def run(folder: Path, *settings: str, timeout: float = 30) -> subprocess.CompletedProcess[str]:
    """`predis-agent run` with its data in folder/data, for starts that are expected to fail."""
    defaults = [f"agent.data_dir={folder / 'data'}", "cache.port=0", "cache.memory=16MiB", f"cache.arena_dir={folder}"]
    options = [part for setting in (*defaults, *settings) for part in ("--set", setting)]
    return subprocess.run(
        [PROGRAM, "run", "--no-plugins", *options], capture_output=True, text=True, timeout=timeout, cwd=folder
    )


def cache_pid(agent: Server) -> int:
    return int((agent.data_dir / "cache.pid").read_text())


def test_redis_clients_of_both_protocols_work(agent: Server) -> None:
    for protocol in (2, 3):
        client = redis.Redis(port=agent.port, password=agent.password, protocol=protocol)
        assert client.set(f"key{protocol}", "value")
        assert client.get(f"key{protocol}") == b"value"
        client.close()


def test_it_is_ready_within_two_seconds_and_says_where_everything_is(agent: Server) -> None:
    status = get(agent, "/api/v1/status")
    assert status["agent"]["started_in_seconds"] < 2.0, "cold start to ready"

    wait_until(lambda: "redis-cli" in agent.log_text(), what="the banner")
    banner = agent.log_text()
    assert f'REDISCLI_AUTH="$(cat data/cache.password)" redis-cli -p {agent.port}' in banner
    assert f"http://127.0.0.1:{agent.extra['http']}/api/v1/status" in banner
    assert f"http://127.0.0.1:{agent.extra['prometheus']}/metrics" in banner
    assert banner.count(str(agent.password)) == 1
    for plugin in ("cache_metrics", "host_metrics", "gpu_metrics", "redis_metrics", "prometheus"):
        assert re.search(rf"{plugin} +active", banner), plugin


def test_the_printed_command_line_works_as_it_stands(agent: Server, tmp_path: Path) -> None:
    wait_until(lambda: "redis-cli" in agent.log_text(), what="the banner")
    lines = [line for line in agent.log_text().splitlines() if " redis-cli " in line]
    commands = [line[line.index("REDISCLI_AUTH") :] for line in lines]
    assert len(commands) == 2
    for command in commands:
        done = subprocess.run(
            [*("sh", "-c"), f"{command} PING"], capture_output=True, text=True, cwd=tmp_path, timeout=10
        )
        assert done.stdout.strip() == "PONG", command


def test_metrics_are_full_at_once(agent: Server) -> None:
    metrics = {metric["name"]: metric for metric in get(agent, "/api/v1/metrics")["metrics"]}

    assert metrics["predis_cache_up"]["samples"] == [{"labels": {}, "value": 1}]
    assert len(metrics) >= 25
    with urllib.request.urlopen(f"http://127.0.0.1:{agent.extra['prometheus']}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    assert "predis_cache_up 1.0" in text
    assert "predis_config_last_reload_success 1.0" in text


def test_the_status_document_names_cache_and_plugins(agent: Server) -> None:
    status = get(agent, "/api/v1/status")

    assert status["agent"]["pid"] == agent.pid
    assert status["cache"]["pid"] == cache_pid(agent)
    assert (status["cache"]["state"], status["cache"]["port"], status["cache"]["restarts"]) == (
        "running",
        agent.port,
        0,
    )
    assert status["health"] == {"live": True, "ready": True, "reasons": []}
    assert {plugin["name"]: plugin["state"] for plugin in status["plugins"]} == {
        **dict.fromkeys(
            ("cache_metrics", "gpu_metrics", "host_metrics", "prometheus", "redis_metrics", "origin_metrics"), "active"
        ),
        "remediation": "active",
        "anomaly": "active",
        "forecasting": "active",
        **dict.fromkeys(("cloudwatch", "datadog", "newrelic", "otlp"), "disabled"),
    }
    assert str(agent.password) not in json.dumps(status)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_agent_and_cache_gracefully(agent: Server, number: signal.Signals) -> None:
    pid = cache_pid(agent)
    socket_path = agent.unix_socket

    assert agent.stop(number) == 0

    assert not Path(f"/proc/{pid}").exists()
    assert not socket_path.exists()
    assert not (agent.data_dir / "cache.pid").exists()
    assert "stopped" in agent.log_text()


def test_a_stop_cuts_no_answer_in_two(agent: Server) -> None:
    # given a client whose commands are on their way, the first of them answered
    with socket.create_connection(("127.0.0.1", agent.port), timeout=10) as client:
        client.sendall(b"AUTH %b\r\n" % str(agent.password).encode() + b"SET key value\r\n" * 10_000)
        replies = client.recv(5)

        # when the agent is stopped
        agent.process.send_signal(signal.SIGTERM)

        # then each answer that comes is a whole one, and then the connection is closed
        while data := client.recv(65536):
            replies += data
    assert replies == b"+OK\r\n" * (len(replies) // 5)
    assert agent.process.wait(20) == 0


def test_a_second_signal_stops_at_once(agent: Server) -> None:
    # given a cache that cannot drain
    pid = cache_pid(agent)
    os.kill(pid, signal.SIGSTOP)
    agent.process.send_signal(signal.SIGTERM)
    wait_until(lambda: "stopping" in agent.log_text(), what="the stop to begin")

    start = time.monotonic()
    agent.process.send_signal(signal.SIGTERM)
    status = agent.process.wait(5)

    assert status == 128 + signal.SIGTERM
    assert time.monotonic() - start < 2
    wait_until(lambda: not Path(f"/proc/{pid}").exists() or zombie(pid), 5, "the end of the cache")


def zombie(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def test_what_was_written_is_there_after_a_restart(tmp_path: Path) -> None:
    arena = f"cache.arena_dir={tmp_path}"
    first = start_agent(tmp_path, arena)
    wait_until(lambda: "Predis agent" in first.log_text(), what="the banner")  # or it is stopped before
    with first.client() as client:
        client.command("SET", "key", "value")
    assert first.stop() == 0

    second = start_agent(tmp_path, arena)
    try:
        with second.client() as client:
            assert client.command("GET", "key") == b"value"
        assert second.password == first.password
        wait_until(lambda: second.log_text().count("Predis agent") == 2, what="the second banner")
        banner = second.log_text().rpartition("Predis agent")[2]
        assert str(second.password) not in banner, "a password is shown once"
    finally:
        second.stop()


def test_the_http_port_in_use_is_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run(tmp_path, f"http.port={port}")

    assert done.returncode == 1
    [sentence] = [line for line in done.stderr.splitlines() if " INFO " not in line]
    for part in ("127.0.0.1", str(port), "http.port", "in use"):
        assert part in sentence
    assert not (tmp_path / "data" / "cache.pid").exists()


def test_the_cache_port_in_use_is_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run(tmp_path, f"cache.port={port}", "http.port=0")

    assert done.returncode == 1
    sentence = done.stderr.splitlines()[-1]
    assert str(port) in sentence
    assert "cache.port" in sentence
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "data" / "cache.password").exists(), "nobody has seen that password"


def test_a_missing_arena_folder_is_one_sentence(tmp_path: Path) -> None:
    done = run(tmp_path, f"cache.arena_dir={tmp_path / 'nowhere'}", "http.port=0")

    assert done.returncode == 1
    assert "nowhere does not exist" in done.stderr.splitlines()[-1]
    assert "cache.arena_dir" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("exists", [True, False])
def test_a_data_folder_that_cannot_be_used_is_one_sentence(tmp_path: Path, exists: bool) -> None:
    folder = tmp_path / "file"
    folder.write_text("not a folder")
    data_dir = folder if exists else folder / "below"
    done = run(tmp_path, f"agent.data_dir={data_dir}", "http.port=0")

    assert done.returncode == 1
    assert str(data_dir) in done.stderr.splitlines()[-1]
    assert "agent.data_dir" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_a_stale_socket_and_pid_file_are_replaced(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "cache.pid").write_text("1\n")
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(data / "cache.sock"))

    agent = start_agent(tmp_path, f"cache.arena_dir={tmp_path}")
    try:
        with agent.client() as client:
            assert client.command("PING") == "PONG"
    finally:
        agent.stop()


def test_a_second_agent_on_the_same_data_is_refused(agent: Server, tmp_path: Path) -> None:
    done = run(tmp_path, "http.port=0")

    assert done.returncode == 1
    assert f"another agent (pid {agent.pid})" in done.stderr
    assert get(agent, "/readyz")["ready"]


def test_no_auth_needs_no_password(tmp_path: Path) -> None:
    agent = start_agent(tmp_path, "cache.auth=false", f"cache.arena_dir={tmp_path}")
    try:
        assert redis.Redis(port=agent.port).ping()
        assert not (agent.data_dir / "cache.password").exists()
        wait_until(lambda: f"redis-cli -p {agent.port}\n" in agent.log_text(), what="the banner without a password")
    finally:
        agent.stop()


def test_systemd_hears_ready_watchdog_reload_and_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "400000")
        log = tmp_path / "agent.log"
        log.touch()
        monkeypatch.setenv("JOURNAL_STREAM", f"{log.stat().st_dev}:{log.stat().st_ino}")  # the log is the journal

        def hear(word: str) -> str:
            while word not in (message := manager.recv(4096).decode()):
                pass
            return message

        agent = start_agent(tmp_path, f"cache.arena_dir={tmp_path}")
        try:
            assert "STATUS=ready" in hear("READY=1")
            hear("WATCHDOG=1")
            hear("WATCHDOG=1")
            agent.process.send_signal(signal.SIGHUP)
            assert "MONOTONIC_USEC=" in hear("RELOADING=1")
            hear("READY=1")
            assert b"NOTIFY_SOCKET" not in Path(f"/proc/{cache_pid(agent)}/environ").read_bytes()
            assert str(agent.password) not in agent.log_text(), "no password in the journal"
            # and an agent that makes no progress is not kept alive by its watchdog
            agent.process.send_signal(signal.SIGSTOP)
            manager.setblocking(False)
            with suppress(BlockingIOError):
                while True:
                    manager.recv(4096)
            manager.settimeout(1.5)
            with pytest.raises(TimeoutError):
                manager.recv(4096)
            agent.process.send_signal(signal.SIGCONT)
            manager.settimeout(20)
            hear("WATCHDOG=1")
        finally:
            agent.process.send_signal(signal.SIGCONT)
            assert agent.stop() == 0
        hear("STOPPING=1")


def test_the_agent_is_small(agent: Server) -> None:
    status = Path(f"/proc/{agent.pid}/status").read_text()
    kilobytes = int(re.search(r"VmRSS:\s+(\d+) kB", status)[1])  # type: ignore[index]
    assert kilobytes * 1024 <= 80_000_000, "resident memory with all plugins"
    mapped = Path(f"/proc/{agent.pid}/maps").read_text()
    for heavy in ("numpy", "scipy", "pandas"):
        assert heavy not in mapped, f"{heavy} belongs into analysis workers"
