"""History on the disk: blocks and rollups of all series in one SQLite file, bounded in age and bytes.

A row of `blocks` or `rollups` holds some minutes of all series of one shard of one plugin (see ring.py), so that a
thousand series cost one insert. SQLite commits to its write-ahead log without waiting for the disk (synchronous =
NORMAL): a power failure costs the newest minutes and never the file.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from agent.history.block import Block, BlockError, encode, encode_rollup, read_rollup
from agent.history.ring import Point, Rows, shard_of
from agent.metrics.model import Histogram, SeriesKey
from agent.sqlite_file import SqliteFile, WrongFile, connect

Given = TypeVar("Given")

FORMAT = 1
MOST_PENDING = 8 << 20  # bytes that wait in memory for a disk that takes nothing
_DECODED = 3 << 20  # bytes of blocks that are kept as they were read: who looks at one series looks at others
_LATEST = 64  # blocks that are looked through for the newest point of a series
_PRUNED = 200  # rows that go in one step
_LEAST_RAW = 6 * 3600.0  # seconds that are kept as they were delivered, as long as there are rollups to delete
_AHEAD = 3600.0  # seconds after now, of what only a clock that was ahead can have written
_FILLED = 0.95  # of max_size, at which the oldest go
_SCHEMA = """
CREATE TABLE IF NOT EXISTS series (
  id INTEGER PRIMARY KEY, name TEXT NOT NULL, labels TEXT NOT NULL, seen REAL NOT NULL, UNIQUE (name, labels));
