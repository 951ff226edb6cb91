"""A real agent sends to the strict fakes of all vendors at once: right numbers, events, and nothing lost on the way."""

import json
import os
import signal
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.exporters.rig import AWS, VENDORS, overrides
from tests.servers import Server, start_agent, stop_cache_of
from tests.vendors.book import Point
from tests.vendors.running import Vendor, start_vendor
from tests.waiting import wait_until

INTERVAL = 2  # seconds: Datadog's timestamps have no fractions, so that shorter ones would put two points into one
HITS, KEYS, TOOK = "predis_keyspace_hits_total", "predis_keys", "predis_command_duration_seconds"
SECRETS = {"datadog": ("api_key", "DD_KEY"), "newrelic": ("license_key", "NR_KEY")}
Fakes = dict[str, Vendor]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fakes]:
    folder = tmp_path_factory.mktemp("vendors")
    made = {name: start_vendor(name, folder, tls=True) for name in VENDORS}
    yield made
    for vendor in made.values():
        vendor.stop()


@pytest.fixture
def fakes(running: Fakes, monkeypatch: pytest.MonkeyPatch) -> Fakes:
    """All vendors, well and knowing nothing, and their keys in the environment."""
    for vendor in running.values():
        vendor.reset()
        vendor.back()
    for name, value in {**AWS, **{variable: running[name].api_key for name, (_, variable) in SECRETS.items()}}.items():
        monkeypatch.setenv(name, value)
    return running


@pytest.fixture
def started(tmp_path: Path) -> Iterator[list[Server]]:
    """The agents that a test starts; they end with it, and so do their caches."""
    agents: list[Server] = []
    yield agents
    for agent in agents:
        if agent.process.poll() is None:
            agent.stop()
    for agent in agents[-1:]:
        stop_cache_of(agent)


def start(started: list[Server], fakes: Fakes, folder: Path, *more: str) -> Server:
    settings = [f"agent.interval={INTERVAL}s", f"cache.arena_dir={folder}", *more]
    for name, vendor in fakes.items():
        key = {SECRETS[name][0]: f"${{env:{SECRETS[name][1]}}}"} if name in SECRETS else {}
        settings += overrides(vendor, **key)
    agent = start_agent(folder, *settings)
    started.append(agent)
    return agent


