"""The store's own tests are C++ (tests/core_cache/native/store_test.cpp), built here with the sanitizers and run."""

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NATIVE = ROOT / "core_cache" / "native"
STORE = [
    "arena",
    "pages",
    "slabs",
    "index",
    "partitions",
    "policy_sampled",
    "policy_model",
    "policy_s3fifo",
    "store",
    "room",
    "window",
    "landing",
    "recovery",
    "reader",
    "collection_log",
]


def build(folder: Path, name: str, *more: str) -> Path:
    """Compiles tests/core_cache/native/NAME.cpp with the store's sources, `more` of them, and the sanitizers."""
    compiler = shlex.split(os.environ.get("CXX", "g++"))
    assert shutil.which(compiler[0]), "no C++ compiler: `make setup` installs one or says which"
    program = folder / name
    sources = [Path(__file__).parent / "native" / f"{name}.cpp", *(NATIVE / f"{part}.cpp" for part in (*STORE, *more))]
    flags = ["-std=c++20", "-O2", "-g1", "-Wall", "-Wextra", "-Werror", "-fsanitize=address,undefined"]
    subprocess.run([*compiler, *flags, "-fno-sanitize-recover=all", "-o", program, *sources], check=True)
    return program


def check(program: Path, arguments: str) -> None:
    run = subprocess.run([program, *arguments.split()], capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.endswith("ok\n")


@pytest.fixture(scope="session")
def store_test(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("native"), "store_test")


@pytest.fixture(scope="session")
def collection_test(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("native"), "collection_test", "collection", "reply", "numbers")


@pytest.fixture(scope="session")
def landing_test(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("native"), "landing_test")


@pytest.mark.parametrize(
    "arguments",
    ["model 1", "model 20", "kill 1", "readers 1", "reclaim", "edges", "resize", "damage 1", "tenants 1", "scan"],
)
def test_store_keeps_its_promises(store_test: Path, arguments: str) -> None:
    check(store_test, arguments)


@pytest.mark.parametrize(
    "arguments", ["model 1", "model 2", "pressure 1", "pressure 2", "kill 1", "damage 1", "damage 2", "resize"]
)
def test_collections_keep_theirs(collection_test: Path, arguments: str) -> None:
    check(collection_test, arguments)


@pytest.mark.parametrize("seed", ["1", "2"])
def test_large_values_land_whole(landing_test: Path, seed: str) -> None:
    check(landing_test, seed)
