"""run.command with real programs."""

import os
import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from agent.api import Host, PlanOutdated, PredisError
from plugins.remediation.config import RemediationConfig
from plugins.remediation.notes import Notes
from tests.plugins.remediation import Used, action_of, host_in
from tests.waiting import wait_until

CANARY = "canary-4711-of-the-environment"


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return host_in(tmp_path)


def command(host: Host, argv: list[str], arguments: dict[str, str] | None = None, **more: Any) -> Used:
    given = more.pop("given", {})
    keys: dict[str, Any] = {"argv": argv, "arguments": arguments or {}, **more}
    return Used(action_of("run.command", {"commands": {"it": keys}}), host, command="it", arguments=given)


def script(folder: Path, text: str) -> str:
    path = folder / "script.sh"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o700)
    return str(path)


def test_it_runs_once_with_its_arguments_and_no_shell(host: Host, tmp_path: Path) -> None:
    file = tmp_path / "said"
    program = script(tmp_path, f'printf "%s|" "$@" >> {file}; echo done')
    used = command(host, [program, "-n", "name={name}"], {"name": r"[a-z $();]+"}, given={"name": "x $(touch y); z"})
    assert used.plan() == f"would run {program} -n 'name=x $(touch y); z'"
    assert not file.exists()
    assert used.was_done() is False
    outcome = used.run()
    assert outcome.done
    assert outcome.detail == "it ended with status 0; it wrote: done"
    assert file.read_text() == "-n|name=x $(touch y); z|"
    # the agent died after it and asks again
    before = used.done_before()
    assert before is not None
    assert before.done
    assert used.run().done
    assert file.read_text() == "-n|name=x $(touch y); z|"


def test_a_command_that_the_configuration_changed_since_is_not_run_as_the_one_that_was_shown(
    host: Host, tmp_path: Path
) -> None:
    plan = command(host, [script(tmp_path, "echo mild")]).plan()
    wild = command(host, [script(tmp_path, "echo wild"), "--all"])
    with pytest.raises(PlanOutdated, match=r"argv is .*--all.*, and was .*script.sh'\] when it was planned"):
        wild.run_as(plan)
    assert wild.was_done() is False
    assert wild.run_as(wild.plan()).detail.endswith("it wrote: wild")


def test_what_was_begun_and_not_ended_is_not_begun_again_unless_it_may(host: Host, tmp_path: Path) -> None:
    file = tmp_path / "ran"
    program = script(tmp_path, f"echo x >> {file}")
    Notes(host.data_dir).write("rule-1/0001", {"state": "begun"})
    used = command(host, [program])
    assert used.was_done() is None
    with pytest.raises(PredisError, match="nobody knows how it ended"):
        used.run()
    assert not file.exists()
    again = command(host, [program], repeatable=True)
    assert again.was_done() is False
    assert again.run().done
    assert file.exists()


def test_a_failure_is_told_with_the_last_words(host: Host, tmp_path: Path) -> None:
    used = command(host, [script(tmp_path, "echo out of luck >&2; exit 3")])
    outcome = used.run()
    assert not outcome.done
    assert outcome.detail == "it ended with status 3; it wrote: out of luck"
    killed = command(host, [script(tmp_path, "kill -TERM $$")]).run("rule-1/0002")
    assert killed.detail == "it was killed by SIGTERM"


def test_the_environment_is_bare_and_secrets_are_masked(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREDIS_SECRET_OF_THE_AGENT", "not for programs")
    used = command(host, ["/usr/bin/env"], environment={"API_TOKEN": CANARY})
    outcome = used.run(rule="memory is full", event="it is full")
    assert "not for programs" not in outcome.detail
    assert CANARY not in outcome.detail
    assert "API_TOKEN=********" in outcome.detail
    names = {word.partition("=")[0] for word in outcome.detail.split() if "=" in word}
    assert names == {"PATH", "LANG", "PREDIS_INTENT", "PREDIS_RULE", "PREDIS_EVENT", "API_TOKEN"}
    for text in (repr(used.action), repr(RemediationConfig.model_validate(used_config())), used.plan()):
        assert CANARY not in text


def test_a_secret_across_the_end_of_what_is_kept_is_masked(host: Host, tmp_path: Path) -> None:
    program = script(tmp_path, 'printf "%1016s" | tr " " x; echo "$API_TOKEN"; echo more')
    outcome = command(host, [program], environment={"API_TOKEN": CANARY}, output="1KiB").run()
    assert outcome.detail.endswith("x********")
    assert "canary" not in outcome.detail


def used_config() -> dict[str, Any]:
    return {"commands": {"it": {"argv": ["/usr/bin/env"], "environment": {"API_TOKEN": CANARY}}}}


def test_it_and_what_it_started_are_killed_when_the_time_is_over(host: Host, tmp_path: Path) -> None:
    file = tmp_path / "pid"
    used = command(host, [script(tmp_path, f"sleep 60 & echo $! > {file}; wait")], timeout="500ms")
    begun = time.monotonic()
    outcome = used.run()
    assert time.monotonic() - begun < 10
    assert not outcome.done
    assert outcome.detail == "it took longer than 0.5 s and was killed"
    child = int(file.read_text())
    wait_until(lambda: not _runs(child), 10, "the end of what it started")


def test_it_is_killed_when_nobody_waits_any_more(host: Host, tmp_path: Path) -> None:
    outcome = command(host, [script(tmp_path, "sleep 60")]).run(cancelled=lambda: True)
    assert not outcome.done
    assert "nobody waits for it any more" in outcome.detail


def test_what_it_leaves_in_the_background_holds_nobody_up(host: Host, tmp_path: Path) -> None:
    file = tmp_path / "pid"
    begun = time.monotonic()
    outcome = command(host, [script(tmp_path, f"sleep 60 & echo $! > {file}; echo ready")]).run()
    assert time.monotonic() - begun < 10
    assert outcome.done
    wait_until(lambda: not _runs(int(file.read_text())), 10, "the end of what it left")


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_much_output_is_read_and_not_kept(host: Host, tmp_path: Path) -> None:
    used = command(host, [script(tmp_path, "head -c 20000000 /dev/zero | tr '\\0' x; echo")], output="1KiB")
    outcome = used.run()
    assert outcome.done
    assert len(outcome.detail) < 1100
    assert "x" * 1000 in outcome.detail


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"unit": "shop-a; rm"}, "does not take this unit"),
        ({"unit": "shop-a\n"}, "does not take this unit"),
        ({"unit": "-x"}, "does not take this unit|would read an option"),
        ({}, "do not fit: unit"),
        ({"unit": "shop-a", "other": "x"}, "do not fit: other"),
    ],
)
def test_values_that_were_not_foreseen_are_refused(host: Host, given: dict[str, str], why: str) -> None:
    used = command(host, ["/usr/bin/true", "{unit}"], {"unit": "shop-[a-z]+"}, given=given)
    for attempt in (used.plan, used.run):
        with pytest.raises(PredisError, match=why):
            attempt()


