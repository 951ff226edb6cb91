"""The demonstration's own parts: who may switch the balancer, and what counts as broken."""

from __future__ import annotations

import random
import tomllib
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from agent.config import load_config
from agent.config.models import Config
from agent.demo.balancer import OLDEST, is_signed
from agent.demo.faults import FAULTS
from agent.demo.screen import Screen
from agent.demo.story import Measured
from agent.demo.watch import Moment, Watch
from agent.demo.world import CONFIG, PORTS, RULES, TENANT, Second, limit
from agent.incidents.audit import AuditLog, log_path
from agent.metrics.catalogue import Catalogue
from agent.metrics.docs import shipped_entry_points, specs_of
from agent.metrics.model import Sample, Snapshot
from agent.plugin.manager import PluginManager
from agent.rules.fixtures import run_fixtures
from agent.rules.service import reader_of
from plugins.anomaly.plugin import Anomaly, AnomalyConfig
from plugins.remediation.webhook import signature

SQUEEZED = """
rules = ["{rules}"]
interval = "1s"
[[test]]
name = "keys go at once, and a little later reads find them missing"
rule = "hit-ratio-collapsed"
series = [
  {{ metric = "predis_keyspace_hits_total", values = "0+980x41 40860+680x30" }},
  {{ metric = "predis_keyspace_misses_total", values = "0+20x41 1140+320x30" }},
  {{ metric = "predis_evicted_keys_total", labels = {{ reason = "capacity" }}, values = "0x40 22000x9 22200+200x21" }},
]
expect = [{{ at = "43s", fired = 0 }}, {{ at = "48s", fired = 1, actions = ["cache.memory"] }}]
"""
NOW = 1_700_000_000
BODY = b'{"origin": "standby"}'


@pytest.mark.parametrize(
    ("header", "body", "secret", "right"),
    [
        (signature("s3cret", BODY, NOW), BODY, b"s3cret", True),
        (signature("other", BODY, NOW), BODY, b"s3cret", False),
        (signature("s3cret", BODY, NOW), BODY + b" ", b"s3cret", False),
        (signature("s3cret", BODY, NOW - int(OLDEST) - 1), BODY, b"s3cret", False),
        ("", BODY, b"s3cret", False),
        ("t=,v1=", BODY, b"s3cret", False),
    ],
)
def test_the_balancer_takes_what_the_agents_webhook_signs(header: str, body: bytes, secret: bytes, right: bool) -> None:
    assert is_signed(header, body, secret, NOW) is right


@pytest.mark.parametrize(
    ("fault", "ill"),
    [
        ("squeeze", {"hits": 80}),
        ("kill", {"errors": 1}),
        ("flood", {"tenant": 2 * limit()}),
        ("origin", {"fetch": 0.3}),
    ],
)
def test_each_fault_is_told_by_what_the_applications_feel(fault: str, ill: dict[str, float]) -> None:
    well = {"at": 0.0, "reads": 100, "hits": 98, "errors": 0, "wrong": 0, "p99": 0.001, "fetch": 0.002, "tenant": 100}
    assert FAULTS[fault].is_well(Second(**well), 0.98)  # type: ignore[arg-type]
    assert not FAULTS[fault].is_well(Second(**{**well, **ill}), 0.98)  # type: ignore[arg-type]


def test_what_was_promised_and_not_kept_is_named() -> None:
    kept = Measured("flood", 0.0, detected=2.0, recovered=5.0, actions=["cache.tenant_limit"])
    assert kept.problems == []
    broken = Measured(
        "flood", 0.0, detected=31.0, wrong=2, changed=["maxmemory"], unchanged=["reports.ops_per_second"],
        actions=["cache.tenant_limit", "cache.memory"],
    )  # fmt: skip
    assert broken.problems == [
        "not noticed within 30 s",
        "not recovered",
        "2 reads gave a wrong value",
        "settings are not what they were: maxmemory",
        "settings are still what they were: reports.ops_per_second",
        "more was done than was called for: cache.tenant_limit, cache.memory",
    ]


def test_a_squeeze_is_mended_though_evictions_come_at_once_and_then_pause(tmp_path: Path) -> None:
    loaded = load_config(None, (), {})
    manager, catalogue = PluginManager(loaded), Catalogue()
    manager.load()
    manager.declare(catalogue.add)
    reader, problems = reader_of(loaded, manager.active, catalogue, configured=False)  # it has no balancer
    (tmp_path / "test.toml").write_text(SQUEEZED.format(rules=RULES))
    results, wrong = run_fixtures(tmp_path / "test.toml", reader)
    assert (problems, wrong) == ([], [])
    assert [failure for result in results for failure in result.failures] == []


def test_what_others_do_on_the_machine_is_no_anomaly_of_the_demonstration() -> None:
    specs = {spec.name: spec for point in shipped_entry_points() for spec in specs_of(point)}
    ports = {f"{name}_port": number for number, name in enumerate(PORTS, 10_000)}
    config = tomllib.loads(CONFIG.format(tenant=TENANT, **ports))["plugins"]["anomaly"]
    stolen, sent, memory = (
        ("predis_host_cpu_seconds_total", ("steal",)),
        ("predis_host_network_bytes_total", ("eth0", "transmit")),
        ("predis_memory_max_bytes", ()),
    )

    def found(**keys: object) -> set[str]:
        """What stands out where others begin to work on the machine, and later somebody changes the cache."""
        plugin, noise = Anomaly(AnomalyConfig.model_validate(keys)), random.Random(1)
        values, names = {stolen: 0.0, sent: 0.0, memory: 64.0 * 2**20}, set()
        for second in range(60):
            busy = second >= 45
            values[stolen] += 0.3 if busy else 0.0
            values[sent] += 1e7 if busy else noise.uniform(900, 1100)
            values[memory] = 8.0 * 2**20 if second >= 50 else 64.0 * 2**20
            samples = {key: Sample(key[0], value, key[1]) for key, value in values.items()}
            snapshot = Snapshot(1.7e9 + second, samples, {name: specs[name] for name, _ in samples})
            names |= {anomaly.series[0] for anomaly in plugin.predis_detect(snapshot)}
        return names

    assert found() == {stolen[0], sent[0], memory[0]}
    assert found(**config) == {memory[0]}


def test_every_record_of_the_audit_log_has_a_text(tmp_path: Path) -> None:
    config = Config.model_validate({"agent": {"data_dir": str(tmp_path)}})
    log = AuditLog(log_path(tmp_path))
    log.begin({"version": "0.1.0"})
    log.append("acted", {"rule": "grow", "detail": "64 MiB more"})
    log.close()
    told = [(moment.kind, moment.text) for moment in Watch(config).moments() if moment.source == "audit"]
    assert told == [("audit_begun", "the log of all decisions begins"), ("acted", "grow: 64 MiB more")]


def test_the_screen_tells_the_time_as_the_page_does() -> None:
    written = Console(file=StringIO(), width=100)
    with Screen(written, "") as screen:
        screen.moment(Moment(1_764_322_352.0, "audit", "acted", "grow"))
    assert written.file.getvalue().startswith("09:32:32Z  audit      acted      grow")  # type: ignore[attr-defined]
