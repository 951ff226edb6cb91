"""Random commands on bits, bit fields and LCS give the same replies and leave the same strings as on redis-server."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.core_cache.compare import Pair, differences
from tests.core_cache.raw_resp import Command

KEYS = [b"a", b"b", b"c", b"d"]
keys = st.sampled_from(KEYS)
some_keys = st.lists(keys, min_size=1, max_size=4)
# Runs of equal bytes are what words of 64 bits are skipped over in; the rest is noise and numbers.
values = st.one_of(
    st.binary(max_size=90),
    st.builds(
        lambda fill, size, at, byte: fill * size if at >= size else fill * at + byte + fill * (size - at - 1),
        st.sampled_from([b"\x00", b"\xff"]),
        st.integers(0, 200),
        st.integers(0, 220),
        st.binary(min_size=1, max_size=1),
    ),
    st.integers(-(10**6), 10**18).map(lambda n: b"%d" % n),
)
positions = st.one_of(st.integers(0, 900), st.sampled_from([-1, 2**32, 5000]))
bounds = st.one_of(
    st.integers(-260, 260), st.integers(-1700, 1700), st.sampled_from([2**63 - 1, -(2**63), 2**31, -(2**31)])
)
units = st.sampled_from([(), (), (b"BYTE",), (b"BIT",), (b"BIT",), (b"nonsense",)])
bits = st.sampled_from([b"0", b"1"])


def number(value: int) -> bytes:
    return b"%d" % value


field_types = st.one_of(
    st.integers(1, 64).map(lambda n: b"i%d" % n), st.integers(1, 63).map(lambda n: b"u%d" % n), st.just(b"u64")
)
field_offsets = st.one_of(positions.map(number), st.integers(0, 30).map(lambda n: b"#%d" % n))
operands = st.one_of(
    st.integers(-300, 300),
    st.integers(-(2**63), 2**63 - 1),
    st.integers(0, 63).map(lambda n: 2**n),
    st.integers(0, 63).map(lambda n: -(2**n)),
    st.integers(0, 63).map(lambda n: 2**n - 1),
).map(number)
field_operation = st.one_of(
    st.tuples(st.just(b"GET"), field_types, field_offsets),
    st.tuples(st.sampled_from([b"SET", b"INCRBY", b"INCRBY"]), field_types, field_offsets, operands),
    st.tuples(st.just(b"OVERFLOW"), st.sampled_from([b"WRAP", b"SAT", b"SAT", b"FAIL", b"FAIL"])),
)
field_operations = st.lists(field_operation, max_size=6).map(lambda rows: tuple(part for row in rows for part in row))


def joined(*parts: object) -> Command:
    """One command from words and tuples of words."""
    words: list[bytes] = []
    for part in parts:
        words += [part] if isinstance(part, bytes) else part  # type: ignore[list-item,arg-type]
    return tuple(words)


commands = st.one_of(
    st.builds(joined, st.just(b"SET"), keys, values),
    st.builds(joined, st.just(b"SETBIT"), keys, positions.map(number), bits),
    st.builds(joined, st.just(b"GETBIT"), keys, positions.map(number)),
    st.builds(joined, st.just(b"BITCOUNT"), keys),
    st.builds(joined, st.just(b"BITCOUNT"), keys, bounds.map(number), bounds.map(number), units),
    st.builds(joined, st.just(b"BITPOS"), keys, bits),
    st.builds(joined, st.just(b"BITPOS"), keys, bits, bounds.map(number)),
    st.builds(joined, st.just(b"BITPOS"), keys, bits, bounds.map(number), bounds.map(number), units),
    st.builds(joined, st.just(b"BITOP"), st.sampled_from([b"AND", b"OR", b"XOR", b"NOT"]), keys, some_keys),
    st.builds(joined, st.just(b"BITFIELD"), keys, field_operations),
    st.builds(joined, st.just(b"BITFIELD"), keys, field_operations),
    st.builds(joined, st.just(b"BITFIELD_RO"), keys, field_operations),
    st.builds(joined, st.just(b"APPEND"), keys, values),
    st.builds(joined, st.just(b"DEL"), keys),
    st.builds(joined, st.just(b"EXPIREAT"), keys, st.just(b"4102444800")),
)


def whole_keyspace() -> list[Command]:
    rows: list[Command] = []
    for key in KEYS:
        rows += [(b"GET", key), (b"OBJECT", b"ENCODING", key), (b"EXPIRETIME", key), (b"BITCOUNT", key)]
        rows += [(b"BITPOS", key, bit) for bit in (b"0", b"1")]
    return rows


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(commands, min_size=10, max_size=50))
def test_random_bit_commands_agree(pair2: Pair, sequence: list[Command]) -> None:
    """Replies one by one, then every string with its encoding and expiry."""
    pair2.clear()
    assert differences(pair2.both(sequence)) == ""
    assert differences(pair2.both(whole_keyspace())) == ""


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(min_size=1, max_size=120),
    st.lists(st.tuples(st.integers(-970, 970), st.integers(-970, 970)), min_size=20, max_size=40),
)
def test_ranges_of_bits_agree(pair2: Pair, value: bytes, ranges: list[tuple[int, int]]) -> None:
    """BITCOUNT and BITPOS over many ranges of one string, in bytes and in bits."""
    pair2.clear()
    asked: list[Command] = [(b"SET", b"k", value), (b"SET", b"f", value.replace(b"\x00", b"\xff"))]
    for first, last in ranges:
        for unit in (b"BYTE", b"BIT"):
            between = (number(first), number(last), unit)
            asked += [
                (b"BITCOUNT", b"k", *between),
                (b"BITPOS", b"k", b"1", *between),
                (b"BITPOS", b"f", b"0", *between),
            ]
    assert differences(pair2.both(asked)) == ""


letters = st.one_of(st.text("ab", max_size=40), st.text("abcde", max_size=60), st.text("01\x00", max_size=30)).map(
    str.encode
)
lcs_options = st.lists(
    st.sampled_from(
        [(b"IDX",), (b"IDX",), (b"LEN",), (b"WITHMATCHLEN",), (b"MINMATCHLEN", b"2"), (b"MINMATCHLEN", b"4")]
    ),
    max_size=3,
).map(lambda rows: tuple(part for row in rows for part in row))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(letters, letters, st.lists(lcs_options, min_size=1, max_size=4))
def test_random_subsequences_agree(pair: Pair, first: bytes, second: bytes, tried: list[tuple[bytes, ...]]) -> None:
    """Of several longest subsequences both servers choose the same one."""
    asked: list[Command] = [
        (b"SET", b"a", first),
        (b"SET", b"b", second),
        (b"LCS", b"a", b"b"),
        (b"LCS", b"b", b"a", b"IDX"),
    ]
    asked += [(b"LCS", b"a", b"b", *options) for options in tried]
    assert differences(pair.both(asked)) == ""
