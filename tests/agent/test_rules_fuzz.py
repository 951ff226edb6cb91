"""A short remediation fuzz; `python -m tests.agent.rules_fuzz 1000000` is the long one."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.rules import guards
from tests.agent.rules_fuzz import Fuzz


def test_random_events_and_kills_never_break_the_law(tmp_path: Path) -> None:
    fuzz = Fuzz(tmp_path, 1)
    fuzz.run(12_000)
    assert fuzz.judge.violations == []
    counts = fuzz.judge.counts
    assert counts["kills"] > 20
    assert counts["run"] > 100
    for kind in (
        "approved",
        "denied",
        "overdue",
        "late",
        "not undone",
        "asked after a crash",
        "verified",
        "plan outdated",
        "kill switch",
        "goes on",
        "abandoned",
    ):
        assert counts[f"audit {kind}"] > 0, kind


@pytest.mark.parametrize("guard", ["_rested", "_within_hour", "_within_share", "_free", "_failed_twice"])
def test_the_judge_notices_each_guard_that_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, guard: str
) -> None:
    monkeypatch.setattr(guards, guard, lambda *arguments: None)
    fuzz = Fuzz(tmp_path, 3)
    for _ in range(8):
        fuzz.run(1000)
        if fuzz.judge.violations:
            return
    raise AssertionError(f"nobody missed {guard}")
