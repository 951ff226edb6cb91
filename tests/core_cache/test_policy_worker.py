"""The process that trains: what it answers, and that it never outlives whoever started it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from core_cache.policy.artefact import read
from core_cache.policy.worker import WorkerError, retrain_in_worker
from tests.core_cache.model_load import names, write_log
from tests.servers import ROOT, Server, start_cache
from tests.waiting import wait_until

MEMORY = 16 << 20
LIMIT = 2 << 30


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = start_cache(tmp_path_factory.mktemp("cache"), "--policy", "learned", "--access-log", "0", memory="16MiB")
    try:
        yield server
    finally:
        server.stop()


def workers() -> list[int]:
    """Of all that run, the ids of those that train."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and b"core_cache.policy.worker" in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue  # it has ended meanwhile
    return found


def test_the_artefact_says_what_it_was_judged_by(cache: Server, tmp_path: Path) -> None:
    write_log(cache.data_dir, names(150_000))
    report = retrain_in_worker(cache.data_dir, MEMORY, None, tmp_path / "new", LIMIT)
    model = read(tmp_path / "new")
    assert model.metadata == report
    assert list(model.features) == report["features"]
    assert (report["accesses"], report["judged"]) == (150_000, 30_000)
    assert report["seconds"] == pytest.approx(1.5, abs=0.01)
    assert report["current"] is None
    again = retrain_in_worker(cache.data_dir, MEMORY, tmp_path / "new", tmp_path / "newer", LIMIT)
    assert again["current"]["miss_ratio"] == pytest.approx(report["miss_ratio"], rel=0.02)


def test_what_is_missing_is_told(cache: Server, tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match="has no access log that can be read"):
        retrain_in_worker(tmp_path, MEMORY, None, tmp_path / "new", LIMIT)
    write_log(cache.data_dir, names(1000))
    with pytest.raises(WorkerError, match="the 1,000 accesses in the log, to") as told:
        retrain_in_worker(cache.data_dir, MEMORY, None, tmp_path / "new", LIMIT)
    assert told.value.too_little
    write_log(cache.data_dir, names(100_000))
    (tmp_path / "bad").write_bytes(b"no model")
    with pytest.raises(WorkerError, match="is no policy model"):
        retrain_in_worker(cache.data_dir, MEMORY, tmp_path / "bad", tmp_path / "new", LIMIT)
    assert not (tmp_path / "new").exists()


def test_without_the_library_it_says_how_to_get_it(
    cache: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sklearn.py").write_text('raise ModuleNotFoundError("No module named sklearn", name="sklearn")\n')
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    with pytest.raises(WorkerError, match=r"sklearn is not installed: pip install 'predis-agent\[learning\]'"):
        retrain_in_worker(cache.data_dir, MEMORY, None, tmp_path / "new", LIMIT)


PARENT = """
import sys
from pathlib import Path
from core_cache.policy.worker import retrain_in_worker
retrain_in_worker(Path(sys.argv[1]), 16 << 20, None, Path(sys.argv[2]), 2 << 30)
"""


def test_it_ends_with_whoever_started_it(cache: Server, tmp_path: Path) -> None:
    write_log(cache.data_dir, names(1_000_000))
    before = set(workers())
    program = [sys.executable, "-c", PARENT, str(cache.data_dir), str(tmp_path / "new")]
    with subprocess.Popen(program, cwd=ROOT) as parent:
        wait_until(lambda: set(workers()) - before, 20, "a worker")
        parent.send_signal(signal.SIGKILL)
    wait_until(lambda: not set(workers()) - before, 20, "the end of the worker")
    assert not (tmp_path / "new").exists()
