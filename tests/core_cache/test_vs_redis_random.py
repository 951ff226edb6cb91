"""Random command sequences give the same replies and leave the same keyspace on our server and on redis-server."""

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.core_cache.compare import Pair, differences
from tests.core_cache.raw_resp import Command, RawClient, fields, words

KEYS = [b"a", b"b", b"c", b"d", b"", b"key with\r\nline", b"k" * 70]
keys = st.sampled_from(KEYS)
numbers = st.one_of(
    st.integers(-20, 20),
    st.sampled_from([2**63 - 1, -(2**63), 2**63, -(2**63) - 1, 2**31, 10**18, 2**62]),
).map(lambda n: b"%d" % n)
odd_numbers = st.sampled_from(
    [b"", b"x", b"1.5", b" 1", b"+1", b"01", b"-0", b"1e3", b"0x10", b"inf", b"nan", b"-1.25"]
)
any_number = st.one_of(numbers, numbers, odd_numbers)
values = st.one_of(numbers, odd_numbers, st.binary(max_size=80), st.sampled_from([b"v" * 44, b"v" * 45, b"v" * 5000]))
offsets = st.one_of(st.integers(-60, 60), st.sampled_from([2**63 - 1, -(2**63), 2**29])).map(lambda n: b"%d" % n)

# Either long over or far away, so that nothing expires between the two servers' answers.
times_to_live = st.sampled_from([b"1000", b"500000", b"0", b"-1", b"x", b"9223372036854775807", b"2000000"])
seconds_at = st.sampled_from([b"4102444800", b"4102444900", b"1", b"-5", b"x", b"9223372036854775807"])
milliseconds_at = st.sampled_from([b"4102444800123", b"4102444800124", b"1", b"0", b"-5", b"x"])
expiry = st.one_of(
    st.tuples(st.sampled_from([b"EX", b"px", b"PX"]), times_to_live),
    st.tuples(st.just(b"EXAT"), seconds_at),
    st.tuples(st.just(b"PXAT"), milliseconds_at),
)
set_option = st.one_of(
    expiry, st.sampled_from([(b"NX",), (b"XX",), (b"GET",), (b"KEEPTTL",), (b"nonsense",), (b"EX",)])
)
getex_option = st.one_of(expiry, st.sampled_from([(b"PERSIST",), (b"NX",), (b"PX",)]))
conditions = st.lists(st.sampled_from([b"NX", b"XX", b"GT", b"LT", b"gt", b"nonsense"]), max_size=2)


def command(name: str, *parts: st.SearchStrategy[bytes]) -> st.SearchStrategy[Command]:
    return st.tuples(st.just(name.encode()), *parts)


def with_options(start: st.SearchStrategy[Command], option: st.SearchStrategy[Command]) -> st.SearchStrategy[Command]:
    def join(drawn: tuple[Command, list[Command]]) -> Command:
        return (*drawn[0], *(part for parts in drawn[1] for part in parts))

    return st.tuples(start, st.lists(option, max_size=3)).map(join)


def many(name: str, *parts: st.SearchStrategy[bytes]) -> st.SearchStrategy[Command]:
    rows = st.lists(st.tuples(*parts), min_size=1, max_size=20)
    return rows.map(lambda drawn: (name.encode(), *(part for row in drawn for part in row)))


def expire_commands() -> list[st.SearchStrategy[Command]]:
    times = {"EXPIRE": times_to_live, "PEXPIRE": times_to_live, "EXPIREAT": seconds_at, "PEXPIREAT": milliseconds_at}
    return [with_options(command(name, keys, time), conditions.map(tuple)) for name, time in times.items()]


commands = st.one_of(
    command("SET", keys, values),
    with_options(command("SET", keys, values), set_option),
    command("GET", keys),
    command("GETSET", keys, values),
    command("GETDEL", keys),
    with_options(command("GETEX", keys), getex_option),
    many("MGET", keys),
    many("MSET", keys, values),
    many("MSETNX", keys, values),
    command("SETNX", keys, values),
    command("SETEX", keys, times_to_live, values),
    command("PSETEX", keys, times_to_live, values),
    command("APPEND", keys, values),
    command("STRLEN", keys),
    command("GETRANGE", keys, offsets, offsets),
    command("SETRANGE", keys, offsets, values),
    command("INCR", keys),
    command("DECR", keys),
    command("INCRBY", keys, any_number),
    command("DECRBY", keys, any_number),
    command("INCRBYFLOAT", keys, any_number),
    many("DEL", keys),
    many("UNLINK", keys),
    many("EXISTS", keys),
    many("TOUCH", keys),
    command("TYPE", keys),
    *expire_commands(),
    command("TTL", keys),
    command("PTTL", keys),
    command("EXPIRETIME", keys),
    command("PEXPIRETIME", keys),
    command("PERSIST", keys),
    command("RENAME", keys, keys),
    command("RENAMENX", keys, keys),
    command("COPY", keys, keys),
    command("COPY", keys, keys, st.sampled_from([b"REPLACE", b"nonsense"])),
    command("OBJECT", st.just(b"ENCODING"), keys),
    command("KEYS", st.sampled_from([b"*", b"?", b"[a-c]", b"k*", b"*\n*", b"[^a]"])),
    st.just((b"DBSIZE",)),
    st.just((b"FLUSHALL",)),
)


def whole_keyspace() -> list[Command]:
    questions = ("GET", "STRLEN", "TYPE", "PEXPIRETIME")
    rows: list[Command] = [(question.encode(), key) for key in KEYS for question in questions]
    return [*rows, *[(b"OBJECT", b"ENCODING", key) for key in KEYS], (b"KEYS", b"*"), (b"DBSIZE",)]


def counted(client: RawClient) -> str:
    """How many keys there are, and how many of them expire."""
    return fields(client.value(b"INFO", b"keyspace")).get("db0", "").partition(",avg_ttl")[0]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(commands, min_size=15, max_size=60))
@example([words("SET a v EX 1000"), words("SET b v"), words("RENAME b a"), words("TTL a")])
def test_random_sequences_agree(pair2: Pair, sequence: list[Command]) -> None:
    """Replies one by one, then every key with its value, encoding and expiry."""
    pair2.clear()
    assert differences(pair2.both(sequence)) == ""
    assert differences(pair2.both(whole_keyspace())) == ""
    assert counted(pair2.ours) == counted(pair2.redis)


patterns = st.lists(st.sampled_from([b"*", b"?", b"[", b"]", b"^", b"-", b"\\", b"a", b"b", b"\xff"]), max_size=9)
texts = st.lists(st.sampled_from([b"a", b"b", b"]", b"-", b"\\", b"*", b"\xff", b"^"]), max_size=6).map(b"".join)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(texts, min_size=1, max_size=12), st.lists(patterns.map(b"".join), min_size=1, max_size=20))
def test_random_patterns_match_alike(pair2: Pair, names: list[bytes], tried: list[bytes]) -> None:
    """KEYS with any pattern, broken ones included, finds the same keys."""
    pair2.clear()
    stored: Command = (b"MSET", *(part for name in names for part in (name, b"v")))
    assert differences(pair2.both([stored, *[(b"KEYS", pattern) for pattern in tried]])) == ""
