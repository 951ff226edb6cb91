"""Users and rights: our server and redis-server 7.0 get the same commands and give the same replies."""

import random
import re
import textwrap
from collections.abc import Iterator

import pytest

from tests.core_cache.cases_acl import ACL_CASES
from tests.core_cache.compare import Pair, same_reply
from tests.core_cache.raw_resp import Command, RawClient, decode, words

RULES = re.compile(rb"([+-]@all)((?: [+-]@\w+)*)((?: [+-][^@)\s]+)*)")
OURS_ALONE = re.compile(rb" [+-]client\|setinfo")  # of Redis 7.2


def in_order(reply: bytes) -> bytes:
    """A reply with the single commands of its command rules sorted: Redis lists them as its hash table has them."""
    return RULES.sub(lambda match: match[1] + match[2] + b" ".join(sorted(match[3].split(b" "))), reply)


def same_rules(redis: bytes, ours: bytes) -> bool:
    if b"client|setinfo" in ours:
        redis, ours = (re.sub(rb"\$\d+\r\n", b"$\r\n", OURS_ALONE.sub(b"", reply)) for reply in (redis, ours))
    if b"(redacted)" in ours:  # a password, or what looks like one
        redis, ours = (re.sub(rb"modifier '[^\r]*': ", b"", reply) for reply in (redis, ours))
    return in_order(redis) == in_order(ours)


def differences(replies: list[tuple[Command, bytes, bytes]]) -> str:
    return "\n".join(
        f"{b' '.join(command)!r}:\n  redis-server gives {redis!r},\n  we give            {ours!r}"
        for command, redis, ours in replies
        if not same_reply(command, redis, ours) and not same_rules(redis, ours)
    )


@pytest.fixture(autouse=True)
def no_users(request: pytest.FixtureRequest) -> Iterator[None]:
    """Users outlive FLUSHALL and connections."""
    yield
    for server in request.getfixturevalue("server_pair"):
        with server.client() as client:
            users = client.command("ACL", "USERS")
            client.command("ACL", "DELUSER", "none", *[user for user in users if user != b"default"])
            client.command("ACL", "LOG", "RESET")


@pytest.mark.parametrize("title", ACL_CASES)
def test_replies_are_those_of_redis(pair: Pair, title: str) -> None:
    commands = [words(line) for line in textwrap.dedent(ACL_CASES[title]).strip().splitlines()]
    problems = differences(pair.both(commands))
    assert problems == "", f"{title}:\n{problems}"


COMMANDS = [b"get", b"SET", b"config", b"config|get", b"client", b"client|id", b"select|0", b"select|x", b"ping|a"]
COMMANDS += [b"mset", b"eval", b"xadd", b"geoadd", b"nosuch", b"config|nosuch", b"config|get|a", b"", b"|", b"acl|cat"]
CATEGORIES = [b"all", b"read", b"WRITE", b"string", b"dangerous", b"admin", b"slow", b"fast", b"connection", b"geo"]
CATEGORIES += [b"keyspace", b"pubsub", b"scripting", b"nosuch", b"", b"hash", b"transaction", b"blocking"]
PATTERNS = [b"*", b"a*", b"b", b"", b"a b", b"[x", b"\xff\x00", b"a*b*"]
PATTERN_SIGNS = [b"~", b"%R~", b"%w~", b"%WR~", b"%RR~", b"%x~", b"&", b"%R"]
WORDS = [b"on", b"off", b"nopass", b"resetpass", b"reset", b"allkeys", b"resetkeys", b"allchannels", b"ON"]
WORDS += [b"resetchannels", b"allcommands", b"nocommands", b"clearselectors", b"sanitize-payload", b"nonsense"]
WORDS += [b"skip-sanitize-payload", b"", b"(", b")", b"%", b"+", b"-"]


