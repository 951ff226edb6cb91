"""What was learnt survives restarts, and a file that is not whole is not believed."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import numpy as np
import pytest

from plugins.anomaly.engine import state


def test_what_was_saved_is_loaded_and_only_the_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "anomaly.state"
    os.umask(os.umask(0))
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(3, 2), "b": np.array([1, 2, 3]), "none": np.zeros(0)}
    state.save(path, {"method": "records", "keys": [["m", ["é"], ""]]}, arrays)
    found = state.load(path)
    assert found is not None
    assert found[0] == {"method": "records", "keys": [["m", ["é"], ""]]}
    for name, array in arrays.items():
        assert np.array_equal(found[1][name], array)
        assert found[1][name].dtype == array.dtype
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [one.name for one in tmp_path.iterdir()] == ["anomaly.state"]


def test_no_file_is_no_state(tmp_path: Path) -> None:
    assert state.load(tmp_path / "anomaly.state") is None


@pytest.mark.parametrize("damage", ["cut", "flipped", "version", "empty"])
def test_a_damaged_file_is_named(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "anomaly.state"
    state.save(path, {"method": "records"}, {"a": np.arange(100.0)})
    data = bytearray(path.read_bytes())
    if damage == "cut":
        data = data[:-8]
    elif damage == "flipped":
        data[-5] ^= 1
    elif damage == "version":
        data = data.replace(b"predis-anomaly 1", b"predis-anomaly 2")
    else:
        data = bytearray()
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"anomaly\.state is (damaged|not of this version)"):
        state.load(path)


def test_a_save_that_fails_leaves_the_last_one(tmp_path: Path) -> None:
    path = tmp_path / "anomaly.state"
    state.save(path, {"number": 1}, {})
    path.with_suffix(".new").mkdir()  # nobody can write here now
    with pytest.raises(OSError, match="anomaly"):
        state.save(path, {"number": 2}, {})
    assert state.load(path) == ({"number": 1}, {})
