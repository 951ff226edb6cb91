"""Whatever bytes a client sends, in whatever pieces: the same answers, those of redis-server, and bounded memory."""

import itertools
import socket
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from core_cache import _native
from tests.core_cache.compare import Pair
from tests.core_cache.raw_resp import encode

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_native.Engine]:
    """The sans-IO engine in this process, without a password."""
    opened = _native.Engine(str(tmp_path_factory.mktemp("arena") / "cache.arena"), 32 * MIB, "s3fifo")
    yield opened
    opened.close()


def fresh(engine: _native.Engine) -> _native.Connection:
    """A new connection to the emptied engine."""
    connection = _native.Connection(engine)
    assert connection.feed(b"FLUSHALL\r\n") == b"+OK\r\n"
    return connection


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    """The data cut at these places, taken modulo its length."""
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in itertools.pairwise(places)]


def without_identity(replies: bytes) -> bytes:
    """The replies without what HELLO says about the server: names, version and the client's number."""
    before, hello, after = replies.partition(b"$6\r\nserver\r\n")
    if not hello:
        return replies
    _, modules, rest = after.partition(b"$7\r\nmodules\r\n")
    return before + hello + modules + without_identity(rest)


# --- input: valid commands, inline lines, broken frames and noise, mixed

words = st.one_of(st.sampled_from([b"k", b"l", b"", b"5", b"-1", b"a b", b"\r\n", b"\x00\xff"]), st.binary(max_size=40))
valid = st.one_of(
    st.tuples(
        st.sampled_from([b"GET", b"get", b"INCR", b"DEL", b"STRLEN", b"ECHO", b"MGET", b"EXISTS", b"nonsense"]), words
    ),
    st.tuples(st.sampled_from([b"SET", b"APPEND", b"SETNX", b"GETSET", b"INCRBY", b"mset"]), words, words),
    st.lists(words, min_size=2, max_size=6).map(lambda drawn: (b"MGET", *drawn)),
    st.tuples(st.just(b"SET"), st.just(b"big"), st.integers(0, 40_000).map(lambda n: b"v" * n)),
    st.sampled_from([(b"PING",), (b"GET",), (b"HELLO", b"3"), (b"HELLO", b"2"), (b"GET", b"big"), (b"STRLEN", b"big")]),
)
frames = valid.map(encode)
INLINE = [
    b"PING\r\n",
    b"ping\n",
    b"\r\n",
    b"\n",
    b"  SET   k   v  \r\n",
    b'SET k "a\\x00b\\n\\"c"\r\n',
    b"SET k 'it\\'s \"so\"'\r\n",
    b'GET "k"\r\n',
    b'ECHO ""\r\n',
    b"ECHO ''\r\n",
    b'ECHO "\\q\\xzz\\t\\r\\a\\b"\r\n',
    b'ECHO "unbalanced\r\n',
    b"ECHO 'unbalanced\r\n",
    b'ECHO "a"b\r\n',
    b'ECHO a"b c"\r\n',
    b"nonsense with args\r\n",
    b"GET\tk\x0bl\r\n",
    b"ECHO \x00\r\n",
    b"QUIT\r\n",
    b"QUIT\r\nPING\r\n",
]
BROKEN = [
    b"*0\r\n",
    b"*-1\r\n",
    b"*-5\r\n",
    b"*x\r\n",
    b"*\r\n",
    b"*1\r\n",
    b"*01\r\n",
    b"*+1\r\n",
    b"* 1\r\n",
    b"*1 \r\n",
    b"*2147483648\r\n",
    b"*99999999999999999999\r\n",
    b"*1048577\r\n$4\r\nPING\r\n",
    b"*1\r\n$-1\r\n",
    b"*1\r\n$\r\n",
    b"*1\r\n$04\r\nPING\r\n",
    b"*1\r\n$x\r\n",
    b"*1\r\n$536870913\r\n",
    b"*1\r\n$536870912\r\nabc",
    b"*1\r\n$9223372036854775808\r\n",
    b"*1\r\nPING\r\n",
    b"*1\r\n:4\r\n",
    b"*1\r\n\r\n",
    b"*1\r\n$4\r\nPINGxx",
    b"*2\r\n$3\r\nGET\r\n",
    b"*1\r\n*1\r\n$4\r\nPING\r\n",
    b"*1\n$4\nPING\n",
    b"*1\rx$4\r\nPING\r\n",
    b"*1\r\n$4\rxPING\r\n",
    b"$4\r\nPING\r\n",
    b"+OK\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
]
inline, broken = st.sampled_from(INLINE), st.sampled_from(BROKEN)
overlong = st.sampled_from([(b"*", b"1"), (b"*1\r\n$", b"1"), (b"", b"x")]).map(
    lambda drawn: drawn[0] + drawn[1] * 70_000
)
noise = st.one_of(st.binary(max_size=60), st.text("*$\r\n0123-+ '\"\\abPING", max_size=40).map(str.encode))
streams = st.one_of(
    st.lists(frames, min_size=1, max_size=12),
    st.lists(st.one_of(frames, frames, inline, broken, overlong, noise), min_size=1, max_size=8),
    st.lists(noise, min_size=1, max_size=5),
).map(b"".join)
cuts = st.lists(st.integers(0, 200_000), max_size=12)


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(stream=streams, places=cuts)
@example(stream=encode([b"SET", b"k", b"v" * 200_000]) + encode([b"GET", b"k"]), places=list(range(0, 200_000, 9_973)))
@example(stream=b"*" + b"1" * 70_000 + b"\r\n", places=[1])
@example(stream=b"x" * 70_000 + b"\n", places=[1])
def test_any_bytes_in_any_split_give_the_same_answers(engine: _native.Engine, stream: bytes, places: list[int]) -> None:
    """In one piece or in many: the replies, and whether the connection is closed, are the same."""
    whole = fresh(engine)
    expected = without_identity(whole.feed(stream))
    split = fresh(engine)
    assert without_identity(b"".join(split.feed(piece) for piece in pieces(stream, places))) == expected
    assert split.closing == whole.closing


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(stream=streams.map(lambda data: data[:3000]))
def test_byte_by_byte_is_no_different(engine: _native.Engine, stream: bytes) -> None:
    expected = without_identity(fresh(engine).feed(stream))
    slow = fresh(engine)
    assert without_identity(b"".join(slow.feed(bytes([byte])) for byte in stream)) == expected


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(stream=streams, places=cuts)
def test_memory_stays_in_proportion_to_what_was_sent(engine: _native.Engine, stream: bytes, places: list[int]) -> None:
    """Lengths that are only announced reserve nothing."""
    connection = fresh(engine)
    sent = 0
    for piece in pieces(stream, places):
        connection.feed(piece)
        sent += len(piece)
        assert connection.held_bytes <= 34 * 1024 + 4 * sent


