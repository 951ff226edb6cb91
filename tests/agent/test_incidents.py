"""Incidents from what detectors found to what is told: kept through a restart, whatever the disk holds."""

from __future__ import annotations

import dataclasses
import os
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.export.model import Event
from agent.incidents import manager
from agent.incidents.document import incident_document
from agent.incidents.grouping import QUIET
from agent.incidents.manager import Incidents
from agent.incidents.model import Cause, Incident
from agent.incidents.store import FILE, MOST_POINTS, PICTURES
from tests.agent.test_incidents_grouping import anomaly
from tests.waiting import wait_until


class World:
    """Incidents in a folder, with a clock, and what was told and asked."""

    def __init__(self, folder: Path, explain: Callable[[Incident], None] | None = None, now: float = 1000.0) -> None:
        self.now = now
        self.events: list[Event] = []
        self.asked: list[Incident] = []
        self.incidents = Incidents(
            self.events.append, explain or self.asked.append, lambda: {"anomaly"}, lambda: self.now
        )
        self.incidents.start(folder)

    def look(self, *tenants: str, since: float = 1000.0) -> None:
        self.now += 10
        self.incidents.found("anomaly", self.now, [anomaly(tenant=tenant, since=since) for tenant in tenants])
        self.settle()

    def settle(self) -> None:
        done: list[bool] = []
        self.incidents._later(lambda: done.append(True))
        wait_until(lambda: done, what="all has been looked at")

    def open_one(self) -> str:
        """Open an incident; gives its id."""
        self.look("shop")
        self.look("shop")
        (one,) = self.incidents.open_ones()
        return one.id

    def over(self) -> None:
        self.look()
        self.now += QUIET
        self.look()


def test_an_incident_is_told_when_it_opens_and_as_a_span_when_it_is_over(tmp_path: Path) -> None:
    world = World(tmp_path)
    name = world.open_one()
    (opened,) = world.events
    assert (opened.kind, opened.severity, opened.attributes["incident"]) == ("incident_opened", "warning", name)
    assert 'predis_cache_load{tenant="shop"} is off (shift): 5, expected 0 to 1' in opened.title
    assert re.fullmatch("[0-9a-f]{32}", opened.trace_id)
    assert [one["id"] for one in world.incidents.status()["open"]] == [name]
    world.over()
    span = world.events[-1]
    assert (span.kind, span.time, span.duration, span.span_id) == ("incident", 1000.0, 30.0, opened.parent_id)
    assert span.trace_id == opened.trace_id
    assert world.incidents.open_ones() == ()
    (line,) = world.incidents.newest()
    assert (line["id"], line["closed"]) == (name, 1030.0)
    values = {sample.name: sample.value for sample in world.incidents.collect()}
    assert values == {
        "predis_anomalies": 0,
        "predis_incidents_open": 0,
        "predis_incidents_total": 1,
        "predis_incident_errors_total": 0,
    }
    world.incidents.stop()


def test_causes_are_asked_for_as_it_opens_as_it_grows_and_once_more_is_known(tmp_path: Path) -> None:
    world = World(tmp_path)
    name = world.open_one()
    assert [len(one.anomalies) for one in world.asked] == [1]
    world.incidents.explained("why", name, [Cause("origin", 1.0, "it is slow"), Cause("tenant:shop", 3.0, "it floods")])
    world.incidents.explained("other", name, [Cause("gpu", 2.0, "it is hot")])
    world.incidents.explained("why", "nobody", [Cause("x", 1.0, "y")])
    world.settle()
    (incident,) = world.incidents.open_ones()
    assert [cause.component for cause in incident.causes] == ["tenant:shop", "gpu", "origin"]
    told = [event for event in world.events if event.kind == "incident_explained"]
    assert [(event.attributes["cause"], event.parent_id) for event in told] == [
        ("tenant:shop", incident.attributes["span_id"])
    ]
    world.look("shop")
    assert len(world.asked) == 2, "half a minute has gone"
    world.look("shop", "b")
    assert len(world.asked) == 3, "it has grown"
    world.now = 1065
    world.look("shop", "b")
    world.look("shop", "b")
    assert len(world.asked) == 4, "a minute has gone"
    assert world.incidents.newest()[0]["cause"] == "tenant:shop"
    world.incidents.stop()


def test_one_that_lasts_keeps_its_name_and_its_causes_through_a_restart(tmp_path: Path) -> None:
    world = World(tmp_path)
    name = world.open_one()
    world.incidents.explained("why", name, [Cause("origin", 1.0, "it is slow")])
    world.settle()
    world.incidents.stop()
    after = World(tmp_path, now=world.now + 100)
    (incident,) = after.incidents.open_ones()
    assert (incident.id, incident.opened, incident.causes[0].component) == (name, 1000.0, "origin")
    after.look("shop", since=1110.0)  # the detector has learnt anew: another onset, the same series
    (incident,) = after.incidents.open_ones()
    assert incident.id == name
    assert [event.kind for event in after.events] == []
    trace = incident.attributes["trace_id"]
    after.over()
    assert [(event.kind, event.time, event.trace_id) for event in after.events] == [("incident", 1000.0, trace)]
    after.incidents.stop()
    assert World(tmp_path).incidents.open_ones() == ()


