"""The condition `clock`, which predis_conditions of the plugin remediation gives."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, cast

import pytest
from pydantic import ValidationError

from agent.api import History, Now, Snapshot
from plugins.remediation.clock import Clock, ClockParams
from plugins.remediation.config import RemediationConfig
from plugins.remediation.plugin import Remediation


def holds(when: str, **keys: Any) -> bool | None:
    """`when`: ISO 8601, in UTC."""
    moment = datetime.fromisoformat(when).replace(tzinfo=UTC).timestamp()
    (clock,) = Remediation(RemediationConfig()).predis_conditions()
    now = Now(moment, Snapshot(moment), cast(History, None))
    return clock.evaluate(clock.Params.model_validate(keys), now).holds


@pytest.mark.parametrize(
    ("when", "keys", "expected"),
    [
        ("2026-11-27T03:00", {}, True),
        ("2026-11-27T03:00", {"from": "02:00", "until": "04:00"}, True),
        ("2026-11-27T04:00", {"from": "02:00", "until": "04:00"}, False),
        ("2026-11-27T02:00", {"from": "02:00", "until": "04:00"}, True),
        ("2026-11-27T03:00", {"days": ["sat"]}, False),
        ("2026-11-27T23:30", {"days": ["fri"], "from": "22:00", "until": "02:00"}, True),
        ("2026-11-28T01:59", {"days": ["fri"], "from": "22:00", "until": "02:00"}, True),
        ("2026-11-28T23:30", {"days": ["fri"], "from": "22:00", "until": "02:00"}, False),
        ("2026-11-30T01:00", {"days": ["sun"], "from": "22:00", "until": "02:00"}, True),
        ("2026-07-01T00:30", {"from": "02:00", "until": "03:00", "zone": "Europe/Berlin"}, True),
    ],
)
def test_windows(when: str, keys: dict[str, Any], expected: bool) -> None:
    assert holds(when, **keys) is expected


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"from": "2pm"}, "write HH:MM"),
        ({"from": "02"}, "write HH:MM"),
        ({"from": "25:00"}, "write HH:MM"),
        ({"from": "02:00", "until": "02:00"}, "leave them out"),
        ({"zone": "Mars/Olympus"}, "there is no time zone"),
        ({"days": []}, "at least 1 item"),
    ],
)
def test_what_is_no_window_is_refused(keys: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        ClockParams.model_validate(keys)


def test_it_says_why() -> None:
    verdict = Clock().evaluate(ClockParams(), Now(0.0, Snapshot(0.0), cast(History, None)))
    assert verdict.why == "Thu 00:00 UTC is within 00:00 to 24:00 on mon, tue, wed, thu, fri, sat, sun"
