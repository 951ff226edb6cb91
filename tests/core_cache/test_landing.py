"""Large values that arrive in pieces: room is made meanwhile, whatever else goes on and whatever becomes of them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from core_cache import _native
from tests.core_cache.raw_resp import Command, decode_all, encode, words

MIB = 1024 * 1024
PIECE = 64 * 1024
VALUE = bytes(range(256)) * (20 * MIB // 256)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[_native.Engine]:
    engine = _native.Engine(str(tmp_path / "cache.arena"), 128 * MIB, "s3fifo")
    yield engine
    engine.close()


def send(connection: _native.Connection, *commands: Command) -> list:
    return decode_all(connection.feed(b"".join(map(encode, commands))))


def fill(connection: _native.Connection) -> int:
    """Until keys are evicted; gives how many there are."""
    for start in range(0, 1_000_000, 1000):
        send(connection, *[(b"SET", b"small:%d" % n, b"s" * 200) for n in range(start, start + 1000)])
        (keys,) = send(connection, (b"DBSIZE",))
        if keys < start + 1000:
            return keys
    raise AssertionError("nothing was evicted")


def pieces(*commands: Command) -> Iterator[bytes]:
    data = b"".join(map(encode, commands))
    return (data[start : start + PIECE] for start in range(0, len(data), PIECE))


@pytest.mark.parametrize(
    ("commands", "replies"),
    [
        ([(b"SET", b"k", VALUE)], [b"OK"]),
        ([(b"SET", b"k", VALUE, b"EX", b"100"), words("PERSIST k")], [b"OK", 1]),
        ([(b"SET", b"k", VALUE[1:]), (b"SET", b"k", VALUE)], [b"OK", b"OK"]),
        ([(b"SET", b"k", VALUE[1:], b"XX"), (b"SET", b"k", VALUE, b"NX")], [None, b"OK"]),
        ([(b"SETEX", b"k", b"100", VALUE)], [b"OK"]),
        ([(b"MSET", b"j", VALUE[::-1], b"k", VALUE)], [b"OK"]),
        ([(b"APPEND", b"k", VALUE)], [20 * MIB]),
        ([words("MULTI"), (b"SET", b"k", VALUE), words("EXEC")], [b"OK", b"QUEUED", [b"OK"]]),
        ([words("RPUSH l x"), (b"RPUSH", b"l", VALUE), (b"SET", b"k", VALUE)], [1, 2, b"OK"]),
    ],
    ids=["SET", "EX", "twice", "XX, NX", "SETEX", "MSET", "APPEND", "MULTI", "RPUSH"],
)
def test_the_value_is_what_was_sent(engine: _native.Engine, commands: list[Command], replies: list) -> None:
    sender, other = _native.Connection(engine), _native.Connection(engine)
    fill(other)
    answer = b""
    for number, piece in enumerate(pieces(*commands)):
        answer += sender.feed(piece)
        send(other, *[(b"SET", b"more:%d" % (number * 10 + n), b"m" * 3000) for n in range(10)])
        if number % 10 == 0:
            engine.cron(1000)
    assert decode_all(answer) == replies
    (found,) = send(other, (b"GET", b"k"))
    assert found == VALUE


def test_an_announcement_alone_evicts_nothing(engine: _native.Engine) -> None:
    connection, idle = _native.Connection(engine), _native.Connection(engine)
    keys = fill(connection)
    head = encode((b"SET", b"k", VALUE))[:1000]
    assert idle.feed(head) == b""
    assert send(connection, (b"DBSIZE",))[0] > keys - 2000  # a page or so


@pytest.mark.parametrize("end", ["close", "flush", "flush and go on"])
def test_what_was_kept_for_a_value_is_given_back(engine: _native.Engine, end: str) -> None:
    connection, sender = _native.Connection(engine), _native.Connection(engine)
    before = fill(connection)
    sent = list(pieces((b"SET", b"k", VALUE)))
    for piece in sent[: len(sent) * 3 // 4]:
        sender.feed(piece)
    if end.startswith("flush"):
        assert send(connection, words("FLUSHALL")) == [b"OK"]
    if end == "flush and go on":
        assert b"".join(sender.feed(piece) for piece in sent[len(sent) * 3 // 4 :]) == b"+OK\r\n"
        assert send(connection, (b"GET", b"k"), (b"DEL", b"k")) == [VALUE, 1]
    if end != "flush and go on":
        sender.connection_lost(None)
    send(connection, words("FLUSHALL"))
    after = fill(connection)
    assert after > before * 0.97


def test_several_values_arrive_at_once(engine: _native.Engine) -> None:
    """Each is whole, whoever comes first."""
    others = _native.Connection(engine)
    fill(others)
    senders = [_native.Connection(engine) for _ in range(4)]
    values = [bytes([n]) * (8 * MIB + n) for n in range(4)]
    streams = [pieces((b"SET", b"large:%d" % n, value)) for n, value in enumerate(values)]
    answers = [b""] * 4
    for parts in zip(*streams, strict=False):
        for n, part in enumerate(parts):
            answers[n] += senders[n].feed(part)
    for n, stream in enumerate(streams):
        for part in stream:
            answers[n] += senders[n].feed(part)
    assert answers == [b"+OK\r\n"] * 4
    assert send(others, *[(b"GET", b"large:%d" % n) for n in range(4)]) == values