def test_after_a_restart_it_is_not_over_before_it_was_quiet_and_new_causes_replace_the_old(tmp_path: Path) -> None:
    world = World(tmp_path)
    name = world.open_one()
    world.incidents.explained("why", name, [Cause("origin", 1.0, "it is slow")])
    world.settle()
    world.incidents.stop()
    after = World(tmp_path, now=world.now + 2000)
    after.look()
    after.look()
    assert [one.id for one in after.incidents.open_ones()] == [name]
    after.incidents.explained("why", name, [Cause("gpu", 0.5, "it is hot")])
    after.settle()
    assert [cause.component for cause in after.incidents.open_ones()[0].causes] == ["gpu"]
    after.incidents.stop()


def test_one_that_ended_while_the_agent_was_away_is_closed(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.open_one()
    world.incidents.stop()
    after = World(tmp_path, now=world.now + 1000)
    for _ in range(round(QUIET / 10) + 2):
        after.look()
    assert after.incidents.open_ones() == ()
    assert [event.kind for event in after.events] == ["incident"]
    after.incidents.stop()


def test_after_sigkill_it_is_there(tmp_path: Path) -> None:
    world = World(tmp_path)
    name = world.open_one()  # what is on the disk now is all that a killed agent leaves
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in tmp_path.glob(f"{FILE}*"):
        (copy / path.name).write_bytes(path.read_bytes())
    assert [one.id for one in World(copy).incidents.open_ones()] == [name]
    world.incidents.stop()


@pytest.mark.parametrize("rubbish", [b"no database" * 1000, b"SQLite format 3\0" + b"\xff" * 8000, b"{}"])
def test_a_corrupt_file_is_moved_aside(tmp_path: Path, rubbish: bytes) -> None:
    (tmp_path / FILE).write_bytes(rubbish)
    world = World(tmp_path)
    name = world.open_one()
    world.incidents.stop()
    assert (tmp_path / f"{FILE}.broken").read_bytes() == rubbish
    assert [one.id for one in World(tmp_path).incidents.open_ones()] == [name]


def test_rows_that_no_agent_wrote_are_left_out(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.open_one()
    world.incidents.stop()
    with sqlite3.connect(tmp_path / FILE) as connection:
        for number, data in enumerate(
            ["{}", "[]", "rubbish", '{"incident": {"anomalies": [5], "causes": []}, "kept": {}}']
        ):
            connection.execute("INSERT INTO incidents VALUES (?, 5, NULL, '{}', ?)", (f"x{number}", data))
    assert len(World(tmp_path).incidents.open_ones()) == 1


def test_a_folder_that_cannot_be_written_costs_only_the_memory_of_incidents(tmp_path: Path) -> None:
    world = World(tmp_path / "nowhere")
    name = world.open_one()
    assert world.incidents.get(name) is not None
    assert "cannot be opened" in world.incidents.status()["error"]
    world.over()
    assert world.incidents.newest()[0]["closed"] == 1030.0
    os.mkdir(tmp_path / "nowhere")
    world.incidents._open_at = 0.0
    world.look()
    assert world.incidents.status()["error"] is None
    world.incidents.stop()
    assert World(tmp_path / "nowhere").incidents.get(name) is not None


def test_one_who_explains_and_raises_stops_nothing(tmp_path: Path) -> None:
    def explain(incident: Incident) -> None:
        raise RuntimeError("no idea")

    world = World(tmp_path, explain)
    name = world.open_one()
    assert world.incidents.get(name) is not None
    assert "no idea" in world.incidents.status()["error"]
    world.over()
    assert world.incidents.open_ones() == ()
    world.incidents.stop()


def test_a_detector_that_says_more_than_can_be_looked_at_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manager, "_MOST_WAITING", 2)
    lazy = Incidents(lambda event: None)  # not started
    for turn in range(5):
        lazy.found("anomaly", float(turn), [])
    assert {sample.name: sample.value for sample in lazy.collect()}["predis_incident_errors_total"] == 3


def test_a_file_that_breaks_while_it_is_used_is_replaced(tmp_path: Path) -> None:
    world = World(tmp_path)
    name = world.open_one()
    world.over()
    with sqlite3.connect(tmp_path / FILE) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    with (tmp_path / FILE).open("r+b") as file:
        size = file.seek(0, 2)
        file.seek(100)
        file.write(b"\xff" * (size - 100))
    for _ in range(4):
        world.look("other", since=world.now)
    assert [line["id"] for line in world.incidents.newest()][-1] == name  # from memory
    world.look("other", since=1190.0)
    world.incidents.stop()
    assert (tmp_path / f"{FILE}.broken").exists()
    after = World(tmp_path)
    assert len(after.incidents.open_ones()) == 1
    after.incidents.stop()


def test_only_some_pictures_are_kept_on_the_disk(tmp_path: Path) -> None:
    world = World(tmp_path)
    history = tuple((float(turn), 1.0) for turn in range(1000))
    storm = [dataclasses.replace(anomaly(tenant=f"t{n}"), history=history) for n in range(90)]
    world.incidents.found("anomaly", 1010.0, storm)
    world.settle()
    (one,) = world.incidents.open_ones()
    assert len(one.anomalies) == 90
    world.incidents.stop()
    (kept,) = World(tmp_path).incidents.open_ones()
    lengths = [len(anomaly.history) for anomaly in kept.anomalies]
    assert sum(length > 0 for length in lengths) == PICTURES
    assert max(lengths) == MOST_POINTS


def test_rubbish_of_a_detector_keeps_nothing_from_being_looked_at(tmp_path: Path) -> None:
    world = World(tmp_path)
    name = world.open_one()
    good, nan = anomaly(tenant="shop"), float("nan")
    rubbish = [dataclasses.replace(good, **{key: nan}) for key in ("since", "time", "score")]
    rubbish += [dataclasses.replace(good, since=at) for at in (-1.0, 1e20, float("inf"))]
    rubbish = [dataclasses.replace(one, series=("other", (str(n),))) for n, one in enumerate(rubbish)]
    for _ in range(3):
        world.now += 10
        world.incidents.found("anomaly", world.now, [*rubbish, good])
        world.settle()
    assert [(one.id, one.attributes["series"]) for one in world.incidents.open_ones()] == [(name, "1")]
    assert "unexpected" not in (world.incidents.status()["error"] or "")
    assert world.incidents.status()["errors"] == 3
    world.incidents.stop()


def test_of_a_flood_the_rarest_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manager, "MOST_MEMBERS", 50)
    world = World(tmp_path)
    flood = [anomaly(tenant=f"t{number}", score=number / 1000) for number in range(1000)]
    world.incidents.found("anomaly", world.now, flood)
    world.settle()
    (one,) = world.incidents.open_ones()
    assert (one.attributes["series"], one.anomalies[0].score) == ("50", 0.999)
    world.incidents.stop()


