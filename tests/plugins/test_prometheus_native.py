"""A real Prometheus that stores native histograms, and one that does not, scrape the same exporter."""

import itertools
import math
import random
import shutil
import time
from collections.abc import Iterator

import pytest

from agent.api import Histogram, Sample, Snapshot
from agent.history.prometheus import PrometheusHistory
from agent.metrics.window import observed, quantile
from plugins.cache_metrics.specs import DURATION
from plugins.prometheus.plugin import Prometheus
from tests.plugins.test_grafana_dashboard import expressions
from tests.plugins.test_prometheus import plugin
from tests.plugins.test_prometheus_protobuf import STATED, latencies
from tests.prometheus import PrometheusServer
from tests.waiting import wait_until

__all__ = ["plugin"]

pytestmark = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="prometheus is not installed; `make peers` installs it"
)
NAME = DURATION.name
_RANDOM = random.Random(4)
OBSERVED = sorted(_RANDOM.lognormvariate(math.log(2e-5), 1.5) for _ in range(5000))
"""What is observed in each turn, so that every window has the same quantiles: from some 100 ns to some ms."""


class Measured:
    """Snapshots of a histogram that observes the same each time."""

    def __init__(self, plugin: Prometheus) -> None:
        self._plugin, self._batch = plugin, latencies(OBSERVED)
        self.turns = 0

    def turn(self) -> None:
        self.turns += 1
        sample = Sample(NAME, _times(self._batch, self.turns), ("get",))
        self._plugin.predis_export(Snapshot(time.time(), {sample.key: sample}, {NAME: DURATION}))


def _times(one: Histogram, turns: int) -> Histogram:
    fine = None if one.fine is None else _times(one.fine, turns)
    return Histogram(one.bounds, tuple(count * turns for count in one.counts), one.sum * turns, (), fine)


@pytest.fixture
def servers(plugin: Prometheus, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[PrometheusServer]]:
    """With native histograms, and without."""
    both = [
        PrometheusServer(tmp_path_factory.mktemp("native"), plugin.port, features=("native-histograms",)),
        PrometheusServer(tmp_path_factory.mktemp("classic"), plugin.port),
    ]
    try:
        for server in both:
            wait_until(server.ready, 30, "Prometheus' readiness")
        yield both
    finally:
        for server in both:
            server.stop()


def test_quantiles_of_native_histograms_are_within_the_stated_error_and_others_get_classic_ones(
    plugin: Prometheus, servers: list[PrometheusServer]
) -> None:
    native, classic = servers
    measured = Measured(plugin)

    def scraped(server: PrometheusServer, query: str) -> float | None:
        measured.turn()
        found = server.value(query)
        return found if found is not None and math.isfinite(found) and found > 0 else None

    # then Prometheus' quantiles are near to those of what was observed
    for share in (0.01, 0.5, 0.9, 0.99, 0.999):
        query = f"histogram_quantile({share}, rate({NAME}[20s]))"
        found = wait_until(lambda query=query: scraped(native, query), 30, query)  # type: ignore[misc]
        true = OBSERVED[math.ceil(share * len(OBSERVED)) - 1]
        assert found is not None
        assert 1 / STATED <= found / true <= STATED, (share, found, true)
    # and count and sum are exact
    turns = native.value(f"histogram_count({NAME})")
    assert turns is not None
    assert turns % len(OBSERVED) == 0
    total = native.value(f"histogram_sum({NAME})")
    assert total == pytest.approx(sum(OBSERVED) * turns / len(OBSERVED))
    # so are those that the dashboard asks for, and both Prometheus have an answer
    for query in dict.fromkeys(query for query in expressions() if f"{NAME}_bucket" in query):
        for before, after in {"$__rate_interval": "20s", "$job": ".*", "$instance": ".*"}.items():
            query = query.replace(before, after)
        for server in servers:
            assert wait_until(lambda server=server, query=query: scraped(server, query), 30, query)  # type: ignore[misc]
    # and it has one series where the other has one for each bucket
    assert native.ask("query", query=f"{NAME}_bucket")["result"] == []
    wait_until(lambda: scraped(classic, f"rate({NAME}_count[20s])"), 30, "classic histograms")
    assert len(classic.ask("query", query=f"{NAME}_bucket")["result"]) == len(latencies(OBSERVED).counts)
    assert classic.ask("query", query=NAME)["result"] == []
    # of which a quantile is in the right bucket, and no better
    found = classic.value(f"histogram_quantile(0.99, rate({NAME}_bucket[20s]))")
    true = OBSERVED[math.ceil(0.99 * len(OBSERVED)) - 1]
    bounds = latencies(OBSERVED).bounds
    low, high = next((low, high) for low, high in itertools.pairwise(bounds) if low < true <= high)
    assert found is not None
    assert low <= found <= high
    # and the agent's history is read from either
    quantiles = []
    for server in servers:
        history = PrometheusHistory(f"http://127.0.0.1:{server.port}", "", {NAME: DURATION}.get, 86_400.0)
        assert history.keys(NAME) == [(NAME, ("get",))]

        def settled(history: PrometheusHistory = history) -> tuple[float, list[tuple[float, Histogram]]] | None:
            until = time.time() - 1  # what was scraped before is there
            found = history.histograms((NAME, ("get",)), until - 60, until)
            return (until, found) if len(found) >= 3 else None

        until, read = wait_until(settled, 30, "three points") or (0.0, [])
        assert len({histogram.bounds for _, histogram in read}) == 1
        assert [(at, histogram.count) for at, histogram in read] == history.points((NAME, ("get",)), until - 60, until)
        assert [one.sum / one.count for _, one in read] == pytest.approx([sum(OBSERVED) / len(OBSERVED)] * len(read))
        latest = history.latest((NAME, ("get",)))
        assert latest is not None
        assert latest >= (read[-1][0], read[-1][1].count)
        between = observed(read)
        assert between is not None
        quantiles.append(quantile(between, 0.99))
    assert 1 / STATED <= quantiles[0] / true <= STATED
    assert low <= quantiles[1] <= high
    for server in servers:
        assert "rror" not in server.log.read_text()
