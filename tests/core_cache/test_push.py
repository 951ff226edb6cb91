"""Messages between clients and transactions where it gets rough: thousands of channels, subscribers that do not read,
clients that go away in the middle, memory that runs out."""

from collections.abc import Callable, Iterator

import pytest

from tests import servers
from tests.core_cache.raw_resp import RawClient, decode, encode, fields, words
from tests.waiting import wait_until

MIB = 1 << 20
Open = Callable[..., RawClient]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    cache = servers.start_cache(tmp_path_factory.mktemp("push"), "--no-auth")
    yield cache
    cache.stop()


@pytest.fixture
def connect(server: servers.Server) -> Iterator[Open]:
    """Opens connections; at the end they are closed, and the settings and the data are as before."""
    made: list[RawClient] = []

    def new(protocol: int = 2) -> RawClient:
        made.append(RawClient(server.port, protocol=protocol))
        return made[-1]

    yield new
    for client in made:
        client.close()
    with RawClientContext(server.port) as client:
        client.command(*words("CONFIG SET client-output-buffer-limit"), b"pubsub 32mb 8mb 60")
        for setting in ("client-query-buffer-limit 1gb", "notify-keyspace-events", "timeout 0", "maxmemory 0"):
            name, _, value = setting.partition(" ")
            client.command(b"CONFIG", b"SET", name.encode(), value.encode())
        client.command(*words("CONFIG SET maxmemory-policy allkeys-s3fifo tracking-table-max-keys 1000000"))
        client.command(b"FLUSHALL")


class RawClientContext:
    """A RawClient for a with statement."""

    def __init__(self, port: int) -> None:
        self.client = RawClient(port)

    def __enter__(self) -> RawClient:
        return self.client

    def __exit__(self, *_: object) -> None:
        self.client.close()


def ok(client: RawClient, line: str) -> None:
    assert client.command(*words(line)) == b"+OK\r\n", line


def number_of(client: RawClient) -> bytes:
    return b"%d" % client.value(b"CLIENT", b"ID")


def described(client: RawClient, number: bytes) -> dict[str, str]:
    """A connection's fields in CLIENT LIST; empty when it is gone."""
    line = client.value(b"CLIENT", b"LIST", b"ID", number).decode()
    return dict(part.split("=", 1) for part in line.split() if "=" in part)


def info(client: RawClient, section: bytes) -> dict[str, str]:
    return fields(client.value(b"INFO", section))


def test_ten_thousand_channels(connect: Open) -> None:
    """One client subscribes to 10,000 channels and 1,000 patterns; leaving ends them all."""
    subscriber, publisher = connect(), connect()
    subscriber.send_all([(b"SUBSCRIBE", b"channel:%d" % i) for i in range(10_000)])
    last = [subscriber.reply() for _ in range(10_000)][-1]
    assert last.endswith(b":10000\r\n")
    subscriber.send_all([(b"PSUBSCRIBE", b"other:%d:*" % i) for i in range(1000)])
    assert [subscriber.reply() for _ in range(1000)][-1].endswith(b":11000\r\n")
    replies = publisher.pipeline([(b"PUBLISH", b"channel:%d" % i, b"%d" % i) for i in range(10_000)])
    assert replies == [b":1\r\n"] * 10_000
    received = [subscriber.reply() for _ in range(10_000)]
    assert received == [encode([b"message", b"channel:%d" % i, b"%d" % i]) for i in range(10_000)]
    assert len(publisher.value(b"PUBSUB", b"CHANNELS")) == 10_000
    held = int(described(publisher, number_of_subscriber(publisher))["tot-mem"])
    assert held > 10_000 * len("channel:1000"), "subscriptions are not in the connection's memory"
    subscriber.close()
    wait_until(lambda: publisher.value(b"PUBSUB", b"CHANNELS") == [], 10, "the end of the subscriptions")
    assert publisher.value(b"PUBSUB", b"NUMPAT") == 0


def number_of_subscriber(client: RawClient) -> bytes:
    line = client.value(b"CLIENT", b"LIST", b"TYPE", b"pubsub").decode()
    return line.split()[0].removeprefix("id=").encode()


def test_a_thousand_subscribers_of_one_channel(connect: Open) -> None:
    subscribers = [connect(protocol=2 + i % 2) for i in range(300)]
    for subscriber in subscribers:
        subscriber.send(encode([b"SUBSCRIBE", b"all"]))
        subscriber.reply()
    publisher = connect()
    assert publisher.pipeline([(b"PUBLISH", b"all", b"%d" % i) for i in range(50)]) == [b":300\r\n"] * 50
    for index, subscriber in enumerate(subscribers):
        expected = [encode([b"message", b"all", b"%d" % i]) for i in range(50)]
        if index % 2:
            expected = [b">" + message[1:] for message in expected]
        assert [subscriber.reply() for _ in range(50)] == expected


