"""What rules did about an incident is found in the audit log, and stands on its page with the hashes of the records."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from agent.http.incident_page import incident_page
from agent.incidents.audit import AuditLog, verify
from agent.incidents.audit_files import Limits, lines_since
from agent.incidents.document import incident_document
from agent.incidents.model import Anomaly, Cause, Incident
from agent.incidents.remedied import MOST, STARTED, remedied, restarted_by, starts_in
from agent.rules.extension import Outcome
from agent.rules.recorded import Recorded
from tests.agent.rule_world import World

RULES = """
[[rule]]
name = "grow"
when.threshold = { metric = "predis_cpu_busy_ratio", value = "90%" }
then = [{ action = "test.act" }]
escalate = [{ action = "test.tell" }]
cooldown = "1h"
[[rule]]
name = "elsewhere"
when.threshold = { metric = "predis_memory_used_bytes", value = 5 }
then = [{ action = "test.act", name = "other" }]
cooldown = "1h"
[[rule]]
name = "on-incidents"
when.incident = {}
then = [{ action = "test.tell", name = "people" }]
cooldown = "1h"
[[rule]]
name = "per-tenant"
when.threshold = { metric = "predis_tenant_memory_bytes", by = ["tenant"], value = 5 }
then = [{ action = "test.act", name = "{tenant}" }]
cooldown = "1h"
"""


class Logged:
    """A world that writes a real audit log."""

    def __init__(self, folder: Path) -> None:
        self.world = World(folder, RULES)
        self.path = folder / "audit.jsonl"
        self.log = AuditLog(self.path, clock=lambda: self.world.time, sync=False)
        self.world.notes = self.log  # type: ignore[assignment]
        self.world.open()

    def incident(self, *causes: Cause, metric: str = "predis_cpu_busy_ratio", closed: float | None = None) -> Incident:
        """One that has begun now."""
        at = self.world.time
        anomaly = Anomaly((metric, ()), (), at, at, "shift", 0.99, 0.0, 0.5, 0.9, 1e-9)
        return Incident(f"at {at:g} {metric}", at, "off", (anomaly,), causes, closed)

    def busy(self, seconds: float) -> None:
        """Everything is ill."""
        world = self.world
        for _ in range(round(seconds / 10)):
            world.put("predis_tenant_memory_bytes", 9.0, "shop")
            world.put("predis_tenant_memory_bytes", 9.0, "blog")
            world.run(10, predis_cpu_busy_ratio=0.95, predis_memory_used_bytes=9.0)


@pytest.fixture
def logged(tmp_path: Path) -> Logged:
    return Logged(tmp_path)


def told(found: list[dict[str, Any]]) -> list[tuple[str, str, str, str]]:
    return [(record["rule"], record["what"], record["action"], record["target"]) for record in found]


def test_the_records_of_a_remedy_are_found_with_what_came_of_it(logged: Logged) -> None:
    incident = logged.incident()
    logged.world.act.outcomes = [Outcome(False, "no memory is left")]
    logged.busy(20)
    found = remedied(logged.path, incident)
    assert told(found) == [
        ("grow", "fired", "", ""),
        ("grow", "planned", "", ""),
        ("grow", "acting", "test.act", "thing:local"),
        ("grow", "failed", "test.act", "thing:local"),
        ("grow", "escalated", "", ""),
        ("grow", "telling", "test.tell", "person:local"),
        ("grow", "told", "test.tell", "person:local"),
        ("grow", "ended", "", ""),
    ]
    assert found[3]["detail"] == "no memory is left"
    assert found[1]["detail"] == "act on local"
    # each is a record of a log that is whole, named by the hash that the next one carries
    logged.log.append("note", {})
    assert verify(logged.path).problems == []
    lines = [json.loads(line) for line in logged.path.read_text().splitlines()]
    by_number = {line["n"]: line for line in lines}
    for record in found:
        assert by_number[record["n"]]["kind"] == record["what"]
        assert by_number[record["n"] + 1]["prev"] == record["hash"]


def test_what_belongs_to_it_looks_at_it_or_is_about_its_cause(logged: Logged) -> None:
    cause = Cause("tenant:shop", 1.0, "it floods the cache")
    incident = logged.incident(cause, metric="predis_keyspace_hits_total")
    logged.world.incidents = (incident,)
    logged.busy(20)
    assert {(record["rule"], record["subject"]) for record in remedied(logged.path, incident)} == {
        ("on-incidents", "tenant:shop"),
        ("per-tenant", "tenant:shop"),
    }
    by_series = logged.incident(Cause("disk", 1.0, "", (("predis_memory_used_bytes", ()),)), metric="predis_other")
    assert {record["rule"] for record in remedied(logged.path, by_series)} == {"elsewhere"}


def test_what_was_done_before_it_or_after_it_does_not_belong_to_it(logged: Logged) -> None:
    before = logged.incident(closed=logged.world.time + 5)
    logged.world.step(300)
    logged.busy(10)
    logged.world.step(300)
    after = logged.incident()
    assert remedied(logged.path, before) == []
    assert remedied(logged.path, after) == []


def test_without_a_log_or_with_rubbish_in_it_the_rest_is_told(logged: Logged) -> None:
    incident = logged.incident()
    assert remedied(logged.path.with_name("none.jsonl"), incident) == []
    logged.busy(20)
    whole = remedied(logged.path, incident)
    text = logged.path.read_text()
    logged.path.write_text('[1]\nnothing\n{"kind": 1}\n' + text)
    assert remedied(logged.path, incident) == whole


def test_no_more_than_can_be_shown_are_read(logged: Logged) -> None:
    incident = logged.incident()
    logged.log.append("fired", {"rule": "r", "run": "1", "subject": "", "looks_at": ["predis_*"]})
    for _ in range(MOST + 10):
        logged.log.append("refused", {"rule": "r", "run": "1", "subject": ""})
    assert len(remedied(logged.path, incident)) == MOST


def test_lines_of_a_time_are_found_in_a_long_log_of_several_files(tmp_path: Path) -> None:
    now = 0.0
    log = AuditLog(tmp_path / "audit.jsonl", clock=lambda: now, sync=False, limits=Limits(150_000, 5))
    for number in range(1500):
        now = float(number)
        log.append("note", {"text": "x" * 100})
    for start in (0.0, 1.0, 617.0, 1250.0, 1499.0):
        times = [json.loads(line)["time"] for line in lines_since(log.path, start)]
        assert times[-1] == 1499
        assert times == sorted(times)
        first = times[0]
        assert first <= start
        assert start - first < 400, "a block before it at most"


def test_the_page_shows_them_with_the_command_that_checks_them(logged: Logged) -> None:
    incident = logged.incident()
    logged.world.act.outcomes = [Outcome(False, "<b>no</b>")]
    logged.busy(20)
    records = remedied(logged.path, incident)
    page = incident_page(incident_document(incident, remedied=records))
    assert "What rules did" in page
    assert "predis-agent audit verify" in page
    assert "predis-agent audit show --rule grow" in page
    for record in records:
        assert f"<code>{record['hash'][:12]}</code>" in page
        assert time.strftime("<td>%H:%M:%S</td>", time.gmtime(record["time"])) in page
    assert "thing:local" in page
    assert "&lt;b&gt;no&lt;/b&gt;" in page
    assert "<b>no</b>" not in page
    assert "What rules did" not in incident_page(incident_document(incident))


def test_a_cause_that_tells_of_a_restart_says_which_rule_had_it_done(logged: Logged) -> None:
    restarted = Cause("cache", 0.1, "cache: its process was replaced: it changed 1 time.", ((STARTED, ()),))
    incident = logged.incident(restarted, Cause("host", 0.2, "host: it is busy."))
    logged.busy(10)
    records = remedied(logged.path, incident)
    began = next(record["time"] for record in records if record["what"] == "acting")
    ended = next(record["time"] for record in records if record["what"] == "acted")
    for start in (began, ended):
        whys = [cause["why"] for cause in incident_document(incident, remedied=records, starts=(start,))["causes"]]
        assert whys == [
            "cache: its process was replaced: it changed 1 time; the rule grow asked for it (test.act).",
            "host: it is busy.",
        ]
    # one of another time is not put down to it
    for start in (began - 5, ended + 5):
        assert restarted_by(records, (start,)) == ""
        assert incident_document(incident, remedied=records, starts=(start,))["causes"][0]["why"] == restarted.why
    # one that is under way, or whose end nobody wrote down, may still do it
    begun = [record for record in records if record["what"] != "acted"]
    assert restarted_by([record for record in begun if record["time"] <= began], (ended + 300,)) != ""


def test_the_starts_of_an_incident_are_those_of_its_time(logged: Logged) -> None:
    began = logged.world.time
    rows = [(-10.0, 1.0), (0.0, 2.0), (10.0, 2.0), (20.0, 3.0), (30.0, 4.0)]
    history = Recorded({(STARTED, ()): [(began + at, start) for at, start in rows]})
    assert starts_in(history, logged.incident(closed=began + 25)) == [2.0, 3.0]
    assert starts_in(history, logged.incident()) == [2.0, 3.0, 4.0]
    assert starts_in(Recorded({}), logged.incident()) == []
