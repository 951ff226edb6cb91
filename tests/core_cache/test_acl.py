"""Users and rights without a peer: what holds for any rule, and that no password can be found anywhere."""

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core_cache._native import Connection, Engine
from tests import servers
from tests.core_cache.raw_resp import Command, RawClient, decode, encode, words
from tests.servers import Server

MIB = 1 << 20
SECRET = b"correct-horse-battery-staple"
COMMANDS = [
    "get",
    "set",
    "config",
    "config|get",
    "client",
    "client|id",
    "select|0",
    "acl|cat",
    "eval",
    "keys",
    "nosuch",
]
CATEGORIES = [
    "all",
    "read",
    "write",
    "string",
    "dangerous",
    "admin",
    "slow",
    "fast",
    "connection",
    "keyspace",
    "nosuch",
]
WORDS = ["on", "off", "nopass", "resetpass", "reset", "allkeys", "resetkeys", "allchannels", "resetchannels"]
SIGNS = [b"~", b"%R~", b"%W~", b"&", b">", b"<", b"#", b"!"]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    engine = Engine(str(tmp_path_factory.mktemp("acl") / "x.arena"), 16 * MIB, "lru")
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def ask(engine: Engine) -> Callable[..., object]:
    """Runs a command on a connection that lasts, or with `on=` on another."""
    connection = Connection(engine)

    def run(*command: bytes, on: Connection = connection) -> object:
        return decode(on.feed(encode(command)))

    return run


@pytest.mark.parametrize("length", [0, 1, 3, 55, 56, 57, 63, 64, 65, 119, 120, 127, 128, 129, 1000, 100_000])
def test_passwords_are_kept_as_sha256(ask: Callable[..., object], length: int) -> None:
    password = bytes(i * 7 % 256 for i in range(length))
    assert ask(b"ACL", b"SETUSER", b"hash", b"reset", b">" + password) == b"OK"
    user = dict(zip(*[iter(ask(b"ACL", b"GETUSER", b"hash"))] * 2, strict=True))
    assert user[b"passwords"] == [hashlib.sha256(password).hexdigest().encode()]


@given(password=st.binary(max_size=300))
def test_the_hash_of_any_password_is_that_of_hashlib(ask: Callable[..., object], password: bytes) -> None:
    assert ask(b"ACL", b"SETUSER", b"hash", b"reset", b">" + password) == b"OK"
    user = dict(zip(*[iter(ask(b"ACL", b"GETUSER", b"hash"))] * 2, strict=True))
    assert user[b"passwords"] == [hashlib.sha256(password).hexdigest().encode()]


def test_known_vectors_of_sha256(ask: Callable[..., object]) -> None:
    """From FIPS 180-4's examples."""
    vectors = {
        b"abc": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        b"": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq": (
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
        ),
        b"a" * 1_000_000: "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0",
    }
    for text, digest in vectors.items():
        assert ask(b"ACL", b"SETUSER", b"vector", b"reset", b">" + text) == b"OK"
        assert digest.encode() in ask(b"ACL", b"GETUSER", b"vector")[3]


rules = st.one_of(
    st.binary(max_size=20),
    st.sampled_from(WORDS).map(str.encode),
    st.tuples(st.sampled_from("+-"), st.sampled_from(COMMANDS)).map(lambda rule: "".join(rule).encode()),
    st.tuples(st.sampled_from(["+@", "-@"]), st.sampled_from(CATEGORIES)).map(lambda rule: "".join(rule).encode()),
    st.tuples(st.sampled_from(SIGNS), st.binary(max_size=8)).map(b"".join),
)
selectors = st.lists(rules, max_size=4).map(lambda parts: b"(" + b" ".join(parts) + b")")


