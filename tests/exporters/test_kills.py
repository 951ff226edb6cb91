"""SIGKILL at random moments of an export; `make stress` does it a hundred times."""

from pathlib import Path

import pytest

from tests.exporters.kills import kill_while_it_hangs, stress
from tests.exporters.rig import AWS


def test_a_killed_exporter_loses_nothing_that_was_acknowledged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in AWS.items():
        monkeypatch.setenv(name, value)
    assert stress(10, tmp_path, seed=7).startswith("10 kills, ")


@pytest.mark.parametrize("vendor", ["datadog", "newrelic"])
def test_what_was_spooled_while_a_request_hung_counts_once_after_a_kill(tmp_path: Path, vendor: str) -> None:
    counted, true = kill_while_it_hangs(vendor, tmp_path)
    assert counted == true
