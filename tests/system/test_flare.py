"""Secrets planted all over the configuration are nowhere in the archive, in the log, or in the API."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.installed import install
from tests.servers import free_port, http_status
from tests.waiting import wait_until

PROGRAM = Path(sys.executable).parent / "predis-agent"
CANARY = "canary-{}-8d2f61"
LEAKY = """
    import logging
    from agent.api import Kind, MetricSpec, PluginConfig, Sample, hookimpl

    class Config(PluginConfig):
        api_key: str = ""
        header: str = ""
        url: str = ""
        refuse: bool = False

    class Plugin:
        api_version = 1
        Config = Config

        def __init__(self, config):
            self.config, self.runs = config, 0
            if config.refuse:
                raise RuntimeError(f"no key {config.api_key}, no header {config.header}")

        @property
        def note(self):
            return f"with {self.config.header}"

        @hookimpl
        def predis_metric_specs(self):
            return [MetricSpec("predis_leak", Kind.gauge, "A leak.", labels=("url",))]

        @hookimpl
        def predis_start(self, host):
            host.logger.warning("connecting with %r to %s", self.config.api_key, self.config.url)

        @hookimpl
        def predis_collect(self):
            yield Sample("predis_leak", 1, (self.config.url,))
            self.runs += 1
            if self.runs > 1:
                raise RuntimeError(f"403 for Authorization: Bearer {self.config.header} {self.config.api_key!r}")
"""


class Leaking:
    """An agent with a plugin that tells its secrets wherever it can."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        site = install(folder / "site", "leaky", {"leaky": "leaky:Plugin"})
        (site / "leaky.py").write_text(textwrap.dedent(LEAKY))
        (folder / "header").write_text(CANARY.format("file"))
        names = ("key", "url", "tenant", "redis", "user")
        self.canaries = [CANARY.format(name) for name in (*names, "env", "file", "set", "exported")]
        key, url, tenant, redis, user = self.canaries[:5]
        (folder / "agent.toml").write_text(
            f"""
            [agent]
            data_dir = "data"
            interval = "500ms"
            [cache]
            port = {free_port()}
            memory = "64MiB"
            arena_dir = "{folder}"
            [cache.tenants.shop]
            prefix = "shop:"
            memory = "16MiB"
            password = "{tenant}"
            [http]
            port = {self.port}
            [plugins.prometheus]
            port = {free_port()}
            [plugins.redis_metrics]
            urls = ["redis://{user}:{redis}@127.0.0.1:{free_port()}"]
            password = "${{env:CANARY}}"
            [plugins.leaky]
            api_key = "{key}"
            header = "${{file:header}}"
            url = "https://me:{url}@example.invalid/"
            """
        )
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PREDIS__")},
            "PYTHONPATH": str(site),
            "CANARY": CANARY.format("env"),
            "SOME_TOKEN": CANARY.format("exported"),
        }
        self.log = folder / "agent.log"
        secret = f"plugins.redis_metrics.username={CANARY.format('set')}"
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [PROGRAM, "run", "--set", secret], stdout=output, stderr=output, cwd=folder, env=self.environment
            )

    def get(self, path: str, token: str | None = None) -> bytes:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers=headers)
        with urllib.request.urlopen(request, timeout=5) as answer:
            return bytes(answer.read())

    def told(self) -> bool:
        """Whether the plugin has had the chance to tell everything."""
        assert self.process.poll() is None, self.log.read_text()
        if http_status(f"http://127.0.0.1:{self.port}/livez") != 200:
            return False
        plugins = {plugin["name"]: plugin for plugin in json.loads(self.get("/api/v1/status"))["plugins"]}
        return plugins.get("leaky", {}).get("failures", 0) > 0


@pytest.fixture
def leaking(tmp_path: Path) -> Iterator[Leaking]:
    agent = Leaking(tmp_path)
    try:
        wait_until(agent.told, 30, "the plugin's telling all")
        yield agent
    finally:
        agent.process.terminate()
        agent.process.wait(20)