def test_a_value_never_becomes_an_option(host: Host) -> None:
    used = command(host, ["/usr/bin/true", "{file}"], {"file": ".*"}, given={"file": "--version"})
    with pytest.raises(PredisError, match="would read an option"):
        used.run()
    assert command(host, ["/usr/bin/true", "-{file}"], {"file": ".*"}, given={"file": "v"}).run().done


def test_a_program_that_others_can_change_is_not_run(host: Host, tmp_path: Path) -> None:
    program = script(tmp_path, "echo owned")
    os.chmod(program, 0o777)
    with pytest.raises(PredisError, match="can be changed by others"):
        command(host, [program]).run()
    with pytest.raises(PredisError, match="no such file"):
        command(host, ["/nonexistent/program"]).plan()
    with pytest.raises(PredisError, match="no program that the agent may run"):
        command(host, [str(tmp_path)]).plan()
    with pytest.raises(PredisError, match="there is no command that"):
        Used(action_of("run.command"), host, command="that").plan()


@pytest.fixture
def deep(tmp_path: Path) -> Path:
    """A folder in a folder, with a program in it."""
    folder = tmp_path / "outer" / "inner"
    folder.mkdir(parents=True, mode=0o755)
    script(folder, "echo owned")
    return folder


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o757])
@pytest.mark.parametrize("which", ["inner", "outer"])
def test_a_program_in_a_folder_that_others_can_change_is_not_run(host: Host, deep: Path, which: str, mode: int) -> None:
    used = command(host, [str(deep / "script.sh")])
    assert used.plan()
    folder = deep if which == "inner" else deep.parent
    folder.chmod(mode)
    with pytest.raises(PredisError, match=f"since {folder}, on the way to it, can be changed by others"):
        used.plan()
    with pytest.raises(PredisError, match="can be changed by others"):
        used.run()
    folder.chmod(mode | 0o1000)  # sticky: others add files, and cannot replace what is not theirs
    assert used.run().done


def test_a_link_is_as_good_as_all_the_folders_that_it_leads_through(host: Host, deep: Path, tmp_path: Path) -> None:
    (tmp_path / "links").mkdir(mode=0o755)
    (tmp_path / "middle").mkdir(mode=0o755)
    (tmp_path / "links" / "one").symlink_to("../middle/two")
    (tmp_path / "middle" / "two").symlink_to(deep)
    used = command(host, [str(tmp_path / "links" / "one" / "script.sh")])
    assert used.run("1").done
    for folder in (tmp_path / "links", tmp_path / "middle", deep.parent):
        folder.chmod(0o777)
        with pytest.raises(PredisError, match=f"since {folder}, on the way to it"):
            used.run("2")
        folder.chmod(0o755)
    (tmp_path / "links" / "round").symlink_to("round")
    with pytest.raises(PredisError, match="too many levels of symbolic links"):
        command(host, [str(tmp_path / "links" / "round")]).plan()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to somebody else")
@pytest.mark.parametrize("which", ["inner", "outer", "program"])
def test_what_belongs_to_somebody_else_is_not_run(host: Host, deep: Path, which: str) -> None:
    place = {"inner": deep, "outer": deep.parent, "program": deep / "script.sh"}[which]
    os.chown(place, 12345, -1)
    with pytest.raises(PredisError, match="can be changed by others"):
        command(host, [str(deep / "script.sh")]).run()


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ({"argv": ["sh", "-c", "x"]}, "whole path"),
        ({"argv": ["/usr/bin/{program}"], "arguments": {"program": ".*"}}, "without"),
        ({"argv": ["/usr/bin/true", "{unit}"]}, "do not fit: unit"),
        ({"argv": ["/usr/bin/true"], "arguments": {"unit": ".*"}}, "do not fit: unit"),
        ({"argv": ["/usr/bin/true", "{unit}"], "arguments": {"unit": "("}}, "no regular expression"),
        ({"argv": ["/usr/bin/true"], "environment": {"LD_PRELOAD": "x"}}, "no variable that may be set"),
        ({"argv": []}, "at least 1"),
    ],
)
def test_commands_that_make_no_sense_are_refused(keys: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        RemediationConfig.model_validate({"commands": {"it": keys}})
