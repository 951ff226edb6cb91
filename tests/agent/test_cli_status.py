"""``status`` tells the truth: of an agent's answer, and of every way to get none."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from agent.cli import client
from agent.cli.tables import print_pairs, print_table
from tests.agent.test_cli import predis_agent

ANSWER: dict[str, Any] = {
    "agent": {
        "version": "0.1.0",
        "pid": 4711,
        "uptime_seconds": 3725.2,
        "config_file": "/etc/predis/agent.toml",
        "config_reload": {"error": "agent.toml:7: no"},
        "data_dir": "/var/lib/predis",
    },
    "cache": {"state": "running", "pid": 4712, "port": 6379, "memory": 1 << 30, "restarts": 2, "error": "no room"},
    "plugins": [
        {
            "name": "weather",
            "state": "active",
            "last_success_seconds_ago": 2.31,
            "runs": 1200,
            "failures": 0,
            "overdue": 0,
            "series": 17,
            "dropped": {"flood": 3, "labels": 1},
            "offenders": [["predis_foreign_value", "flood", 3]],
            "error": None,
        },
        {
            "name": "stuck",
            "state": "hung",
            "last_success_seconds_ago": None,
            "runs": 1,
            "error": "[bold]too slow",
            "retry_in": 61.2,
        },
        {
            "name": "vendor",
            "state": "active",
            "runs": 5,
            "error": None,
            "export": {
                "delivered": 1234567,
                "queued": 20,
                "spooled": 3000,
                "spool_bytes": 5 << 19,
                "spool_age_seconds": 75.0,
                "dropped": {"http_403": 7},
                "hung_for": 31.0,
                "failures_in_a_row": 6,
                "retry_in": 12.0,
                "last_error": "busy",
                "bill": {"dollars_a_month": 12.5, "series": 9, "charges": []},
            },
        },
    ],
    "health": {"live": True, "ready": True, "reasons": []},
}


@contextmanager
def agent_that_answers(answer: object, token: str | None = None, status: int = 200) -> Iterator[int]:
    """An HTTP server on loopback that gives this answer as the agent's API does; yields its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            authorized = token is None or self.headers["Authorization"] == f"Bearer {token}"
            found = self.path == "/api/v1/status"
            self.send_response(status if found and authorized else 401 if found else 404)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_status_shows_agent_cache_and_each_plugin(tmp_path: Path) -> None:
    with agent_that_answers(ANSWER) as port:
        result = predis_agent("status", "--set", f"http.port={port}", folder=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    text = " ".join(result.stdout.split())
    assert "agent ready version 0.1.0, pid 4711, up 1h2m5s" in text
    assert "config /etc/predis/agent.toml the last reload was refused, the old one goes on: agent.toml:7: no" in text
    assert "data /var/lib/predis" in text
    assert "cache running pid 4712, port 6379, 1GiB, 2 restarts no room" in text
    assert "weather active 2.3s ago 1,200 0 0 17 4" in text
    assert "stuck hung never 1 - - - -" in text
    assert "weather dropped most: predis_foreign_value, 3 samples (flood)" in text
    assert "1,234,567 points delivered, 20 wait in memory, 3,000 on the disk (2.5 MiB, the oldest 1m15s old)" in text
    assert "7 dropped (http_403)" in text
    assert "about 12.50 USD a month by list prices" in text
    assert "a request has hung for 31s" in text
    assert "6 requests in a row failed: busy; tried again in 12s" in text
    assert "stuck [bold]too slow stuck tried again in 1m1s" in text


def test_status_of_an_agent_that_is_not_ready_says_why(tmp_path: Path) -> None:
    health = {"live": True, "ready": False, "reasons": ["the cache does not answer"]}
    with agent_that_answers({**ANSWER, "health": health}) as port:
        result = predis_agent("status", "--set", f"http.port={port}", folder=tmp_path)
    assert result.returncode == 1
    assert "not ready" in result.stdout
    assert "the cache does not answer" in result.stdout


def test_status_as_json_is_the_agents_answer(tmp_path: Path) -> None:
    with agent_that_answers(ANSWER) as port:
        result = predis_agent("status", "--json", "--set", f"http.port={port}", folder=tmp_path)
    assert json.loads(result.stdout) == ANSWER


def test_no_agent_is_one_sentence(tmp_path: Path, free_port: int) -> None:
    result = predis_agent("status", "--set", f"http.port={free_port}", folder=tmp_path)
    assert (result.returncode, result.stdout) == (3, "")
    assert result.stderr == (
        f"no agent runs at http://127.0.0.1:{free_port}; start one with `predis-agent run`, "
        "or name its configuration with --config\n"
    )


@pytest.mark.parametrize(("answer", "status"), [("hello", 200), ([], 200), (ANSWER, 500), (None, 404)])
def test_another_programs_http_server_is_not_taken_for_the_agent(tmp_path: Path, answer: object, status: int) -> None:
    with agent_that_answers(answer, status=status) as port:
        result = predis_agent("status", "--set", f"http.port={port}", folder=tmp_path)
    assert (result.returncode, result.stdout) == (3, "")
    assert f"is not Predis' (HTTP status {status}): another program's port?" in result.stderr


@pytest.mark.parametrize("greeting", [b"-ERR not HTTP\r\n", b""])
def test_a_port_that_speaks_something_else_is_told(tmp_path: Path, greeting: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(greeting)

        thread = threading.Thread(target=greet)
        thread.start()
        result = predis_agent("status", "--set", f"http.port={server.getsockname()[1]}", folder=tmp_path)
        thread.join(10)
    assert (result.returncode, result.stdout) == (3, "")
    assert "does not speak HTTP: another program has the port" in result.stderr


def test_an_agent_that_does_not_answer_is_told() -> None:
    from agent.config import load_config
    from agent.errors import AgentUnreachable

    with socket.create_server(("127.0.0.1", 0)) as silent:
        config = load_config(None, [f"http.port={silent.getsockname()[1]}"], {}).config
        with pytest.raises(AgentUnreachable, match=r"does not answer within 0\.1 s"):
            client.get_json(config, "/api/v1/status", 0.1)


def test_beyond_loopback_the_token_is_sent(tmp_path: Path) -> None:
    # given an agent bound to every interface, which asks for the token in its data folder
    (tmp_path / "data").mkdir()
    with agent_that_answers(ANSWER, token="s3cret") as port:
        options = ("--set", f"http.port={port}", "--set", "http.host=0.0.0.0", "--set", "agent.data_dir=data")
        # then without the file, with a wrong one, and with the right one
        absent = predis_agent("status", *options, folder=tmp_path)
        assert absent.returncode == 1
        assert "cannot read the API token" in absent.stderr
        (tmp_path / "data/http.token").write_text("wrong\n")
        assert "refuses the token" in predis_agent("status", *options, folder=tmp_path).stderr
        (tmp_path / "data/http.token").write_text("s3cret\n")
        assert predis_agent("status", *options, folder=tmp_path).returncode == 0


def test_what_others_wrote_commands_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("a", "b"), [("plain", "evil\x1b]0;owned\x07\u202e"), ("two\nlines", "größer")])
    print_pairs([("name", "\x1b[2J")])
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "\\x1b]0;owned\\x07\\u202e" in shown
    assert "größer" in shown
    assert "\nlines" in shown
