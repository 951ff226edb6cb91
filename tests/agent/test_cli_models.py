"""`predis-agent cache models`."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from core_cache.policy.artefact import Dense, checksum, to_bytes
from core_cache.policy.place import put
from core_cache.policy.registry import ModelRegistry
from tests.agent.test_cli import predis_agent
from tests.servers import Server, start_cache

FIRST, SECOND = to_bytes(Dense.linear({"size": -1.0})), to_bytes(Dense.linear({"idle": -1.0}))
REPORT = {"miss_ratio": 0.25, "s3fifo": {"miss_ratio": 0.3125, "z": -5.0}}


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Server]:
    server = start_cache(tmp_path, "--policy", "learned")
    (tmp_path / "agent.toml").write_text(f'[agent]\ndata_dir = "{server.data_dir}"\n')
    try:
        yield server
    finally:
        server.stop()


def said(folder: Path, *options: str) -> str:
    done = predis_agent("cache", "models", *options, folder=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_there_is_is_listed(cache: Server, tmp_path: Path) -> None:
    assert said(tmp_path) == "the cache has no policy model\n"
    assert not (cache.data_dir / "models").exists(), "who looks makes nothing"
    registry = ModelRegistry(cache.data_dir / "models")
    registry.add(FIRST, 0, "found in place", {})
    registry.add(SECOND, 1, "retrained by the rule drift", REPORT)
    with cache.client() as client:
        put(client, cache.data_dir, SECOND)
    head, titles, first, second = said(tmp_path).splitlines()
    assert head == "the cache scores with version 2"
    assert titles.split() == ["version", "made", "before", "it", "misses", "s3fifo", "origin"]
    today = time.strftime("%Y-%m-%d", time.gmtime())
    assert first.split()[:2] == ["1", today]
    assert first.split()[4:] == ["s3fifo", "–", "–", "found", "in", "place"]
    assert second.split()[4:8] == ["version", "1", "25.00%", "31.25%"]
    assert second.rstrip().endswith("retrained by the rule drift")
    document = json.loads(said(tmp_path, "--json"))
    assert document["in_place"] == checksum(SECOND)
    assert [(version["version"], version["in_place"]) for version in document["versions"]] == [(1, False), (2, True)]


def test_a_model_that_nobody_registered_and_a_cache_that_does_not_run(cache: Server, tmp_path: Path) -> None:
    with cache.client() as client:
        put(client, cache.data_dir, FIRST)
    assert said(tmp_path) == f"the cache scores with a model of unknown origin, {checksum(FIRST)}\n"
    cache.stop()
    assert said(tmp_path) == "the cache does not run\n"
    assert json.loads(said(tmp_path, "--json")) == {"in_place": None, "versions": []}


def test_a_registry_that_is_no_file_of_ours_is_named(cache: Server, tmp_path: Path) -> None:
    (cache.data_dir / "models").mkdir()
    (cache.data_dir / "models/models.sqlite").write_bytes(b"no database at all " * 100)
    done = predis_agent("cache", "models", folder=tmp_path)
    assert done.returncode == 1
    assert "models.sqlite cannot be used" in done.stderr
    assert "Traceback" not in done.stderr
