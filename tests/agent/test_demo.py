"""The demonstration's own parts: who may switch the balancer, and what counts as broken."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from agent.config.models import Config
from agent.demo.balancer import OLDEST, is_signed
from agent.demo.faults import FAULTS
from agent.demo.screen import Screen
from agent.demo.story import Measured
from agent.demo.watch import Moment, Watch
from agent.demo.world import Second, limit
from agent.incidents.audit import AuditLog, log_path
from plugins.remediation.webhook import signature

NOW = 1_700_000_000
BODY = b'{"origin": "standby"}'


@pytest.mark.parametrize(
    ("header", "body", "secret", "right"),
    [
        (signature("s3cret", BODY, NOW), BODY, b"s3cret", True),
        (signature("other", BODY, NOW), BODY, b"s3cret", False),
        (signature("s3cret", BODY, NOW), BODY + b" ", b"s3cret", False),
        (signature("s3cret", BODY, NOW - int(OLDEST) - 1), BODY, b"s3cret", False),
        ("", BODY, b"s3cret", False),
        ("t=,v1=", BODY, b"s3cret", False),
    ],
)
def test_the_balancer_takes_what_the_agents_webhook_signs(header: str, body: bytes, secret: bytes, right: bool) -> None:
    assert is_signed(header, body, secret, NOW) is right


@pytest.mark.parametrize(
    ("fault", "ill"),
    [
        ("squeeze", {"hits": 80}),
        ("kill", {"errors": 1}),
        ("flood", {"tenant": 2 * limit()}),
        ("origin", {"fetch": 0.3}),
    ],
)
def test_each_fault_is_told_by_what_the_applications_feel(fault: str, ill: dict[str, float]) -> None:
    well = {"at": 0.0, "reads": 100, "hits": 98, "errors": 0, "wrong": 0, "p99": 0.001, "fetch": 0.002, "tenant": 100}
    assert FAULTS[fault].is_well(Second(**well), 0.98)  # type: ignore[arg-type]
    assert not FAULTS[fault].is_well(Second(**{**well, **ill}), 0.98)  # type: ignore[arg-type]


def test_what_was_promised_and_not_kept_is_named() -> None:
    kept = Measured("flood", 0.0, detected=2.0, recovered=5.0, actions=["cache.tenant_limit"])
    assert kept.problems == []
    broken = Measured(
        "flood", 0.0, detected=31.0, wrong=2, changed=["maxmemory"], unchanged=["reports.ops_per_second"],
        actions=["cache.tenant_limit", "cache.memory"],
    )  # fmt: skip
    assert broken.problems == [
        "not noticed within 30 s",
        "not recovered",
        "2 reads gave a wrong value",
        "settings are not what they were: maxmemory",
        "settings are still what they were: reports.ops_per_second",
        "more was done than was called for: cache.tenant_limit, cache.memory",
    ]


def test_every_record_of_the_audit_log_has_a_text(tmp_path: Path) -> None:
    config = Config.model_validate({"agent": {"data_dir": str(tmp_path)}})
    log = AuditLog(log_path(tmp_path))
    log.begin({"version": "0.1.0"})
    log.append("acted", {"rule": "grow", "detail": "64 MiB more"})
    log.close()
    told = [(moment.kind, moment.text) for moment in Watch(config).moments() if moment.source == "audit"]
    assert told == [("audit_begun", "the log of all decisions begins"), ("acted", "grow: 64 MiB more")]


def test_the_screen_tells_the_time_as_the_page_does() -> None:
    written = Console(file=StringIO(), width=100)
    with Screen(written, "") as screen:
        screen.moment(Moment(1_764_322_352.0, "audit", "acted", "grow"))
    assert written.file.getvalue().startswith("09:32:32Z  audit      acted      grow")  # type: ignore[attr-defined]