def test_a_subscriber_that_does_not_read_is_cut_off_and_hurts_nobody(connect: Open) -> None:
    """It goes over its hard limit and is closed; another subscriber of the same channel gets every message."""
    stalled, reader, publisher = connect(), connect(), connect()
    publisher.command(*words("CONFIG SET client-output-buffer-limit"), b"pubsub 4mb 0 0")
    for subscriber in (stalled, reader):
        subscriber.command(b"SUBSCRIBE", b"flood")
    number = number_of_subscriber(publisher)
    message = b"m" * 65536
    reached = []
    for _ in range(600):
        reached.append(publisher.value(b"PUBLISH", b"flood", message))
        assert reader.reply() == encode([b"message", b"flood", message])
    assert reached[0] == 2
    assert reached[-1] == 1, "the subscriber that reads nothing is still there"
    assert described(publisher, number) == {}


def test_a_subscriber_over_its_soft_limit_is_cut_off_after_a_while(connect: Open) -> None:
    stalled, publisher = connect(), connect()
    publisher.command(*words("CONFIG SET client-output-buffer-limit"), b"pubsub 0 1mb 1")
    stalled.command(b"SUBSCRIBE", b"flood")
    number = number_of_subscriber(publisher)
    for _ in range(200):
        publisher.command(b"PUBLISH", b"flood", b"m" * 65536)
    assert int(described(publisher, number)["omem"]) > MIB
    wait_until(lambda: described(publisher, number) == {}, 10, "the end of the subscriber over its soft limit")


def test_a_flooded_subscriber_can_still_unsubscribe(connect: Open) -> None:
    """Its commands are read although it has more unsent bytes than a client that asks for them may have."""
    slow, publisher = connect(), connect()
    slow.command(b"SUBSCRIBE", b"flood")
    for _ in range(200):
        publisher.command(b"PUBLISH", b"flood", b"m" * 65536)
    slow.send(encode([b"UNSUBSCRIBE"]))
    wait_until(lambda: publisher.value(b"PUBLISH", b"flood", b"x") == 0, 10, "the end of the subscription")
    assert all(slow.reply() == encode([b"message", b"flood", b"m" * 65536]) for _ in range(200))
    while (reply := slow.reply()).startswith(b"*3\r\n$7\r\nmessage"):
        pass
    assert decode(reply) == [b"unsubscribe", b"flood", 0]


def test_one_command_that_sends_a_subscriber_more_than_it_may_have(connect: Open) -> None:
    """The limit holds within a batch of commands, too: the messages of a transaction are not hoarded."""
    stalled, publisher = connect(), connect()
    publisher.command(*words("CONFIG SET client-output-buffer-limit"), b"pubsub 1mb 0 0")
    stalled.command(b"SUBSCRIBE", b"flood")
    publish = (b"PUBLISH", b"flood", b"m" * 300_000)
    replies = publisher.pipeline([(b"MULTI",), *[publish] * 10, (b"EXEC",)])
    assert decode(replies[-1]) == [1] * 10
    wait_until(lambda: publisher.value(b"PUBSUB", b"CHANNELS") == [], 10, "the end of the subscriber")


def test_subscribers_killed_while_messages_are_on_their_way(connect: Open) -> None:
    """Kills and publishes in one go, many times over; what is left gets its messages."""
    publisher, survivor = connect(), connect()
    survivor.command(b"SUBSCRIBE", b"c")
    for turn in range(30):
        victims = [connect(protocol=3) for _ in range(5)]
        for victim in victims:
            victim.command(b"SUBSCRIBE", b"c")
            victim.command(b"PSUBSCRIBE", b"c*")
            victim.command(b"CLIENT", b"TRACKING", b"ON", b"BCAST")
        numbers = [number_of(victim) for victim in victims]
        commands = []
        for number in numbers:
            commands += [(b"PUBLISH", b"c", b"%d" % turn), (b"SET", b"k", b"v"), (b"CLIENT", b"KILL", b"ID", number)]
        replies = publisher.pipeline([*commands, (b"PUBLISH", b"c", b"last")])
        assert replies[::3] == [b":%d\r\n" % (1 + 2 * left) for left in (5, 4, 3, 2, 1, 0)]
        expected = [encode([b"message", b"c", b"%d" % turn])] * 5 + [encode([b"message", b"c", b"last"])]
        assert [survivor.reply() for _ in range(6)] == expected