@pytest.mark.parametrize(
    "announced",
    [b"*1\r\n$536870912\r\n", b"*2147483647\r\n", b"*1048576\r\n$1\r\n", b"*2147483647\r\n$536870912\r\nabc"],
)
def test_a_thousand_announcements_cost_nothing(engine: _native.Engine, announced: bytes) -> None:
    """A thousand clients that announce gigabytes and go silent hold kilobytes each."""
    crowd = [_native.Connection(engine) for _ in range(1000)]
    for connection in crowd:
        assert connection.feed(announced) == b""
        assert connection.held_bytes < 20 * 1024


def test_many_tiny_arguments_stay_within_the_input_limit(engine: _native.Engine) -> None:
    """A command of endless empty arguments is cut off at client-query-buffer-limit, not at the machine's memory."""
    connection = fresh(engine)
    assert connection.feed(b"CONFIG SET client-query-buffer-limit 1048576\r\n") == b"+OK\r\n"
    connection.feed(b"*2147483647\r\n")
    try:
        for _ in range(1000):
            connection.feed(b"$0\r\n\r\n" * 2000)
            assert connection.held_bytes < 8 * MIB
            if connection.closing:
                break
        assert connection.closing
    finally:
        assert fresh(engine).feed(b"CONFIG SET client-query-buffer-limit 1gb\r\n") == b"+OK\r\n"


# --- against redis-server


READ_AT_ONCE = 16_000  # bytes; redis-server reads a little more in one go, and so closes with nothing left unread


def redis_answer(port: int, stream: bytes) -> bytes:
    """All that redis-server sends until it has closed the connection, which it does when we send no more."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(stream)
        connection.shutdown(socket.SHUT_WR)
        received = []
        while data := connection.recv(1 << 20):
            received.append(data)
        return b"".join(received)


@settings(
    max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(stream=streams.filter(lambda data: len(data) <= READ_AT_ONCE), places=cuts)
@example(stream=b"*1\r\n\r\n", places=[])
@example(stream=b"ECHO a\x0bb \x0bc\r\n", places=[7])
def test_answers_are_those_of_redis(engine: _native.Engine, pair2: Pair, stream: bytes, places: list[int]) -> None:
    """Valid or broken: the bytes that redis-server sends, down to the error before it closes.

    Without zero bytes: Redis does not find the end of an inline line behind one, and waits for it forever.
    """
    stream = stream.replace(b"\x00", b"\x01")
    connection = fresh(engine)
    pair2.redis.command(b"FLUSHALL")
    ours = b"".join(connection.feed(piece) for piece in pieces(stream, places))
    redis = redis_answer(pair2.redis_server.port, stream)
    assert without_identity(ours) == without_identity(redis)


@pytest.mark.parametrize("stream", [*INLINE, *BROKEN])
def test_each_oddity_is_answered_as_redis_answers_it(engine: _native.Engine, pair2: Pair, stream: bytes) -> None:
    """Alone, and followed by a command that is only answered where the connection goes on."""
    for data in (stream, stream + encode([b"ECHO", b"next"])):
        data = data.replace(b"\x00", b"\x01")
        assert fresh(engine).feed(data) == redis_answer(pair2.redis_server.port, data)


@pytest.mark.parametrize("stream", [b"x" * 65_537, b"*" + b"1" * 65_536, b"*1\r\n$" + b"1" * 65_536])
def test_lines_without_an_end_are_cut_off_where_redis_cuts_them(
    engine: _native.Engine, pair2: Pair, stream: bytes
) -> None:
    """At the byte that is one too many, with Redis' error; the byte before it is still waited for."""
    connection = fresh(engine)
    assert connection.feed(stream[:-1]) == b""
    assert connection.feed(stream[-1:]) == redis_answer(pair2.redis_server.port, stream)
    assert connection.closing


@pytest.mark.parametrize(
    "stream", [b"POST / HTTP/1.1\r\n", b"Host: example.com\r\n", b"post\r\n", b"*1\r\n$5\r\nHOST:\r\n"]
)
def test_a_browser_is_hung_up_on(engine: _native.Engine, pair2: Pair, stream: bytes) -> None:
    """A web page that makes a browser talk to the cache gets silence, and what it sends next is not run."""
    connection = fresh(engine)
    attack = stream + encode([b"SET", b"k", b"evil"])
    assert connection.feed(attack) == redis_answer(pair2.redis_server.port, attack) == b""
    assert connection.closing
    assert _native.Connection(engine).feed(encode([b"EXISTS", b"k"])) == b":0\r\n"
