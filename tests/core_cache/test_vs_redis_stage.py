"""Several connections to redis-server 7.0 and to ours: transactions, messages, invalidations, each to the byte."""

import pytest

from tests.core_cache.compare import Pair
from tests.core_cache.scripts_pubsub import PUBSUB_SCRIPTS
from tests.core_cache.scripts_tracking import TRACKING_SCRIPTS
from tests.core_cache.scripts_transaction import TRANSACTION_SCRIPTS
from tests.core_cache.stage import differences

SCRIPTS = {**TRANSACTION_SCRIPTS, **PUBSUB_SCRIPTS, **TRACKING_SCRIPTS}


@pytest.mark.parametrize("title", SCRIPTS)
def test_every_connection_gets_what_redis_sends(pair2: Pair, title: str) -> None:
    """What each connection receives after each line of the script is the same on both servers."""
    problems = differences(SCRIPTS[title], pair2.redis_server.port, pair2.our_server.port)
    for client in (pair2.redis, pair2.ours):
        client.command(b"CONFIG", b"SET", b"notify-keyspace-events", b"")
    assert problems == "", f"{title}:\n{problems}"
