"""What the rule engine must not forget, in SQLite: where each rule stands, and what was about to be done.

An intent is committed before its action runs and its outcome after it. After a crash an intent without outcome means
that nobody knows; the engine then asks the action and does not do it again (write-ahead logging, as databases do).
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.errors import PredisError

VERSION = 1
_KEPT = 30 * 86400.0  # seconds that intents with an outcome are kept
_SCHEMA = """
create table if not exists meta (key text primary key, value text not null);
create table if not exists machines (rule text, subject text, state text not null, primary key (rule, subject));
create table if not exists intents (
    id text primary key, rule text not null, subject text not null, action text not null, target text not null,
    key text not null, kind text not null, changes integer not null, deadline real not null, started real not null,
    ended real, outcome text, detail text, undo text, blocks integer not null default 0);
create index if not exists open_intents on intents (started) where outcome is null or blocks = 1;
create index if not exists intents_by_start on intents (started);
create table if not exists texts (rule text, version text, text text not null, primary key (rule, version));
create table if not exists failures (key text primary key, count integer not null, time real not null);
"""


@dataclass(frozen=True, slots=True)
class Intent:
    """One use of an action, written down before it. Times are the engine's seconds.

    kind: "run" or "undo". outcome: None while nobody knows, then "done", "failed", "overdue", "unknown" or
    "outdated".
    undo: what takes it back: as planned while nobody knows, then as it came out.
    blocks: its target is left alone, since what hangs may still be at work.
    """

    id: str
    rule: str
    subject: str
    action: str
    target: str
    key: str
    kind: str
    changes: bool
    deadline: float
    started: float
    ended: float | None = None
    outcome: str | None = None
    detail: str = ""
    undo: Mapping[str, Any] | None = None
    blocks: bool = False


class RuleStore:
    """The state file. From any thread; what one `with store.changes():` holds is committed together."""

    def __init__(self, path: Path | str, *, sync: bool = True) -> None:
        """Opens or makes it; ":memory:" for none. `sync` False: a crash of the machine may lose the newest commits.

        Raises PredisError when it cannot be used.
        """
        self._lock = threading.RLock()
        self._path = path
        self._depth = 0
        try:
            if isinstance(path, Path):
                path.touch(mode=0o600, exist_ok=True)
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=10.0)
            self._db.execute("pragma journal_mode = wal")
            self._db.execute(f"pragma synchronous = {'full' if sync else 'off'}")
            (version,) = self._db.execute("pragma user_version").fetchone()
            if version not in (0, VERSION):
                raise PredisError(f"{path} was written by another version of the agent (its format is {version})")
            with self.changes():
                for statement in _SCHEMA.split(";"):
                    self._db.execute(statement)
                self._db.execute(f"pragma user_version = {VERSION}")
        except (sqlite3.Error, OSError) as error:
            raise PredisError(
                f"the rules' state file {path} cannot be used: {error}; move it away to start anew"
            ) from None

    @contextmanager
    def changes(self) -> Iterator[None]:
        """A transaction. One within another belongs to it."""
        with self._lock:
            self._depth += 1
            try:
                if self._depth == 1:
                    self._db.execute("begin immediate")
                yield
                if self._depth == 1:
                    self._db.execute("commit")
            except BaseException:
                if self._depth == 1 and self._db.in_transaction:
                    self._db.execute("rollback")
                raise
            finally:
                self._depth -= 1

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def meta(self, key: str) -> Any:
        """A value of the engine's own, or None."""
        with self._lock:
            row = self._db.execute("select value from meta where key = ?", (key,)).fetchone()
        return None if row is None else json.loads(row[0])

    def set_meta(self, key: str, value: Any) -> None:
        """Keep a value of the engine's own (JSON)."""
        with self._lock:
            self._db.execute("insert or replace into meta values (?, ?)", (key, json.dumps(value)))

    def machines(self) -> list[tuple[str, str, dict[str, Any]]]:
        """(rule, subject, state) of all that stand anywhere but at the beginning."""
        with self._lock:
            rows = self._db.execute("select rule, subject, state from machines").fetchall()
        return [(rule, subject, json.loads(state)) for rule, subject, state in rows]

    def put_machine(self, rule: str, subject: str, state: Mapping[str, Any] | None) -> None:
        """Keep where a rule stands with a subject; None: at the beginning."""
        with self._lock:
            if state is None:
                self._db.execute("delete from machines where rule = ? and subject = ?", (rule, subject))
            else:
                self._db.execute("insert or replace into machines values (?, ?, ?)", (rule, subject, json.dumps(state)))

    def text(self, rule: str, version: str) -> str | None:
        """What a rule was when something fired by it; None: that is not kept."""
        with self._lock:
            row = self._db.execute("select text from texts where rule = ? and version = ?", (rule, version)).fetchone()
        return None if row is None else str(row[0])

    def keep_text(self, rule: str, version: str, text: str) -> None:
        """Keep what a rule is, for what it begins."""
        with self._lock:
            self._db.execute("insert or ignore into texts values (?, ?, ?)", (rule, version, text))

    def begin(self, intent: Intent) -> None:
        """Write down what is about to be done."""
        with self._lock:
            self._db.execute(
                "insert into intents (id, rule, subject, action, target, key, kind, changes, deadline, started, undo)"
                " values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(intent.id, intent.rule, intent.subject, intent.action, intent.target, intent.key, intent.kind),
                    *(int(intent.changes), intent.deadline, intent.started),
                    None if intent.undo is None else json.dumps(intent.undo),
                ),
            )

    def finish(
        self,
        intent: str,
        outcome: str,
        detail: str,
        ended: float,
        *,
        undo: Mapping[str, Any] | None = None,
        blocks: bool = False,
    ) -> bool:
        """Write down what came of it, unless that is known already; gives whether it was not."""
        with self._lock:
            cursor = self._db.execute(
                "update intents set outcome = ?, detail = ?, ended = ?, undo = ?, blocks = ?"
                " where id = ? and outcome is null",
                (outcome, detail, ended, None if undo is None else json.dumps(undo), int(blocks), intent),
            )
            return cursor.rowcount == 1

    def unblock(self, intent: str, ended: float) -> None:
        """What hung is over: its target may be worked on again, after its cooldown."""
        with self._lock:
            self._db.execute(
                "update intents set blocks = 0, ended = max(ifnull(ended, 0), ?) where id = ?", (ended, intent)
            )

    def intent(self, intent: str) -> Intent | None:
        """One by its name."""
        return next(self._intents("id = ?", intent), None)

    def unfinished(self) -> list[Intent]:
        """Intents without outcome, and those that block their target."""
        return list(self._intents("outcome is null or blocks = 1"))

    def since(self, started: float) -> list[Intent]:
        """Intents begun after this engine time, oldest first."""
        return list(self._intents("started > ?", started))

    def last_ends(self, rule: str | None = None, target: str | None = None) -> dict[tuple[str, str], float]:
        """When the last action of a rule on a target that changed anything came to its end: (rule, target) → time. Of
        all of them, or of one."""
        query = (
            "select rule, target, max(ifnull(ended, started)) from intents"
            " where changes = 1 and kind = 'run' and ifnull(outcome, '') != 'outdated'"
            " and (?1 is null or rule = ?1) and (?2 is null or target = ?2) group by rule, target"
        )
        with self._lock:
            return {(name, place): ended for name, place, ended in self._db.execute(query, (rule, target))}

    def failures(self) -> dict[str, int]:
        """How often each action failed in a row."""
        with self._lock:
            return dict(self._db.execute("select key, count from failures").fetchall())

    def set_failures(self, key: str, count: int, time: float) -> None:
        """Keep how often an action failed in a row."""
        with self._lock:
            if count:
                self._db.execute("insert or replace into failures values (?, ?, ?)", (key, count, time))
            else:
                self._db.execute("delete from failures where key = ?", (key,))

    def forget_old(self, now: float) -> None:
        """Remove what nothing depends on any more."""
        with self._lock:
            self._db.execute(
                "delete from intents where outcome is not null and blocks = 0 and ended < ?", (now - _KEPT,)
            )
            self._db.execute(
                "delete from texts where not exists (select 1 from machines where machines.rule = texts.rule"
                " and json_extract(machines.state, '$.version') = texts.version)"
            )

    def _intents(self, where: str, *values: object) -> Iterator[Intent]:
        columns = "id, rule, subject, action, target, key, kind, changes, deadline, started, ended, outcome, detail"
        with self._lock:
            rows = self._db.execute(
                f"select {columns}, undo, blocks from intents where {where} order by started",
                values,
            ).fetchall()
        for row in rows:
            (id_, rule, subject, action, target, key, kind, changes, *times) = row
            deadline, started, ended, outcome, detail, undo, blocks = times
            yield Intent(
                id=id_,
                rule=rule,
                subject=subject,
                action=action,
                target=target,
                key=key,
                kind=kind,
                changes=bool(changes),
                deadline=deadline,
                started=started,
                ended=ended,
                outcome=outcome,
                detail=detail or "",
                undo=None if undo is None else json.loads(undo),
                blocks=bool(blocks),
            )
