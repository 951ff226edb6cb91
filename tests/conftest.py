"""Fixtures that all tests share; the processes behind them are started by tests/servers.py."""

import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import servers


@pytest.fixture
def free_port() -> int:
    """A TCP port of the loopback address that nobody listens on."""
    return servers.free_port()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with the public data sets beside the checkout; tests that need it are skipped, loudly, without it."""
    folder = servers.ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        warnings.warn(f"{folder} is not there: tests on real traces are skipped", stacklevel=1)
        pytest.skip(f"needs the data sets in {folder}")
    return folder


@pytest.fixture(scope="module", autouse=True)
def shared_memory_is_given_back() -> Iterator[None]:
    """A cache's arena stays for its next start; when a module's tests are over, there will be none."""
    yield
    servers.remove_arenas()


@pytest.fixture
def cache_server(tmp_path: Path) -> Iterator[servers.Server]:
    """A fresh cache process with a generated password."""
    server = servers.start_cache(tmp_path)
    yield server
    server.stop()


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[servers.Server]:
    """A fresh redis-server, Debian's; skipped loudly where it is not installed."""
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed; `make peers` installs it")
    folder = tmp_path / "redis"
    folder.mkdir()
    server = servers.start_redis(folder)
    yield server
    server.stop()


@pytest.fixture
def running_agent(tmp_path: Path) -> Iterator[servers.Server]:
    """A fresh agent with its cache on free ports, ready."""
    agent = servers.start_agent(tmp_path)
    yield agent
    try:
        agent.stop()
    finally:
        servers.stop_cache_of(agent)
