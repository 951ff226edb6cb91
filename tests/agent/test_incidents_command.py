"""`predis-agent incidents show`: one incident on the terminal."""

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from agent.cli.incidents import _show
from agent.incidents.document import incident_document
from agent.incidents.model import Anomaly, Cause, Incident


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine whose clock is set to another zone."""
    with monkeypatch.context() as patched:
        patched.setenv("TZ", "America/New_York")
        time.tzset()
        yield
    time.tzset()


def test_an_incident_says_each_cause_once_and_what_rules_did(
    capsys: pytest.CaptureFixture[str], elsewhere: None
) -> None:
    load = Anomaly(
        ("load", ()), (), 1000.0, 1010.0, "shift", 5.0, 0.0, 1.0, 0.9, 1e-6, ((1000.0, 5.0), (1010.0, 22_550.0))
    )
    causes = (Cause("cache", 2.0, "cache: it is full."), Cause("host", 1.0, "the disk is slow."))
    acted = {
        "n": 7,
        "hash": "ab" * 32,
        "time": 1005.0,
        "rule": "memory-grow",
        "subject": "tenant:shop",
        "what": "acted",
        "action": "cache.memory",
        "target": "cache:local",
        "detail": "changed the cache's memory from 8MiB to 64MiB",
    }
    runs = replace(load, series=("run_seconds", ()), channel="shift.rate")
    _show(incident_document(Incident("i1", 1000.0, "load is off", (load, runs), causes, 1010.0), remedied=[acted]))
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "cause cache: it is full." in lines
    assert "host: the disk is slow." in lines
    assert "since 1970-01-01 00:16:40 UTC, for 10s" in lines, "as its page and its name say it"
    assert "load" in lines
    assert any(line.startswith("22.55k ┤") for line in lines), "numbers as the page has them"
    assert "run_seconds, observations a second" in lines
    (did,) = (line for line in lines if line.startswith("rules "))
    assert did.startswith("rules 1970-01-01 00:16:45 UTC memory-grow")
    assert did.endswith("memory-grow tenant:shop acted cache.memory: changed the cache's memory from 8MiB to 64MiB")
