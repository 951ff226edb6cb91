"""SIGKILL at random moments of an export; `make stress` does it a hundred times."""

from pathlib import Path

import pytest

from tests.exporters.kills import stress
from tests.exporters.rig import AWS


def test_a_killed_exporter_loses_nothing_that_was_acknowledged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in AWS.items():
        monkeypatch.setenv(name, value)
    assert stress(10, tmp_path, seed=7).startswith("10 kills, ")