def test_planted_secrets_are_nowhere_to_be_found(leaking: Leaking, tmp_path: Path) -> None:
    data = tmp_path / "data"
    token = (data / "http.token").read_text().strip()
    made = [(data / "cache.password").read_text().strip(), token]
    done = subprocess.run(
        [PROGRAM, "flare", "-o", "flare.zip"], cwd=tmp_path, env=leaking.environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")

    texts = {"the log": leaking.log.read_bytes(), "the command": done.stdout.encode()}
    for path in ("/api/v1/status", "/api/v1/metrics", "/readyz", "/api/v1/config/plan"):
        texts[path] = _get_whatever(leaking, path)
    texts["/api/v1/diagnostics"] = leaking.get("/api/v1/diagnostics", token)
    assert (tmp_path / "flare.zip").stat().st_mode & 0o777 == 0o600
    with zipfile.ZipFile(tmp_path / "flare.zip") as archive:
        assert {"status.json", "metrics.json", "agent.log", "threads.txt", "cache.log"} <= set(archive.namelist())
        assert "errors.txt" not in archive.namelist()
        texts |= {f"flare: {name}": archive.read(name) for name in archive.namelist()}
    for where, text in texts.items():
        found = [secret for secret in (*leaking.canaries, *made) if secret.encode() in text and where != "the log"]
        assert found == [], where
    log = texts["the log"].decode()
    # The new password is shown once, to who started the agent; the log itself has masked what the plugin said.
    assert [secret for secret in leaking.canaries if secret in log] == []
    assert "connecting with '********' to https://me:********@example.invalid/" in log
    assert b"predis_leak" in texts["flare: metrics.json"]


def test_the_secrets_of_a_configuration_that_is_refused_are_nowhere_to_be_found(leaking: Leaking) -> None:
    token = (leaking.folder / "data" / "http.token").read_text().strip()
    new = [CANARY.format("refused"), CANARY.format("header")]
    (leaking.folder / "header").write_text(new[1])
    config = leaking.folder / "agent.toml"
    text = config.read_text().replace(leaking.canaries[0], new[0])
    config.write_text(text.replace("[plugins.leaky]\n", "[plugins.leaky]\nrefuse = true\n"))
    plan = subprocess.run(
        [PROGRAM, "config", "plan"], cwd=leaking.folder, env=leaking.environment, capture_output=True, text=True
    )
    assert plan.returncode != 0
    assert "no key ********, no header ********" in plan.stderr

    leaking.process.send_signal(signal.SIGHUP)

    def refused() -> bytes:
        status = leaking.get("/api/v1/status")
        return status if json.loads(status)["agent"]["config_reload"]["success"] is False else b""

    texts = {"status": wait_until(refused, 30, "the refusal"), "the log": leaking.log.read_bytes()}
    texts["diagnostics"] = leaking.get("/api/v1/diagnostics", token)
    assert b"no key ********, no header ********" in texts["the log"]
    for where, text in texts.items():
        assert [secret for secret in (*new, *leaking.canaries) if secret.encode() in text] == [], where


def test_without_an_agent_the_archive_says_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text(f"[http]\nport = {free_port()}\n")
    done = subprocess.run([PROGRAM, "flare", "-o", "f.zip"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "errors.txt" in done.stdout
    with zipfile.ZipFile(tmp_path / "f.zip") as archive:
        assert "status.json: AgentUnreachable: no agent runs at" in archive.read("errors.txt").decode()
        assert "about.json" in archive.namelist()
    again = subprocess.run([PROGRAM, "flare", "-o", "f.zip"], cwd=tmp_path, capture_output=True, text=True)
    assert again.returncode == 1
    assert "f.zip: file exists; name another with --output" in again.stderr


def _get_whatever(agent: Leaking, path: str) -> bytes:
    try:
        return agent.get(path)
    except urllib.error.HTTPError as error:
        return bytes(error.read())
