"""The registry of policy models."""

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from core_cache.policy.artefact import ArtefactError, Dense, checksum, to_bytes
from core_cache.policy.registry import ModelRegistry, RegistryError
from tests.servers import ROOT


def model(weight: float) -> bytes:
    return to_bytes(Dense.linear({"size": weight}))


def test_versions_are_kept_with_where_they_come_from(tmp_path: Path) -> None:
    registry = ModelRegistry(tmp_path / "models")
    assert registry.versions() == []
    first = registry.add(model(1), 0, "by hand", {})
    second = registry.add(model(2), first.version, "retrained", {"miss_ratio": 0.25})
    assert (first.version, second.version, second.parent) == (1, 2, 1)
    again = ModelRegistry(tmp_path / "models")
    assert again.versions() == [first, second]
    assert again.get(2).report == {"miss_ratio": 0.25}
    assert again.find(checksum(model(1))) == first
    assert again.find("00000000") is None
    assert again.artefact(2) == model(2)
    with pytest.raises(RegistryError, match="has no version 3"):
        again.get(3)
    for path in (tmp_path / "models").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "models").stat().st_mode) == 0o700


def test_the_same_artefact_is_the_same_version_and_what_is_none_is_refused(tmp_path: Path) -> None:
    registry = ModelRegistry(tmp_path / "models")
    first = registry.add(model(1), 0, "a", {})
    assert registry.add(model(1), 7, "b", {}) == first
    with pytest.raises(ArtefactError):
        registry.add(model(1)[:-1], 0, "c", {})
    assert len(registry.versions()) == 1


def test_an_artefact_that_was_changed_is_not_given_out(tmp_path: Path) -> None:
    registry = ModelRegistry(tmp_path / "models")
    registry.add(model(1), 0, "a", {})
    path = tmp_path / "models/000001.model"
    path.write_bytes(model(2))
    with pytest.raises(RegistryError, match="is not what was put there as version 1"):
        registry.artefact(1)
    path.unlink()
    with pytest.raises(RegistryError, match="cannot be read"):
        registry.artefact(1)


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("")
    with pytest.raises(RegistryError, match="where policy models are kept, cannot be used"):
        ModelRegistry(tmp_path / "models").versions()
    (tmp_path / "models").unlink()
    (tmp_path / "models").mkdir()
    (tmp_path / "models/models.sqlite").write_bytes(b"nothing of the kind" * 100)
    with pytest.raises(RegistryError, match=r"models\.sqlite cannot be used"):
        ModelRegistry(tmp_path / "models").add(model(1), 0, "a", {})


ADD = """
import sys
from pathlib import Path
from core_cache.policy.artefact import Dense, to_bytes
from core_cache.policy.registry import ModelRegistry
for i in range(20):
    ModelRegistry(Path(sys.argv[1])).add(to_bytes(Dense.linear({"size": float(sys.argv[2]) + i})), 0, "p", {})
"""


def test_processes_that_add_at_the_same_time_do_not_take_each_others_numbers(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    processes = [
        subprocess.Popen([sys.executable, "-c", ADD, str(folder), str(base)], cwd=ROOT) for base in (100, 200, 300)
    ]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    registry = ModelRegistry(folder)
    assert [version.version for version in registry.versions()] == list(range(1, 61))
    for version in registry.versions():
        assert checksum(registry.artefact(version.version)) == version.checksum
