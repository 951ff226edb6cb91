"""Whatever happens in whatever order: every point is somewhere, once, and comes out in the order it went in."""

import os
import shutil
import tempfile
from array import array
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from agent.api import Batch, Series
from agent.export.account import Account
from agent.export.spool import Spool
from agent.export.waiting import Waiting, Work
from tests.agent.export.scripted import LEVEL, START

SERIES = tuple(Series(LEVEL, (str(number),)) for number in range(200))


class Books(RuleBasedStateMachine):
    """A vendor that fails and recovers, a disk that fails and recovers, and an agent that is stopped and killed."""

    @initialize(memory=st.integers(1, 60), most=st.sampled_from([4 << 10, 32 << 10, 1 << 20]))
    def begin(self, memory: int, most: int) -> None:
        self.root = Path(tempfile.mkdtemp())
        self.memory, self.most = memory, most
        self.failing = False
        self.number = 0
        self.last = -1.0  # the newest point that was delivered or dropped at the sender's end
        self.work: Work | None = None
        self.killed: list[Spool] = []  # whose files stay open, as nothing else of a killed process does
        self.open()

    def open(self) -> None:
        self.account = Account()
        self.spool = Spool(
            self.root / "spool",
            self.account,
            lambda spec, labels: None,
            most_bytes=self.most,
            oldest=1e9,
            clock=lambda: START,
        )
        self.spool.open()
        self.leaving = 0  # points that were said to be about to be spooled
        self.waiting = Waiting(
            self.account,
            self.spool,
            self.memory,
            lambda: self.failing,
            leaving=self.leave,
            note=lambda what: None,
        )

    def leave(self, batch: Batch, points: int) -> None:
        self.leaving += points

    @rule(points=st.integers(1, 200))
    def offer(self, points: int) -> None:
        values = array("d", range(self.number, self.number + points))
        self.number += points
        self.waiting.add(Batch("series", START, 1.0, SERIES[:points], values))

    @precondition(lambda self: self.work is None)
    @rule()
    def take(self) -> None:
        self.work = self.waiting.next()

    @precondition(lambda self: self.work is not None)
    @rule(share=st.floats(0.01, 1.0), accepted=st.booleans())
    def settle(self, share: float, accepted: bool) -> None:
        work = self.work
        assert work is not None
        points = max(1, int(work.left * share))
        if work.place == "spooled":
            self.spool.sending(points)
        for value in work.batch.values[work.done : work.done + points]:
            assert isinstance(value, float)
            assert value > self.last, "in order, and none twice"
            self.last = value
        if accepted:
            self.account.deliver(points, work.place)
        else:
            self.account.drop(points, work.place, "refused")
        work.done += points
        if work.place == "spooled":
            self.spool.done(points)
        self.failing = False
        if not work.left:
            self.work = None

    @precondition(lambda self: self.work is not None)
    @rule()
    def fail(self) -> None:
        work, self.work = self.work, None
        self.failing = True
        self.waiting.put_back(work)

    @rule()
    def disk_fails(self) -> None:
        """No file can be made, since a folder is in the way of the next, and of the one before the first."""
        self.blocked = True
        self.spool.folder.mkdir(exist_ok=True)
        numbers = [self.spool._next, *([self.spool._segments[0].number - 1] if self.spool else [])]
        for number in numbers:
            (self.spool.folder / f"{number:012d}.segment").mkdir(exist_ok=True)

    @rule()
    def disk_recovers(self) -> None:
        for path in self.spool.folder.glob("*.segment"):
            if path.is_dir():
                path.rmdir()

    @rule()
    def stopped_and_started(self) -> None:
        self.disk_recovers()
        work, self.work = self.work, None
        self.waiting.put_back(work)
        self.waiting.give_up("stopped")
        self.spool.close()
        spooled = self.account.books().spooled
        self.check_books()
        self.open()
        assert self.account.books().spooled == spooled

    @rule()
    def killed_and_started(self) -> None:
        self.disk_recovers()
        in_flight = self.work is not None and self.work.place == "spooled"
        self.work = None
        spooled = self.account.books().spooled
        self.killed.append(self.spool)
        self.open()
        assert self.account.books().spooled == spooled, f"in flight: {in_flight}"

    @invariant()
    def check_books(self) -> None:
        if not hasattr(self, "account"):
            return
        books = self.account.books()
        assert books.balanced
        assert min(books.queued, books.spooled) >= 0
        assert books.spooled == sum(segment.left for segment in self.spool._segments)
        assert books.queued <= self.memory + 200 + (self.work.left if self.work else 0)
        assert self.spool.size <= self.most + 4096

    def teardown(self) -> None:
        if hasattr(self, "root"):
            for spool in (self.spool, *self.killed):
                spool.close()
            held = [os.readlink(path) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
            assert [path for path in held if path.startswith(str(self.root))] == []
            shutil.rmtree(self.root)


TestBooks = Books.TestCase
TestBooks.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
