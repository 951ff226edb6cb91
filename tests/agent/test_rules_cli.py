"""predis-agent rules and audit, as people use them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from agent.errors import EX_CONFIG
from agent.incidents.audit import AuditLog
from tests.agent.test_cli import predis_agent
from tests.servers import Server

RULE = """
[[rule]]
name = "cpu-busy"
description = "The machine is busy."
when.threshold = { metric = "predis_host_cpu_busy_ratio", value = "90%" }
for = "1m"
then = [{ action = "event" }]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "agent.toml").write_text(
        '[agent]\ndata_dir = "data"\n[http]\nport = 1\n[rules]\npacks = false\n[plugins.gpu_metrics]\nenabled = false\n'
    )
    (tmp_path / "rules.d").mkdir()
    (tmp_path / "rules.d" / "own.toml").write_text(RULE.lstrip())
    return tmp_path


def test_check_says_what_is_wrong_and_where(folder: Path) -> None:
    done = predis_agent("rules", "check", folder=folder)
    assert (done.returncode, done.stdout) == (0, "1 rule, all right\n")
    (folder / "rules.d" / "own.toml").write_text(RULE.lstrip().replace("busy_ratio", "bussy_ratio"))
    done = predis_agent("rules", "check", folder=folder)
    assert done.returncode == EX_CONFIG
    assert re.fullmatch(
        r'.*rules.d/own.toml:4: rule\[0\].when.threshold.metric: there is no metric "predis_host_cpu_bussy_ratio";'
        r' did you mean "predis_host_cpu_busy_ratio"\? .*\n',
        done.stderr,
    )


def test_a_file_without_rules_is_named(folder: Path) -> None:
    (folder / "rules.d" / "empty.toml").write_text("")
    for what in ("check", "test"):
        done = predis_agent("rules", what, "rules.d/empty.toml", folder=folder)
        assert done.returncode == EX_CONFIG
        assert done.stderr.startswith("rules.d/empty.toml: rule"), done.stderr


def test_a_file_that_is_not_there_is_told_as_what_it_was_meant_for(folder: Path) -> None:
    for what, meant in (("check", "rules"), ("test", "tests")):
        done = predis_agent("rules", what, "gone.toml", folder=folder)
        assert done.returncode == EX_CONFIG
        assert done.stderr == f"gone.toml: there is no such file; create it, or name a file of {meant} that there is\n"


def test_one_is_not_told_as_many(folder: Path) -> None:
    checked = predis_agent("rules", "check", "rules.d/own.toml", folder=folder)
    assert checked.stdout.startswith("1 rule, all right"), checked.stderr


def test_without_an_agent_the_rules_of_the_configuration_are_listed(folder: Path) -> None:
    done = predis_agent("rules", "list", folder=folder)
    assert done.returncode == 0
    assert re.search(r"cpu-busy +warning +tells +event +The machine is busy\.", done.stdout)
    assert "no agent runs" in done.stderr


def test_tests_of_rules_pass_or_fail(folder: Path) -> None:
    test = """
rules = ["rules.d/own.toml"]
[[test]]
name = "a busy machine"
rule = "cpu-busy"
series = [{ metric = "predis_host_cpu_busy_ratio", values = "0.95x20" }]
expect = [{ at = "50s", fired = 0 }, { at = "2m", fired = 1, actions = ["event"] }]
"""
    (folder / "test.toml").write_text(test)
    done = predis_agent("rules", "test", "test.toml", folder=folder)
    assert (done.returncode, done.stdout) == (0, "1 passed\n")
    (folder / "test.toml").write_text(test.replace("fired = 0", "fired = 1"))
    done = predis_agent("rules", "test", "test.toml", folder=folder)
    assert done.returncode == 1
    assert "test.toml:3: a busy machine: FAILED" in done.stdout
    assert "at 50s: it fired 0, expected 1" in done.stdout