@settings(max_examples=500)
@given(given_rules=st.lists(st.one_of(rules, selectors), max_size=8))
def test_any_rule_is_taken_or_refused_and_the_description_is_a_fixed_point(
    ask: Callable[..., object], given_rules: list[bytes]
) -> None:
    """ACL SETUSER of what ACL LIST says of a user makes the same user, whatever the rules were."""
    ask(b"ACL", b"SETUSER", b"first", b"reset")
    for rule in given_rules:
        answer = ask(b"ACL", b"SETUSER", b"first", rule)
        assert answer == b"OK" or (isinstance(answer, str) and answer.startswith("-ERR "))
    described = line_of(ask, b"first")
    assert ask(b"ACL", b"SETUSER", b"second", b"reset", *described.split(b" ")) == b"OK", described
    assert line_of(ask, b"second") == described
    for command in ((b"GET", b"a"), (b"CONFIG", b"GET", b"x"), (b"SELECT", b"0"), (b"SELECT", b"1"), (b"KEYS", b"*")):
        first, second = (ask(b"ACL", b"DRYRUN", user, *command) for user in (b"first", b"second"))
        assert first == second, (command, described)


def line_of(ask: Callable[..., object], user: bytes) -> bytes:
    """What ACL LIST says behind the user's name; a user that was reset says sanitize-payload."""
    lines = [line for line in ask(b"ACL", b"LIST") if line.startswith(b"user " + user + b" ")]
    assert len(lines) == 1
    return lines[0].removeprefix(b"user " + user + b" ")


@settings(max_examples=200)
@given(name=st.binary(max_size=20))
def test_any_name_is_taken_or_refused(ask: Callable[..., object], name: bytes) -> None:
    answer = ask(b"ACL", b"SETUSER", name)
    if any(byte in b" \t\n\v\f\r\0" for byte in name):
        assert answer == "-ERR Usernames can't contain spaces or null characters"
    else:
        assert answer == b"OK"
        assert name in ask(b"ACL", b"USERS")
        if name != b"default":
            assert ask(b"ACL", b"DELUSER", name) == 1


def test_rights_change_under_a_connection(engine: Engine, ask: Callable[..., object]) -> None:
    """What a user may do is looked up anew for each command, also by those who could do everything."""
    connection = Connection(engine)
    assert ask(b"ACL", b"SETUSER", b"ann", b"reset", b"on", b"nopass", b"+@all", b"~*", b"&*") == b"OK"
    assert ask(b"AUTH", b"ann", b"x", on=connection) == b"OK"
    assert ask(b"SET", b"k", b"v", on=connection) == b"OK"
    assert ask(b"ACL", b"SETUSER", b"ann", b"-set") == b"OK"
    refused = "-NOPERM this user has no permissions to run the 'set' command"
    assert ask(b"SET", b"k", b"v", on=connection) == refused
    assert ask(b"GET", b"k", on=connection) == b"v"
    assert ask(b"ACL", b"SETUSER", b"ann", b"resetkeys", b"~other") == b"OK"
    refused = "-NOPERM this user has no permissions to access one of the keys used as arguments"
    assert ask(b"GET", b"k", on=connection) == refused
    assert ask(b"ACL", b"SETUSER", b"ann", b"(+@all ~* &*)") == b"OK"
    assert ask(b"SET", b"k", b"w", on=connection) == b"OK"
    assert ask(b"ACL", b"SETUSER", b"ann", b"clearselectors") == b"OK"
    assert ask(b"GET", b"k", on=connection) == refused


def test_rights_hold_in_the_middle_of_a_pipeline(engine: Engine, ask: Callable[..., object]) -> None:
    """The commands behind an ACL SETUSER or AUTH that arrive with it are under the new rights."""
    connection = Connection(engine)
    ask(b"ACL", b"SETUSER", b"ann", b"reset", b"on", b"nopass", b"+get", b"~a")
    pipeline = [words(line) for line in ("SET a 1", "AUTH ann x", "GET a", "GET b", "PING")]
    replies = connection.feed(b"".join(map(encode, pipeline))).split(b"\r\n")
    assert replies[:4] == [b"+OK", b"+OK", b"$1", b"1"]
    assert [reply[:7] for reply in replies[4:6]] == [b"-NOPERM", b"-NOPERM"]
    own = [words(line) for line in ("ACL SETUSER default -get", "GET a", "ACL SETUSER default +get")]
    replies = Connection(engine).feed(b"".join(map(encode, own))).split(b"\r\n")
    assert [reply[:7] for reply in replies] == [b"+OK", b"-NOPERM", b"+OK", b""]


