"""Local readers under everything at once, for about ten seconds, and proof that the checker sees what it is to see."""

import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.core_cache import reader_stress
from tests.core_cache.reader_stress import ROW, Wrong, check_rows, check_value, make_value
from tests.waiting import PATIENCE


@pytest.mark.timeout(240)
def test_no_read_is_torn_foreign_or_stale(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = reader_stress.stress(tmp_path, reads=100_000, seconds=8 * PATIENCE, memories=("12MiB", "16MiB"))
    assert report.problems == []
    assert report.reads >= 100_000
    assert report.hits > report.reads // 20
    assert report.kills >= 2
    assert min(report.stats["evicted_keys"], report.stats["expired_keys"]) > 0
    with capsys.disabled():
        sys.stdout.write(f"\nlocal readers: {report}\n")


def test_the_checker_sees_every_kind_of_wrong_value() -> None:
    now = int(time.time() * 1000)
    good = make_value(7, 30, now + 50, ROW)

    def both(value: bytes, least: int = 30, began: int = now, key: int = 7) -> None:
        rows = np.frombuffer(value, np.uint64).reshape(1, -1)
        try:
            check_value(value, key, least, began)
        finally:
            with pytest.raises(Wrong) if value != good or (least, began, key) != (30, now, 7) else _nothing():
                check_rows(rows, np.array([key]), np.array([least], np.uint64), began)

    both(good)
    with pytest.raises(Wrong, match="foreign"):
        both(good, key=8)
    with pytest.raises(Wrong, match="stale: key 7 has version 30, 31"):
        both(good, least=31)
    with pytest.raises(Wrong, match="expired 50 ms before"):
        both(good, began=now + 100)
    for at in range(8, ROW):
        torn = bytearray(good)
        torn[at] ^= 1
        with pytest.raises(Wrong):
            both(bytes(torn), least=0)
    with pytest.raises(Wrong, match="torn"):
        check_value(make_value(9, 1, 0, 64) + make_value(9, 2, 0, 64)[:8], 9, 0, now)


class _nothing:
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...
