"""`predis-agent eval policy` as people use it."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from agent.cli.evaluate import app
from agent.errors import PredisError


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "made.npz"
    np.savez(path, key=np.array([0, 1, 2, 0, 0, 3, 1], np.uint32), size=np.array([10, 20, 30, 10, 10, 40, 20]))
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["policy", *map(str, arguments)], catch_exceptions=True)


def test_json_has_the_miss_ratio_and_what_it_was_counted_with(trace: Path) -> None:
    found = json.loads(run(trace, "--policy", "lru", "--capacity-share", "1", "--json").stdout)
    assert found["miss_ratio"] == found["misses"] / found["accesses"] == 4 / 7
    assert (found["capacity"], found["unique_keys"], found["policy"], found["sized"]) == (4, 4, "lru", False)
    assert found["byte_miss_ratio"] == found["miss_ratio"]
    assert found["trace"] == str(trace)


def test_sized_counts_bytes(trace: Path) -> None:
    found = json.loads(run(trace, "--capacity-share", "1", "--sized", "--json").stdout)
    assert (found["capacity"], found["misses"], found["byte_miss_ratio"]) == (100, 4, 100 / 140)


def test_people_get_lines(trace: Path) -> None:
    result = run(trace, "--capacity-share", "0.5", "--limit", "4")
    assert result.exit_code == 0, result.output
    assert "1 entries (0.5 of all)" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--policy", "mru"], "--policy mru: there is no such policy; choose one of s3fifo, "),
        (["--model", "some.model"], "--model belongs to --policy learned, not to s3fifo"),
        (
            ["--policy", "learned", "--model", "/nowhere/m"],
            "the policy model /nowhere/m cannot be opened: No such file",
        ),
        (["--capacity-share", "0"], "--capacity-share 0: is a share of the keys, over 0 and at most 1"),
        (["--capacity-share", "nan"], "--capacity-share nan: is a share"),
    ],
)
def test_wrong_options_end_in_a_sentence(trace: Path, arguments: list[str], complaint: str) -> None:
    result = run(trace, *arguments)
    assert isinstance(result.exception, PredisError)
    assert str(result.exception).startswith(complaint)


def test_a_missing_trace_is_named(tmp_path: Path) -> None:
    result = run(tmp_path / "none.npz")
    assert isinstance(result.exception, PredisError)
    assert str(result.exception).endswith("none.npz: no such file")
