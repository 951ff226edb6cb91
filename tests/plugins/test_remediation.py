"""The plugin as a whole: its actions, their table in the README, and the notes that they keep."""

import os
import re
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from agent.api import Host, PredisError
from agent.metrics.catalogue import Catalogue
from agent.metrics.pipeline import Pipeline
from agent.metrics.self_metrics import SelfMetrics
from plugins.cache_metrics.specs import SPECS as CACHE_SPECS
from plugins.remediation.action import Action
from plugins.remediation.amount import CountParams
from plugins.remediation.config import RemediationConfig
from plugins.remediation.notes import KEPT, Notes
from plugins.remediation.pace import Pace
from plugins.remediation.plugin import Remediation
from tests.plugins.remediation import host_in, task
from tests.servers import ROOT

README = (ROOT / "plugins" / "remediation" / "README.md").read_text(encoding="utf-8")


def actions() -> list[Any]:
    plugin = Remediation(RemediationConfig())
    assert plugin.predis_metric_specs() == ()
    return list(plugin.predis_actions())


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return host_in(tmp_path)


def test_there_are_the_actions_of_the_issue() -> None:
    assert {action.name for action in actions()} == {
        "cache.memory",
        "cache.policy",
        "cache.tenant_quota",
        "cache.tenant_limit",
        "cache.evict",
        "cache.flush_namespace",
        "cache.warm_up",
        "cache.restart",
        "cache.upgrade",
        "cache.drain",
        "model.retrain",
        "model.rollback",
        "scale.kubernetes",
        "scale.aws",
        "rollback.kubernetes",
        "rollback.aws",
        "failover.replica",
        "failover.origin",
        "run.command",
        "call.webhook",
        "notify",
    }
    assert [action.name for action in actions() if not action.changes_state] == ["notify"]


@pytest.mark.parametrize("action", actions(), ids=lambda action: action.name)
def test_an_action_has_what_the_engine_needs(action: Action) -> None:
    assert action.help.endswith(".")
    assert 0 < action.deadline <= 900
    assert issubclass(action.Params, BaseModel)
    assert action.Params.model_config.get("extra") == "forbid"
    assert action.Params.model_config.get("frozen")


def test_the_metrics_that_actions_move_are_catalogued() -> None:
    known = {spec.name for spec in (*CACHE_SPECS, *SelfMetrics("1", Pipeline(Catalogue())).specs())}
    moved = {metric for action in actions() for metric in action.moves}
    assert moved
    assert moved - known == set()
    assert all(action.moves for action in actions() if action.name.startswith("cache."))


@pytest.mark.parametrize("action", actions(), ids=lambda action: action.name)
def test_the_readme_has_each_action_with_all_its_keys(action: Action) -> None:
    row = re.search(rf"^\| `{re.escape(action.name)}` \| (.*?) \| (.*?) \| (.*?) \| (.*?) \|$", README, re.MULTILINE)
    assert row is not None
    keys = {name: field.is_required() for name, field in action.Params.model_fields.items()}
    assert set(re.findall(r"`(\w+)`", row[1])) == set(keys)
    assert set(re.findall(r"\*\*`(\w+)`\*\*", row[1])) == {name for name, required in keys.items() if required}
    has_undo = type(action).undo is not Action.undo
    assert row[3].startswith("yes" if has_undo else "none")
    knows = type(action).done_before is not Action.done_before
    assert row[4].startswith("known") == knows


def test_the_plugin_costs_no_library_before_an_action_needs_it() -> None:
    program = (
        "import sys; from plugins.remediation.plugin import *; Remediation(RemediationConfig()).predis_actions();"
        "print([m for m in ('redis', 'boto3', 'botocore', 'apprise', 'requests', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_stopping_lets_go_of_what_actions_hold() -> None:
    plugin, closed = Remediation(RemediationConfig()), []
    for action in plugin.predis_actions():
        action.close = lambda name=action.name: closed.append(name)  # type: ignore[attr-defined]
    plugin.predis_stop()
    assert len(closed) == len(actions())


def test_an_action_without_a_way_back_says_so(host: Host) -> None:
    restart = next(action for action in actions() if action.name == "cache.restart")
    with pytest.raises(PredisError, match=r"cache\.restart cannot be taken back"):
        restart.undo(restart.Params(), {}, task(host))


# --- notes


def test_notes_are_private_whole_and_apart(host: Host) -> None:
    notes = Notes(host.data_dir)
    assert notes.read("a") is None
    notes.write("a", {"old": 1})
    notes.write("b/../../c", {"old": 2})
    notes.write("a", {"old": 3}, durable=False)
    assert Notes(host.data_dir).read("a") == {"old": 3}
    assert notes.read("b/../../c") == {"old": 2}
    folder = host.data_dir / "remediation"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert len(list(folder.iterdir())) == 2


def test_old_notes_go(host: Host) -> None:
    notes = Notes(host.data_dir)
    notes.write("old", {})
    (path,) = (host.data_dir / "remediation").iterdir()
    os.utime(path, (time.time() - KEPT - 10,) * 2)
    notes.write("new", {})
    assert notes.read("old") is None
    assert notes.read("new") == {}


def test_notes_that_cannot_be_used_are_said(host: Host) -> None:
    notes = Notes(host.data_dir)
    notes.write("a", {})
    (path,) = (host.data_dir / "remediation").iterdir()
    path.write_text("{")
    with pytest.raises(PredisError, match="cannot be read"):
        notes.read("a")
    with pytest.raises(PredisError, match="cannot be written"):
        Notes(host.data_dir / "nowhere").write("a", {})


# --- amounts and pace


@pytest.mark.parametrize("old", range(12))
@pytest.mark.parametrize("keys", [{"by": 2}, {"by": -3}, {"by_percent": 30}, {"by_percent": -30}, {"to": 5}])
def test_a_count_stays_within_its_limits_or_where_it_is(old: int, keys: dict[str, Any]) -> None:
    params = CountParams.model_validate({"at_least": 2, "at_most": 8, **keys})
    try:
        new = params.from_(old)
    except PredisError:
        # nothing is left of the way: it is at the limit in this direction, or beyond it
        up = keys.get("by", keys.get("by_percent", 5 - old)) > 0
        assert old >= 8 if up else old <= 2
        return
    assert 2 <= new <= 8
    if "to" not in keys:
        assert (new > old) == (next(iter(keys.values())) > 0)


def test_a_pace_is_kept_and_can_be_given_up() -> None:
    pace = Pace(1000, lambda: False)
    begun = time.monotonic()
    for _ in range(5):
        assert pace.wait(50)
    assert 0.2 <= time.monotonic() - begun < 5
    waiting = Pace(1, lambda: True)
    assert not waiting.wait(1)
