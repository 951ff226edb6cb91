"""The demonstration is the whole story, end to end: real agent, real cache, real load, a real fault."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.timeout(400)
@pytest.mark.parametrize("fault", ["squeeze", "kill"])
def test_a_fault_is_noticed_mended_verified_and_on_record(fault: str, tmp_path: Path) -> None:
    """Given a cache under load, when something breaks, then the agent mends it and touches nothing else."""
    command = [sys.executable, "-m", "agent", "demo", "--fault", fault, "--learn", "15", "--rate", "400", "--json"]
    environment = dict(os.environ, TMPDIR=str(tmp_path), COLUMNS="200")
    run = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=380, check=False)
    assert run.returncode == 0, run.stderr + run.stdout
    told = json.loads(run.stdout)
    assert told["audit"].endswith("the chain is whole")
    (measured,) = told["results"]
    assert 0 < measured["detected"] <= 30
    assert measured["detected"] < measured["recovered"]
    assert measured["after"] >= 0.95 * measured["before"] > 0.8
    assert measured["wrong"] == 0
    assert measured["changed"] == []
    if fault == "squeeze":
        assert measured["worst"] < 0.9, "the fault was felt"
        assert measured["actions"] == ["cache.memory"]
        assert measured["detected"] <= measured["acted"] <= measured["verified"]
    else:
        assert measured["errors"] > 0, "the fault was felt"
        assert measured["actions"] == []
    assert list(tmp_path.iterdir()) == [], "it leaves nothing behind"