def test_what_lasts_is_counted_while_nothing_comes_or_goes() -> None:
    incidents = Incidents(lambda event: None)
    locked: list[bool] = []

    class Watched(dict[str, Any]):
        def values(self) -> Any:
            locked.append(incidents._lock.locked())  # else another thread may change it meanwhile, which raises
            return super().values()

    incidents._grouper.open = Watched()
    list(incidents.collect())
    incidents.status()
    assert locked
    assert all(locked)


def test_of_a_flood_of_causes_the_most_probable_are_kept(tmp_path: Path) -> None:
    world = World(tmp_path)
    name = world.open_one()
    flood = [Cause(f"part{number}", float(number), "x" * 10_000) for number in range(1000)]
    world.incidents.explained("why", name, [*flood, Cause("rubbish", float("nan"), "?")])
    world.settle()
    found = world.incidents.get(name)
    assert found is not None
    assert len(found.causes) == manager.MOST_CAUSES
    assert found.causes[0].component == "part999"
    assert len(found.causes[0].why) == manager.LONGEST_WHY
    world.incidents.stop()


@pytest.mark.parametrize(
    ("data", "line"),
    [
        ('{"incident": {"id": "x", "shape": "of tomorrow"}, "kept": {}}', None),
        ("no JSON", None),
        ('{"incident": {}}', "no JSON either"),
        ('{"incident": {}}', '["a list"]'),
        ('{"incident": {}}', '{"title": "of tomorrow", "more": 1}'),
    ],
)
def test_an_open_one_of_another_version_is_closed_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, data: str, line: str | None
) -> None:
    # given an incident that lasts, as an agent of another version left it
    world = World(tmp_path)
    name = world.open_one()
    world.incidents.stop()
    with sqlite3.connect(tmp_path / FILE) as connection:
        connection.execute("UPDATE incidents SET data = ?, summary = ifnull(?, summary)", (data, line))
    # when this one starts
    world = World(tmp_path, now=5000.0)
    # then it does not last for ever: it is closed, for all to see, and told in the log
    assert world.incidents.open_ones() == ()
    (shown,) = world.incidents.newest()
    assert (shown["id"], shown["closed"], shown["opened"]) == (name, 5000.0, 1000.0)
    assert "another version of the agent wrote it" in shown["why"]
    assert "1 open incidents are closed: another version of the agent wrote them" in caplog.text
    assert name in caplog.text
    # and who asks for all of it gets what is known, as a document
    found = world.incidents.get(name)
    assert found is not None
    document = incident_document(found)
    assert (document["closed"], document["anomalies"]) == (5000.0, [])
    assert "another version" in document["attributes"]["unread"]
    # what the other version wrote is left as it was, and it happens once
    with sqlite3.connect(tmp_path / FILE) as connection:
        assert connection.execute("SELECT data FROM incidents").fetchall() == [(data,)]
    world.incidents.stop()
    assert World(tmp_path, now=9000.0).incidents.newest()[0]["closed"] == 5000.0
