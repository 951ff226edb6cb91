"""The command line: what it prints, how it exits, what it costs to start. Each command is a process of its own."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from core_cache.options import POLICIES
from tests.agent.foreign import GOOD, Foreign, foreign
from tests.servers import ROOT

__all__ = ["foreign"]

MAIN = "import sys; sys.argv[0] = 'predis-agent'; from agent.cli import main; main()"
SHIPPED_PLUGINS = {
    **dict.fromkeys(
        ("cache_metrics", "gpu_metrics", "host_metrics", "prometheus", "redis_metrics", "origin_metrics"), "active"
    ),
    **dict.fromkeys(("anomaly", "forecasting", "remediation"), "active"),
    **dict.fromkeys(("cloudwatch", "datadog", "newrelic", "otlp"), "disabled"),
}


def predis_agent(
    *arguments: str, folder: Path, path: Path | None = None, **environ: str
) -> subprocess.CompletedProcess[str]:
    """Run the command in a folder; ``path`` is one more folder with packages."""
    paths = [str(ROOT), *([str(path)] if path is not None else [])]
    return subprocess.run(
        [sys.executable, "-c", MAIN, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "TERM": "dumb", **environ},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_help_names_every_command(tmp_path: Path) -> None:
    shown = predis_agent("--help", folder=tmp_path)
    assert shown.returncode == 0
    for command in ("run", "check-config", "status", "plugins", "metrics", "cache"):
        assert command in shown.stdout


def test_version(tmp_path: Path) -> None:
    assert predis_agent("--version", folder=tmp_path).stdout == "predis-agent 0.1.0\n"


def test_an_unknown_command_is_a_usage_error(tmp_path: Path) -> None:
    result = predis_agent("chekc-config", folder=tmp_path)
    assert result.returncode == 2
    assert "chekc-config" in result.stderr
    assert "Traceback" not in result.stderr


def test_check_config_is_content_with_the_shipped_file(tmp_path: Path) -> None:
    result = predis_agent("check-config", "--config", str(ROOT / "agent.toml"), folder=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert "the configuration is right" in result.stdout


@pytest.mark.parametrize(
    "command", [("check-config",), ("run",), ("status",), ("plugins", "list"), ("metrics", "list")]
)
def test_a_wrong_file_ends_every_command_with_78_and_all_mistakes(tmp_path: Path, command: tuple[str, ...]) -> None:
    # given a file with two mistakes, found by its usual name
    (tmp_path / "agent.toml").write_text('[cache]\nport = 70000\npolicy = "lur"\n')
    # when any command reads it
    result = predis_agent(*command, folder=tmp_path)
    # then both are told, one per line, and nothing else
    choices = ", ".join(f'"{policy}"' for policy in POLICIES[:-1])
    assert result.returncode == 78
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        "agent.toml:2: cache.port: 70000 is out of range; write a number from 0 to 65535",
        f'agent.toml:3: cache.policy: "lur" is not a choice; did you mean "lru"? write {choices} or "noeviction"',
    ]


def test_check_config_knows_the_plugins_tables(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text("[plugins.prometheus]\nprot = 1\n[plugins.promethus]\nport = 1\n")
    result = predis_agent("check-config", folder=tmp_path)
    assert result.returncode == 78
    assert result.stderr.splitlines() == [
        'agent.toml:2: plugins.prometheus.prot: unknown key; did you mean "port"?',
        'agent.toml:3: plugins.promethus: no installed plugin has this name; did you mean "prometheus"?',
    ]
    assert predis_agent("check-config", "--no-plugins", folder=tmp_path).returncode == 0


def test_set_and_environment_override_the_file(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text("[cache]\nport = 70000\n")
    assert predis_agent("check-config", "--no-plugins", "--set", "cache.port=1", folder=tmp_path).returncode == 0
    assert predis_agent("check-config", "--no-plugins", folder=tmp_path, PREDIS__CACHE__PORT="1").returncode == 0
    result = predis_agent("check-config", "--set", "cache.port=x", "--set", "a.b=1", folder=tmp_path)
    assert [line.partition(";")[0] for line in result.stderr.splitlines()] == [
        '--set: cache.port: "x" is not a whole number',
        "--set: a: unknown table",
    ]


def test_a_config_that_is_not_there_is_told(tmp_path: Path) -> None:
    result = predis_agent("run", "--config", "absent.toml", folder=tmp_path)
    assert result.returncode == 78
    assert result.stderr == "absent.toml: there is no such file; create it or give another --config\n"


def test_plugins_list_works_though_plugins_cannot_be_used(foreign: Foreign, tmp_path: Path) -> None:
    # given a plugin that ends the process when it is imported, one that cannot be constructed, and a good one
    source = foreign.package("quitter", "import os, sys\nsys.exit(1)")
    foreign.package("bad", GOOD.replace("self.config = config", "raise OSError('no sensor')"))
    foreign.package("weather")
    # when they are listed
    result = predis_agent("plugins", "list", folder=tmp_path, path=foreign.folder)
    # then each has its state, and the reasons are told
    assert result.returncode == 0
    states = {line.split()[0]: line.split()[1] for line in result.stdout.splitlines()[1:]}
    assert states == SHIPPED_PLUGINS | {
        "quitter": "failed",
        "bad": "failed",
        "weather": "active",
    }
    assert f"{source}:2: plugins.quitter: cannot be imported: it called sys.exit(1); mend or uninstall" in result.stderr
    assert "plugins.bad: cannot be constructed: OSError: no sensor" in result.stderr
    assert "Traceback" not in result.stderr
    # and the same as JSON
    listed = json.loads(predis_agent("plugins", "list", "--json", folder=tmp_path, path=foreign.folder).stdout)
    by_name = {plugin["name"]: plugin for plugin in listed}
    assert by_name["weather"]["metrics"] == ["predis_foreign_value"]
    assert by_name["weather"]["hooks"] == ["predis_metric_specs", "predis_collect"]
    assert by_name["bad"]["problems"][0]["what"] == "cannot be constructed: OSError: no sensor"
    # and nothing is imported with --no-plugins
    off = predis_agent("plugins", "list", "--no-plugins", folder=tmp_path, path=foreign.folder)
    assert {line.split()[1] for line in off.stdout.splitlines()[1:]} == {"disabled"}
    assert off.stderr == ""


def test_metrics_list_is_the_catalogue_without_a_running_agent(tmp_path: Path) -> None:
    result = predis_agent("metrics", "list", "--json", folder=tmp_path)
    metrics = {metric["name"]: metric for metric in json.loads(result.stdout)}
    assert len(metrics) >= 25
    assert metrics["predis_command_duration_seconds"] == {
        "name": "predis_command_duration_seconds",
        "kind": "histogram",
        "unit": "seconds",
        "help": metrics["predis_command_duration_seconds"]["help"],
        "labels": ["command"],
        "plugin": "cache_metrics",
    }
    assert metrics["predis_build_info"]["plugin"] == "agent"
    rows = predis_agent("metrics", "list", folder=tmp_path).stdout.splitlines()
    assert [row.split()[0] for row in rows[1:]] == sorted(metrics)


def test_on_a_terminal_no_name_is_cut(tmp_path: Path) -> None:
    # given a terminal of 80 columns
    master, terminal = os.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    # when metrics are listed on it
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN, "metrics", "list"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": ""},
        stdout=terminal,
        stderr=terminal,
    )
    os.close(terminal)
    shown = b""
    with contextlib.suppress(OSError):  # EIO: the other side is closed
        while chunk := os.read(master, 65536):
            shown += chunk
    os.close(master)
    assert process.wait(60) == 0
    # then each name stands whole in a line, no line is wider, and there are colours or bold type
    lines = re.sub(r"\x1b\[[0-9;]*m", "", shown.decode()).splitlines()
    names = {line.split()[0] for line in lines if line.startswith(" predis_")}
    listed = json.loads(predis_agent("metrics", "list", "--json", folder=tmp_path).stdout)
    assert names == {metric["name"] for metric in listed}
    assert max(map(len, lines)) <= 80
    assert b"\x1b[1m" in shown


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    command = f'"{sys.executable}" -c "{MAIN}" metrics list | true'
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, shell=True, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60)
    assert "Traceback" not in result.stderr
    assert "Exception ignored" not in result.stderr


def test_something_unexpected_is_one_line_and_a_traceback_on_request(tmp_path: Path) -> None:
    # given a module of the agent that is broken
    broken = tmp_path / "sitecustomize.py"
    broken.write_text("import agent.config\ndef load_config(*a, **k):\n    raise RuntimeError('a\\nbug')\n")
    broken.write_text(broken.read_text() + "agent.config.load_config = load_config\n")
    result = predis_agent("check-config", folder=tmp_path, path=tmp_path)
    assert result.returncode == 1
    assert result.stderr == "predis-agent: unexpected RuntimeError: a bug (--debug shows where)\n"
    assert "Traceback" in predis_agent("check-config", "--debug", folder=tmp_path, path=tmp_path).stderr
    assert "Traceback" in predis_agent("--debug", "check-config", folder=tmp_path, path=tmp_path).stderr


def test_run_imports_nothing_heavy(tmp_path: Path) -> None:
    code = """
import sys, time
began = time.process_time()
import agent.cli, agent.cli.run
from agent.cli.options import load
from agent.plugin.manager import PluginManager
manager = PluginManager(load(None, None))
manager.load()
import agent.service
print(time.process_time() - began)
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""

    def once() -> tuple[float, str]:
        result = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        seconds, modules = result.stdout.splitlines()
        return float(seconds), modules

    # Neighbours on the machine cost processor time, too: the least of three.
    seconds, modules = min(once() for _ in range(3))
    heavy = {"rich", "httpx", "numpy", "pandas", "scipy", "statsmodels", "sklearn", "hypothesis", "markdown_it"}
    assert heavy.isdisjoint(modules.split())
    assert seconds < 1.0, "importing the agent takes CPU time that was about 0.4 s when this was written"
