"""A running agent with an exporter of somebody else's, and a vendor that goes away and comes back."""

import contextlib
import json
import os
import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.servers import Server, start_agent, stop_cache_of
from tests.system import plugins_of_others
from tests.system.test_agent_lifecycle import cache_pid, get
from tests.waiting import wait_until

MODULE = """
import json
import os
from agent.api import ExportConfig, HttpSender, Limits, Temporality, hookimpl

class Vendor:
    api_version = 1
    Config = ExportConfig
    temporality = Temporality.delta

    def __init__(self, config):
        self.config = config
        self.sender = None

    @hookimpl
    def predis_destination(self):
        self.sender = HttpSender(self.config.timeout, self.config.ca_file)
        return self

    def lanes(self, spec):
        return ["points"]

    def event_lanes(self, event):
        return ["events"]

    def limits(self, lane):
        return Limits(50, 1 << 20, 1 << 20, oldest=3600.0)

    def encode(self, batch):
        points = [[s.spec.name, s.labels, getattr(v, "sum", v)] for s, v in zip(batch.series, batch.values)]
        events = [[e.kind, e.time, e.duration] for e in batch.events]
        return json.dumps({"time": batch.time, "points": points, "events": events}).encode()

    def send(self, body):
        return self.sender.post(self.config.endpoint, body.data, {"Key": "0123456789"})

    def close(self):
        self.sender.close()
"""
PLUGINS = {"vendor": "predis_plugins_of_others:Vendor"}


class Intake:
    """The vendor: keeps what it takes, or answers 503."""

    def __init__(self) -> None:
        self.down = False
        self.bodies: list[Any] = []
        intake = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if not intake.down:
                    intake.bodies.append(json.loads(body))
                self.send_response(503 if intake.down else 202)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def events(self) -> list[Any]:
        return [event for body in self.bodies for event in body["events"]]


@pytest.fixture
def intake() -> Iterator[Intake]:
    intake = Intake()
    yield intake
    intake.server.shutdown()
    intake.server.server_close()


def books(agent: Server) -> Any:
    plugins = {plugin["name"]: plugin for plugin in get(agent, "/api/v1/status")["plugins"]}
    told = plugins["vendor"].get("export")
    if told is not None:
        waiting = told["queued"] + told["spooled"]
        assert told["produced"] == told["delivered"] + waiting + sum(told["dropped"].values())
    return told or {}


def test_an_outage_a_kill_and_a_stop_lose_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, intake: Intake
) -> None:
    plugins_of_others.install(tmp_path, monkeypatch, MODULE, PLUGINS)
    port = intake.server.server_address[1]
    settings = (
        f"cache.arena_dir={tmp_path}",
        "agent.interval=200ms",
        f'plugins.vendor.endpoint="http://127.0.0.1:{port}/v1"',
        'plugins.vendor.compression="none"',
        'plugins.vendor.metrics=["predis_commands_total", "predis_export_*", "predis_plugin_*"]',
    )
    agent = start_agent(tmp_path, *settings)
    try:
        wait_until(lambda: "agent_started" in [event[0] for event in intake.events])
        wait_until(lambda: books(agent).get("delivered", 0) > 100)
        # when the cache is killed, the vendor is told of the incident as spans
        wait_until(lambda: get(agent, "/readyz")["ready"])
        os.kill(cache_pid(agent), signal.SIGKILL)
        wait_until(lambda: "cache_restarted" in [event[0] for event in intake.events], 20)
        # when the vendor is away, points wait on the disk
        intake.down = True
        wait_until(lambda: books(agent)["spooled"] > 100)
        # and when the agent is killed meanwhile, they are sent by the next one
        agent.stop(signal.SIGKILL)
        before = len(intake.bodies)
        intake.down = False
        agent = start_agent(tmp_path, *settings)
        wait_until(lambda: books(agent).get("delivered", 0) > 200)
        wait_until(lambda: books(agent)["spooled"] == 0)
        times = [body["time"] for body in intake.bodies[before:] if body["points"]]
        assert times == sorted(times)
        assert agent.stop() == 0
        assert intake.events[-1][0] == "agent_stopping"
        log = agent.log_text()
        assert "0123456789" not in log
        assert "Traceback" not in log
    finally:
        with contextlib.suppress(Exception):
            agent.stop()
        with contextlib.suppress(FileNotFoundError):
            stop_cache_of(agent)
