"""redis-py's own ways with subscriptions, transactions and its cache on our server."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from redis.cache import CacheConfig
from redis.connection import CacheProxyConnection

from tests import servers
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    cache = servers.start_cache(tmp_path_factory.mktemp("push_clients"), "--no-auth")
    yield cache
    cache.stop()


@pytest.fixture(params=[2, 3], ids=["RESP2", "RESP3"])
def client(server: servers.Server, request: pytest.FixtureRequest) -> Iterator[Any]:
    made = redis.Redis(port=server.port, protocol=request.param, decode_responses=True)
    made.flushall()
    yield made
    made.close()


def next_message(subscription: Any) -> Any:
    """The next message, waited for."""
    found: list[Any] = []

    def arrived() -> bool:
        message = subscription.get_message(timeout=0.05)
        if message is not None:
            found.append(message)
        return bool(found)

    wait_until(arrived, 10, "a message")
    return found[0]


def test_subscriptions(client: Any) -> None:
    subscription = client.pubsub()
    subscription.subscribe("news")
    subscription.psubscribe("n*")
    assert [next_message(subscription)["type"] for _ in range(2)] == ["subscribe", "psubscribe"]
    assert client.publish("news", "hello") == 2
    assert next_message(subscription) == {"type": "message", "pattern": None, "channel": "news", "data": "hello"}
    assert next_message(subscription) == {"type": "pmessage", "pattern": "n*", "channel": "news", "data": "hello"}
    assert client.pubsub_channels() == ["news"]
    assert dict(client.pubsub_numsub("news", "other")) == {"news": 1, "other": 0}
    assert client.pubsub_numpat() == 1
    subscription.unsubscribe()
    subscription.punsubscribe()
    assert [next_message(subscription)["type"] for _ in range(2)] == ["unsubscribe", "punsubscribe"]
    assert client.publish("news", "nobody") == 0
    subscription.close()


def test_a_subscription_with_a_handler_in_a_thread(client: Any) -> None:
    seen: list[str] = []
    subscription = client.pubsub(ignore_subscribe_messages=True)
    subscription.subscribe(work=lambda message: seen.append(message["data"]))
    thread = subscription.run_in_thread(sleep_time=0.01)
    try:
        wait_until(lambda: client.publish("work", "0") == 1, 10, "the subscription")
        for number in range(1, 100):
            client.publish("work", str(number))
        wait_until(lambda: len(seen) == 100, 10, "all messages")
    finally:
        thread.stop()
        thread.join()
    assert seen == [str(number) for number in range(100)]


def test_keyspace_notifications(client: Any) -> None:
    client.config_set("notify-keyspace-events", "Ex")
    subscription = client.pubsub(ignore_subscribe_messages=True)
    subscription.subscribe("__keyevent@0__:expired")
    subscription.get_message(timeout=1)
    client.set("short", 1, px=20)
    message = next_message(subscription)  # nobody reads the key: active expiry tells
    assert (message["channel"], message["data"]) == ("__keyevent@0__:expired", "short")
    client.config_set("notify-keyspace-events", "")
    subscription.close()


def test_transactions_with_retries(server: servers.Server) -> None:
    """Four threads add to one counter by WATCH, GET, MULTI, SET, EXEC: no increment is lost."""
    shared = redis.Redis(port=server.port)
    shared.set("counter", 0)

    def add() -> None:
        own = redis.Redis(port=server.port)
        for _ in range(50):
            own.transaction(lambda pipe: _increment(pipe), "counter")
        own.close()

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert shared.get("counter") == b"200"
    shared.close()


def _increment(pipe: Any) -> None:
    value = int(pipe.get("counter"))
    pipe.multi()
    pipe.set("counter", value + 1)


def test_a_watched_pipeline_that_loses(client: Any) -> None:
    client.set("k", 1)
    with client.pipeline() as pipe:
        pipe.watch("k")
        client.set("k", 2)
        pipe.multi()
        pipe.set("k", 3)
        with pytest.raises(redis.WatchError):
            pipe.execute()
    assert client.get("k") == "2"
    with client.pipeline() as pipe:
        assert pipe.set("k", 4).incr("k").get("k").execute() == [True, 5, "5"]
    with client.pipeline() as pipe, pytest.raises(redis.ResponseError, match="not an integer"):
        pipe.set("k", "text").incr("k").execute()


def test_client_side_caching(server: servers.Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """redis-py answers from its own cache until the server tells it that the key has changed. It asks for Redis 7.4,
    although nothing that it uses is newer than 6.0."""
    monkeypatch.setattr(CacheProxyConnection, "MIN_ALLOWED_VERSION", "7.0.0")
    cached = redis.Redis(port=server.port, protocol=3, cache_config=CacheConfig(), decode_responses=True)
    other = redis.Redis(port=server.port)
    other.set("k", "one")
    calls = "cmdstat_get"
    assert cached.get("k") == "one"
    before = other.info("commandstats")[calls]["calls"]
    assert [cached.get("k") for _ in range(10)] == ["one"] * 10
    assert other.info("commandstats")[calls]["calls"] == before, "a cached read went to the server"
    other.set("k", "two")
    wait_until(lambda: cached.get("k") == "two", 10, "the invalidation")
    other.flushall()
    wait_until(lambda: cached.get("k") is None, 10, "the invalidation of everything")
    assert other.info("clients")["tracking_clients"] >= 1
    cached.close()
    other.close()
