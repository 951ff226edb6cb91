"""What the shipped plugins cost the agent: 1 % of a core at an interval of 10 s is 100 ms for all of them together."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from agent.api import CacheAddress, Host
from agent.metrics.catalogue import Catalogue
from agent.metrics.docs import shipped_entry_points
from agent.metrics.pipeline import Pipeline
from tests.servers import Server

COLLECTIONS = 5


@pytest.fixture
def plugins(cache_server: Server, redis_server: Server, host: Host) -> Iterator[dict[str, Any]]:
    """All shipped plugins at work, on a cache and a redis-server that have seen some commands."""
    for server in (cache_server, redis_server):
        with server.client() as client:
            for command in (
                "SET k v",
                "GET k",
                "INCR n",
                "DEL k",
                "EXISTS k",
                "TTL k",
                "STRLEN k",
                "APPEND k v",
                "DBSIZE",
            ):
                client.command(*command.split())
    cache = CacheAddress(cache_server.unix_socket, "127.0.0.1", 0, None, cache_server.data_dir / "cache.arena")
    own_host = Host(cache_server.data_dir, cache, "1.2.3", host.logger)
    options = {"prometheus": {"port": 0}, "redis_metrics": {"urls": [f"redis://127.0.0.1:{redis_server.port}"]}}
    made = {}
    for point in shipped_entry_points():
        kind = point.load()
        if not hasattr(kind, "predis_collect"):  # exporters to vendors are measured in test_vendor_pipes.py
            continue
        made[point.name] = kind(kind.Config.model_validate(options.get(point.name, {})))
        made[point.name].predis_start(own_host)
    yield made
    for plugin in made.values():
        if hasattr(plugin, "predis_stop"):
            plugin.predis_stop()


def test_a_collection_of_all_plugins_costs_little(plugins: dict[str, Any]) -> None:
    catalogue = Catalogue()
    for name, plugin in plugins.items():
        catalogue.add(name, plugin.predis_metric_specs())
    pipeline = Pipeline(catalogue, strict=True)
    cheapest = dict.fromkeys(plugins, float("inf"))
    for _ in range(COLLECTIONS):
        for name, plugin in plugins.items():
            start = time.process_time()
            pipeline.accept(name, plugin.predis_collect())
            cheapest[name] = min(cheapest[name], time.process_time() - start)
    assert len(pipeline.snapshot().specs) >= 25
    assert sum(cheapest.values()) < 0.02, cheapest  # measured: 0.003 s
