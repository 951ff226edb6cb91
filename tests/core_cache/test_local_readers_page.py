"""The page on local readers does what it says: its examples run as they stand there."""

import importlib.util
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import servers

PAGE = (servers.ROOT / "docs" / "local-readers.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
WIDTH = 32


@pytest.fixture
def cache(tmp_path: Path) -> Any:
    server = servers.start_cache(tmp_path, "--no-auth")
    with server.client() as client:
        client.command("SET", "user:17", "Ada")
        for number in range(900):
            client.command("SET", f"row:{number}", np.full(WIDTH, number, np.float32).tobytes())
    yield server
    server.stop()


def test_keys_and_rows(cache: servers.Server) -> None:
    attach, rows_example, _ = EXAMPLES
    names: dict[str, Any] = {}
    exec(attach.replace("/var/lib/predis", str(cache.data_dir)), names)
    assert names["reader"].get("user:17") == b"Ada"
    exec(rows_example, names)
    assert names["hits"] == 900
    assert (names["rows"][names["found"]] == np.arange(900, dtype=np.float32)[:, None]).all()
    assert not names["found"][900:].any()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_data_loader(cache: servers.Server, workers: int) -> None:
    if importlib.util.find_spec("torch") is None:
        warnings.warn("torch is not installed: the page's data loader was not run", stacklevel=1)
        pytest.skip("torch is not installed; `pip install torch` runs this")
    names: dict[str, Any] = {}
    exec(EXAMPLES[2], names)
    keys = [b"row:%d" % number for number in range(900)]
    seen = [batch[:, 0] for batch in names["loader"](cache.data_dir, keys, WIDTH, 100, workers)]
    assert sorted(int(value) for batch in seen for value in batch) == list(range(900))