def random_rule(choose: random.Random) -> bytes:
    """A rule that may be good, odd or wrong."""
    kind = choose.randrange(9)
    if kind < 3:
        return choose.choice([b"+", b"-"]) + choose.choice(COMMANDS)
    if kind < 5:
        return choose.choice([b"+@", b"-@"]) + choose.choice(CATEGORIES)
    if kind == 5:
        return choose.choice(PATTERN_SIGNS) + choose.choice(PATTERNS)
    if kind == 6:
        return b">" + choose.choice(PATTERNS)
    if kind == 7:
        inner = [random_rule(choose) for _ in range(choose.randrange(4))]
        inner = [rule for rule in inner if not set(rule) & set(b"<>(")]
        return b"(" + b" ".join(inner) + choose.choice([b")", b")", b")", b""])
    return choose.choice(WORDS)


@pytest.mark.parametrize("seed", range(20))
def test_any_rules_are_read_and_described_as_redis_does(pair2: Pair, seed: int) -> None:
    """Random rules, good and bad, on a few users; after each, the lists of users agree."""
    choose = random.Random(seed)
    commands: list[Command] = []
    for _ in range(100):
        rules = [random_rule(choose) for _ in range(choose.randrange(1, 5))]
        commands.append((b"ACL", b"SETUSER", choose.choice([b"ann", b"bob"]), *rules))
        commands.append((b"ACL", b"LIST"))
    problems = differences(pair2.both(commands))
    assert problems == "", problems[:3000]


def test_every_command_of_redis_can_be_named_in_rules(pair2: Pair) -> None:
    """Alone, and taken from everything: an ACL file of a Redis keeps its meaning here."""
    names: list[bytes] = []
    todo = decode(pair2.redis.command(b"COMMAND"))
    while todo:
        info = todo.pop()
        names.append(info[0])
        todo += info[9]
    assert len(names) > 300
    commands: list[Command] = []
    for name in names:
        commands += [(b"ACL", b"SETUSER", b"ann", b"reset", b"+" + name), (b"ACL", b"GETUSER", b"ann")]
        commands += [(b"ACL", b"SETUSER", b"ann", b"+@all", b"-" + name), (b"ACL", b"GETUSER", b"ann")]
    problems = differences(pair2.both(commands))
    assert problems == "", problems[:3000]


def test_categories_hold_what_they_hold_in_redis(pair2: Pair) -> None:
    redis_names, our_names = (all_names(client) for client in (pair2.redis, pair2.ours))
    shared = redis_names & our_names
    assert len(shared) > 100
    for category in decode(pair2.redis.command(b"ACL", b"CAT")):
        redis, ours = (set(decode(c.command(b"ACL", b"CAT", category))) for c in (pair2.redis, pair2.ours))
        assert ours & shared == redis & shared, category
        assert ours <= our_names, category


def all_names(client: RawClient) -> set[bytes]:
    names: set[bytes] = set()
    todo = decode(client.command(b"COMMAND"))
    while todo:
        info = todo.pop()
        names.add(info[0])
        todo += info[9]
    return names


def test_the_log_of_refusals(pair: Pair) -> None:
    """Reasons, objects, counts and order are Redis'; so are the client's fields, as far as they can be the same."""
    setup = """
        ACL LOG RESET
        ACL SETUSER ann on nopass +get +mget +acl|whoami +multi +discard ~a*
        AUTH nobody x
        auth nobody x
        AUTH nobody x
        AUTH ann x
        GET b
        GET c
        GET b
        MGET a b c
        SET a 1
        CONFIG GET x
        SET b 2
        MULTI
        GET d
        DISCARD
        RESET
    """
    commands = [words(line) for line in textwrap.dedent(setup).strip().splitlines()]
    assert differences(pair.both(commands)) == ""
    entries = [[entry_fields(entry) for entry in decode(c.command(b"ACL", b"LOG"))] for c in (pair.redis, pair.ours)]
    assert entries[0] == entries[1]
    assert len(entries[0]) == 7
    assert differences(pair.both([(b"CONFIG", b"SET", b"acllog-max-len", b"3")])) == ""
    pair.both([(b"AUTH", b"other", b"x")])  # the log is cut when something is added
    entries = [[entry_fields(entry) for entry in decode(c.command(b"ACL", b"LOG"))] for c in (pair.redis, pair.ours)]
    assert entries[0] == entries[1]
    assert len(entries[0]) == 3
    pair.both([(b"CONFIG", b"SET", b"acllog-max-len", b"128")])


