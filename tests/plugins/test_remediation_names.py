"""What a rule names is in [plugins.remediation]; what is not is told when rules are checked, before it matters."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from agent.api import WrongKey
from agent.errors import EX_CONFIG
from tests.agent.test_cli import predis_agent
from tests.plugins.remediation import action_of

ALLOWED: dict[str, Any] = {
    "commands": {
        "restart": {"argv": ["/bin/echo", "{unit}"], "arguments": {"unit": "[a-z]+"}},
        "sweep": {"argv": ["/bin/true"]},
    },
    "webhooks": {"oncall": {"url": "https://example.org/hook"}},
    "channels": {"people": {"secret_urls": ["json://127.0.0.1/"]}},
    "clusters": {"prod": {"url": "https://example.org"}},
    "servers": {
        "a": {"url": "redis://127.0.0.1:1"},
        "b": {"url": "redis://127.0.0.1:2"},
        "near": {"url": "unix:///run/near.sock"},
    },
}
SCALED = {"namespace": "prod", "name": "shop"}
REPLICAS = {**SCALED, "to": 3, "at_least": 1, "at_most": 5}
RIGHT: list[tuple[str, dict[str, Any]]] = [
    ("run.command", {"command": "sweep"}),
    ("run.command", {"command": "restart", "arguments": {"unit": "redis"}}),
    ("call.webhook", {"webhook": "oncall"}),
    ("notify", {"channel": "people"}),
    ("scale.kubernetes", {"cluster": "prod", **REPLICAS}),
    ("rollback.kubernetes", {"cluster": "prod", **SCALED}),
    ("cache.warm_up", {"server": "near"}),
    ("failover.replica", {"replica": "near"}),
    ("failover.replica", {"replica": "a", "primary": "b", "followers": ["near"]}),
    ("failover.origin", {"server": "near", "origin": "a"}),
]
WRONG: list[tuple[str, dict[str, Any], tuple[str | int, ...], str]] = [
    (
        "run.command",
        {"command": "rm"},
        ("command",),
        "there is no command rm: add it to [plugins.remediation] commands",
    ),
    ("run.command", {"command": "restrat"}, ("command",), "there is no command restrat (did you mean restart?)"),
    ("run.command", {"command": "restart"}, ("arguments",), "the arguments of restart do not fit: unit"),
    ("run.command", {"command": "restart", "arguments": {"unit": "9"}}, ("arguments", "unit"), "must match [a-z]+"),
    ("call.webhook", {"webhook": "nowhere"}, ("webhook",), "there is no webhook nowhere"),
    ("notify", {"channel": "poeple"}, ("channel",), "there is no channel poeple (did you mean people?)"),
    ("scale.kubernetes", {"cluster": "x", **REPLICAS}, ("cluster",), "there is no cluster x"),
    ("rollback.kubernetes", {"cluster": "x", **SCALED}, ("cluster",), "there is no cluster x"),
    ("cache.warm_up", {"server": "x"}, ("server",), "there is no server x"),
    ("failover.replica", {"replica": "x"}, ("replica",), "there is no server x"),
    ("failover.replica", {"replica": "a", "primary": "x"}, ("primary",), "there is no server x"),
    ("failover.replica", {"replica": "a", "followers": ["b", "x"]}, ("followers", 1), "there is no server x"),
    ("failover.replica", {"replica": "near", "followers": ["b"]}, ("replica",), "which no other can follow"),
    ("failover.origin", {"server": "x", "origin": "a"}, ("server",), "there is no server x"),
    ("failover.origin", {"server": "a", "origin": "x"}, ("origin",), "there is no server x"),
    ("failover.origin", {"server": "a", "origin": "near"}, ("origin",), "which no other can follow"),
]
RULE = """
[[rule]]
name = "busy"
when.threshold = { metric = "predis_host_cpu_busy_ratio", value = "90%" }
then = [{ action = "run.command", command = "restrat" }]
"""


@pytest.mark.parametrize(("name", "keys"), RIGHT)
def test_what_is_allowed_is_right(name: str, keys: dict[str, Any]) -> None:
    action = action_of(name, ALLOWED)
    action.check(action.Params.model_validate(keys))


@pytest.mark.parametrize(("name", "keys", "key", "what"), WRONG)
def test_what_is_not_is_told_with_its_key(name: str, keys: dict[str, Any], key: tuple[Any, ...], what: str) -> None:
    action = action_of(name, ALLOWED)
    with pytest.raises(WrongKey, match=re.escape(what)) as raised:
        action.check(action.Params.model_validate(keys))
    assert raised.value.key == key


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A configuration that allows a command, and a rule that means it."""
    (tmp_path / "agent.toml").write_text(
        '[plugins.remediation.commands.restart]\nargv = ["/bin/true"]\n[plugins.gpu_metrics]\nenabled = false\n'
    )
    (tmp_path / "rules.d").mkdir()
    (tmp_path / "rules.d" / "own.toml").write_text(RULE.lstrip())
    return tmp_path


@pytest.mark.parametrize("command", [("rules", "check"), ("rules", "check", "rules.d/own.toml"), ("check-config",)])
def test_both_checks_find_a_wrong_name_with_its_place(folder: Path, command: tuple[str, ...]) -> None:
    done = predis_agent(*command, folder=folder)
    assert done.returncode == EX_CONFIG
    where = r"rules.d/own.toml:4: rule\[0\]\.then\[0\]\.command: "
    assert re.search(where + r"there is no command restrat \(did you mean restart\?\): add it to", done.stderr)
    (folder / "rules.d" / "own.toml").write_text(RULE.lstrip().replace("restrat", "restart"))
    assert predis_agent(*command, folder=folder).returncode == 0


def test_without_a_configuration_the_name_is_told_and_not_held_against_the_rule(folder: Path) -> None:
    (folder / "agent.toml").unlink()
    done = predis_agent("rules", "check", "rules.d/own.toml", folder=folder)
    assert (done.returncode, done.stdout) == (0, "1 rule, all right\n")
    assert done.stderr.startswith("no agent.toml was read, and the defaults lack these; --config FILE")
    assert "own.toml:4: rule[0].then[0].command: there is no command restrat" in done.stderr
    # the agent itself would run with just these defaults
    assert predis_agent("check-config", folder=folder).returncode == EX_CONFIG
