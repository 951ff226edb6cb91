"""A real Prometheus for tests: Debian's."""

import json
import shutil
import signal
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests import servers


class PrometheusServer:
    """Debian's Prometheus, scraping one exporter every second; `rules`: a file of rules, evaluated as often;
    `features`: for --enable-feature."""

    def __init__(self, folder: Path, target_port: int, rules: Path | None = None, features: Sequence[str] = ()) -> None:
        program = shutil.which("prometheus")
        assert program is not None
        self.port = servers.free_port()
        config = folder / "prometheus.yml"
        # JSON is YAML, and needs no quoting of our own.
        config.write_text(
            json.dumps(
                {
                    "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
                    "rule_files": [] if rules is None else [str(rules)],
                    "scrape_configs": [
                        {"job_name": "predis", "static_configs": [{"targets": [f"127.0.0.1:{target_port}"]}]}
                    ],
                }
            )
        )
        self.log = folder / "prometheus.log"
        options = [f"--config.file={config}", f"--storage.tsdb.path={folder / 'tsdb'}"]
        options += [f"--web.listen-address=127.0.0.1:{self.port}", "--log.level=warn"]
        options += [f"--enable-feature={','.join(features)}"] if features else []
        with self.log.open("wb") as output:
            self.process = subprocess.Popen([program, *options], stdout=output, stderr=output, cwd=folder)

    def ask(self, path: str, **parameters: str) -> Any:
        """The data of an answer of its HTTP API."""
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            reply = json.load(answer)
        assert reply["status"] == "success", reply
        return reply["data"]

    def value(self, query: str) -> float | None:
        """The one value that a query has, or None while it has none."""
        result = self.ask("query", query=query)["result"]
        assert len(result) <= 1, f"{query} has {len(result)} series"
        return float(result[0]["value"][1]) if result else None

    def ready(self) -> bool:
        assert self.process.poll() is None, f"prometheus ended:\n{self.log.read_text()}"
        return servers.http_status(f"http://127.0.0.1:{self.port}/-/ready") == 200

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
