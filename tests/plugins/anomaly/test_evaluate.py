"""`predis-agent eval anomaly`: recorded series through the engine that the agent runs."""

from __future__ import annotations

import csv
import gzip
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from agent.api import PredisError
from plugins.anomaly.engine.evaluate import read_series, scores_of
from plugins.anomaly.plugin import Anomaly, AnomalyConfig
from tests.servers import ROOT

SHARED = ROOT.parent / "shared"
JUMP = "realAWSCloudwatch/rds_cpu_utilization_cc0c53.csv"


def write(path: Path, *rows: str, head: str = "timestamp,value") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.write("\n".join([head, *rows]) + "\n")
    return path


def evaluate(source: Path, target: Path) -> None:
    Anomaly(AnomalyConfig()).predis_evaluate("anomaly", source, target, {})


def read_scores(path: Path) -> list[float]:
    with path.open(encoding="utf-8", newline="") as file:
        return [float(row["score"]) for row in csv.DictReader(file)]


def test_every_series_below_gets_a_score_for_each_row_and_labels_are_not_read(tmp_path: Path) -> None:
    drawn = np.random.default_rng(1).normal(100, 5, 400)
    drawn[300] = 400
    times = [f"2024-01-01T{n // 60:02}:{n % 60:02}:00Z" for n in range(400)]
    rows = [f"{time},{value}" for time, value in zip(times, drawn, strict=True)]
    write(tmp_path / "data/a.csv.gz", *rows)
    write(
        tmp_path / "data/deep/b.csv.gz", *(f"{row},{n % 2}" for n, row in enumerate(rows)), head="timestamp,value,label"
    )
    write(tmp_path / "data/short.csv.gz", rows[0], "2024-01-01 00:01:00,")
    write(tmp_path / "data/empty.csv.gz")
    evaluate(tmp_path / "data", tmp_path / "out")
    scores = read_scores(tmp_path / "out/a.csv")
    assert len(scores) == 400
    assert np.argmax(scores) == 300
    assert all(0 <= score <= 1 for score in scores)
    assert read_scores(tmp_path / "out/deep/b.csv") == scores
    assert read_scores(tmp_path / "out/short.csv") == [0, 0]
    assert read_scores(tmp_path / "out/empty.csv") == []


def test_times_with_and_without_a_zone_are_the_same_times(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.csv.gz", "2024-01-01 00:00:00,1", "2024-01-01T00:00:00Z,2", "2024-01-01T01:00:00+01:00,nan"
    )
    times, values = read_series(path)
    assert set(times) == {1704067200.0}
    assert values[:2].tolist() == [1, 2]
    assert np.isnan(values[2])


def test_what_spreadsheets_and_pandas_write_is_read(tmp_path: Path) -> None:
    """A byte-order mark, CRLF, spaces around names, Unix seconds, and the many words for nothing."""
    nothing = ("", "NA", "null", "NaN", "None", " ")
    rows = ["1704067200,1\r", *(f"1704067201.5,{word}\r" for word in nothing), ",5\r", "2024-01-01T00:00:03Z\r"]
    times, values = read_series(write(tmp_path / "a.csv.gz", *rows, head="\ufefftimestamp, value\r"))
    assert times[:2].tolist() == [1704067200, 1704067201.5]
    assert np.isnan(values[1:7]).all()
    assert np.isnan(times[7])
    assert (times[8], values[0]) == (1704067203, 1)
    assert np.isnan(values[8])


@pytest.mark.parametrize(
    "damage", [lambda raw: raw[:-20], lambda raw: b"timestamp,value", lambda raw: raw[:12] + b"x" * 40]
)
def test_a_damaged_file_is_named(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = write(tmp_path / "a.csv.gz", *(f"2024-01-01T00:00:00Z,{n}" for n in range(100)))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(PredisError, match=r"a\.csv\.gz cannot be read as a CSV\.gz"):
        read_series(path)


@pytest.mark.parametrize(
    ("row", "head", "complaint"),
    [
        ("2024-01-01 00:00:00,many", "timestamp,value", r"a\.csv\.gz, line 2: could not convert"),
        ("yesterday,1", "timestamp,value", r"a\.csv\.gz, line 2: Invalid isoformat"),
        ("2024-01-01 00:00:00,1", "time,value", r"a\.csv\.gz: needs the columns timestamp and value"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_line(tmp_path: Path, row: str, head: str, complaint: str) -> None:
    write(tmp_path / "a.csv.gz", row, head=head)
    with pytest.raises(PredisError, match=complaint):
        evaluate(tmp_path, tmp_path / "out")


def test_files_that_cannot_be_read_cost_no_other_its_scores(tmp_path: Path) -> None:
    rows = [f"2024-01-01T00:{n:02}:00Z,{n % 7}" for n in range(50)]
    write(tmp_path / "data/a.csv.gz", *rows)
    write(tmp_path / "data/bad.csv.gz", "2024-01-01 00:00:00,many")
    write(tmp_path / "data/deep/b.csv.gz", *rows)
    (tmp_path / "data/deep/worse.csv.gz").write_bytes(b"nothing")
    with pytest.raises(PredisError) as told:
        evaluate(tmp_path / "data", tmp_path / "out")
    first, second, rest = str(told.value).splitlines()
    assert "bad.csv.gz, line 2: could not convert" in first
    assert "worse.csv.gz cannot be read" in second
    assert rest == f"The scores of the others (2) are in {tmp_path / 'out'}."
    assert len(read_scores(tmp_path / "out/a.csv")) == 50
    assert read_scores(tmp_path / "out/deep/b.csv") == read_scores(tmp_path / "out/a.csv")
    assert {path.name for path in (tmp_path / "out").rglob("*.csv")} == {"a.csv", "b.csv"}


def test_a_folder_without_series_is_named(tmp_path: Path) -> None:
    with pytest.raises(PredisError, match=r"has no \*\.csv\.gz in it or below"):
        evaluate(tmp_path, tmp_path / "out")


def test_a_labelled_anomaly_of_a_recorded_series_stands_out() -> None:
    nab = SHARED / "data" / "anomaly" / "nab"
    if not nab.is_dir():
        pytest.skip("the recorded series are not beside the project (../shared/data/anomaly/nab)")
    (scores,) = scores_of([read_series(nab / f"{JUMP}.gz")])
    # the jump of the database's CPU on 25 February is labelled, and there is nothing like it
    assert abs(int(np.argmax(scores)) - 3080) < 30
    assert scores.max() > 2 * np.sort(scores)[-6]


def test_the_scorers_take_what_is_written(tmp_path: Path) -> None:
    if not (SHARED / "tools" / "mscloud_score.py").exists():
        pytest.skip("the scorers are not beside the project (../shared/tools)")
    pytest.importorskip("pandas")
    data = SHARED / "data" / "anomaly" / "mscloud" / "application-crash-rate-2"
    evaluate(data, tmp_path)
    command = [sys.executable, str(SHARED / "tools" / "mscloud_score.py"), str(data), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert '"series": 2, "events": 7' in done.stdout
