"""The protocol, without sockets: bytes in, bytes out."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core_cache._native import ArenaError, Connection, Engine
from tests.core_cache.raw_resp import encode, words

MIB = 1024 * 1024
MakeEngine = Callable[..., Engine]


@pytest.fixture
def make_engine(tmp_path: Path) -> Iterator[MakeEngine]:
    engines: list[Engine] = []

    def make(password: str = "", max_clients: int = 10000) -> Engine:
        path = tmp_path / f"{len(engines)}.arena"
        engines.append(Engine(str(path), 32 * MIB, "s3fifo", password=password, max_clients=max_clients))
        return engines[-1]

    yield make
    for engine in engines:
        engine.close()


@pytest.fixture
def engine(make_engine: MakeEngine) -> Engine:
    return make_engine()


@pytest.fixture
def connection(engine: Engine) -> Connection:
    return Connection(engine)


def command(*parts: str | bytes) -> bytes:
    return encode(part.encode() if isinstance(part, str) else part for part in parts)


def talk(connection: Connection, line: str) -> bytes:
    """Sends one command, written as text."""
    return connection.feed(encode(words(line)))


@pytest.mark.parametrize(
    ("request_bytes", "reply"),
    [
        (b"*2147483648\r\n", b"-ERR Protocol error: invalid multibulk length\r\n"),
        (b"*x\r\n", b"-ERR Protocol error: invalid multibulk length\r\n"),
        (b"*01\r\n", b"-ERR Protocol error: invalid multibulk length\r\n"),
        (b"*1\r\n:4\r\n", b"-ERR Protocol error: expected '$', got ':'\r\n"),
        (b"*1\r\n$-1\r\n", b"-ERR Protocol error: invalid bulk length\r\n"),
        (b"*1\r\n$536870913\r\n", b"-ERR Protocol error: invalid bulk length\r\n"),
        (b"*1\r\n$\r\n", b"-ERR Protocol error: invalid bulk length\r\n"),
        (b"*" + b"1" * 70_000, b"-ERR Protocol error: too big mbulk count string\r\n"),
        (b"*1\r\n$" + b"1" * 70_000, b"-ERR Protocol error: too big bulk count string\r\n"),
        (b"x" * 70_000, b"-ERR Protocol error: too big inline request\r\n"),
        (b'SET "a\r\n', b"-ERR Protocol error: unbalanced quotes in request\r\n"),
        (b'SET "a"b\r\n', b"-ERR Protocol error: unbalanced quotes in request\r\n"),
    ],
)
def test_a_malformed_request_gets_redis_error_and_the_end(
    connection: Connection, request_bytes: bytes, reply: bytes
) -> None:
    assert connection.feed(command("PING") + request_bytes) == b"+PONG\r\n" + reply
    assert connection.closing
    assert connection.feed(command("PING")) == b""


@pytest.mark.parametrize("request_bytes", [b"\r\n", b"*0\r\n", b"*-1\r\n", b"*-5\r\n", b"   \r\n", b"\n"])
def test_an_empty_request_is_passed_over(connection: Connection, request_bytes: bytes) -> None:
    assert connection.feed(request_bytes + command("PING")) == b"+PONG\r\n"
    assert not connection.closing


@pytest.mark.parametrize(
    ("line", "echoed"),
    [
        (b"ECHO hello", b"hello"),
        (b"  ECHO\t hello  ", b"hello"),
        (b'ECHO "a b"', b"a b"),
        (b'ECHO "\\x41\\n\\r\\t\\b\\a\\q\\"\\\\"', b'A\n\r\t\b\aq"\\'),
        (b"ECHO 'it\\'s \\n'", b"it's \\n"),
        (b'ECHO ""', b""),
        (b'ECHO a"b c"', b"ab c"),
        (b'echo "\\xg1"', b"xg1"),
    ],
)
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_inline_commands_are_quoted_as_in_redis(connection: Connection, line: bytes, echoed: bytes, end: bytes) -> None:
    assert connection.feed(line + end) == b"$%d\r\n%s\r\n" % (len(echoed), echoed)


def test_inline_and_multibulk_mix(connection: Connection) -> None:
    given = b'PING\r\nSET k "a b"\r\n' + command("GET", "k") + b"PING x\r\n"
    assert connection.feed(given) == b"+PONG\r\n+OK\r\n$3\r\na b\r\n$1\r\nx\r\n"


TRANSCRIPT = (
    command("SET", "k", "v" * 40)
    + b"\r\nSET inline 'x y'\r\n*0\r\n"
    + command("MGET", "k", "inline", "none")
    + command("NOSUCH", "a", "b")
    + command("INCR", "n")
    + b"INCR n\n"
    + command("CLIENT", "NOSUCH")
    + command("ECHO", b"\r\n$3\r\n*1\r\n")
    + command("STRLEN", "k")
)


def test_any_split_gives_the_same_replies(make_engine: MakeEngine) -> None:
    whole = Connection(make_engine()).feed(TRANSCRIPT)
    assert whole.endswith(b":40\r\n")
    engine = make_engine()
    for split in range(1, len(TRANSCRIPT)):
        connection = Connection(engine)
        connection.feed(command("FLUSHALL"))
        assert connection.feed(TRANSCRIPT[:split]) + connection.feed(TRANSCRIPT[split:]) == whole, split
    connection = Connection(engine)
    connection.feed(command("FLUSHALL"))
    assert b"".join(connection.feed(bytes([byte])) for byte in TRANSCRIPT) == whole


def test_more_commands_than_a_batch_holds(connection: Connection) -> None:
    count = 1000
    given = b"".join(command("SET", f"key:{i}", f"value:{i}") + command("GET", f"key:{i}") for i in range(count))
    wanted = b"".join(b"+OK\r\n$%d\r\nvalue:%d\r\n" % (len(f"value:{i}"), i) for i in range(count))
    assert connection.feed(given) == wanted


def test_an_announced_length_takes_no_memory_before_the_bytes(engine: Engine, connection: Connection) -> None:
    connection.feed(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$536870912\r\n")
    assert connection.held_bytes < 100_000
    for _ in range(16):
        connection.feed(b"x" * 65536)
    assert MIB < connection.held_bytes < 4 * MIB
    many_arguments = Connection(engine)
    many_arguments.feed(b"*1000000\r\n$1\r\na\r\n")
    assert many_arguments.held_bytes < 100_000


def test_a_large_value_arrives_whole_and_its_memory_is_given_back(connection: Connection) -> None:
    value = bytes(range(256)) * 12_000
    request = command("SET", "big", value)
    assert b"".join(connection.feed(request[at : at + 50_000]) for at in range(0, len(request), 50_000)) == b"+OK\r\n"
    assert connection.feed(command("GET", "big")) == b"$%d\r\n%s\r\n" % (len(value), value)
    assert connection.held_bytes < 100_000


def test_a_command_with_very_many_arguments(connection: Connection) -> None:
    keys = [f"k{i}" for i in range(100_000)]
    request = command("EXISTS", *keys)
    replies = b"".join(connection.feed(request[at : at + 60_000]) for at in range(0, len(request), 60_000))
    assert replies == b":0\r\n"
    assert connection.held_bytes < 100_000


def test_a_query_buffer_over_its_limit_ends_the_connection(connection: Connection, engine: Engine) -> None:
    assert talk(connection, "CONFIG SET client-query-buffer-limit 1mb") == b"+OK\r\n"
    hostile = Connection(engine)
    hostile.feed(b"*2\r\n$4\r\nECHO\r\n$100000000\r\n")
    for _ in range(64):
        hostile.feed(b"x" * 65536)
    assert hostile.closing
    assert hostile.held_bytes < 3 * MIB
    assert talk(connection, "PING") == b"+PONG\r\n"


def test_replies_over_the_output_limit_end_the_connection(connection: Connection, engine: Engine) -> None:
    assert connection.feed(command("SET", "k", "x" * 600_000)) == b"+OK\r\n"
    assert connection.feed(command("CONFIG", "SET", "client-output-buffer-limit", "normal 2mb 0 0")) == b"+OK\r\n"
    hostile = Connection(engine)
    assert hostile.feed(command("MGET", *["k"] * 50)) == b""
    assert hostile.closing
    assert len(connection.feed(command("MGET", "k", "k"))) > 1_200_000


# --- logging in


def test_a_stranger_may_only_log_in(make_engine: MakeEngine) -> None:
    connection = Connection(make_engine(password="secret"))
    assert talk(connection, "GET k") == b"-NOAUTH Authentication required.\r\n"
    assert talk(connection, "NOSUCH") == b"-ERR unknown command 'NOSUCH', with args beginning with: \r\n"
    assert talk(connection, "GET") == b"-ERR wrong number of arguments for 'get' command\r\n"
    assert talk(connection, "HELLO 3").startswith(b"-NOAUTH HELLO must be called with the client already authenticated")
    wrong = b"-WRONGPASS invalid username-password pair or user is disabled.\r\n"
    for attempt in [
        "AUTH wrong",
        "AUTH secret2",
        "AUTH secre",
        'AUTH ""',
        "AUTH other secret",
        "HELLO 3 AUTH default x",
    ]:
        assert talk(connection, attempt) == wrong
    assert talk(connection, "AUTH a b c") == b"-ERR syntax error\r\n"
    assert talk(connection, "GET k") == b"-NOAUTH Authentication required.\r\n"
    assert talk(connection, "AUTH default secret") == b"+OK\r\n"
    assert talk(connection, "GET k") == b"$-1\r\n"
    assert talk(connection, "RESET") == b"+RESET\r\n"
    assert talk(connection, "GET k") == b"-NOAUTH Authentication required.\r\n"


def test_hello_does_it_all(make_engine: MakeEngine) -> None:
    connection = Connection(make_engine(password="secret"))
    assert talk(connection, "HELLO 3 AUTH default secret SETNAME bob").startswith(
        b"%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n"
    )
    assert talk(connection, "CLIENT GETNAME") == b"$3\r\nbob\r\n"
    assert talk(connection, "GET k") == b"_\r\n"
    assert talk(connection, "HELLO 2").startswith(b"*14\r\n")
    assert talk(connection, "GET k") == b"$-1\r\n"


@pytest.mark.parametrize(
    ("request_bytes", "problem"),
    [
        (b"*11\r\n", b"unauthenticated multibulk length"),
        (b"*2\r\n$4\r\nECHO\r\n$16385\r\n", b"unauthenticated bulk length"),
    ],
)
def test_a_stranger_may_not_send_much(make_engine: MakeEngine, request_bytes: bytes, problem: bytes) -> None:
    connection = Connection(make_engine(password="secret"))
    assert connection.feed(request_bytes) == b"-ERR Protocol error: " + problem + b"\r\n"
    assert connection.closing


def test_what_is_pipelined_behind_auth_has_the_limits_of_a_friend(make_engine: MakeEngine) -> None:
    connection = Connection(make_engine(password="secret"))
    pairs = [part for i in range(20) for part in (f"k{i}", "v" * 20_000)]
    assert connection.feed(command("AUTH", "secret") + command("MSET", *pairs)) == b"+OK\r\n+OK\r\n"


def test_config_set_requirepass_counts_for_newcomers_and_is_never_shown(engine: Engine, connection: Connection) -> None:
    assert talk(connection, "CONFIG SET requirepass hush") == b"+OK\r\n"
    assert talk(connection, "CONFIG GET requirepass") == b"*2\r\n$11\r\nrequirepass\r\n$0\r\n\r\n"
    newcomer = Connection(engine)
    assert talk(newcomer, "PING") == b"-NOAUTH Authentication required.\r\n"
    assert talk(newcomer, "AUTH hush") == b"+OK\r\n"
    assert talk(newcomer, "CONFIG SET slowlog-log-slower-than 0") == b"+OK\r\n"
    talk(newcomer, "AUTH wrong-guess")
    talk(newcomer, "HELLO 2 AUTH default hush")
    talk(newcomer, "CONFIG SET requirepass hush2")
    log = talk(newcomer, "SLOWLOG GET 10")
    assert b"(redacted)" in log
    assert b"hush" not in log
    assert b"wrong-guess" not in log


# --- dispatch


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        ("FOO a b", "-ERR unknown command 'FOO', with args beginning with: 'a' 'b' "),
        ("CLIENT NOSUCH", "-ERR unknown subcommand 'NOSUCH'. Try CLIENT HELP."),
        ("client|id", "-ERR unknown command 'client|id', with args beginning with: "),
        ("CLIENT", "-ERR wrong number of arguments for 'client' command"),
        ("CLIENT ID x", "-ERR wrong number of arguments for 'client|id' command"),
        ("gEt", "-ERR wrong number of arguments for 'get' command"),
        ("SELECT 1", "-ERR DB index is out of range"),
        ("SELECT x", "-ERR value is not an integer or out of range"),
        ("HELLO 4", "-NOPROTO unsupported protocol version"),
        ("DEBUG SLEEP 1", "-ERR DEBUG command not allowed. If the enable-debug-command option is set to"),
        ("CONFIG REWRITE", "-ERR The server is running without a config file"),
        ("CLIENT KILL 1.2.3.4:5", "-ERR No such client"),
        ("CLIENT KILL TYPE odd", "-ERR Unknown client type 'odd'"),
        ("CLIENT SETNAME \"a b\"", "-ERR Client names cannot contain spaces, newlines or special characters."),
        ("CLIENT SETINFO lib-name \"a b\"", "-ERR lib-name cannot contain spaces, newlines or special characters."),
        ("CLIENT SETINFO odd x", "-ERR Unrecognized option 'odd'"),
        ("CONFIG SET nosuch 1", "-ERR Unknown option or number of arguments for CONFIG SET - 'nosuch'"),
    ],
)  # fmt: skip
def test_errors_are_those_of_redis(connection: Connection, line: str, reply: str) -> None:
    assert talk(connection, line).startswith(reply.encode())
    assert not connection.closing
    assert talk(connection, "PING") == b"+PONG\r\n"


@pytest.mark.parametrize("line", ["POST / HTTP/1.1", "Host: localhost"])
def test_a_browser_is_cut_off(connection: Connection, line: str) -> None:
    assert connection.feed(line.encode() + b"\r\nSET k v\r\n") == b""
    assert connection.closing


def test_client_reply(connection: Connection) -> None:
    given = ["CLIENT REPLY OFF", "PING", "NOSUCH", "CLIENT REPLY ON", "CLIENT REPLY SKIP", "PING", "PING x"]
    replies = [talk(connection, line) for line in given]
    assert replies == [b"", b"", b"", b"+OK\r\n", b"", b"", b"$1\r\nx\r\n"]


def test_quit_answers_and_ends(connection: Connection) -> None:
    assert connection.feed(command("SET", "k", "v") + command("QUIT") + command("PING")) == b"+OK\r\n+OK\r\n"
    assert connection.closing


def test_clients_can_be_listed_and_killed(engine: Engine, connection: Connection) -> None:
    other = Connection(engine)
    talk(other, "CLIENT SETNAME other")
    talk(other, "CLIENT SETINFO LIB-NAME lib")
    number = talk(other, "CLIENT ID")[1:-2].decode()
    line = talk(connection, f"CLIENT LIST ID {number}").decode()
    assert f"id={number} " in line
    assert " name=other " in line
    assert " lib-name=lib " in line
    assert " cmd=client|id " in line
    assert talk(connection, "CLIENT LIST").count(b" addr=") == 2
    assert talk(connection, f"CLIENT KILL ID {number}") == b":1\r\n"
    assert other.closing
    assert talk(other, "PING") == b""
    assert talk(connection, "CLIENT KILL SKIPME yes ID 999999") == b":0\r\n"


def test_config_set_is_all_or_nothing(connection: Connection) -> None:
    before = talk(connection, "CONFIG GET timeout slowlog-max-len maxmemory-policy")
    refused = talk(connection, "CONFIG SET timeout 7 maxmemory-policy noeviction slowlog-max-len -1")
    assert refused == (
        b"-ERR CONFIG SET failed (possibly related to argument 'slowlog-max-len') - argument must be between 0 and "
        b"9223372036854775807 inclusive\r\n"
    )
    assert talk(connection, "CONFIG GET timeout slowlog-max-len maxmemory-policy") == before
    assert talk(connection, "CONFIG SET timeout 7 maxmemory-policy allkeys-lru slowlog-max-len 5") == b"+OK\r\n"
    after = talk(connection, "CONFIG GET timeout slowlog-max-len maxmemory-policy")
    assert b"allkeys-lru" in after
    assert b"$7\r\ntimeout\r\n$1\r\n7\r\n" in after


def test_noeviction_refuses_what_would_add_data(make_engine: MakeEngine) -> None:
    connection = Connection(make_engine())
    assert talk(connection, "CONFIG SET maxmemory-policy noeviction") == b"+OK\r\n"
    replies = b"".join(connection.feed(command("SET", f"k{i}", "x" * 100_000)) for i in range(1000))
    refusal = b"-OOM command not allowed when used memory > 'maxmemory'.\r\n"
    assert replies.endswith(refusal)
    assert b"+OK\r\n" in replies
    assert connection.feed(command("GET", "k0")).startswith(b"$100000\r\n")
    assert b"errorstat_OOM:count=" in talk(connection, "INFO errorstats")


def test_too_many_clients(make_engine: MakeEngine) -> None:
    engine = make_engine(max_clients=2)
    first, second, third = Connection(engine), Connection(engine), Connection(engine)
    assert talk(first, "PING") == talk(second, "PING") == b"+PONG\r\n"
    assert talk(third, "PING") == b"-ERR max number of clients reached\r\n"
    assert third.closing
    assert b"rejected_connections:1\r\n" in talk(first, "INFO stats")


def test_an_arena_that_cannot_be_opened_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ArenaError, match=r"nowhere.* does not exist"):
        Engine(str(tmp_path / "nowhere" / "x.arena"), 16 * MIB, "lru")
    with pytest.raises(ValueError, match=r"one of s3fifo, .*, noeviction, not best"):
        Engine(str(tmp_path / "x.arena"), 16 * MIB, "best")
