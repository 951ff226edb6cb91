"""A real agent whose plugins hang, leak and crash in processes of their own: nobody else notices."""

from __future__ import annotations

import json
import signal
import threading
import time
from pathlib import Path
from typing import Any

from core_cache.resp_client import RespClient
from tests.agent.foreign import GOOD, Foreign, foreign
from tests.agent.test_cli import predis_agent
from tests.agent.test_plugin_process import collecting, gone
from tests.servers import Server, start_agent, stop_cache_of
from tests.waiting import wait_until

__all__ = ["foreign"]

BAD = {
    "hanging": "import time; time.sleep(3600)",
    "leaking": "self.all = [bytes(1 << 20) for _ in range(1024)]",
    "crashing": "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
}
REASONS = {
    "hanging": "not done after 1s",
    "leaking": "it needs more than its memory_limit of 256MiB",
    "crashing": "it was killed by SIGSEGV",
}


def plugins(agent: Server, folder: Path) -> dict[str, dict[str, Any]]:
    answer = predis_agent("status", "--json", "--set", f"http.port={agent.extra['http']}", folder=folder)
    return {plugin["name"]: plugin for plugin in json.loads(answer.stdout or '{"plugins": []}')["plugins"]}


def test_bad_plugins_in_their_processes_hurt_nobody(foreign: Foreign, tmp_path: Path) -> None:
    # given an agent with a good plugin and a bad one of each kind
    for name, body in BAD.items():
        foreign.package(name, collecting(body).replace("predis_foreign_value", f"predis_{name}_value"))
    foreign.package("good", GOOD, distribution="acme-good")
    settings = [f"plugins.{name}.isolation=process" for name in ("good", *BAD)]
    settings += ["plugins.hanging.deadline=1s", "agent.interval=200ms"]
    agent = start_agent(tmp_path, *settings, wait=False, packages=foreign.folder)
    try:
        wait_until(lambda: "good" in plugins(agent, tmp_path), 60, "the plugins in the status")
        password = (agent.data_dir / "cache.password").read_text().strip()
        slowest, done = [0.0], threading.Event()

        def ask_the_cache() -> None:
            with RespClient(agent.unix_socket, password) as client:
                while not done.is_set():
                    began = time.monotonic()
                    assert client.command("SET", "key", "value") == "OK"
                    slowest[0] = max(slowest[0], time.monotonic() - began)

        client = threading.Thread(target=ask_the_cache)
        client.start()

        # when each bad one has had its process killed for what it did, and another after that
        named: set[str] = set()

        def all_named_and_restarted() -> bool:
            now = plugins(agent, tmp_path)
            if not now:  # the machine is too busy for an answer in time
                return False
            named.update(
                name
                for name, reason in REASONS.items()
                if f"its process was ended in predis_collect: {reason}" in (now[name]["error"] or "")
            )
            return named == set(BAD) and all(now[name]["process"]["restarts"] >= 1 for name in BAD)

        try:
            wait_until(all_named_and_restarted, 90, "the reason and a new process of each bad plugin")
        finally:
            done.set()
            client.join()
        # then each failed
        now = plugins(agent, tmp_path)
        assert all(now[name]["failures"] >= 1 for name in BAD)
        # and the others run as if nothing were, the cache's clients included
        for name in ("good", "host_metrics", "cache_metrics"):
            assert (now[name]["state"], now[name]["failures"], now[name]["error"]) == ("active", 0, None), name
        assert now["good"]["process"]["restarts"] == 0
        assert slowest[0] < 1.0
        # and the lock file has what third parties brought
        lock = json.loads((agent.data_dir / "plugins.lock").read_text())
        assert "acme-good" in {entry["name"] for entry in lock["distributions"]}
        # and with the agent its processes end, even when it is killed
        pid = now["good"]["process"]["pid"]
        agent.process.send_signal(signal.SIGKILL)
        agent.process.wait()
        wait_until(lambda: gone(pid), 5, "the end of the plugin's process")
    finally:
        if agent.process.poll() is None:
            agent.process.kill()
            agent.process.wait()
        stop_cache_of(agent)