def test_leaving_within_a_transaction_frees_what_was_queued(connect: Open) -> None:
    client, watcher = connect(), connect()
    number = number_of(client)
    client.pipeline([(b"SET", b"w", b"1"), (b"WATCH", b"w"), (b"MULTI",)])
    client.pipeline([(b"SET", b"k", b"v" * 1000)] * 1000)
    held = described(watcher, number)
    assert (held["multi"], held["flags"], held["watch"]) == ("1000", "x", "1")
    assert int(held["multi-mem"]) > 1_000_000
    assert int(held["tot-mem"]) > 1_000_000
    ok(client, "DISCARD")
    assert int(described(watcher, number)["tot-mem"]) < 100_000
    client.pipeline([(b"WATCH", b"w"), (b"MULTI",), (b"SET", b"k", b"v" * 1000)])
    client.close()
    wait_until(lambda: described(watcher, number) == {}, 10, "the end of the connection")
    ok(watcher, "SET w 2")  # nobody watches it any more
    assert watcher.value(b"EXISTS", b"k") == 0


def test_a_transaction_may_not_outgrow_the_query_buffer_limit(connect: Open) -> None:
    hoarder, watcher = connect(), connect()
    ok(watcher, "CONFIG SET client-query-buffer-limit 1mb")
    number = number_of(hoarder)
    ok(hoarder, "MULTI")
    with pytest.raises(ConnectionError):
        hoarder.pipeline([(b"SET", b"k", b"v" * 50_000)] * 40)
    assert described(watcher, number) == {}


def test_memory_that_runs_out_within_a_transaction(connect: Open) -> None:
    """As in Redis: what is queued then is refused, and so is EXEC when a queued command needs memory."""
    client, filler = connect(), connect()
    ok(client, "CONFIG SET maxmemory-policy noeviction maxmemory 24mb")
    assert client.pipeline([(b"MULTI",), (b"SET", b"k", b"v"), (b"GET", b"k")])[-1] == b"+QUEUED\r\n"
    full = b"-OOM command not allowed when used memory > 'maxmemory'.\r\n"
    for size in (100_000, 5_000, 100):  # down to where the last free page is in use
        index = 0
        while filler.command(b"SET", b"fill:%d:%d" % (size, index), b"x" * size) == b"+OK\r\n":
            index += 1
    assert client.command(b"GET", b"other") == full
    assert client.command(b"EXEC") == b"-EXECABORT Transaction discarded because of: " + full[1:]
    ok(client, "MULTI")
    assert client.command(b"GET", b"other") == full
    ok(client, "DISCARD")
    assert client.pipeline([(b"MULTI",), (b"EXEC",)]) == [b"+OK\r\n", b"*0\r\n"]


def test_eviction_and_expiry_are_changes(connect: Open) -> None:
    """Both fail a transaction that watches the key, invalidate it, and are told as events."""
    client, tracker, listener = connect(), connect(protocol=3), connect()
    ok(client, "CONFIG SET notify-keyspace-events Exe maxmemory 24mb")
    listener.command(b"PSUBSCRIBE", b"__keyevent@0__:*")
    ok(tracker, "CLIENT TRACKING ON")
    ok(client, "SET evicted v")
    ok(client, "SET expired v PX 50")
    tracker.command(b"MGET", b"evicted", b"expired")
    assert decode(listener.reply())[2:] == [b"__keyevent@0__:expired", b"expired"]  # before eviction can take it
    assert client.pipeline([(b"WATCH", b"evicted"), (b"MULTI",), (b"PING",)])[-1] == b"+QUEUED\r\n"
    index = 0
    while index == 0 or client_exists(tracker, b"evicted"):
        connect_and_fill(connect, index)
        index += 1
        assert index < 100, "nothing is evicted"
    assert client.command(b"EXEC") == b"*-1\r\n"
    while decode(listener.reply())[2:] != [b"__keyevent@0__:evicted", b"evicted"]:
        pass


def client_exists(tracker: RawClient, key: bytes) -> bool:
    """EXISTS over a connection on which invalidations may come first."""
    tracker.send(encode([b"EXISTS", key]))
    while (reply := tracker.reply()).startswith(b">"):
        pass
    return reply == b":1\r\n"


def connect_and_fill(connect: Open, turn: int) -> None:
    filler = connect()
    filler.pipeline([(b"SET", b"fill:%d:%d" % (turn, i), b"x" * 10_000) for i in range(300)])
    filler.close()