def test_a_backtest_shows_when_rules_would_have_fired(folder: Path) -> None:
    rows = [
        f"{1_700_000_000 + 10 * n},predis_host_cpu_busy_ratio,{0.99 if 100 <= n < 200 else 0.1}" for n in range(400)
    ]
    (folder / "data.csv").write_text("time,metric,value\n" + "\n".join(rows) + "\n")
    done = predis_agent("rules", "backtest", "--data", "data.csv", "--json", folder=folder)
    played = json.loads(done.stdout)
    assert played["rules"]["cpu-busy"]["fired"] == 1
    ((at, name, subject, why),) = played["firings"]
    assert (at, name, subject) == (1_700_000_000 + 1060, "cpu-busy", "")
    assert why == "predis_host_cpu_busy_ratio is 99.0%, > 90%"
    assert played["rules"]["cpu-busy"]["share"] == pytest.approx(0.25, abs=0.02)
    # the same as the JSON of /api/v1/history, and what is wrong is said with its line
    points = [[1_700_000_000 + 10 * n, 0.99] for n in range(50)]
    document = {"metric": "predis_host_cpu_busy_ratio", "series": [{"labels": {}, "points": points}]}
    (folder / "data.json").write_text(json.dumps(document))
    done = predis_agent("rules", "backtest", "--data", "data.json", folder=folder, TZ="America/New_York")
    assert done.stdout.startswith("2023-11-14 22:13:20 UTC to 2023-11-14 22:2"), done.stdout
    assert re.search(r"cpu-busy +1 +0 +0 +100\.0%", done.stdout), done.stdout
    (folder / "data.csv").write_text("time,metric,value\n1,predis_nothing,2\n")
    done = predis_agent("rules", "backtest", "--data", "data.csv", folder=folder)
    assert "data.csv:2: there is no metric 'predis_nothing'" in done.stderr


def test_the_kill_switch_works_without_an_agent(folder: Path) -> None:
    done = predis_agent("rules", "stop", folder=folder)
    assert done.returncode == 0, done.stderr
    assert (folder / "data" / "rules.stop").read_text().startswith("stopped by ")
    assert predis_agent("rules", "resume", folder=folder).returncode == 0
    assert not (folder / "data" / "rules.stop").exists()


def test_audit_verify_and_show(folder: Path) -> None:
    (folder / "data").mkdir()
    log = AuditLog(folder / "data" / "audit.jsonl")
    for rule in ("grow", "shrink", "grow"):
        log.append("acted", {"rule": rule, "detail": "64 MiB more"})
    log.close()
    done = predis_agent("audit", "verify", folder=folder)
    assert done.returncode == 0
    assert "3 records, whole; the newest is " in done.stdout
    head = predis_agent("audit", "head", folder=folder).stdout.split()
    assert head[0] == "3"
    assert head[1] in done.stdout
    shown = predis_agent("audit", "show", "--rule", "grow", folder=folder).stdout
    assert shown.count("64 MiB more") == 2
    path = folder / "data" / "audit.jsonl"
    path.write_text(path.read_text().replace("shrink", "shrunk"))
    done = predis_agent("audit", "verify", str(path), folder=folder)
    assert done.returncode == 1
    assert "line 3 (record 3, acted) does not follow the line before it" in done.stderr


def test_a_running_agent_explains_stops_and_resumes(running_agent: Server, tmp_path: Path) -> None:
    def rules(*arguments: str) -> str:
        sets = (
            "--set",
            f"http.port={running_agent.extra['http']}",
            "--set",
            f"agent.data_dir={running_agent.data_dir}",
        )
        done = predis_agent("rules", *arguments, *sets, folder=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "disk-full" in rules("list")
    explained = rules("explain", "disk-full")
    assert "nearly" not in explained
    assert re.search(r"must hold for +2m", explained)
    assert "all actions of rules are stopped" in rules("stop")
    assert "stopped: stopped by " in rules("list")
    assert json.loads(rules("explain", "disk-full", "--json"))["stopped"].startswith("stopped by ")
    assert rules("resume") == "rules may act again\n"
    assert "stopped" not in rules("list")
    done = predis_agent(
        "rules", "explain", "disk-ful", "--set", f"http.port={running_agent.extra['http']}", folder=tmp_path
    )
    assert "there is no rule disk-ful; did you mean disk-full?" in done.stderr
