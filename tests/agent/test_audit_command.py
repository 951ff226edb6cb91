"""`predis-agent audit show`: what was decided, as people read it, on a terminal of any width."""

from __future__ import annotations

from pathlib import Path

from agent.cli.audit import _lines
from agent.incidents.audit import AuditLog
from tests.agent.test_cli import predis_agent

FIRED = {
    "incidents": ["20261128-093229-ab03"],
    "looks_at": ["predis_tenant_commands_total", "predis_tenant_throttled_total"],
    "plan": ["would limit it to 2,000 a second", "would restart it"],
    "rule": "tenant-floods",
    "subject": "tenant:reports",
    "run": "e51805e173cc5f33",
    "undo": {"new": [1, 2], "old": None},
    "empty": [],
    "why": "rate of predis_tenant_commands_total over 5s is 111295 for tenant:reports, > 5000; and \x1b[2J more",
}


def test_a_record_is_read_from_above_to_below(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.jsonl", lambda: 1_764_322_352.0)
    log.begin({"version": "0.1.0"})
    log.append("fired", FIRED)
    log.close()
    # given a narrow place, and a zone in which nobody else reads
    shown = predis_agent("audit", "show", str(log.path), folder=tmp_path, COLUMNS="60", TZ="America/New_York").stdout
    # then nothing is wider, but what cannot be broken, nothing is Python's, and nothing commands the terminal
    assert shown.splitlines() == [
        "1  2025-11-28 09:32:32 UTC  audit_begun",
        "   version: 0.1.0",
        "2  2025-11-28 09:32:32 UTC  tenant-floods  tenant:reports  fired",
        "   why: rate of predis_tenant_commands_total over 5s is",
        "      111295 for tenant:reports, > 5000; and \\x1b[2J more",
        "   plan: would limit it to 2,000 a second; would restart it",
        "   incidents: 20261128-093229-ab03",
        "   looks at: predis_tenant_commands_total,",
        "      predis_tenant_throttled_total",
        "   undo: new 1, 2, old none",
    ]


def test_a_word_that_is_wider_than_the_terminal_stays_whole() -> None:
    target = "cache:" + "x" * 90
    assert _lines({"n": 1, "kind": "acted", "target": target}, 1) == [
        "1  1970-01-01 00:00:00 UTC  acted",
        "   target:",
        f"      {target}",
    ]