@pytest.fixture
def open_cache(tmp_path: Path) -> Iterator[Server]:
    server = servers.start_cache(tmp_path, "--no-auth")
    yield server
    server.stop()


SECRETS: list[Command] = [
    (b"ACL", b"SETUSER", b"ann", b"on", b">" + SECRET, b"+@all", b"~*"),
    (b"AUTH", b"ann", SECRET),
    (b"AUTH", b"ann", b"x" + SECRET),
    (b"HELLO", b"2", b"AUTH", b"ann", SECRET),
    (b"HELLO", b"2", b"AUTH", b"ann", SECRET, b"nonsense"),
    (b"ACL", b"SETUSER", b"ann", b"<" + SECRET + b"2"),
    (b"ACL", b"SETUSER", b"ann", b"(>" + SECRET, b"+get)"),
    (b"ACL", b"SETUSER", b"ann", b"(+get", b">" + SECRET),
    (b"ACL", b"SETUSER", b"ann", b">" + SECRET, b"nonsense"),
    (b"CONFIG", b"SET", b"requirepass", SECRET),
    (b"CONFIG", b"SET", b"requirepass", SECRET, b"maxclients", b"x"),
    (b"AUTH", SECRET),
    (b"ACL", b"SETUSER", b"ann", b"<" + SECRET),
]
QUESTIONS: list[Command] = [
    (b"SLOWLOG", b"GET", b"-1"),
    (b"INFO", b"everything"),
    (b"CONFIG", b"GET", b"*"),
    (b"CLIENT", b"LIST"),
    (b"ACL", b"LOG"),
    (b"ACL", b"LIST"),
    (b"ACL", b"GETUSER", b"ann"),
    (b"COMMAND", b"DOCS"),
]


def test_no_password_is_in_any_reply_or_log(open_cache: Server) -> None:
    client = RawClient(open_cache.port)
    client.command(b"CONFIG", b"SET", b"slowlog-log-slower-than", b"0")
    for command in SECRETS:
        assert SECRET not in client.command(*command), command
    for command in QUESTIONS:
        reply = client.command(*command)
        assert len(reply) > 10
        assert SECRET not in reply, command
    slow = decode(client.command(b"SLOWLOG", b"GET", b"-1"))
    assert [b"ACL", b"SETUSER", *[b"(redacted)"] * 5] in [entry[3] for entry in slow]
    assert SECRET.decode() not in open_cache.log_text()


@pytest.mark.skipif(
    "PREDIS_SANITIZED_ENGINE" in os.environ, reason="AddressSanitizer keeps freed memory, and terabytes of its own"
)
def test_no_password_stays_in_memory(open_cache: Server) -> None:
    """Nor when its command came in pieces. What is searched is every byte that the process can write to."""
    client = RawClient(open_cache.port)
    marker = b"a-value-that-is-to-be-found-in-memory"
    client.command(b"SET", b"k", marker)
    for command in SECRETS:
        client.command(*command)
    data = encode((b"AUTH", b"ann", SECRET))
    for cut in (20, 40, len(data) - 1):
        client.send(data[:cut])
        assert RawClient(open_cache.port).command(b"AUTH", SECRET) == b"+OK\r\n"  # the first part has been read by now
        client.send(data[cut:])
        client.reply()
    memory = writable_memory(open_cache.pid)
    assert marker in memory  # the search would find it
    found = memory.count(SECRET)
    assert found == 0, f"the password is in memory {found} times"


def writable_memory(pid: int) -> bytes:
    parts = []
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            place, rights = line.split()[:2]
            if not rights.startswith("rw") or line.endswith(("[vvar]", "[vsyscall]")):
                continue
            start, end = (int(number, 16) for number in place.split("-"))
            memory.seek(start)
            parts.append(memory.read(end - start))
    return b"".join(parts)