def test_the_tracking_table_is_bounded(connect: Open) -> None:
    """Keys over tracking-table-max-keys are given up: the client is told that they are no longer valid."""
    tracker, other = connect(protocol=3), connect()
    ok(other, "CONFIG SET tracking-table-max-keys 100")
    ok(tracker, "CLIENT TRACKING ON")
    tracker.send_all([(b"GET", b"k%d" % i) for i in range(1000)])
    invalid, answers = set(), 0
    while answers < 1000 or len(invalid) < 900:
        reply = tracker.reply()
        if reply.startswith(b">"):
            kind, keys = decode(b"*" + reply[1:])
            assert kind == b"invalidate"
            invalid.update(keys)
        else:
            answers += 1
    stats = info(other, b"stats")
    assert (stats["tracking_total_keys"], stats["tracking_total_items"]) == ("100", "100")
    assert info(other, b"clients")["tracking_clients"] == "1"
    ok(other, "CONFIG SET tracking-table-max-keys 10")
    wait_until(lambda: info(other, b"stats")["tracking_total_keys"] == "10", 10, "the smaller table")
    tracker.close()
    wait_until(lambda: info(other, b"clients")["tracking_clients"] == "0", 10, "the tracker's end")
    assert info(other, b"stats")["tracking_total_keys"] == "0"


def test_tracking_and_publishing_to_oneself(connect: Open) -> None:
    """Replies, messages and invalidations on one connection stay whole and in order over thousands of commands."""
    client = connect(protocol=3)
    client.command(b"SUBSCRIBE", b"me")
    ok(client, "CLIENT TRACKING ON")
    turns = 2000
    for turn in range(turns):
        client.send_all([(b"GET", b"k"), (b"SET", b"k", b"%d" % turn), (b"PUBLISH", b"me", b"m")])
    for turn in range(turns):
        assert client.reply() == (b"$%d\r\n%d\r\n" % (len(str(turn - 1)), turn - 1) if turn else b"_\r\n")
        assert client.reply() == b"+OK\r\n"
        assert client.reply() == b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n"
        assert client.reply() == b">3\r\n$7\r\nmessage\r\n$2\r\nme\r\n$1\r\nm\r\n"
        assert client.reply() == b":1\r\n"


def test_subscribers_are_not_idle(connect: Open) -> None:
    subscriber, idler, other = connect(), connect(), connect()
    subscriber.command(b"SUBSCRIBE", b"c")
    number = number_of(idler)
    ok(other, "CONFIG SET timeout 1")
    wait_until(lambda: described(other, number) == {}, 10, "the end of the idle client")
    assert other.value(b"PUBLISH", b"c", b"still there") == 1


def test_wait_is_answered_when_its_time_is_over(connect: Open) -> None:
    """The commands behind it are run then; other clients do not wait."""
    waiter, other = connect(), connect()
    waiter.send_all([words("WAIT 1 300"), words("SET k after"), words("WAIT 2 1"), words("GET k")])
    wait_until(lambda: info(other, b"clients")["blocked_clients"] == "1", 10, "the blocked client")
    assert other.value(b"EXISTS", b"k") == 0
    assert [waiter.reply() for _ in range(4)] == [b":0\r\n", b"+OK\r\n", b":0\r\n", b"$5\r\nafter\r\n"]
    assert info(other, b"clients")["blocked_clients"] == "0"


def test_a_blocked_client_that_goes_away_is_noticed(connect: Open) -> None:
    waiter, other = connect(), connect()
    number = number_of(waiter)
    waiter.send_all([words("WAIT 1 0"), words("GET k")])
    wait_until(lambda: described(other, number).get("flags") == "b", 10, "the blocked client")
    waiter.close()
    wait_until(lambda: described(other, number) == {}, 10, "the end of the blocked client")


def test_a_pause_holds_everybody_up_and_ends_by_itself(connect: Open) -> None:
    client, other = connect(), connect()
    ok(client, "CLIENT PAUSE 300")
    other.send_all([words("SET k 1"), words("GET k")])
    client.send_all([words("PING"), words("PUBLISH c x")])
    late = connect  # a connection that comes during the pause is held up as well
    newcomer = late()
    newcomer.send(encode([b"GET", b"k"]))
    assert [client.reply(), client.reply()] == [b"+PONG\r\n", b":0\r\n"]
    assert [other.reply(), other.reply()] == [b"+OK\r\n", b"$1\r\n1\r\n"]
    assert newcomer.reply() in (b"$1\r\n1\r\n", b"$-1\r\n")
    assert info(client, b"clients")["blocked_clients"] == "0"


def test_settings_of_the_output_limits(connect: Open) -> None:
    client = connect()
    name = b"client-output-buffer-limit"
    assert client.value(b"CONFIG", b"GET", name)[1].endswith(b"slave 268435456 67108864 60 pubsub 33554432 8388608 60")
    assert client.command(b"CONFIG", b"SET", name, b"pubsub 1mb 2kb 3 replica 0 0 0") == b"+OK\r\n"
    assert client.value(b"CONFIG", b"GET", name)[1].endswith(b"slave 0 0 0 pubsub 1048576 2048 3")
    assert client.command(b"CONFIG", b"SET", name, b"slave 256mb 64mb 60") == b"+OK\r\n"
