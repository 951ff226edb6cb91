"""A real agent with a detector of somebody else: from the jump of a number to the incident, its cause and its end."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.history.store import FILE as HISTORY
from agent.incidents.store import FILE as INCIDENTS
from tests.agent.foreign import Foreign, foreign
from tests.agent.test_cli import predis_agent
from tests.servers import Server, start_agent, stop_cache_of
from tests.waiting import wait_until

__all__ = ["foreign"]

SOURCE = """
    import math
    from pathlib import Path

    from agent.api import ConfigPath, Kind, MetricSpec, PluginConfig, Sample, hookimpl

    class Config(PluginConfig):
        file: ConfigPath

    class Plugin:
        api_version = 1
        Config = Config

        def __init__(self, config):
            self.config, self.turn = config, 0

        @hookimpl
        def predis_metric_specs(self):
            return [MetricSpec("predis_test_load", Kind.gauge, "A load.", "", ("tenant",))]

        @hookimpl
        def predis_collect(self):
            self.turn += 1
            value = float(self.config.file.read_text())
            for number in range(5):
                yield Sample("predis_test_load", value + math.sin(self.turn / 5 + number), (f"t{number}",))
"""
DETECTOR = """
    from agent.api import Anomaly, Cause, hookimpl

    class Plugin:
        api_version = 1
        isolation = "process"

        def __init__(self, config):
            self.since, self.points = {}, {}

        @hookimpl
        def predis_detect(self, snapshot):
            for key, sample in snapshot.samples.items():
                if key[0] != "predis_test_load":
                    continue
                points = self.points.setdefault(key, [])
                points.append((snapshot.time, sample.value))
                if sample.value < 50:
                    self.since.pop(key, None)
                    continue
                since = self.since.setdefault(key, snapshot.time)
                yield Anomaly(key, ("tenant",), since, snapshot.time, "shift", sample.value, 0.0, 20.0, 0.999, 1e-9,
                              tuple(points[-100:]))

        @hookimpl
        def predis_causes(self, incident, history):
            key = incident.anomalies[0].series
            seen = len(history.points(key, 0, 1e10))
            yield Cause("origin", 2.0, f"load of {key[1][0]} jumped, as {min(seen, 3)} points and more show", (key,))
