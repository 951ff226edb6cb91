"""The plugin author's guide says what the code says, and its example is a plugin that works."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

from agent import api
from agent.certify import checks as checks_of_certify
from agent.plugin import hookspecs
from agent.plugin.listener import MOST_LINES
from agent.plugin.manager import hook_names
from agent.plugin.process import MOST_BYTES
from agent.plugin.runner import LONGEST_WAIT, QUARANTINE_AFTER, QUARANTINE_WAIT
from tests.agent.test_cli import predis_agent
from tests.servers import ROOT

GUIDE = (ROOT / "docs" / "plugin-authors.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("hook", hook_names())
def test_every_hook_is_documented_with_its_exact_arguments(hook: str) -> None:
    function = getattr(hookspecs, hook)
    signature = str(inspect.signature(function)).replace("'", "")
    assert f"`{hook}{signature}`\n{inspect.getdoc(function)}\n" in GUIDE


@pytest.mark.parametrize("hook", hook_names())
def test_every_hook_is_used_by_a_shipped_plugin_and_called_in_a_test(hook: str) -> None:
    assert any(f"def {hook}(" in path.read_text() for path in ROOT.glob("plugins/*/plugin.py"))
    assert any(f"{hook}" in path.read_text() for path in ROOT.rglob("tests/plugins/**/*.py"))


def test_the_guide_lists_exactly_the_public_api() -> None:
    listed = re.findall(r"^\| (`.*?) \|", GUIDE, re.MULTILINE)
    names = {name for cell in listed for name in re.findall(r"`(\w+)`", cell)}
    assert names == set(api.__all__)
    assert all(hasattr(api, name) for name in api.__all__)


def test_the_guides_example_is_certified_and_its_tests_pass(tmp_path: Path) -> None:
    # given the package that the guide begins with
    made = predis_agent("plugin", "new", "queue_depth", "--kind", "collector", folder=tmp_path)
    assert made.returncode == 0, made.stderr
    project = tmp_path / "predis-queue-depth"
    # when its files become what the guide says
    plugin, tests = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    (sample,) = re.findall(r"```toml\n(.*?)```", GUIDE, re.DOTALL)
    (project / "predis_queue_depth" / "plugin.py").write_text(plugin)
    (project / "predis_queue_depth" / "sample.toml").write_text(sample)
    (project / "tests" / "test_queue_depth.py").write_text(tests)
    metrics = "`predis_queue_files` `predis_queue_old_files`"
    (project / "README.md").write_text(f"# Queue depth\n\n```toml\n{sample}```\n\n{metrics}\n")
    # then it is certified (for a folder that there is on every machine), and its tests pass
    certified = predis_agent("plugin", "certify", str(project), "--set", f"spool={tmp_path}", folder=tmp_path)
    assert certified.returncode == 0, certified.stdout
    own = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"], cwd=project, capture_output=True, text=True
    )
    assert own.returncode == 0, own.stdout


def test_the_guides_numbers_are_the_codes() -> None:
    words = {5: "five times in a row", 60.0: "after a minute at least", 900.0: "a quarter of an hour at most"}
    for number in (QUARANTINE_AFTER, QUARANTINE_WAIT, LONGEST_WAIT):
        assert words[number] in GUIDE
    assert f"more than {MOST_BYTES >> 20} MiB in one call" in GUIDE
    assert f"at most {MOST_LINES} lines of each run" in GUIDE


def test_the_guide_names_every_check_of_a_certification() -> None:
    section = GUIDE.partition("## Certification")[2].partition("\n## ")[0]
    checks = [name for name in vars(checks_of_certify) if name.startswith("test_")]
    assert len(re.findall(r"^- ", section, re.MULTILINE)) == len(checks)
