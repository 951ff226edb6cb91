"""Incidents on the disk, so that one that lasts keeps its name through a restart, and old ones can be looked up."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
from collections.abc import Sequence
from typing import Any

from agent.incidents.document import summary
from agent.incidents.model import Anomaly, Cause, Incident
from agent.sqlite_file import SqliteFile, connect, is_broken

FILE = "incidents.sqlite"
KEPT = 300  # incidents that are over
PICTURES = 20  # anomalies of one that are kept with their history, of MOST_POINTS at most
MOST_POINTS = 120
STRANGER = "closed unread: another version of the agent wrote it, and this one cannot say whether it lasts"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS incidents (
  id TEXT PRIMARY KEY, opened REAL NOT NULL, closed REAL, summary TEXT NOT NULL, data TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS incidents_by_time ON incidents (opened);
"""


class IncidentStore(SqliteFile):
    """One file. Methods raise sqlite3.Error where the disk or the file is at fault; one thread at a time."""

    def open(self, *, anew: bool = False) -> str:
        """Make the file, or open it; one that cannot be used is moved aside: then, where to. Raises sqlite3.Error.

        anew: it is known that it cannot be used.
        """
        if not anew:
            try:
                self._open()
                return ""
            except sqlite3.DatabaseError as error:
                if not is_broken(error):
                    raise
        try:
            aside = self.move_aside()
        except OSError as error:
            raise sqlite3.OperationalError(f"it is broken and cannot be moved: {error.strerror or error}") from None
        self._open()
        return str(aside)

    def _open(self) -> None:
        connection = connect(self.path)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA cache_size = -256")
            connection.executescript(_SCHEMA)
            connection.execute("SELECT id, data FROM incidents WHERE closed IS NULL").fetchall()  # finds what is broken
        except sqlite3.Error:
            connection.close()
            raise
        self._connection = connection

    def write(self, incident: Incident, kept: dict[str, Any]) -> None:
        """Keep the newest state of an incident, and what else is to be had again. Raises sqlite3.Error."""
        pictures = tuple(
            dataclasses.replace(anomaly, history=anomaly.history[-MOST_POINTS:] if number < PICTURES else ())
            for number, anomaly in enumerate(incident.anomalies)
        )
        slim = dataclasses.replace(incident, anomalies=pictures)
        data = json.dumps({"incident": dataclasses.asdict(slim), "kept": kept})
        connection = self._opened()
        connection.execute(
            "INSERT OR REPLACE INTO incidents (id, opened, closed, summary, data) VALUES (?, ?, ?, ?, ?)",
            (incident.id, incident.opened, incident.closed, json.dumps(summary(incident)), data),
        )
        if incident.closed is not None:
            connection.execute(
                "DELETE FROM incidents WHERE closed IS NOT NULL AND id NOT IN"
                " (SELECT id FROM incidents WHERE closed IS NOT NULL ORDER BY opened DESC LIMIT ?)",
                (KEPT,),
            )

    def open_ones(self) -> list[tuple[Incident, dict[str, Any]]]:
        """The incidents that lasted when they were last written, as far as they can be read. Raises sqlite3.Error."""
        rows = self._opened().execute("SELECT data FROM incidents WHERE closed IS NULL ORDER BY opened").fetchall()
        return [read for (data,) in rows if (read := _read(data)) is not None]

    def close_strangers(self, now: float) -> list[str]:
        """Close the open incidents that cannot be read, such as another version's: nobody would ever end them. What is
        known of them in a line stays, with why they ended, and so does what is written of them, for who can read it.
        Gives their names. Raises sqlite3.Error."""
        rows = self._opened().execute("SELECT id, summary, data FROM incidents WHERE closed IS NULL").fetchall()
        strangers = [(identifier, line) for identifier, line, data in rows if _read(data) is None]
        for identifier, line in strangers:
            told = {**_line(line), "id": identifier, "closed": now, "why": STRANGER}
            self._opened().execute(
                "UPDATE incidents SET closed = ?, summary = ? WHERE id = ?", (now, json.dumps(told), identifier)
            )
        return [identifier for identifier, _ in strangers]

    def newest(self, limit: int) -> list[dict[str, Any]]:
        """The newest incidents, newest first, in a line each. Raises sqlite3.Error."""
        query = "SELECT id, opened, closed, summary FROM incidents ORDER BY opened DESC LIMIT ?"
        rows = self._opened().execute(query, (limit,)).fetchall()
        return [{**_line(line), "id": name, "opened": opened, "closed": closed} for name, opened, closed, line in rows]

    def get(self, identifier: str) -> Incident | None:
        """One incident. Raises sqlite3.Error."""
        query = "SELECT data, opened, closed, summary FROM incidents WHERE id = ?"
        row = self._opened().execute(query, (identifier,)).fetchone()
        if row is None:
            return None
        data, opened, closed, line = row
        read = _read(data)
        if read is not None:
            return read[0]
        told = _line(line)
        attributes = {"series": str(told["series"]), "components": str(told["components"]), "unread": STRANGER}
        return Incident(identifier, opened, str(told["title"]), (), (), closed, str(told["severity"]), attributes)


def _line(summary_: str) -> dict[str, Any]:
    """An incident in a line, with all that `summary` gives, whoever wrote it."""
    empty = summary(Incident("", 0.0, "an incident that another version of the agent wrote", ()))
    try:
        return {**empty, **{name: value for name, value in dict(json.loads(summary_)).items() if value is not None}}
    except (ValueError, TypeError):
        return empty


def _read(data: str) -> tuple[Incident, dict[str, Any]] | None:
    """What `write` wrote; None for anything else, such as another agent's."""
    try:
        document = json.loads(data)
        given = document["incident"]
        anomalies = tuple(_anomaly(one) for one in given.pop("anomalies"))
        causes = tuple(_cause(one) for one in given.pop("causes"))
        return Incident(anomalies=anomalies, causes=causes, **given), dict(document["kept"])
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _anomaly(given: dict[str, Any]) -> Anomaly:
    series, labels, history = _series(given.pop("series")), tuple(given.pop("labels")), given.pop("history")
    return Anomaly(series, labels, history=tuple((at, value) for at, value in history), **given)


def _cause(given: dict[str, Any]) -> Cause:
    return Cause(series=tuple(map(_series, given.pop("series"))), **given)


def _series(given: Sequence[Any]) -> tuple[str, tuple[str, ...]]:
    return given[0], tuple(given[1])