CREATE TABLE IF NOT EXISTS blocks (
  id INTEGER PRIMARY KEY, source TEXT NOT NULL, shard INTEGER NOT NULL,
  start REAL NOT NULL, end REAL NOT NULL, data BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS rollups (
  id INTEGER PRIMARY KEY, source TEXT NOT NULL, shard INTEGER NOT NULL,
  start REAL NOT NULL, end REAL NOT NULL, data BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS blocks_of ON blocks (shard, end);
CREATE INDEX IF NOT EXISTS rollups_of ON rollups (shard, end);
"""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What may be kept: `raw` and `rollups` in seconds of age, `size` in bytes of the file."""

    raw: float
    rollups: float
    size: int


@dataclass(frozen=True, slots=True)
class _Pending:
    source: str
    shard: int
    start: float
    end: float
    block: bytes
    rollup: bytes

    @property
    def size(self) -> int:
        return len(self.block) + len(self.rollup)


class Disk(SqliteFile):
    """One file. Methods raise sqlite3.Error where the disk or the file is at fault; one thread at a time.

    What cannot be written waits in memory, up to MOST_PENDING bytes, and can be read there.
    """

    def __init__(self, path: Path, bounds: Bounds, clock: Callable[[], float] = time.time) -> None:
        super().__init__(path)
        self.bounds = bounds
        self.dropped = 0  # blocks that the disk did not take in time
        self._clock = clock
        self._ids: dict[SeriesKey, int] = {}  # of the series that are being written
        self._new: dict[SeriesKey, int] = {}  # not in the file yet
        self._next = 1
        self._seen: dict[SeriesKey, float] = {}
        self._pending: list[_Pending] = []
        self._decoded: OrderedDict[int, Block] = OrderedDict()
        self._decoded_size = 0

    def open(self) -> None:
        """Make the file, or open it. Raises sqlite3.Error."""
        connection = connect(self.path)
        try:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version not in (0, FORMAT):
                raise WrongFile(f"it is of format {version}, this agent writes {FORMAT}")
            for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "cache_size = -1024"):
                connection.execute(f"PRAGMA {pragma}")
            connection.execute("PRAGMA journal_size_limit = 8388608")
            connection.executescript(_SCHEMA)
            connection.execute(f"PRAGMA user_version = {FORMAT}")
            (self._next,) = connection.execute("SELECT coalesce(max(id), 0) + 1 FROM series").fetchone()
        except sqlite3.Error:
            connection.close()
            raise
        self._connection = connection
        self._next = max(self._next, 1 + max(self._new.values(), default=0))

    def close(self) -> None:
        """Close the file; what waits stays here."""
        super().close()
        self._decoded.clear()
        self._decoded_size = 0

    def move_aside(self) -> Path:
        self._ids, self._new, self._next, self._seen = {}, {}, 1, {}
        self._pending.clear()  # its numbers are those of the old file
        return super().move_aside()

    def add(self, source: str, rows: Rows) -> None:
        """Take a block of a plugin; `write` writes it. Raises sqlite3.Error."""
        ids = {column.key: self._id(column.key) for column in rows.columns}
        start, end = min(rows.times), max(rows.times)
        self._pending.append(_Pending(source, rows.shard, start, end, encode(rows, ids), encode_rollup(rows, ids)))
        while sum(pending.size for pending in self._pending) > MOST_PENDING:
            self._pending.pop(0)
            self.dropped += 1

    def write(self) -> None:
        """Write what waits. Raises sqlite3.Error, and then it still waits."""
        if not self._pending:
            return
        connection, now = self._opened(), self._clock()
        written = {key for key, seen in self._seen.items() if seen < now - 86_400}
        connection.execute("BEGIN IMMEDIATE")
        try:
            self._write_series(connection, now, written)
            rows = [(p.source, p.shard, p.start, p.end) for p in self._pending]
            insert = "INSERT INTO {} (source, shard, start, end, data) VALUES (?, ?, ?, ?, ?)"
            blocks = [(*row, pending.block) for row, pending in zip(rows, self._pending, strict=True)]
            rollups = [(*row, pending.rollup) for row, pending in zip(rows, self._pending, strict=True)]
            connection.executemany(insert.format("blocks"), blocks)
            connection.executemany(insert.format("rollups"), rollups)
            connection.execute("COMMIT")
        except sqlite3.Error:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise
        self._seen.update(dict.fromkeys((*self._new, *written), now))
        self._new.clear()
        self._pending.clear()

    def _write_series(self, connection: sqlite3.Connection, now: float, again: Iterable[SeriesKey]) -> None:
        new = [(number, key[0], json.dumps(key[1]), now) for key, number in self._new.items()]
        connection.executemany("INSERT INTO series (id, name, labels, seen) VALUES (?, ?, ?, ?)", new)
        connection.executemany(
            "UPDATE series SET seen = ? WHERE id = ?", [(now, self._ids[key]) for key in again if key in self._ids]
        )

    def forget(self, keys: Iterable[SeriesKey]) -> None:
        """These series are not delivered any more."""
        for key in keys:
            if key not in self._new:
                self._ids.pop(key, None)
                self._seen.pop(key, None)

    def prune(self) -> None:
        """Delete what is too old or too much, a step at a time. Raises sqlite3.Error."""
        connection, now = self._opened(), self._clock()
        for table, age in (("blocks", self.bounds.raw), ("rollups", self.bounds.rollups)):
            self._delete(connection, table, now, now - age)
        # What a clock that was ahead has written would outlive all else, and is of times that nobody asks for.
        for table in ("blocks", "rollups"):
            ahead = f"DELETE FROM {table} WHERE id IN (SELECT id FROM {table} WHERE end > ? ORDER BY id LIMIT ?)"
            while self.size() > self.bounds.size * _FILLED:
                if not connection.execute(ahead, (now + _AHEAD, _PRUNED)).rowcount:
                    break
        # The newest hours as they were delivered are worth more than old rollups.
        for table, until in (("blocks", now - _LEAST_RAW), ("rollups", now), ("blocks", now)):
            while self.size() > self.bounds.size * _FILLED:
                if not self._delete(connection, table, now, until):
                    break
        connection.execute(
            "DELETE FROM series WHERE id IN (SELECT id FROM series WHERE seen < ? LIMIT 1000)",
            (now - self.bounds.rollups - 2 * 86_400,),
        )

    @staticmethod
    def _delete(connection: sqlite3.Connection, table: str, now: float, until: float) -> int:
        """Deletes what ended before `until` of the oldest rows, as they were written; what a clock that was ahead has
        written is no reason to stop there. Gives how many went."""
        oldest = f"SELECT id FROM {table} WHERE end <= ? ORDER BY id LIMIT ?"
        delete = f"DELETE FROM {table} WHERE end < ? AND id IN ({oldest})"
        return connection.execute(delete, (until, now + _AHEAD, _PRUNED)).rowcount

    def size(self) -> int:
        """Bytes of the file that are in use. Raises sqlite3.Error."""
        connection = self._opened()
        (size,) = connection.execute(
            "SELECT (page_count - freelist_count) * page_size"
            " FROM pragma_page_count(), pragma_freelist_count(), pragma_page_size()"
        ).fetchone()
        return int(size)

    def keys(self, metric: str) -> list[SeriesKey]:
        """The series of a metric that were ever written and are not forgotten. Raises sqlite3.Error."""
        rows = self._opened().execute("SELECT labels FROM series WHERE name = ?", (metric,))
        waiting = [key for key in self._new if key[0] == metric]
        return [(metric, tuple(json.loads(labels))) for (labels,) in rows] + waiting

    def points(self, key: SeriesKey, start: float, end: float) -> list[Point]:
        """The points of a series in [start, end], at the finest resolution that is kept for all of it.

        A rollup's point is its `value`, at its end. Raises sqlite3.Error.
        """
        if start < self._raw_since():
            return self._rolled_up(key, start, end)
        points = self._raw(key, start, end, Block.points)
        return [point for point in points if start <= point[0] <= end]

    def points_of(self, keys: Sequence[SeriesKey], start: float, end: float) -> dict[SeriesKey, list[Point]]:
        """`points` of many series. Raises sqlite3.Error."""
        if start < self._raw_since():
            return {key: self._rolled_up(key, start, end) for key in keys}
        found: dict[SeriesKey, list[Point]] = {}
        shards: dict[int, dict[int, SeriesKey]] = {}
        for key in keys:
            number = self._find(key)
            if number is not None:
                shards.setdefault(shard_of(key), {})[number] = key
        for shard, members in shards.items():
            for block in self._blocks(shard, start, end):
                for number, points in block.points_of(members):
                    found.setdefault(members[number], []).extend(points)
        return {key: [point for point in points if start <= point[0] <= end] for key, points in found.items()}

    def histograms(self, key: SeriesKey, start: float, end: float) -> list[tuple[float, Histogram]]:
        """The points of a histogram in [start, end], as far back as they are kept whole. Raises sqlite3.Error."""
        points = self._raw(key, start, end, Block.histograms)
        return [point for point in points if start <= point[0] <= end]

    def latest(self, key: SeriesKey) -> Point | None:
        """The newest point of a series. Raises sqlite3.Error."""
        number = self._find(key)
        if number is None:
            return None
        rows = self._opened().execute(
            "SELECT data FROM blocks WHERE shard = ? ORDER BY end DESC LIMIT ?", (shard_of(key), _LATEST)
        )
        for (data,) in rows:
            if points := _block(data).points(number):
                return points[-1]
        return None

    def _raw_since(self) -> float:
        """From when on all is kept as it was delivered: since the first rollup if no block has gone yet."""
        connection = self._opened()
        (block,) = connection.execute(
            "SELECT min(start) FROM (SELECT start FROM blocks ORDER BY id LIMIT 50)"
        ).fetchone()
        (rollup,) = connection.execute(
            "SELECT min(start) FROM (SELECT start FROM rollups ORDER BY id LIMIT 50)"
        ).fetchone()
        if block is None:
            return float("-inf") if rollup is None else float("inf")
        return float("-inf") if rollup is not None and block <= rollup else float(block)

    def _raw(
        self, key: SeriesKey, start: float, end: float, read: Callable[[Block, int], Sequence[Given]]
    ) -> list[Given]:
        number = self._find(key)
        if number is None:
            return []
        return [point for block in self._blocks(shard_of(key), start, end) for point in read(block, number)]

    def _blocks(self, shard: int, start: float, end: float) -> Iterator[Block]:
        """Those of a shard that have to do with this time, those that are still to be written last."""
        rows = self._opened().execute(
            "SELECT id FROM blocks WHERE shard = ? AND end >= ? AND start <= ? ORDER BY start", (shard, start, end)
        )
        for (row,) in rows.fetchall():
            yield self._decode(row)
        for pending in self._pending:
            if pending.shard == shard and pending.end >= start and pending.start <= end:
                yield _block(pending.block)

    def _rolled_up(self, key: SeriesKey, start: float, end: float) -> list[Point]:
        number = self._find(key)
        if number is None:
            return []
        shard = shard_of(key)
        found: list[Point] = []
        rows: list[tuple[float, bytes]] = (
            self._opened()
            .execute(
                "SELECT end, data FROM rollups WHERE shard = ? AND end >= ? AND end <= ? ORDER BY end",
                (shard, start, end),
            )
            .fetchall()
        )
        rows += [(p.end, p.rollup) for p in self._pending if p.shard == shard and start <= p.end <= end]
        for at, data in rows:
            try:
                rollup = read_rollup(data, number)
            except BlockError as error:
                raise sqlite3.DatabaseError(f"a rollup is broken: {error}") from None
            if rollup is not None:
                found.append((at, rollup.value))
        return found

    def _decode(self, row: int) -> Block:
        block = self._decoded.pop(row, None)
        if block is not None:
            self._decoded_size -= block.size
        else:
            found = self._opened().execute("SELECT data FROM blocks WHERE id = ?", (row,)).fetchone()
            block = _block(found[0])
        self._decoded[row] = block
        self._decoded_size += block.size
        while self._decoded_size > _DECODED and len(self._decoded) > 1:
            self._decoded_size -= self._decoded.popitem(last=False)[1].size
        return block

    def _id(self, key: SeriesKey) -> int:
        number = self._ids.get(key)
        if number is None:
            number = self._find(key)
            if number is None:
                number = self._new[key] = self._next
                self._next += 1
            else:
                self._seen[key] = 0.0  # to be written anew
            self._ids[key] = number
        return number

    def _find(self, key: SeriesKey) -> int | None:
        number = self._ids.get(key)
        if number is not None:
            return number
        if self._connection is None:
            return None
        row = self._connection.execute(
            "SELECT id FROM series WHERE name = ? AND labels = ?", (key[0], json.dumps(key[1]))
        ).fetchone()
        return None if row is None else int(row[0])


def _block(data: bytes) -> Block:
    try:
        return Block(data)
    except BlockError as error:
        raise sqlite3.DatabaseError(f"a block is broken: {error}") from None