def ask(agent: Server, path: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{agent.extra['http']}/api/v1/{path}", timeout=5) as answer:
        return json.load(answer)


def own(agent: Server, metric: str, **labels: str) -> Any:
    """What the agent itself says of a series; None when it has none."""
    for found in ask(agent, "metrics")["metrics"]:
        for sample in found["samples"]:
            if found["name"] == metric and sample["labels"] == labels:
                return sample["value"]
    return None


def of(points: list[Point], **tags: str) -> list[Point]:
    return [point for point in points if tags.items() <= dict(point.tags).items()]


def total(vendor: Vendor, metric: str, **tags: str) -> float:
    """What a counter, or the observations of a histogram, add up to at the vendor."""
    points = of(vendor.received(name=metric), **tags)
    values = [
        float(
            len(point.value)
            if isinstance(point.value, list)
            else point.value["count"]
            if isinstance(point.value, dict)
            else point.value
        )
        for point in points
    ]
    if vendor.name == "otlp":
        return values[-1] if values else 0.0
    return sum(values)


def gets(agent: Server, times: int) -> None:
    with agent.client() as client:
        for _ in range(times):
            client.command("GET", "key 0")


def wait_for(fakes: Fakes, expected: dict[str, float], metric: str, **tags: str) -> None:
    def there() -> bool:
        return {name: total(fakes[name], metric, **tags) for name in expected} == expected

    try:
        wait_until(there, 30, metric)
    except AssertionError:
        assert {name: total(fakes[name], metric, **tags) for name in expected} == expected
        raise


def ready(agent: Server, fakes: Fakes) -> None:
    """Seven keys and a hit, which every vendor knows of, and the counters' first values."""
    with agent.client() as client:
        for number in range(7):
            client.command("SET", f"key {number}", "value")
    gets(agent, 1)
    wait_until(lambda: own(agent, TOOK, command="get") is not None, 20, "the first GET in the agent's metrics")

    def known() -> bool:
        return all(len({p.time for p in of(vendor.received(name=HITS))}) >= 1 for vendor in fakes.values()) and all(
            [p.value for p in vendor.received(name=KEYS)][-1:] == [7] for vendor in fakes.values()
        )

    wait_until(known, 30, "seven keys at each vendor")
    wait_until(lambda: total(fakes["otlp"], TOOK, command="get") == 1, 20, "the first GET at a vendor")
    wait_until(lambda: total(fakes["otlp"], HITS) == 1, 20, "the first hit at a vendor")


def sound(fakes: Fakes, agent: Server) -> None:
    for name, vendor in fakes.items():
        assert vendor.violations() == [], name
        state = vendor.state()
        assert (state["late"], state["repeated"]) == (0, 0), name
        export = exporter(agent, name)
        assert export["dropped"] == {}
        assert export["possible_duplicates"] == 0
        waits = export["queued"] + export["spooled"]
        assert export["produced"] == export["delivered"] + waits


def exporter(agent: Server, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(plugin for plugin in ask(agent, "status")["plugins"] if plugin["name"] == name)
    return dict(found["export"])


def test_each_vendor_has_the_numbers_that_the_agent_has(fakes: Fakes, started: list[Server], tmp_path: Path) -> None:
    agent = start(started, fakes, tmp_path)
    ready(agent, fakes)
    before = {name: total(vendor, HITS) for name, vendor in fakes.items()}
    observed = {name: total(vendor, TOOK, command="get") for name, vendor in fakes.items()}
    gets(agent, 300)
    # deltas at three of them, 300 and what was before; a cumulative value at the other, which is the agent's own
    wait_for(fakes, {name: was + 300 for name, was in before.items()}, HITS)
    wait_for(fakes, {name: was + 300 for name, was in observed.items()}, TOOK, command="get")
    assert own(agent, HITS) == total(fakes["otlp"], HITS) == 301
    histogram = own(agent, TOOK, command="get")
    assert sum(histogram["counts"]) == 301
    last = of(fakes["otlp"].received(name=TOOK), command="get")[-1].value
    assert (last["counts"], last["sum"]) == (histogram["counts"], histogram["sum"])
    sums = [p.value for p in of(fakes["datadog"].received(name=f"{TOOK}_sum"), command="get")]
    assert 0 < sum(sums) <= histogram["sum"]
    # counters that begin anew: what comes after is counted, and nothing is taken back
    with agent.client() as client:
        client.command("CONFIG", "RESETSTAT")
    wait_until(lambda: own(agent, HITS) == 0, 20, "the reset")
    gets(agent, 20)
    expected = {name: was + 320 for name, was in before.items()}
    wait_for(fakes, {**expected, "otlp": 20}, HITS)
    starts = [p.start or 0 for p in fakes["otlp"].received(name=HITS)]
    assert starts[-1] > starts[0], "OTLP is told that it began anew"
    sound(fakes, agent)
    secrets = [vendor.api_key for vendor in fakes.values() if vendor.api_key] + [AWS["AWS_SECRET_ACCESS_KEY"]]
    said = agent.log_text() + json.dumps(ask(agent, "status")) + json.dumps(ask(agent, "metrics"))
    said += json.dumps([vendor.requests() for vendor in fakes.values()])
    assert [secret for secret in secrets if secret in said] == [], "a key was seen elsewhere than in a header"


def test_a_cache_that_is_killed_is_an_event_and_a_span(fakes: Fakes, started: list[Server], tmp_path: Path) -> None:
    agent = start(started, fakes, tmp_path)
    ready(agent, fakes)
    os.kill(int((agent.data_dir / "cache.pid").read_text()), signal.SIGKILL)
    spans = wait_until(
        lambda: fakes["newrelic"].received("span")[1:] and fakes["newrelic"].received("span"), 40, "spans"
    )
    assert {dict(span.tags)["kind"] for span in spans} == {"cache_restart", "cache_restarted"}
    assert len({dict(span.tags)["trace.id"] for span in spans}) == 1
    assert {dict(p.tags)["kind"] for p in fakes["newrelic"].received("event")} == {"agent_started", "cache_down"}
    wait_until(lambda: len(fakes["otlp"].received("span")) == 2, 20, "the spans in OTLP")
    assert {p.name for p in fakes["otlp"].received("span")} == {"cache_restart", "cache_restarted"}
    assert [p.name for p in fakes["otlp"].received("log")] == ["agent_started", "cache_down"]
    wait_until(lambda: len(fakes["datadog"].received("event")) == 2, 20, "the events at Datadog")
    assert ("kind", "cache_down") in fakes["datadog"].received("event")[1].tags
    wait_until(
        lambda: fakes["datadog"].received("check", "predis.cache.can_connect")[-1].value == 0, 20, "a good check"
    )
    # and what is counted after it arrives; a counter that began anew is told from one that went on by its value alone
    seen = {name: len(vendor.received(name=HITS)) for name, vendor in fakes.items()}
    wait_until(
        lambda: all(len(fakes[name].received(name=HITS)) > number for name, number in seen.items()), 20, "points"
    )
    before = {name: total(vendor, HITS) for name, vendor in fakes.items()}
    gets(agent, 50)
    wait_for(fakes, {name: was + 50 for name, was in before.items()}, HITS)
    sound(fakes, agent)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "stopped"])
def test_no_increment_is_lost_while_the_agent_is_away(
    fakes: Fakes, started: list[Server], tmp_path: Path, how: signal.Signals
) -> None:
    agent = start(started, fakes, tmp_path)
    ready(agent, fakes)
    before = {name: total(vendor, HITS) for name, vendor in fakes.items()}
    gets(agent, 100)
    wait_for(fakes, {name: was + 100 for name, was in before.items()}, HITS)
    agent.process.send_signal(how)
    agent.process.wait(20)
    away = 0
    if how == signal.SIGKILL:  # the cache goes on; otherwise it was stopped as well
        gets(agent, away := 60)
    again = start(started, fakes, tmp_path, f"cache.port={agent.port}")
    again.port = agent.port
    gets(again, 7)
    expected = {name: was + 107 + away for name, was in before.items()}
    if not away:  # a cache that was stopped counts anew, which OTLP is told, and what the others add up
        expected["otlp"] = 7

    def there() -> bool:
        return all(total(fakes[name], HITS) >= number for name, number in expected.items())

    wait_until(there, 30, f"hits: {expected}")
    for name, vendor in fakes.items():
        assert vendor.violations() == []
        assert vendor.state()["late"] == 0
        # what went out just before the kill may have come and be counted on again; then that is known
        surplus = total(vendor, HITS) - expected[name]
        assert surplus in (0, 100), name
        again_counted = exporter(again, name)["possible_duplicates"]
        assert vendor.state()["repeated"] == 0 or again_counted, name
        assert surplus == 0 or (away and again_counted), name