"""


def ask(agent: Server, path: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{agent.extra['http']}{path}", timeout=10) as answer:
        return json.load(answer) if "/api/" in path else answer.read().decode()


@pytest.fixture
def level(tmp_path: Path) -> Path:
    path = tmp_path / "level"
    path.write_text("10")
    return path


def start(folder: Path, foreign: Foreign, level: Path) -> Server:
    settings = [f"plugins.source.file={level}", "agent.interval=200ms", "plugins.gpu_metrics.enabled=false"]
    return start_agent(folder, *settings, packages=foreign.folder)


@pytest.fixture
def agent(foreign: Foreign, tmp_path: Path, level: Path) -> Iterator[Server]:
    foreign.package("source", SOURCE)
    foreign.package("seer", DETECTOR)
    running = start(tmp_path, foreign, level)
    yield running
    if running.process.poll() is None:
        running.stop()
    stop_cache_of(running)


def test_a_jump_becomes_one_incident_with_a_cause_that_outlives_a_kill(
    agent: Server, foreign: Foreign, tmp_path: Path, level: Path
) -> None:
    # given an agent that has collected for a while
    wait_until(lambda: len(points(agent)) >= 10, 30, "ten points of history")
    assert ask(agent, "/api/v1/incidents") == {"incidents": []}
    # when a number jumps
    level.write_text("90")
    began = time.time()

    def explained() -> dict[str, Any] | None:
        found = ask(agent, "/api/v1/incidents")["incidents"]
        return found[0] if len(found) == 1 and found[0]["cause"] else None

    line = wait_until(explained, 30, "an incident with its cause")
    # then there is one incident for all five series, soon
    assert line["opened"] - began < 10
    assert line["cause"] == "origin"
    assert "jumped, as 3 points and more show" in line["why"]
    wait_until(lambda: ask(agent, f"/api/v1/incidents/{line['id']}")["series"] == 5, 10, "all five series in it")
    # and the command shows it, with a chart
    options = ["--set", f"http.port={agent.extra['http']}"]
    shown = predis_agent("incidents", "show", line["id"][:12], *options, folder=tmp_path).stdout
    assert "origin: load of" in shown
    assert "█" in shown
    assert "^ began" in shown
    assert line["id"] in predis_agent("incidents", *options, folder=tmp_path).stdout
    assert f"incidents  {line['id']}: predis_test_load" in predis_agent("status", *options, folder=tmp_path).stdout
    # and the pages do
    assert f'<a href="/incidents/{line["id"]}">' in ask(agent, "/status")
    page = ask(agent, f"/incidents/{line['id']}")
    causes, series = page.split("<h2>What is off</h2>")
    assert series.count("<polyline") == 5
    assert causes.count("<polyline") > 0, "the series that speak for a cause are shown with it"
    # and it is counted
    metrics = {metric["name"]: metric["samples"] for metric in ask(agent, "/api/v1/metrics")["metrics"]}
    assert metrics["predis_incidents_total"][0]["value"] == 1
    # and after the agent was killed it is the same one still
    agent.process.send_signal(signal.SIGKILL)
    agent.process.wait()
    stop_cache_of(agent)
    again = start(tmp_path, foreign, level)
    try:
        assert [one["id"] for one in ask(again, "/api/v1/status")["incidents"]["open"]] == [line["id"]]
        wait_until(lambda: ask(again, "/api/v1/status")["incidents"]["anomalies"] >= 5, 20, "it is seen again")
        found = ask(again, "/api/v1/incidents")["incidents"]
        assert [(one["id"], one["closed"]) for one in found] == [(line["id"], None)]
    finally:
        again.stop()
        stop_cache_of(again)


def points(agent: Server) -> list[Any]:
    found = ask(agent, "/api/v1/history?metric=predis_test_load&label.tenant=t3")["series"]
    return found[0]["points"] if found else []


def test_files_full_of_rubbish_and_plugins_that_break_leave_the_rest_as_it_was(
    foreign: Foreign, tmp_path: Path, level: Path
) -> None:
    foreign.package("source", SOURCE)
    foreign.package("seer", DETECTOR.replace("self.since, self.points = {}, {}", "self.since, self.points = {}, None"))
    hanging = DETECTOR.replace("for key, sample", "import time; time.sleep(3600)\n            for key, sample", 1)
    foreign.package("hanging", hanging.replace('isolation = "process"', ""))
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    for name in (HISTORY, INCIDENTS):
        (data / name).write_bytes(b"rubbish" * 1000)
    agent = start(tmp_path, foreign, level)
    try:
        wait_until(lambda: len(points(agent)) >= 10, 30, "ten points of history")
        level.write_text("90")
        wait_until(lambda: points(agent)[-1][1] > 50, 20, "collecting goes on")
        status = ask(agent, "/api/v1/status")
        assert status["health"]["ready"] is True
        assert status["history"]["moved_aside"] == str(data / f"{HISTORY}.broken")
        assert (data / f"{INCIDENTS}.broken").exists()
        plugins = {plugin["name"]: plugin for plugin in status["plugins"]}
        assert plugins["seer"]["failures"] >= 1
        assert "NoneType" in plugins["seer"]["error"]
        assert plugins["source"]["failures"] == 0
        with agent.client() as client:
            assert client.command("SET", "key", "value") == "OK"
    finally:
        agent.stop()
        stop_cache_of(agent)


def test_the_page_of_an_incident_is_drawn_by_a_browser(agent: Server, tmp_path: Path, level: Path) -> None:
    browser = shutil.which("chromium")
    if browser is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    wait_until(lambda: len(points(agent)) >= 20, 30, "twenty points of history")
    level.write_text("90")
    line = wait_until(lambda: ask(agent, "/api/v1/incidents")["incidents"], 30, "an incident")[0]
    picture = tmp_path / "page.png"
    url = f"http://127.0.0.1:{agent.extra['http']}/incidents/{line['id']}"
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    command += [f"--screenshot={picture}", "--window-size=1000,1100", "--hide-scrollbars", url]
    done = subprocess.run(command, check=False, timeout=90, capture_output=True, text=True)
    assert picture.is_file(), done.stderr
    assert picture.stat().st_size > 20_000
