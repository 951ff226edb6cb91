"""The store's own tests are C++ (tests/core_cache/native/store_test.cpp), built here with the sanitizers and run."""

import subprocess
from pathlib import Path

import pytest

from tests.core_cache.native_build import build


def check(program: Path, arguments: str) -> None:
    run = subprocess.run([program, *arguments.split()], capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.endswith("ok\n")


@pytest.fixture(scope="session")
def store_test() -> Path:
    return build("store_test") / "store_test"


@pytest.fixture(scope="session")
def collection_test() -> Path:
    return build("collection_test") / "collection_test"


@pytest.fixture(scope="session")
def rewrite_test() -> Path:
    return build("rewrite_test") / "rewrite_test"


@pytest.fixture(scope="session")
def landing_test() -> Path:
    return build("landing_test") / "landing_test"


@pytest.mark.parametrize(
    "arguments",
    ["model 1", "model 20", "kill 1", "readers 1", "reclaim", "edges", "resize", "damage 1", "tenants 1", "scan"],
)
def test_store_keeps_its_promises(store_test: Path, arguments: str) -> None:
    check(store_test, arguments)


@pytest.mark.parametrize(
    "arguments",
    ["model 1", "model 2", "pressure 1", "pressure 2", "kill 1", "damage 1", "damage 2", "resize"],
)
def test_collections_keep_theirs(collection_test: Path, arguments: str) -> None:
    check(collection_test, arguments)


@pytest.mark.parametrize("arguments", ["long 1", "long 2", "crowded 1", "crowded 2", "killed 1", "growth"])
def test_long_logs_are_written_anew_bit_by_bit(rewrite_test: Path, arguments: str) -> None:
    check(rewrite_test, arguments)


@pytest.mark.parametrize("seed", ["1", "2"])
def test_large_values_land_whole(landing_test: Path, seed: str) -> None:
    check(landing_test, seed)


def test_commands_on_strings_take_nothing_from_the_heap() -> None:
    check(build("allocation_test") / "allocation_test", "")
