"""What a tenant gets done between two looks at the sockets, while another is active. No clock decides these tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from core_cache import tenants
from core_cache._native import Connection, Engine, StatsReader
from core_cache.tenants import Tenant
from tests.core_cache.raw_resp import encode
from tests.waiting import PATIENCE, wait_until

pytestmark = pytest.mark.skipif(
    PATIENCE > 1, reason="a turn is 6 µs, in which a sanitized engine does not get one command done"
)
MIB = 1 << 20
MOST_COMMANDS = 200  # in 6 µs, on the fastest machine there is: a GET takes at least 50 ns


def tenant(name: str) -> Tenant:
    return Tenant(name, f"{name}:", 8 * MIB, tenants.hash_of("secret"))


class Loop:
    """Stands in for the event loop: it hands over input, and gives turns when it chooses to."""

    def __init__(self, folder: Path) -> None:
        self._arena = folder / "arena"
        self.engine = Engine(str(self._arena), 64 * MIB, "s3fifo", tenants=[tenant("ann"), tenant("bob")])
        self.engine.on_work = lambda: None
        self.ann, self.bob = Connection(self.engine), Connection(self.engine)
        for name, connection in ((b"ann", self.ann), (b"bob", self.bob)):
            assert connection.feed(encode((b"AUTH", name, b"secret"))) == b"+OK\r\n"

    def done(self) -> int:
        """How many commands bob has had run."""
        return int(StatsReader(self._arena).read()["tenants"]["bob"]["commands"])

    def ask(self) -> bool:
        """Whether ann is answered at once. Not so when her own last turn was long: for an interrupt in it, say."""
        reply = self.ann.feed(encode((b"PING",)))
        assert reply in (b"+PONG\r\n", b"")
        return reply != b""

    def finish(self) -> int:
        """Gives bob turns until nothing of his waits; how many commands the longest turn had."""
        longest, before = 0, self.done()
        while self.engine.work() >= 0:
            longest, before = max(longest, self.done() - before), self.done()
        return longest


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Loop]:
    loop = Loop(tmp_path)
    yield loop
    loop.engine.close()


def test_a_flood_gets_short_turns_and_another_is_answered_between_any_two(loop: Loop) -> None:
    flood = encode((b"GET", b"bob:1")) * 2000
    before = loop.done()
    loop.bob.feed(flood)
    assert loop.done() - before <= MOST_COMMANDS, "the flood ran on while ann was active"
    turns, answered = 0, 0
    while loop.engine.work() >= 0:
        turns += 1
        answered += loop.ask()
        assert loop.done() - before <= MOST_COMMANDS * (turns + 1)
    assert loop.done() - before == 2000
    assert turns >= 2000 // MOST_COMMANDS - 1
    assert answered > 0.9 * turns


def test_a_tenant_alone_has_the_thread_for_as_long_as_its_input_lasts(tmp_path: Path) -> None:
    engine = Engine(str(tmp_path / "arena"), 64 * MIB, "s3fifo", tenants=[tenant("bob")])
    engine.on_work = lambda: None
    bob = Connection(engine)
    bob.feed(encode((b"AUTH", b"bob", b"secret")))

    def at_once() -> bool:
        replies = bob.feed(encode((b"GET", b"bob:1")) * 2000)
        while engine.work() >= 0:
            pass
        return replies == b"$-1\r\n" * 2000

    wait_until(at_once, 5, "the end of the moment for which who sent AUTH counts as another")
    engine.close()


def test_after_long_commands_a_tenant_waits_a_multiple_of_what_they_took(loop: Loop) -> None:
    keys = [b"bob:%d" % i for i in range(20_000)]
    loop.bob.feed(encode((b"MGET", *keys)))
    while loop.engine.work() == 0:
        pass
    # what comes next is put aside, although nothing else is to be done: 20,000 keys take more than 0.3 ms anywhere
    before = loop.done()
    loop.bob.feed(encode((b"GET", b"bob:1")))
    assert loop.engine.work() > 0.04, "seconds until the next turn: at least 300 times 0.3 ms, less 50 ms"
    assert loop.done() == before
    assert loop.ann.feed(encode((b"PING",))) == b"+PONG\r\n"


def test_a_large_value_is_read_in_pieces_while_another_is_active(loop: Loop) -> None:
    head = b"*3\r\n$3\r\nSET\r\n$5\r\nbob:1\r\n$4000000\r\n"
    loop.bob.feed(head + b"v" * 1_000_000)
    loop.finish()
    assert len(loop.bob.get_buffer(65536)) <= 16 * 1024
    loop.bob.feed(b"v" * 3_000_000 + b"\r\n")
    loop.finish()
    assert loop.done() == 2, "AUTH and SET"


def test_a_large_value_is_stored_when_turns_have_made_its_room_and_brought_it_there(loop: Loop) -> None:
    # given a tenant whose quota is full of small values
    for number in range(0, 40_000, 100):
        loop.bob.feed(b"".join(encode((b"SET", b"bob:%d" % n, b"x" * 300)) for n in range(number, number + 100)))
        loop.finish()
    loop.ann.feed(encode((b"PING",)))
    before = loop.done()
    # when a value of 2 MB has come to its last byte, which takes thousands of keys away
    loop.bob.feed(encode((b"SET", b"bob:large", b"v" * 2_000_000)))
    # then its command waits, and others are answered between the turns that it takes
    turns, answered = 0, 0
    while loop.done() == before:
        assert loop.engine.work() >= 0, "it waits for a turn"
        turns += 1
        answered += loop.ask()
    assert turns > 20, f"{turns}: a few microseconds each"
    assert answered > 0.9 * turns
    loop.finish()
    assert loop.done() - before == 1

    def there() -> bool:
        reply = loop.bob.feed(encode((b"STRLEN", b"bob:large")))
        loop.finish()
        return reply == b":2000000\r\n"

    wait_until(there, 5, "an answer at once, for which bob may have to wait")
