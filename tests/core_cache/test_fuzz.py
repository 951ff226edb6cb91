"""The fuzz targets, each run shortly and the same way every time: without libFuzzer's guidance, with its promises.

What `make fuzz` has found lies in native/found, named TARGET-WHAT_WAS_WRONG, and is run first.
"""

import os
import subprocess
from pathlib import Path

import pytest

from tests.core_cache.fuzz import FOUND, TARGETS, write_seeds
from tests.core_cache.native_build import build

RUNS = {"engine": 300, "arena": 200, "snapshot": 300, "text": 10_000}


@pytest.fixture(scope="module")
def programs() -> Path:
    return build(*(f"fuzz_{target}" for target in TARGETS))


@pytest.mark.parametrize("target", TARGETS)
def test_targets_stand(programs: Path, tmp_path: Path, target: str) -> None:
    files = write_seeds(tmp_path / "seeds", target)
    command = [programs / f"fuzz_{target}", str(RUNS[target]), "1", tmp_path / "crash", *reversed(files)]
    environment = {**os.environ, "UBSAN_OPTIONS": "abort_on_error=1:print_stacktrace=1"}  # so that the input is kept
    run = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=110, env=environment)
    assert run.returncode == 0, run.stderr[-6000:]
    assert run.stdout.endswith("ok\n")


def test_everything_found_belongs_to_a_target() -> None:
    assert [path for path in FOUND.glob("*") if path.name.split("-")[0] not in TARGETS] == []