def entry_fields(entry: dict[bytes, object] | list[object]) -> dict[bytes, object]:
    """An entry of ACL LOG without what differs between two servers."""
    if isinstance(entry, list):
        entry = dict(zip(entry[::2], entry[1::2], strict=True))
    age = float(entry.pop(b"age-seconds"))
    assert 0 <= age < 60
    client = dict(part.split(b"=", 1) for part in entry.pop(b"client-info").split())
    return entry | {b"client": {name: client[name] for name in (b"name", b"cmd", b"user", b"resp", b"db")}}


def test_the_connections_of_a_deleted_user_end(pair2: Pair) -> None:
    """The other connections at once, its own after the reply."""
    for server, admin in ((pair2.redis_server, pair2.redis), (pair2.our_server, pair2.ours)):
        assert admin.command(b"ACL", b"SETUSER", b"ann", b"on", b"nopass", b"+@all", b"~*") == b"+OK\r\n"
        first, second = RawClient(server.port), RawClient(server.port)
        for client in (first, second):
            assert client.command(b"AUTH", b"ann", b"x") == b"+OK\r\n"
        assert first.command(b"ACL", b"SETUSER", b"ann", b"off") == b"+OK\r\n"
        assert second.command(b"PING") == b"+PONG\r\n"  # who is in stays in
        assert first.pipeline([(b"ACL", b"DELUSER", b"ann")]) == [b":1\r\n"]
        assert first.read_to_end() == b""
        assert second.read_to_end() == b""
        assert admin.command(b"PING") == b"+PONG\r\n"


def test_the_password_of_the_default_user(pair2: Pair) -> None:
    """requirepass, ACL SETUSER default and AUTH are views of one thing; who is connected stays."""
    late: list[tuple[RawClient, RawClient]] = []

    def fresh(commands: list[Command]) -> str:
        late.append((RawClient(pair2.redis_server.port), RawClient(pair2.our_server.port)))
        redis, ours = late[-1]
        return differences(list(zip(commands, redis.pipeline(commands), ours.pipeline(commands), strict=True)))

    try:
        assert differences(pair2.both([(b"CONFIG", b"SET", b"requirepass", b"secret"), (b"PING",)])) == ""
        script = ["PING", "ACL WHOAMI", "nonsense", "GET", "HELLO 3", "HELLO 2 AUTH default wrong", "AUTH wrong"]
        script += ["AUTH default secret", "PING", "ACL WHOAMI", "RESET", "PING", "AUTH secret", "ACL LIST"]
        script += ["ACL SETUSER default >second", "AUTH second", "AUTH secret", "ACL SETUSER default off", "PING"]
        assert fresh([words(line) for line in script]) == ""
        assert fresh([words(line) for line in ("PING", "AUTH secret", "AUTH second")]) == ""
        assert differences(pair2.both([(b"ACL", b"SETUSER", b"default", b"nopass"), (b"PING",)])) == ""
        assert fresh([words(line) for line in ("PING", "AUTH default anything", "PING")]) == ""
        assert differences(pair2.both([(b"ACL", b"SETUSER", b"default", b"on"), (b"AUTH", b"x")])) == ""
        assert fresh([words(line) for line in ("PING", "AUTH x", "AUTH default x", "ACL WHOAMI")]) == ""
    finally:
        pair2.both([(b"ACL", b"SETUSER", b"default", b"on", b"nopass", b"sanitize-payload"), (b"PING",)])
        for clients in late:
            for client in clients:
                client.close()
