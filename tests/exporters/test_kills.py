"""SIGKILL at random moments of an export; `make stress` does it a hundred times."""

from pathlib import Path

import pytest

from tests.exporters import agent_kills
from tests.exporters.kills import kill_while_it_hangs, stress
from tests.exporters.rig import AWS


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in AWS.items():
        monkeypatch.setenv(name, value)


def test_a_killed_exporter_loses_nothing_that_was_acknowledged(tmp_path: Path, aws: None) -> None:
    assert stress(10, tmp_path, seed=7).startswith("10 kills, ")


@pytest.mark.parametrize("vendor", ["datadog", "newrelic"])
def test_what_was_spooled_while_a_request_hung_counts_once_after_a_kill(tmp_path: Path, vendor: str) -> None:
    counted, true = kill_while_it_hangs(vendor, tmp_path)
    assert counted == true


def test_a_killed_agent_loses_nothing_that_was_acknowledged(tmp_path: Path, aws: None) -> None:
    said, kills = agent_kills.stress(2, tmp_path, seed=3)
    assert said.startswith("2 kills, ")
    assert all(seen.acknowledged and seen.spooled for seen in kills.seen.values())


def test_a_spool_that_is_lost_between_two_agents_is_noticed(tmp_path: Path, aws: None) -> None:
    lost: list[Path] = []

    def lose(data: Path) -> None:
        """What a disk that forgets would do, once."""
        for segment in [] if lost else sorted(data.glob("export/datadog/lane-*/*.segment")):
            segment.unlink()
            lost.append(segment)

    with pytest.raises(
        AssertionError, match=r"datadog: .*(spooled points the next agent did not find|spooled and lost)"
    ):
        agent_kills.stress(0, tmp_path, between=lose)
    assert lost
