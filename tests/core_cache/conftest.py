"""Fixtures of the tests that hold our server against a real redis-server."""

import shutil
import warnings
from collections.abc import Iterator

import pytest

from tests import servers
from tests.core_cache.compare import Pair


@pytest.fixture(scope="session")
def server_pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[servers.Server, servers.Server]]:
    """redis-server 7.0 with one database, and ours; skipped loudly where redis-server is missing or another version."""
    if shutil.which("redis-server") is None:
        warnings.warn("redis-server is missing: nothing is compared with it (`make peers` installs it)", stacklevel=1)
        pytest.skip("redis-server is not installed; `make peers` installs it")
    redis = servers.start_redis(tmp_path_factory.mktemp("redis"), "--databases", "1")
    with redis.client() as client:
        version = str(client.command("INFO", "server")).partition("redis_version:")[2].split()[0]
    if not version.startswith("7.0."):
        redis.stop()
        warnings.warn(f"redis-server is {version}, not 7.0: nothing is compared with it", stacklevel=1)
        pytest.skip(f"redis-server is {version}, and the replies to compare with are those of 7.0")
    ours = servers.start_cache(tmp_path_factory.mktemp("ours"), "--no-auth", memory="256MiB")
    yield redis, ours
    redis.stop()
    ours.stop()


@pytest.fixture(params=[2, 3], ids=["RESP2", "RESP3"])
def pair(server_pair: tuple[servers.Server, servers.Server], request: pytest.FixtureRequest) -> Iterator[Pair]:
    """Empty servers, compared in both protocols."""
    redis, ours = server_pair
    both = Pair(redis, ours, protocol=request.param)
    both.clear()
    yield both
    both.close()


@pytest.fixture
def pair2(server_pair: tuple[servers.Server, servers.Server]) -> Iterator[Pair]:
    """Empty servers, compared in RESP2 only: for what does not depend on the protocol."""
    redis, ours = server_pair
    both = Pair(redis, ours)
    both.clear()
    yield both
    both.close()
