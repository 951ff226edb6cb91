"""The demonstration is the whole story, end to end: real agent, real cache, real load, a real fault."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SIGNATURES = {
    "squeeze": "memory limit lowered",
    "kill": "cache restarted",
    "flood": "noisy tenant",
    "origin": "origin slow",
}
ACTIONS = {"squeeze": "cache.memory", "flood": "cache.tenant_limit", "origin": "call.webhook"}


@pytest.mark.timeout(400)
@pytest.mark.parametrize("fault", list(SIGNATURES))
def test_a_fault_is_noticed_explained_mended_verified_and_on_record(fault: str, tmp_path: Path) -> None:
    """Given a cache under load, when something breaks, then the agent mends it and touches nothing else."""
    command = [sys.executable, "-m", "agent", "demo", "--fault", fault, "--learn", "40", "--rate", "400", "--json"]
    environment = dict(os.environ, TMPDIR=str(tmp_path), COLUMNS="200")
    run = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=380, check=False)
    assert run.returncode == 0, run.stderr + run.stdout
    told = json.loads(run.stdout)
    assert [audit.endswith("the chain is whole") for audit in told["audit"]] == [True]
    (measured,) = told["results"]
    assert 0 < measured["detected"] <= 30
    assert measured["after"] >= 0.95 * measured["before"] > 0.8
    assert measured["felt"]
    assert measured["signature"] == SIGNATURES[fault], measured["cause"]
    assert measured["incident"], "it opened after the onset, so it is of nothing before"
    assert (measured["wrong"], measured["changed"], measured["unchanged"]) == (0, [], [])
    if fault in ACTIONS:
        assert measured["actions"] == [ACTIONS[fault]]
        assert measured["detected"] <= measured["acted"] <= measured["verified"]
    else:
        assert measured["errors"] > 0
        assert measured["actions"] == []
    if fault == "squeeze":
        assert measured["worst"] < 0.9
    if fault == "flood":
        assert "client|setinfo" not in measured["incident"], "who looks at the settings is not what is found"
        before, most, after = measured["tenant"]
        assert before < 200
        assert most > 10_000
        assert 1000 < after <= 2400, "it is held to its limit, and not kept out"
    if fault == "origin":
        before, worst, after = measured["fetch"]
        assert worst > 0.1 > max(before, after)
    assert list(tmp_path.iterdir()) == [], "it leaves nothing behind"


def test_whoever_ends_it_early_finds_nothing_left(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "agent", "demo", "--fault", "kill"]
    environment = dict(os.environ, TMPDIR=str(tmp_path), COLUMNS="200")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as run:
        assert run.stdout is not None
        assert "learning" in run.stdout.readline()  # all of it runs by now
        (folder,) = tmp_path.iterdir()
        cache = int((folder / "data" / "cache.pid").read_text())
        run.terminate()
        run.communicate(timeout=60)
    assert run.returncode == 128 + 15
    assert list(tmp_path.iterdir()) == []
    assert not Path(f"/proc/{cache}").exists()
