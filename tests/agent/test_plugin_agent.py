"""A real agent among bad plugins: the cache and the good plugin go on, and ``status`` names each culprit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core_cache.resp_client import RespClient
from tests.agent.foreign import GOOD, Foreign, foreign
from tests.agent.test_cli import MAIN, predis_agent
from tests.agent.test_plugin_runner import FLOOD
from tests.servers import ROOT, Server, free_port, stop_cache_of
from tests.waiting import wait_until

__all__ = ["foreign"]

HANG = GOOD.replace("yield Sample(", "import time\n            time.sleep(3600)\n            yield Sample(")
RAISE = GOOD.replace("yield Sample(", "raise OSError('no sensor')\n            yield Sample(")
UNDECLARED = GOOD.replace('Sample("predis_foreign', 'Sample("predis_undeclared')
BROKEN_START = GOOD.replace(
    "@hookimpl\n        def predis_collect",
    "@hookimpl\n        def predis_start(self, host):\n            raise OSError('no link')\n\n"
    "        @hookimpl\n        def predis_collect",
)

UNTYPED = GOOD.replace('"predis_foreign_value", Kind', "None, Kind")
INVALIDATING = GOOD.replace(
    "value: int = 1",
    """value: int = 1

        @__import__("pydantic").field_validator("value")
        @classmethod
        def _checked(cls, value):
            raise KeyError("no such room")""",
)


def own_metric(name: str, code: str) -> str:
    return code.replace("predis_foreign_value", f"predis_{name}_value")


@pytest.fixture
def agent(foreign: Foreign, tmp_path: Path) -> Iterator[Server]:
    """An agent with a good plugin and one of each bad kind, collecting ten times a second."""
    foreign.package("good", own_metric("good", GOOD))
    foreign.package("hanging", own_metric("hanging", HANG))
    foreign.package("raising", own_metric("raising", RAISE))
    foreign.package("flooding", own_metric("flooding", FLOOD))
    foreign.package("undeclared", own_metric("undeclaring", UNDECLARED))
    foreign.package("stillborn", own_metric("stillborn", BROKEN_START))
    foreign.package("quitting", "import sys\nsys.exit(3)")
    foreign.package("misspelt", GOOD.replace("def predis_collect", "def predis_colect"))
    foreign.package("misconfigured")
    foreign.package("untyped", UNTYPED)
    foreign.package("invalidating", INVALIDATING)
    ports = {"cache": free_port(), "http": free_port(), "prometheus": free_port()}
    (tmp_path / "agent.toml").write_text(
        f"""
[agent]
data_dir = "data"
interval = "100ms"
[cache]
port = {ports["cache"]}
memory = "16MiB"
[http]
port = {ports["http"]}
[plugins.prometheus]
port = {ports["prometheus"]}
[plugins.hanging]
deadline = "200ms"
[plugins.misconfigured]
valeu = 1
[plugins.invalidating]
value = 7
[plugins.absent]
"""
    )
    log, data = tmp_path / "agent.log", tmp_path / "data"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", MAIN, "run"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{foreign.folder}"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    server = Server("the agent", process, ports["cache"], data / "cache.sock", data, log, extra=ports)
    try:
        yield server
        server.stop()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        stop_cache_of(server)


def status(folder: Path) -> dict[str, Any]:
    answer = predis_agent("status", "--json", folder=folder)
    return json.loads(answer.stdout) if answer.stdout else {"plugins": []}


def test_bad_plugins_hurt_neither_the_cache_nor_the_others(agent: Server, tmp_path: Path) -> None:
    # when the agent has run for a while with all of them
    def plugins() -> dict[str, dict[str, Any]]:
        return {plugin["name"]: plugin for plugin in status(tmp_path)["plugins"]}

    def all_named() -> bool:
        now = plugins()
        return bool(now) and now["hanging"]["state"] == "hung" and now["raising"]["failures"] >= 3

    wait_until(all_named, 60, "the hanging plugin's state and three failures of the raising one")
    named = plugins()
    # then status names each culprit with its reason
    reasons = {
        "hanging": "longer than its deadline of 0.2 s",
        "raising": "OSError: no sensor",
        "stillborn": "OSError: no link",
        "quitting": "it called sys.exit(3)",
        "misspelt": "there is no hook predis_colect",
        "misconfigured": "unknown key",
        "untyped": "name must be text, not None",
        "invalidating": "cannot be configured: KeyError: 'no such room'",
        "absent": "no installed plugin has this name",
    }
    for name, reason in reasons.items():
        assert reason in named[name]["error"], name
    for name in ("quitting", "misspelt", "misconfigured", "untyped", "invalidating", "absent"):
        assert named[name]["state"] == "failed", name
    assert named["raising"]["state"] in ("backing off", "quarantined", "active")
    assert named["hanging"]["overdue"] == 1
    assert named["flooding"]["series"] == 2000
    assert named["flooding"]["offenders"][0][0] == "predis_flooding_value"
    assert named["undeclared"]["dropped"]["uncatalogued"] > 0
    # and the table for people does so too
    shown = predis_agent("status", folder=tmp_path).stdout
    for name, reason in reasons.items():
        assert any(line.startswith(name) and reason in line for line in shown.splitlines()), name
    # while the good ones, and the shipped ones, go on
    for name in ("good", "cache_metrics", "host_metrics", "prometheus"):
        assert (named[name]["state"], named[name]["failures"], named[name]["error"]) == ("active", 0, None), name
    wait_until(lambda: plugins()["good"]["runs"] > named["good"]["runs"], what="another run of the good plugin")
    # and so does the cache
    assert status(tmp_path)["cache"]["restarts"] == 0
    with RespClient(agent.unix_socket, (agent.data_dir / "cache.password").read_text().strip()) as client:
        assert client.command("SET", "key", "value") == "OK"
        assert client.command("GET", "key") == b"value"
